//! Which node a pod gets among others: evenly with its like, near some and far from others, and in the place of one that matters less.

use harness::{Fleet, Server, eventually};
use serde_json::Value;

use crate::{PROGRAM, manifest};

const WEB: &str = "apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 1000
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
      containers: [{name: hello, image: EXAMPLES/hello/hello.wasm}]
";

/// A pod that wants no node with a web pod on it.
fn apart(name: &str, class: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  {class}
  terminationGracePeriodSeconds: 1
  affinity:
    podAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
      - {{topologyKey: kubernetes.io/hostname, labelSelector: {{matchLabels: {{app: web}}}}}}
  containers: [{{name: hello, image: EXAMPLES/hello/hello.wasm}}]
"
    )
}

fn items(fleet: &Fleet, words: &[&str]) -> Vec<Value> {
    let told = fleet.coracle(&[&["get"], words, &["-o", "json"]].concat()).ok();
    let list: Value = serde_json::from_str(&told).expect("a list");
    list["items"].as_array().cloned().unwrap_or_default()
}

/// Waits until a pod waits for a node, and says this about it.
fn waits(fleet: &Fleet, selector: &[&str], why: &str) {
    eventually(30, || {
        let pods = items(fleet, &[&["pods"], selector].concat());
        let told: Vec<&Value> = pods.iter().filter_map(|pod| pod.pointer("/status/conditions/0/message")).collect();
        if told.iter().any(|told| *told == why) { Ok(()) } else { Err(format!("{told:?}")) }
    });
}

#[test]
fn pods_mind_their_neighbours_and_give_way_to_those_that_matter_more() {
    let fleet = Fleet::on_loopback(PROGRAM, Server::IsNode, 2);
    let apply = |text: &str| fleet.coracle(&["apply", "-f", &manifest(fleet.folder(), text)]).ok();
    apply(WEB);
    fleet.coracle(&["rollout", "status", "deploy/web", "--timeout", "120s"]).ok();
    let mut nodes: Vec<String> = items(&fleet, &["pods", "-l", "app=web"])
        .iter()
        .map(|pod| pod["spec"]["nodeName"].as_str().expect("a node").to_owned())
        .collect();
    nodes.sort();
    assert_eq!(nodes, ["node-0", "node-1", "node-2"]);

    apply(&apart("alone", ""));
    let alone = ["--field-selector", "metadata.name=alone"];
    waits(&fleet, &alone, "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.");

    apply(&apart("important", "priorityClassName: high"));
    fleet.coracle(&["wait", "--for=condition=Ready", "pod/important", "--timeout", "60s"]).ok();
    let events = items(&fleet, &["events"]);
    let preempted: Vec<&Value> = events.iter().filter(|event| event["reason"] == "Preempted").collect();
    let [preempted] = preempted.as_slice() else { panic!("{preempted:?}") };
    let message = preempted["message"].as_str().expect("a message");
    assert!(message.starts_with("Preempted by pod ") && message.contains(" on node node-"), "{message}");
    let kept = "1 node(s) didn't satisfy existing pods anti-affinity rules";
    let why = format!("0/3 nodes are available: {kept}, 2 node(s) didn't match pod topology spread constraints.");
    waits(&fleet, &["-l", "app=web"], &why);

    // Who has waited longer gets the node that becomes free.
    fleet.coracle(&["delete", "pod", "important"]).ok();
    fleet.coracle(&["wait", "--for=condition=Ready", "pod/alone", "--timeout", "60s"]).ok();
    fleet.coracle(&["delete", "pod", "alone"]).ok();
    fleet.coracle(&["rollout", "status", "deploy/web", "--timeout", "60s"]).ok();
}
