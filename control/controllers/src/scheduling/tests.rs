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
        &Scheduling,
        &[node("2Gi"), pod()],
        &waiting_room(),
        &["/spec/nodeName", "/status/conditions/0/status"],
        &told,
    );
}

#[test]
fn a_pod_that_fits_nowhere_says_why_once() {
    let why = "0/1 nodes are available: 1 Insufficient memory.";
    let told = [format!("event FailedScheduling: {why}"), format!("~Pod p \"Unschedulable\" \"{why}\"")];
    let show = ["/status/conditions/0/reason", "/status/conditions/0/message"];
    let view = check(&Scheduling, &[node("1Mi"), pod()], &waiting_room(), &show, &told.each_ref().map(String::as_str));
    let after: Vec<Object> = view.objects().filter(|it| it.key().kind() != kinds::NAMESPACE).cloned().collect();
    check(&Scheduling, &after, &waiting_room(), &show, &[]);
}
