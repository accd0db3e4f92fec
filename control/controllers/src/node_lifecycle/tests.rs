use serde_json::json;

use super::*;
use crate::notation::{check, config, object};

fn node(seen: &str) -> Object {
    let ready = json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": seen, "lastTransitionTime": seen}]);
    object(kinds::NODE, "n1", json!({"status": {"conditions": ready}}))
}

fn lease(renewed: &str) -> Object {
    let version = json!({"apiVersion": "coordination.k8s.io/v1", "spec": {"renewTime": renewed}});
    object(kinds::LEASE, "kube-node-lease/n1", version)
}

fn expect(objects: &[Object], told: &[&str]) {
    let show = ["/status/conditions/0/status", "/spec/taints/1/key"];
    check(&NodeLifecycle::new(&config()), objects, objects[0].key(), &show, told);
}

#[test]
fn a_silent_node_is_given_up_and_tainted() {
    let told = [
        "event NodeNotReady: Node n1 status is now: NodeNotReady",
        "~Node n1 \"Unknown\" \"node.kubernetes.io/unreachable\"",
    ];
    expect(&[node("2026-11-21T11:00:00Z")], &told);
}

#[test]
fn a_lease_is_as_good_as_a_heartbeat() {
    expect(&[node("2026-11-21T11:00:00Z"), lease("2026-11-21T11:59:50.000000Z")], &[]);
    expect(&[node("2026-11-21T11:59:50Z")], &[]);
}
