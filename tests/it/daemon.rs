//! DaemonSets: a pod on every node, whatever becomes of the nodes.

use harness::{Fleet, Output, Server, eventually, kubectl_is_there};

use crate::{PROGRAM, example};

const PROBE: &str = "apiVersion: apps/v1
kind: DaemonSet
metadata: {name: probe}
spec:
  selector: {matchLabels: {app: probe}}
  template:
    metadata: {labels: {app: probe}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: probe, image: 'probe:v1', ports: [{containerPort: 80}]}
";

/// The nodes with the images of their pods: `node-0 probe:v1, node-1 probe:v1`.
fn pods(fleet: &Fleet) -> String {
    let path = "jsonpath={range .items[*]}{.spec.nodeName} {.spec.containers[0].image}{\"\\n\"}{end}";
    let told = fleet.kubectl(&["get", "pods", "-l", "app=probe", "-o", path], None).ok();
    let mut lines: Vec<&str> = told.lines().collect();
    lines.sort_unstable();
    lines.join(", ")
}

#[track_caller]
fn become_of(fleet: &Fleet, expected: &str) {
    eventually(60, || if pods(fleet) == expected { Ok(()) } else { Err(format!("{}, not {expected}", pods(fleet))) });
}

#[track_caller]
fn contains(output: &Output, words: &str) {
    let told = format!("{}{}", output.stdout, output.stderr);
    assert!(output.code == 0 && told.contains(words), "{words:?} is missing in\n{told}");
}

#[test]
fn every_node_has_its_pod() {
    if !kubectl_is_there() {
        return;
    }
    let fleet = Fleet::on_loopback(PROGRAM, Server::IsNode, 1);
    let k = |words: &[&str]| fleet.kubectl(words, None);
    let rolled_out = || {
        let told = k(&["rollout", "status", "ds/probe", "--timeout=90s"]);
        contains(&told, "daemon set \"probe\" successfully rolled out");
    };
    let file = example("probe/probe.wasm").display().to_string();
    for name in ["probe:v1", "probe:v2"] {
        fleet.coracle(&["push", &file, name]).ok();
    }
    fleet.kubectl(&["apply", "-f", "-"], Some(PROBE)).ok();
    rolled_out();
    become_of(&fleet, "node-0 probe:v1, node-1 probe:v1");
    let table = k(&["get", "ds", "probe", "--no-headers"]).ok();
    assert_eq!(table.split_whitespace().collect::<Vec<_>>()[..7], ["probe", "2", "2", "2", "2", "2", "<none>"]);

    // One node after the other gets the new image; going back takes the old revision up again.
    k(&["set", "image", "ds/probe", "probe=probe:v2"]).ok();
    rolled_out();
    become_of(&fleet, "node-0 probe:v2, node-1 probe:v2");
    contains(&k(&["rollout", "undo", "ds/probe"]), "rolled back");
    rolled_out();
    become_of(&fleet, "node-0 probe:v1, node-1 probe:v1");
    let history = k(&["rollout", "history", "ds/probe"]).ok();
    let numbers: Vec<&str> = history.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(numbers, ["2", "3"], "{history}");

    // A node that takes no new pods keeps this one, and gets it again.
    let drained = k(&["drain", "node-1", "--ignore-daemonsets", "--timeout=60s"]);
    contains(&drained, "ignoring DaemonSet-managed Pods: default/probe-");
    contains(&drained, "node/node-1 drained");
    become_of(&fleet, "node-0 probe:v1, node-1 probe:v1");
    k(&["delete", "pods", "-l", "app=probe", "--field-selector", "spec.nodeName=node-1"]).ok();
    rolled_out();
    become_of(&fleet, "node-0 probe:v1, node-1 probe:v1");
    contains(&k(&["uncordon", "node-1"]), "uncordoned");

    // Where nobody may be it goes, and comes again.
    k(&["taint", "nodes", "node-1", "tide=high:NoExecute"]).ok();
    become_of(&fleet, "node-0 probe:v1");
    k(&["taint", "nodes", "node-1", "tide-"]).ok();
    become_of(&fleet, "node-0 probe:v1, node-1 probe:v1");
    k(&["label", "node", "node-0", "disk=ssd"]).ok();
    k(&["patch", "ds", "probe", "-p", r#"{"spec":{"template":{"spec":{"nodeSelector":{"disk":"ssd"}}}}}"#]).ok();
    become_of(&fleet, "node-0 probe:v1");
    rolled_out();
    contains(&k(&["describe", "ds", "probe"]), "SuccessfulCreate");
    k(&["delete", "ds", "probe"]).ok();
    become_of(&fleet, "");
}
