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
    expect(&[node("2026-11-21T11:00:00Z"), other_node("n2")], &told);
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

/// A lease that has been renewed just now, and whose link ended.
fn ended(how: &str) -> Object {
    let metadata = json!({"annotations": {ENDED: how}});
    object(
        kinds::LEASE,
        "kube-node-lease/n1",
        json!({"metadata": metadata, "spec": {"renewTime": "2026-11-21T11:59:59.900000Z"}}),
    )
}

fn other_node(name: &str) -> Object {
    let ready = json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-11-21T11:59:50Z"}]);
    object(kinds::NODE, name, json!({"status": {"conditions": ready}}))
}

const GIVEN_UP: [&str; 2] = [
    "event NodeNotReady: Node n1 status is now: NodeNotReady",
    "~Node n1 \"Unknown\" \"node.kubernetes.io/unreachable\"",
];

#[test]
fn a_node_whose_link_ended_is_given_up_a_moment_later() {
    let expect_of = |how: &str, told: &[&str]| {
        expect(&[node("2026-11-21T11:59:50Z"), ended(how), other_node("n2")], told);
    };
    expect_of("2026-11-21T11:59:59.600Z closed", &[]);
    expect_of("2026-11-21T11:59:59.400Z closed", &GIVEN_UP);
    expect_of("2026-11-21T11:59:59.000Z silent", &[]);
    expect_of("2026-11-21T11:59:58.700Z silent", &GIVEN_UP);
}

#[test]
fn a_node_that_said_that_it_stops_is_waited_for() {
    let ready =
        json!([{"type": "Ready", "status": "False", "reason": STOPPING, "lastHeartbeatTime": "2026-11-21T11:59:50Z"}]);
    let node = object(kinds::NODE, "n1", json!({"status": {"conditions": ready}}));
    let told = ["~Node n1 \"False\" \"node.kubernetes.io/not-ready\""];
    expect(&[node, ended("2026-11-21T11:59:50.000Z closed"), other_node("n2")], &told);
}

#[test]
fn nobody_has_to_go_when_no_node_is_left() {
    let told = ["event NodeNotReady: Node n1 status is now: NodeNotReady", "~Node n1 \"Unknown\""];
    let view = check(
        &NodeLifecycle::new(&config()),
        &[node("2026-11-21T11:59:50Z"), ended("2026-11-21T11:59:50.000Z closed")],
        &kinds::NODE.cluster_key("n1"),
        &["/status/conditions/0/status", "/spec/taints/1/key"],
        &told,
    );
    let node = view.get(&kinds::NODE.cluster_key("n1")).expect("a node");
    let plan = NodeLifecycle::new(&config()).reconcile(node.key(), &view, Look::new(noon(), 8));
    assert!(plan.txns.is_empty() && plan.again.is_some_and(|again| again > noon()), "it is looked at again: {plan:?}");
}

#[test]
fn the_end_of_a_link_is_news_and_a_renewal_is_none() {
    let change = |before: &Object, after: &Object| Event {
        revision: api::Revision(2),
        change: state::Change::Modified { before: before.clone(), after: after.clone() },
    };
    let (renewed, over) = (lease("2026-11-21T11:59:50.000000Z"), ended("2026-11-21T11:59:59.600Z closed"));
    let affected = |event: &Event| NodeLifecycle::new(&config()).affected(event, &Snapshot::default()).len();
    assert_eq!(affected(&change(&renewed, &lease("2026-11-21T11:59:53.000000Z"))), 0);
    assert_eq!(affected(&change(&renewed, &over)), 1);
    assert_eq!(affected(&change(&over, &renewed)), 1);
}
