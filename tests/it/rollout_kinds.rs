//! Updates of stateful sets and daemon sets under load, forth and back: nobody who asks is turned away.

use harness::{Cluster, Load, eventually, get, kubectl_is_there};

use crate::{manifest, with};

/// A workload of `kind` that greets at `greet.localhost`; `more` is the rest of its spec.
fn greeter(kind: &str, more: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: {kind}
metadata: {{name: greet}}
spec:
  selector: {{matchLabels: {{app: greet}}}}
  {more}
  template:
    metadata: {{labels: {{app: greet}}}}
    spec:
      containers:
      - name: main
        image: EXAMPLES/hello/hello.wasm
        env: [{{name: GREETING, value: One}}]
        ports: [{{containerPort: 80}}]
        readinessProbe: {{httpGet: {{path: /healthz, port: 80}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: greet}}
spec: {{selector: {{app: greet}}, ports: [{{port: 80}}]}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: greet}}
spec:
  rules:
  - host: greet.localhost
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: greet, port: {{number: 80}}}}}}}}]}}
"
    )
}

fn greets(cluster: &Cluster, word: &str) {
    eventually(60, || match get(cluster.ingress(), "greet.localhost", "/") {
        Ok(answer) if answer.status == 200 && answer.body.starts_with(word) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// Restarts it, changes it, and undoes that, while others ask all the time.
#[track_caller]
fn check(kind: &str, more: &str) {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), &greeter(kind, more))]).ok();
    let named = format!("{}/greet", kind.to_lowercase());
    let k = |words: &[&str]| cluster.kubectl(words).ok();
    let rolled = || k(&["rollout", "status", &named, "--timeout=90s"]);
    rolled();
    greets(&cluster, "One");

    let load = Load::start(cluster.ingress(), "greet.localhost", "/", 8);
    k(&["rollout", "restart", &named]);
    rolled();
    k(&["set", "env", &named, "GREETING=Two"]);
    rolled();
    greets(&cluster, "Two");
    k(&["rollout", "undo", &named]);
    rolled();
    greets(&cluster, "One");
    let report = load.stop();
    assert_eq!(report.dropped(), 0, "{:?} {:?} {:?}", report.answers, report.refusals, report.failures);
    assert!(report.total() > 100, "the load was no load: {:?}", report.answers);
    assert!(["One", "Two"].iter().all(|word| report.bodies.keys().any(|body| body.starts_with(word))));
}

#[test]
fn a_stateful_set_that_is_updated_drops_no_request() {
    check("StatefulSet", "serviceName: greet\n  replicas: 2");
}

#[test]
fn a_daemon_set_that_surges_drops_no_request() {
    check("DaemonSet", "updateStrategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}");
}
