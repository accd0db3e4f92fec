use serde_json::json;

use super::*;
use crate::notation::{check, object};

fn service() -> Object {
    let ports = json!([{"port": 80, "protocol": "TCP", "targetPort": "http"}]);
    object(
        kinds::SERVICE,
        "default/web",
        json!({"spec": {"clusterIP": "10.43.0.9", "selector": {"app": "web"}, "ports": ports}}),
    )
}

fn pod(name: &str, address: &str, ready: bool, ending: bool) -> Object {
    let conditions = json!([{"type": "Ready", "status": if ready { "True" } else { "False" }}]);
    let containers = json!([{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]);
    let mut metadata = json!({"labels": {"app": "web"}});
    if ending {
        metadata["deletionTimestamp"] = "2026-11-21T12:00:30Z".into();
    }
    let status = json!({"phase": "Running", "podIP": address, "conditions": conditions});
    object(
        kinds::POD,
        &format!("default/{name}"),
        json!({"metadata": metadata, "spec": {"containers": containers}, "status": status}),
    )
}

fn tree(view: &Snapshot, kind: api::GroupKind) -> serde_json::Value {
    let object = view.list(kind).next().expect("there is one");
    serde_json::from_slice(object.body()).expect("JSON")
}

#[test]
fn slices_and_endpoints_tell_who_is_ready_serving_and_leaving() {
    let world = [
        service(),
        pod("a", "10.42.0.2", true, false),
        pod("b", "10.42.0.3", false, false),
        pod("c", "10.42.0.4", true, true),
    ];
    let plan = Endpoints.reconcile(
        service().key(),
        &Snapshot::load(api::Revision(1), world.clone()),
        Look { now: crate::notation::noon(), seed: 1 },
    );
    assert_eq!(plan.txns.len(), 2);
    let home = object(kinds::NAMESPACE, "default", json!({}));
    let mut view = Snapshot::load(api::Revision(1), world.into_iter().chain([home]));
    for txn in &plan.txns {
        view = view.apply(txn).expect("every guard holds").0;
    }
    let slice = tree(&view, kinds::ENDPOINT_SLICE);
    let conditions: Vec<_> = slice["endpoints"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| {
            let says = |name: &str| it["conditions"][name].as_bool().unwrap_or(false);
            (it["addresses"][0].as_str().unwrap_or(""), says("ready"), says("serving"), says("terminating"))
        })
        .collect();
    assert_eq!(
        conditions,
        [("10.42.0.2", true, true, false), ("10.42.0.3", false, false, false), ("10.42.0.4", false, true, true)]
    );
    assert_eq!(slice["ports"][0]["port"], 8080);
    let subset = &tree(&view, kinds::ENDPOINTS)["subsets"][0];
    assert_eq!(
        (&subset["addresses"][0]["ip"], &subset["notReadyAddresses"][0]["ip"]),
        (&json!("10.42.0.2"), &json!("10.42.0.3"))
    );
    assert!(
        Endpoints.reconcile(service().key(), &view, Look { now: crate::notation::noon(), seed: 2 }).txns.is_empty()
    );
}

#[test]
fn what_is_told_of_a_service_goes_with_it() {
    let labels = json!({"kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"});
    let slice = object(kinds::ENDPOINT_SLICE, "default/web-x", json!({"metadata": {"labels": labels}}));
    check(&Endpoints, &[slice], service().key(), &[], &["-EndpointSlice web-x"]);
}
