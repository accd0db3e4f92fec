use api::Object;
use serde_json::{Value, json};

use super::*;

/// `name key=value… cpu=2 memory=1Gi pods=10 taint=k:v:Effect cordoned`, nodes apart by `;`.
fn nodes(text: &str) -> Vec<Object> {
    text.split(';').map(str::trim).filter(|text| !text.is_empty()).map(node).collect()
}

fn node(text: &str) -> Object {
    let mut words = text.split_whitespace();
    let name = words.next().expect("a node has a name");
    let mut allocatable = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
    let (mut labels, mut taints, mut cordoned) = (json!({}), vec![], false);
    for word in words {
        match word.split_once('=') {
            None => cordoned = word == "cordoned",
            Some((resource @ ("cpu" | "memory" | "pods"), amount)) => allocatable[resource] = amount.into(),
            Some(("taint", taint)) => {
                let parts: Vec<&str> = taint.split(':').collect();
                taints.push(json!({"key": parts[0], "value": parts[1], "effect": parts[2]}));
            }
            Some((label, value)) => labels[label] = value.into(),
        }
    }
    let value = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints, "unschedulable": cordoned}, "status": {"allocatable": allocatable}});
    Object::from_value(kinds::NODE, &value).expect("a node")
}

/// `name cpu=… memory=… owner=… on=node ended`, and the rest of the spec as JSON after a `{`, `ports` being its container's.
fn pod(text: &str) -> Object {
    let (words, spec) = text.find('{').map_or((text, "{}"), |at| text.split_at(at));
    let mut spec: Value = serde_json::from_str(spec).expect("a pod's spec");
    let mut words = words.split_whitespace();
    let (mut requests, mut owners, mut phase) = (json!({}), json!([]), "Pending");
    let name = words.next().expect("a pod has a name");
    for word in words {
        match word.split_once('=') {
            None => phase = "Succeeded",
            Some(("owner", uid)) => {
                owners = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": uid, "uid": uid, "controller": true}]);
            }
            Some(("on", node)) => spec["nodeName"] = node.into(),
            Some((resource, amount)) => requests[resource] = amount.into(),
        }
    }
    let ports = spec["ports"].take();
    spec["containers"] = json!([{"name": "c", "resources": {"requests": requests}, "ports": ports}]);
    let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "ownerReferences": owners},
        "spec": spec, "status": {"phase": phase}});
    Object::from_value(kinds::POD, &value).expect("a pod")
}

/// Asks for a node for `asking` where `world` holds nodes, a `|`, and pods that run already.
fn check(world: &str, asking: &str, expected: &str) {
    let (about_nodes, about_pods) = world.split_once('|').unwrap_or((world, ""));
    let pods = about_pods.split(';').map(str::trim).filter(|text| !text.is_empty()).map(pod);
    let view = Snapshot::load(api::Revision(1), nodes(about_nodes).into_iter().chain(pods));
    let asking = pod(asking).decode::<Pod>().expect("a pod");
    for seed in 0..8 {
        let found = match crate::place(&view, &asking, seed) {
            Ok(node) => node.to_string(),
            Err(reasons) => reasons.to_string(),
        };
        assert_eq!(found, expected, "with seed {seed} in {world}");
    }
}

#[test]
fn every_reason_is_told() {
    check("", "p", "no nodes available to schedule pods");
    check("a memory=1Gi", "p memory=2Gi", "0/1 nodes are available: 1 Insufficient memory.");
    check(
        "a cpu=500m memory=1Gi",
        "p cpu=1 memory=2Gi",
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.",
    );
    check(
        "a memory=1Gi; b taint=gpu:yes:NoSchedule; c taint=gpu:yes:NoExecute",
        "p memory=2Gi",
        "0/3 nodes are available: 1 Insufficient memory, 2 node(s) had untolerated taint {gpu: yes}.",
    );
    check("a cordoned", "p", "0/1 nodes are available: 1 node(s) were unschedulable.");
    check("a pods=1 | q on=a", "p", "0/1 nodes are available: 1 Too many pods.");
    check(
        "a disk=hdd",
        r#"p {"nodeSelector": {"disk": "ssd"}}"#,
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
    );
}

#[test]
fn a_port_of_a_node_is_one_pods() {
    let check = |taken: &str, asked: &str, expected: &str| {
        let pod = |ports: &str| format!(r#"{{"ports": [{{"containerPort": 80, {ports}}}]}}"#);
        let world = format!("a; b cordoned | q on=a {}", pod(taken));
        let no = "0/2 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, 1 node(s) were unschedulable.";
        check(&world, &format!("p {}", pod(asked)), if expected.is_empty() { no } else { expected });
    };
    check(r#""hostPort": 80"#, r#""hostPort": 80"#, "");
    check(r#""hostPort": 80, "hostIP": "192.0.2.1""#, r#""hostPort": 80"#, "");
    check(r#""hostPort": 80"#, r#""hostPort": 80, "hostIP": "192.0.2.1", "protocol": "TCP""#, "");
    check(r#""hostPort": 80, "hostIP": "192.0.2.1""#, r#""hostPort": 80, "hostIP": "192.0.2.2""#, "a");
    check(r#""hostPort": 80"#, r#""hostPort": 80, "protocol": "UDP""#, "a");
    check(r#""hostPort": 80"#, r#""hostPort": 81"#, "a");
    check(r#""name": "http""#, r#""hostPort": 80"#, "a");
}

#[test]
fn pods_that_have_ended_take_no_room() {
    check("a cpu=1 | q cpu=1 on=a", "p cpu=1", "0/1 nodes are available: 1 Insufficient cpu.");
    check("a cpu=1 | q cpu=1 on=a ended", "p cpu=1", "a");
}

#[test]
fn selectors_affinity_and_tolerations_decide() {
    check("a disk=hdd; b disk=ssd", r#"p {"nodeSelector": {"disk": "ssd"}}"#, "b");
    let affinity = |operator: &str, values: &str| {
        format!(
            r#"p {{"affinity": {{"nodeAffinity": {{"requiredDuringSchedulingIgnoredDuringExecution": {{"nodeSelectorTerms":
                [{{"matchExpressions": [{{"key": "size", "operator": "{operator}", "values": {values}}}]}}]}}}}}}}}"#
        )
    };
    check("a size=1; b size=7", &affinity("Gt", r#"["5"]"#), "b");
    check("a size=1; b", &affinity("DoesNotExist", "[]"), "b");
    check("a size=1; b size=2", &affinity("NotIn", r#"["1"]"#), "b");
    check("a taint=k:v:NoSchedule", r#"p {"tolerations": [{"operator": "Exists"}]}"#, "a");
    check("a taint=k:v:NoSchedule", r#"p {"tolerations": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}"#, "a");
    check("a taint=k:v:PreferNoSchedule; b", "p", "b");
}

#[test]
fn siblings_go_apart_and_then_the_emptier_node_wins() {
    check("a; b | q cpu=1 on=b", "p", "a");
    check("a; b | q owner=r on=a; s cpu=2 on=b", "p owner=r", "b");
    check("a cpu=1; b cpu=16", "p cpu=1", "b");
}

#[test]
fn a_round_gives_no_port_twice() {
    let view = Snapshot::load(api::Revision(1), nodes("a; b"));
    let mut cluster = Cluster::of(&view);
    let asking = pod(r#"p {"ports": [{"containerPort": 80, "hostPort": 80}]}"#);
    let demand = Demand::of(&asking.decode::<Pod>().expect("a pod"));
    for _ in 0..2 {
        let node = cluster.place(&demand, 3).expect("a node");
        cluster.assume(&node, &demand);
    }
    assert!(cluster.place(&demand, 3).is_err());
}

#[test]
fn a_round_spends_no_room_twice() {
    let view = Snapshot::load(api::Revision(1), nodes("a cpu=1; b cpu=1"));
    let mut cluster = Cluster::of(&view);
    let demand = Demand::of(&pod("p cpu=1").decode::<Pod>().expect("a pod"));
    let mut placed = Vec::new();
    while let Ok(node) = cluster.place(&demand, 3) {
        cluster.assume(&node, &demand);
        placed.push(node.to_string());
    }
    placed.sort();
    assert_eq!(placed, ["a", "b"]);
}

#[test]
fn quantities_are_read_as_kubernetes_reads_them() {
    let room = |text: &str| {
        Resources::of(&BTreeMap::from([(
            "memory".into(),
            k8s_openapi::apimachinery::pkg::api::resource::Quantity(text.into()),
        )]))
        .memory_bytes
    };
    assert_eq!(
        ["1Ki", "1.5k", "1e3", "128974848", "100m", "2E"].map(room),
        [1024, 1500, 1000, 128_974_848, 1, 2_000_000_000_000_000_000]
    );
}
