//! What an Ingress should say about where it is served.

use api::Key;
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Value, json};
use state::Snapshot;
use std::net::IpAddr;

use crate::routes::ours;

/// The Ingresses whose `status` does not name `addresses` (host names or IP addresses), each with the status it should
/// have. It is for whoever may write to the API: the edge itself does not.
pub fn status(view: &Snapshot, addresses: &[String]) -> Vec<(Key, Value)> {
    let point = |address: &String| match address.parse::<IpAddr>() {
        Ok(_) => json!({"ip": address}),
        Err(_) => json!({"hostname": address}),
    };
    let wanted: Vec<Value> = addresses.iter().map(point).collect();
    let differs = |ingress: &Ingress| {
        let balancer = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let told = balancer.and_then(|balancer| balancer.ingress.as_ref());
        serde_json::to_value(told.map_or(&[][..], Vec::as_slice)).ok() != Some(Value::from(wanted.clone()))
    };
    let wrong = ours(view).into_iter().filter(|(_, ingress)| differs(ingress));
    wrong.map(|(object, _)| (object.key().clone(), json!({"loadBalancer": {"ingress": wanted}}))).collect()
}
