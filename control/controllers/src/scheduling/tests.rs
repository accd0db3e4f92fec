use serde_json::json;

use super::*;
use crate::notation::{check, object};

fn node(memory: &str) -> Object {
    object(kinds::NODE, "n1", json!({"status": {"allocatable": {"cpu": "1", "memory": memory, "pods": "10"}}}))
}

fn pod() -> Object {
    let containers = json!([{"name": "c", "resources": {"requests": {"memory": "1Gi"}}}]);
    object(kinds::POD, "default/p", json!({"spec": {"containers": containers}}))
}

#[test]
fn a_pod_gets_the_node_that_has_room_and_the_story_is_told() {
    let told = ["event Scheduled: Successfully assigned default/p to n1", "~Pod p \"n1\" \"True\""];
    check(
        &Scheduling::default(),
        &[node("2Gi"), pod()],
        &waiting_room(),
        &["/spec/nodeName", "/status/conditions/0/status"],
        &told,
    );
}

#[test]
fn a_pod_is_bound_with_an_address_of_its_node_that_nobody_has() {
    let mut home = node("9Gi").to_value().expect("a tree");
    home["spec"] = json!({"podCIDR": "10.42.3.0/29", "podCIDRs": ["10.42.3.0/29"]});
    let home = Object::from_value(kinds::NODE, &home).expect("a node");
    let bound = |name: &str, address: &str| {
        let status = json!({"phase": "Running", "podIP": address});
        object(
            kinds::POD,
            &format!("default/{name}"),
            json!({"spec": {"nodeName": "n1", "containers": []}, "status": status}),
        )
    };
    let waiting = |name: &str, on_host: bool| {
        let spec = json!({"hostNetwork": on_host, "containers": [{"name": "c"}]});
        object(kinds::POD, &format!("default/{name}"), json!({"spec": spec}))
    };
    let world = [home, bound("x", "10.42.3.5"), waiting("a", false), waiting("b", true), waiting("c", false)];
    let told = ["a", "b", "c"].map(|pod| format!("event Scheduled: Successfully assigned default/{pod} to n1"));
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    let pods = ["~Pod a \"n1\" \"10.42.3.6\"", "~Pod b \"n1\"", "~Pod c \"n1\" \"10.42.3.2\""];
    let told = [told.as_slice(), &pods].concat();
    let show = ["/spec/nodeName", "/status/podIP"];
    check(&Scheduling::default(), &world, &waiting_room(), &show, &told);
}

#[test]
fn a_pod_that_fits_nowhere_says_why_once() {
    let why = "0/1 nodes are available: 1 Insufficient memory.";
    let told = [format!("event FailedScheduling: {why}"), format!("~Pod p \"Unschedulable\" \"{why}\"")];
    let show = ["/status/conditions/0/reason", "/status/conditions/0/message"];
    let view = check(
        &Scheduling::default(),
        &[node("1Mi"), pod()],
        &waiting_room(),
        &show,
        &told.each_ref().map(String::as_str),
    );
    let after: Vec<Object> = view.objects().filter(|it| it.key().kind() != kinds::NAMESPACE).cloned().collect();
    check(&Scheduling::default(), &after, &waiting_room(), &show, &[]);
}

fn ranked(name: &str, memory: &str, priority: i32, node: Option<&str>) -> Object {
    let containers = json!([{"name": "c", "resources": {"requests": {"memory": memory}}}]);
    let spec =
        json!({"containers": containers, "priority": priority, "nodeName": node, "terminationGracePeriodSeconds": 0});
    object(kinds::POD, &format!("default/{name}"), json!({"spec": spec}))
}

/// The one that matters less goes; who comes next does not get the room, whoever is promised it does, once it is free.
#[test]
fn a_pod_that_matters_more_gets_the_room_of_one_that_matters_less() {
    let why = "0/1 nodes are available: 1 Insufficient memory.";
    let low = ranked("low", "1Gi", 1, Some("n1"));
    let told = [
        "-Pod low \"n1\"",
        &format!("event FailedScheduling: {why}"),
        "event Preempted: Preempted by pod high on node n1",
        "~Pod high \"n1\"",
    ];
    let show = ["/status/nominatedNodeName", "/spec/nodeName"];
    let world = [node("1Gi"), low, ranked("high", "1Gi", 9, None)];
    let view = check(&Scheduling::default(), &world, &waiting_room(), &show, &told);
    let after: Vec<Object> = view.objects().filter(|it| it.key().kind() != kinds::NAMESPACE).cloned().collect();
    let told = ["event Scheduled: Successfully assigned default/high to n1", "~Pod high \"n1\" \"n1\""];
    check(&Scheduling::default(), &after, &waiting_room(), &show, &told);
}

#[test]
fn while_others_leave_nobody_takes_the_room_that_was_promised() {
    let mut leaving = ranked("low", "400Mi", 1, Some("n1")).to_value().expect("a tree");
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let leaving = Object::from_value(kinds::POD, &leaving).expect("a pod");
    let mut promised = ranked("high", "1200Mi", 9, None).to_value().expect("a tree");
    promised["status"] = json!({"nominatedNodeName": "n1"});
    let promised = Object::from_value(kinds::POD, &promised).expect("a pod");
    let why = "0/1 nodes are available: 1 Insufficient memory.";
    let waiting = format!("event FailedScheduling: {why}");
    let told = [waiting.as_str(), waiting.as_str(), "~Pod high \"n1\"", "~Pod late"];
    let show = ["/status/nominatedNodeName", "/spec/nodeName"];
    let world = [node("1500Mi"), leaving, promised, ranked("late", "1000Mi", 5, None)];
    check(&Scheduling::default(), &world, &waiting_room(), &show, &told);
}
