//! A node is emptied: cordon, taint, drain, and the budgets that hold a drain up.

use harness::{Cluster, eventually, kubectl_is_there};

use crate::with;

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

fn running(cluster: &Cluster, selector: &str) -> usize {
    let words = ["get", "pods", "-l", selector, "--field-selector", "status.phase=Running", "-o", "name"];
    cluster.kubectl(&words).ok().lines().count()
}

#[test]
fn a_drain_waits_for_what_a_budget_allows() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&["hello"]);
    let k = |words: &[&str]| cluster.kubectl(words);
    k(&["rollout", "status", "deploy/hello", "--timeout=60s"]).ok();
    k(&["create", "pdb", "hello", "--selector=app=hello", "--min-available=2"]).ok();
    let told = |path: &str| k(&["get", "pdb", "hello", "-o", &format!("jsonpath={path}")]).ok();
    eventually(30, || {
        match told("{.status.currentHealthy} {.status.desiredHealthy} {.status.expectedPods}").as_str() {
            "2 2 2" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    assert_eq!(told("{.status.disruptionsAllowed} {.status.conditions[0].reason}"), "0 InsufficientPods");
    contains(
        &k(&["get", "pdb"]).ok(),
        &["NAME    MIN AVAILABLE   MAX UNAVAILABLE   ALLOWED DISRUPTIONS   AGE", "hello   2"],
    );

    let pod = k(&["get", "pods", "-l", "app=hello", "-o", "jsonpath={.items[0].metadata.name}"]).ok();
    let evict = |name: &str, pod: &str| {
        let eviction = format!(r#"{{"apiVersion":"policy/v1","kind":"Eviction","metadata":{{"name":"{name}"}}}}"#);
        let path = format!("/api/v1/namespaces/default/pods/{pod}/eviction");
        cluster.kubectl_in(&["create", "--raw", &path, "-f", "-"], &eviction)
    };
    let refused = evict(&pod, &pod).refused();
    contains(&refused, &["Cannot evict pod as it would violate the pod's disruption budget."]);
    contains(&evict("other", &pod).refused(), &["name in URL does not match name in Eviction object"]);
    contains(&evict("none", "none").refused(), &["pods \"none\" not found"]);

    let drain = ["drain", "node-1", "--ignore-daemonsets", "--timeout=3s"];
    let held = k(&drain);
    assert_eq!(held.code, 1, "{held:?}");
    contains(&held.stdout, &["node/node-1 cordoned", "evicting pod default/hello-"]);
    contains(&held.stderr, &["Cannot evict pod as it would violate the pod's disruption budget."]);
    assert_eq!(running(&cluster, "app=hello"), 2, "nobody was evicted");
    contains(&k(&["get", "nodes"]).ok(), &["Ready,SchedulingDisabled"]);

    // With one pod to spare, one goes; its successor finds no node, so the other stays.
    k(&["patch", "pdb", "hello", "--type=merge", "-p", r#"{"spec":{"minAvailable":1}}"#]).ok();
    eventually(30, || if told("{.status.disruptionsAllowed}") == "1" { Ok(()) } else { Err(told("{.status}")) });
    evict(&pod, &pod).ok();
    k(&["wait", "--for=delete", &format!("pod/{pod}"), "--timeout=60s"]).ok();
    let other = k(&["get", "pods", "-l", "app=hello", "--field-selector", "status.phase=Running", "-o", "name"]).ok();
    let other = other.trim().trim_start_matches("pod/").to_owned();
    eventually(30, || if told("{.status.currentHealthy}") == "1" { Ok(()) } else { Err(told("{.status}")) });
    contains(&evict(&other, &other).refused(), &["Cannot evict pod"]);

    contains(&k(&["uncordon", "node-1"]).ok(), &["node/node-1 uncordoned"]);
    k(&["rollout", "status", "deploy/hello", "--timeout=60s"]).ok();
    k(&["delete", "pdb", "hello"]).ok();
    let drained = k(&["drain", "node-1", "--ignore-daemonsets", "--timeout=60s"]).ok();
    contains(
        &drained,
        &["node/node-1 cordoned", "evicting pod default/hello-", "pod/hello-", "evicted", "node/node-1 drained"],
    );
    assert_eq!(running(&cluster, "app=hello"), 0);
    contains(&k(&["uncordon", "node-1"]).ok(), &["uncordoned"]);
    k(&["rollout", "status", "deploy/hello", "--timeout=60s"]).ok();
}

#[test]
fn taints_keep_pods_away_and_send_them_off() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&["hello"]);
    let k = |words: &[&str]| cluster.kubectl(words);
    k(&["rollout", "status", "deploy/hello", "--timeout=60s"]).ok();
    contains(&k(&["taint", "nodes", "node-1", "tide=high:NoSchedule"]).ok(), &["node/node-1 tainted"]);
    contains(
        &k(&["taint", "nodes", "node-1", "tide=low:NoSchedule"]).refused(),
        &["already has tide taint(s) with same effect(s) and --overwrite is false"],
    );
    assert_eq!(running(&cluster, "app=hello"), 2, "who is there stays");
    k(&["scale", "deploy/hello", "--replicas=3"]).ok();
    eventually(30, || {
        let events = k(&["events", "--types=Warning"]).ok();
        let why = "0/1 nodes are available: 1 node(s) had untolerated taint";
        if events.contains(why) { Ok(()) } else { Err(events) }
    });
    contains(&k(&["taint", "nodes", "node-1", "tide:NoSchedule-"]).ok(), &["node/node-1 untainted"]);
    k(&["rollout", "status", "deploy/hello", "--timeout=60s"]).ok();
    k(&["taint", "nodes", "node-1", "tide=high:NoExecute"]).ok();
    eventually(60, || match running(&cluster, "app=hello") {
        0 => Ok(()),
        left => Err(format!("{left} pods are still there")),
    });
    contains(&k(&["taint", "nodes", "node-1", "tide-"]).ok(), &["untainted"]);
    k(&["rollout", "status", "deploy/hello", "--timeout=60s"]).ok();
}
