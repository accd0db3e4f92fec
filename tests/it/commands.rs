//! The program's own commands, for machines without `kubectl`.

use crate::{example, with};

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
