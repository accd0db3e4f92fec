//! The program's own commands, for machines without `kubectl`.

use harness::Plan;

use crate::{PROGRAM, example, manifest, with};

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

#[test]
fn what_kubectl_does_without_kubectl() {
    let cluster = with(&["hello"]);
    let c = |words: &[&str]| cluster.coracle(words);
    contains(&c(&["version"]).ok(), &["Client Version: v", "Server Version: v1.33"]);
    contains(&c(&["get", "pods", "-o", "wide"]).ok(), &["NAME", "READY", "1/1", "Running", "10.42.", "node-1"]);
    contains(&c(&["get", "all"]).ok(), &["pod/hello-", "service/hello", "deployment.apps/hello"]);
    contains(&c(&["get", "deploy/hello", "-o", "yaml"]).ok(), &["kind: Deployment", "replicas: 2"]);
    contains(&c(&["get", "svc", "-A"]).ok(), &["NAMESPACE", "kubernetes"]);
    contains(&c(&["get", "pods", "-n", "kube-system"]).stderr, &["No resources found in kube-system namespace."]);
    contains(&c(&["get", "thing"]).refused(), &["the server doesn't have a resource type \"thing\""]);
    contains(&c(&["describe", "deploy/hello"]).ok(), &["Name:            hello", "ScalingReplicaSet", "Available"]);
    contains(&c(&["top", "nodes"]).ok(), &["NAME", "CPU", "MEMORY", "node-1"]);
    contains(&c(&["top", "pods", "-A"]).ok(), &["NAMESPACE", "hello-"]);
    contains(&c(&["scale", "deploy/hello", "--replicas", "3"]).ok(), &["deployment.apps/hello scaled"]);
    contains(&c(&["rollout", "status", "deploy/hello"]).ok(), &["successfully rolled out"]);
    contains(&c(&["wait", "--for", "condition=Available", "deploy/hello"]).ok(), &["condition met"]);
    let file = example("hello/manifest.yaml").display().to_string();
    contains(
        &c(&["apply", "-f", &file]).ok(),
        &["configmap/hello-config unchanged", "deployment.apps/hello configured", "service/hello unchanged"],
    );
    contains(&c(&["push", &example("hello/hello.wasm").display().to_string(), "hello:v9"]).ok(), &["hello:v9@sha256:"]);
    contains(
        &c(&["delete", "-f", &file]).ok(),
        &["deployment.apps \"hello\" deleted", "ingress.networking.k8s.io \"hello\" deleted"],
    );
    contains(&c(&["get", "deploy"]).stderr, &["No resources found"]);
    contains(&c(&["completion", "bash"]).ok(), &["coracle"]);
    contains(
        &c(&["kubeconfig", "--data-dir", &cluster.data().display().to_string()]).ok(),
        &["current-context: coracle"],
    );
    contains(&c(&["apply", "-f", "no-such-file.yaml"]).refused(), &["cannot read no-such-file.yaml"]);
}

#[test]
fn a_mistake_in_a_file_is_named() {
    let cluster = with(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n  one: '1'\n";
    let good = manifest(folder.path(), map);
    contains(&cluster.coracle(&["apply", "-f", &good]).ok(), &["configmap/settings created"]);
    let misspelt = |name: &str| manifest(folder.path(), &map.replace("settings", name).replace("\ndata:", "\ndta:"));
    let unknown = "strict decoding error: unknown field \"dta\"";
    for name in ["settings", "others"] {
        contains(&cluster.coracle(&["apply", "-f", &misspelt(name)]).refused(), &[unknown]);
    }
    contains(&cluster.coracle(&["get", "cm/settings", "-o", "yaml"]).ok(), &["one: \"1\""]);
    contains(&cluster.coracle(&["get", "cm/others"]).refused(), &["not found"]);
}

#[test]
fn up_tells_what_keeps_a_deployment() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = manifest(
        folder.path(),
        "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  progressDeadlineSeconds: 8
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'nobody:v9'}]}
",
    );
    let mut cluster = Plan::new().apply(file).up(PROGRAM).unwrap_or_else(|error| panic!("{error:#}"));
    contains(
        &cluster.told(),
        &["deployment web           pod web-", "ErrImagePull: ", "exceeded its progress deadline"],
    );
}
