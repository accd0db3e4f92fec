//! Where services of type LoadBalancer are reached: at the addresses of the nodes.
//!
//! Every node listens on such a service's ports, so that the balancer is the nodes themselves, and the status says where
//! they are: their external addresses, or else their internal ones. A node that is not ready is left out, and one that is
//! marked as not for this; with `externalTrafficPolicy: Local`, so is one without a ready endpoint. Services of another
//! `loadBalancerClass` are somebody else's.

use std::collections::BTreeSet;

use api::{Key, Object, kinds};
use k8s_openapi::api::core::v1::{LoadBalancerIngress, LoadBalancerStatus, Node, Service, ServiceSpec, ServiceStatus};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use state::{Event, Snapshot, Txn};

use crate::edit::replaced;
use crate::endpoints::SERVICE_NAME;
use crate::{Controller, Look, Plan};

/// The class that is served here, as no class at all is.
const CLASS: &str = "coracle.dev/nodes";
/// Marks a node that services are not to be reached at.
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// The controller of services' addresses outside.
pub(crate) struct LoadBalancers;

// === impl LoadBalancers ===

impl Controller for LoadBalancers {
    fn name(&self) -> &'static str {
        "load-balancer"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        let key = event.key();
        match key.kind() {
            kinds::SERVICE => vec![key.clone()],
            kinds::NODE => {
                let balanced = view.list(kinds::SERVICE).filter(|service| is_balanced(service));
                balanced.map(|service| service.key().clone()).collect()
            }
            kinds::ENDPOINT_SLICE => {
                let service = event.latest().meta().labels.get(SERVICE_NAME);
                service.map(|service| key.sibling(kinds::SERVICE, service)).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, _look: Look<'_>) -> Plan {
        let living = view.get(key).filter(|service| !service.meta().is_terminating());
        let decoded = living.and_then(|object| Some((object, object.decode::<Service>().ok()?)));
        let Some((object, service)) = decoded else { return Plan::nothing() };
        let Some(spec) = &service.spec else { return Plan::nothing() };
        let is_ours = spec.load_balancer_class.as_deref().is_none_or(|class| class == CLASS);
        match spec.type_.as_deref() {
            Some("LoadBalancer") if is_ours => Plan::of(told(object, points(key, spec, view))),
            Some("LoadBalancer") => Plan::nothing(),
            // It may have been one before.
            _ => Plan::of(told(object, Vec::new())),
        }
    }
}

fn is_balanced(service: &Object) -> bool {
    let service = service.decode::<Service>().ok();
    service.is_some_and(|service| service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer"))
}

/// Says in the status where the service is reached.
fn told(service: &Object, points: Vec<LoadBalancerIngress>) -> Txn {
    replaced::<Service>(service, |service| {
        let known = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let known = known.and_then(|known| known.ingress.as_deref()).unwrap_or_default();
        if known != points.as_slice() {
            let ingress = Some(points).filter(|points| !points.is_empty());
            let status = service.status.get_or_insert_with(ServiceStatus::default);
            status.load_balancer = Some(LoadBalancerStatus { ingress });
        }
    })
}

fn points(service: &Key, spec: &ServiceSpec, view: &Snapshot) -> Vec<LoadBalancerIngress> {
    let local = spec.external_traffic_policy.as_deref() == Some("Local");
    let serving = local.then(|| serving_nodes(service, view));
    let is_meant = |node: &&Object| {
        let excluded = node.meta().labels.contains_key(EXCLUDED) || node.meta().is_terminating();
        !excluded && serving.as_ref().is_none_or(|serving| serving.contains(node.key().name()))
    };
    let nodes = view.list(kinds::NODE).filter(is_meant).filter_map(|node| node.decode::<Node>().ok());
    let mut addresses: Vec<String> = nodes.filter(|node| is_ready(node)).flat_map(|node| reached_at(&node)).collect();
    addresses.sort();
    addresses.dedup();
    let point = |address: String| match address.parse::<std::net::IpAddr>() {
        Ok(_) => LoadBalancerIngress { ip: Some(address), ip_mode: Some("VIP".into()), ..Default::default() },
        Err(_) => LoadBalancerIngress { hostname: Some(address), ..Default::default() },
    };
    addresses.into_iter().map(point).collect()
}

/// The nodes with a ready endpoint of the service.
fn serving_nodes(service: &Key, view: &Snapshot) -> BTreeSet<String> {
    let is_its = |slice: &&Object| slice.meta().labels.get(SERVICE_NAME).is_some_and(|name| name == service.name());
    let slices = view.list_in(kinds::ENDPOINT_SLICE, service.namespace()).filter(is_its);
    let mut nodes = BTreeSet::new();
    for slice in slices.filter_map(|slice| slice.decode::<EndpointSlice>().ok()) {
        let is_ready = |conditions: Option<bool>| conditions.unwrap_or(true);
        let ready = slice.endpoints.iter().filter(|it| is_ready(it.conditions.as_ref().and_then(|it| it.ready)));
        nodes.extend(ready.filter_map(|endpoint| endpoint.node_name.clone()));
    }
    nodes
}

/// The node's addresses: what is nearest to the outside of all it has.
fn reached_at(node: &Node) -> Vec<String> {
    let all = || node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let of = |kind: &str| -> Vec<String> { all().filter(|it| it.type_ == kind).map(|it| it.address.clone()).collect() };
    ["ExternalIP", "InternalIP", "ExternalDNS"].into_iter().map(of).find(|found| !found.is_empty()).unwrap_or_default()
}

fn is_ready(node: &Node) -> bool {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::notation::{check, object};

    fn service(spec: Value, status: Value) -> Object {
        object(kinds::SERVICE, "default/web", json!({"spec": spec, "status": status}))
    }

    fn node(name: &str, ready: bool, addresses: &[(&str, &str)]) -> Object {
        let addresses: Vec<Value> =
            addresses.iter().map(|(kind, address)| json!({"type": kind, "address": address})).collect();
        let ready = if ready { "True" } else { "False" };
        object(
            kinds::NODE,
            name,
            json!({"status": {"conditions": [{"type": "Ready", "status": ready}], "addresses": addresses}}),
        )
    }

    fn world(service: Object) -> Vec<Object> {
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "metadata": {"labels": {SERVICE_NAME: "web"}}, "addressType": "IPv4", "endpoints": [
            {"addresses": ["10.42.0.2"], "nodeName": "b", "conditions": {"ready": true}},
            {"addresses": ["10.42.0.3"], "nodeName": "a", "conditions": {"ready": false}}]});
        vec![
            service,
            node("a", true, &[("InternalIP", "192.0.2.1"), ("Hostname", "a")]),
            node("b", true, &[("InternalIP", "192.0.2.2"), ("ExternalIP", "203.0.113.2")]),
            node("c", false, &[("InternalIP", "192.0.2.3")]),
            object(kinds::ENDPOINT_SLICE, "default/web-1", slice),
        ]
    }

    const SHOW: [&str; 1] = ["/status/loadBalancer"];

    #[test]
    fn a_service_is_reached_at_the_ready_nodes() {
        let web = service(json!({"type": "LoadBalancer"}), json!({}));
        let told =
            r#"~Service web {"ingress":[{"ip":"192.0.2.1","ipMode":"VIP"},{"ip":"203.0.113.2","ipMode":"VIP"}]}"#;
        let after = check(&LoadBalancers, &world(web.clone()), web.key(), &SHOW, &[told]);
        let look = Look::new(crate::notation::noon(), 1);
        assert!(LoadBalancers.reconcile(web.key(), &after, look).txns.is_empty(), "planning again changes nothing");
    }

    #[test]
    fn local_traffic_goes_where_an_endpoint_is() {
        let web = service(json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}), json!({}));
        let told = r#"~Service web {"ingress":[{"ip":"203.0.113.2","ipMode":"VIP"}]}"#;
        check(&LoadBalancers, &world(web.clone()), web.key(), &SHOW, &[told]);
    }

    #[test]
    fn what_is_no_balancer_any_more_has_no_address() {
        let status = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
        let web = service(json!({"type": "ClusterIP"}), status.clone());
        check(&LoadBalancers, &world(web.clone()), web.key(), &SHOW, &["~Service web {}"]);
        let others = service(json!({"type": "LoadBalancer", "loadBalancerClass": "else.where/lb"}), status);
        check(&LoadBalancers, &world(others.clone()), others.key(), &SHOW, &[]);
        let plain = service(json!({"type": "ClusterIP"}), json!({}));
        check(&LoadBalancers, &world(plain.clone()), plain.key(), &SHOW, &[]);
    }
}
