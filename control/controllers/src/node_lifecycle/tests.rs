use serde_json::json;

use super::*;
use crate::notation::{check, config, noon, object};

fn node(seen: &str) -> Object {
    let ready = json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": seen, "lastTransitionTime": "2026-11-21T09:00:00Z"}]);
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
fn news_of_a_node_is_told_once() {
    let ready = json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-11-21T11:59:50Z", "lastTransitionTime": "2026-11-21T11:59:00Z"}]);
    let metadata = json!({"creationTimestamp": "2026-11-21T11:58:00Z"});
    let node = object(kinds::NODE, "n1", json!({"metadata": metadata, "status": {"conditions": ready}}));
    let told = [
        "event NodeReady: Node n1 status is now: NodeReady",
        "event RegisteredNode: Node n1 event: Registered Node n1 in Controller",
    ];
    let controller = NodeLifecycle::new(&config());
    let view = check(&controller, std::slice::from_ref(&node), node.key(), &[], &told);
    let look = Look::new(noon() + SignedDuration::from_secs(5), 8);
    assert_eq!(controller.reconcile(node.key(), &view, look).txns, []);
}

#[test]
fn a_lease_is_as_good_as_a_heartbeat() {
    expect(&[node("2026-11-21T11:00:00Z"), lease("2026-11-21T11:59:50.000000Z")], &[]);
    expect(&[node("2026-11-21T11:59:50Z")], &[]);
}
