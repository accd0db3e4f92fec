//! Hooks: what a pod is told when it starts and before it stops.

use std::time::{Duration, Instant};

use harness::{Cluster, eventually};
use serde_json::Value;

use crate::{manifest, with};

fn apply(cluster: &Cluster, name: &str, lifecycle: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 20\n  containers:\n  - name: main\n    image: EXAMPLES/probe/probe.wasm\n    ports: [{{name: web, containerPort: 8080}}]\n    lifecycle: {lifecycle}\n"
    );
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), &text)]).ok();
}

fn container(cluster: &Cluster, name: &str) -> Value {
    let pod: Value = serde_json::from_str(&cluster.coracle(&["get", "pod", name, "-o", "json"]).ok()).expect("JSON");
    pod["status"]["containerStatuses"][0].clone()
}

fn ready(cluster: &Cluster, name: &str) {
    eventually(60, || {
        let status = container(cluster, name);
        if status["ready"] == true { Ok(()) } else { Err(status.to_string()) }
    });
}

#[test]
fn a_pod_is_told_that_it_starts_and_that_it_stops() {
    let cluster = with(&[]);
    apply(&cluster, "told", "{postStart: {httpGet: {port: web, path: /log?line=up}}, preStop: {sleep: {seconds: 2}}}");
    ready(&cluster, "told");
    assert!(cluster.coracle(&["logs", "told"]).ok().contains("GET /log?line=up"));
    let asked = Instant::now();
    cluster.coracle(&["delete", "pod/told"]).ok();
    assert!(asked.elapsed() >= Duration::from_secs(2), "it is given the time of its hook");

    // A hook that fails does not keep a pod; it is told.
    apply(&cluster, "unheard", "{preStop: {httpGet: {port: 81, path: /bye}}}");
    ready(&cluster, "unheard");
    cluster.coracle(&["delete", "pod/unheard"]).ok();
    eventually(30, || {
        let told = cluster.coracle(&["get", "events", "-o", "json"]).ok();
        if told.contains("FailedPreStopHook") { Ok(()) } else { Err(told) }
    });
}

#[test]
fn a_pod_whose_start_fails_is_started_again() {
    let cluster = with(&[]);
    apply(&cluster, "fails", "{postStart: {httpGet: {port: 81, path: /up}}}");
    eventually(60, || {
        let status = container(&cluster, "fails");
        let counted = status["restartCount"].as_i64() >= Some(1) && status["ready"] == false;
        if counted { Ok(()) } else { Err(status.to_string()) }
    });
    eventually(10, || {
        let told = cluster.coracle(&["describe", "pod/fails"]).ok();
        if told.contains("FailedPostStartHook") && told.contains("connection refused") { Ok(()) } else { Err(told) }
    });
}
