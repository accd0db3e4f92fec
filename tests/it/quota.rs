//! Quotas: what a namespace may have, refused in words, exact however many ask at once.

use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};

use harness::{Cluster, eventually, kubectl_is_there};

use crate::{manifest, with};

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

/// A quota of this name, once it has been counted.
fn quota(cluster: &Cluster, name: &str, hard: &str) {
    cluster.kubectl(&["create", "quota", name, &format!("--hard={hard}")]).ok();
    eventually(20, || match used(cluster, name).as_str() {
        "" => Err("it was not counted".into()),
        _ => Ok(()),
    });
}

fn used(cluster: &Cluster, name: &str) -> String {
    cluster.kubectl(&["get", "quota", name, "-o", "jsonpath={.status.used}"]).ok()
}

const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: main
        image: EXAMPLES/hello/hello.wasm
        resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
";

#[test]
fn pods_are_made_as_far_as_a_quota_goes() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    quota(&cluster, "team", "pods=2,requests.cpu=1,limits.memory=1Gi");
    let bare = k(&["run", "bare", "--image=hello:v1"]).refused();
    let expected =
        "pods \"bare\" is forbidden: failed quota: team: must specify limits.memory for: bare; requests.cpu for: bare";
    contains(&bare, &["Error from server (Forbidden)", expected]);
    let folder = tempfile::tempdir().expect("a folder");
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), DEPLOYMENT)]).ok();
    let available = |wanted: &str| {
        eventually(60, || match k(&["get", "deploy", "web", "-o", "jsonpath={.status.availableReplicas}"]).ok() {
            found if found == wanted => Ok(()),
            found => Err(found),
        });
    };
    available("2");
    contains(
        &k(&["describe", "rs"]).ok(),
        &["FailedCreate", "is forbidden: exceeded quota: team, requested: pods=1, used: pods=2, limited: pods=2"],
    );
    contains(
        &k(&["describe", "quota", "team"]).ok(),
        &[
            "Resource       Used   Hard",
            "limits.memory  128Mi  1Gi",
            "pods           2      2",
            "requests.cpu   20m    1",
        ],
    );
    k(&["patch", "quota", "team", "-p", r#"{"spec":{"hard":{"pods":"3"}}}"#]).ok();
    available("3");
    k(&["scale", "deploy", "web", "--replicas=1"]).ok();
    eventually(30, || match used(&cluster, "team") {
        used if used.contains("\"pods\":\"1\"") && used.contains("\"requests.cpu\":\"10m\"") => Ok(()),
        used => Err(used),
    });
}

#[test]
fn a_quota_is_exact_however_many_ask_at_once() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    let there = k(&["get", "configmaps", "-o", "name"]).ok().lines().count();
    quota(&cluster, "few", &format!("count/configmaps={},services.nodeports=1", there + 3));
    let asks: Vec<Child> = (0..9)
        .map(|n| {
            let mut kubectl = cluster.command(Path::new("kubectl"));
            kubectl.args(["create", "configmap", &format!("c{n}"), "--from-literal=a=b"]);
            kubectl.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kubectl is there")
        })
        .collect();
    let made = asks.into_iter().map(|mut ask| ask.wait().expect("an end")).filter(ExitStatus::success).count();
    assert_eq!(made, 3);
    assert_eq!(k(&["get", "configmaps", "-o", "name"]).ok().lines().count(), there + 3);
    contains(
        &k(&["create", "configmap", "more"]).refused(),
        &[
            "configmaps \"more\" is forbidden: exceeded quota: few, requested: count/configmaps=1, used: count/configmaps=",
        ],
    );
    // A change is charged for what it adds.
    k(&["create", "service", "nodeport", "one", "--tcp=80"]).ok();
    k(&["create", "service", "clusterip", "two", "--tcp=80"]).ok();
    let open = k(&["patch", "service", "two", "-p", r#"{"spec":{"type":"NodePort"}}"#]).refused();
    contains(&open, &["services \"two\" is forbidden: exceeded quota: few, requested: services.nodeports=1"]);
    // What is given back may be had again.
    let mine = k(&["get", "configmaps", "-o", "name"]).ok();
    let mine = mine.lines().find(|name| name.starts_with("configmap/c")).expect("one was made").to_owned();
    k(&["delete", &mine]).ok();
    eventually(20, || match k(&["create", "configmap", "again"]) {
        made if made.code == 0 => Ok(()),
        refused => Err(refused.stderr),
    });
}
