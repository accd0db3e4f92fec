//! Rolling updates under load: nobody who asks is turned away.

use harness::{Load, eventually, get};

use crate::with;

#[test]
fn a_rolling_update_drops_no_request() {
    let cluster = with(&["hello"]);
    let patch = |greeting: &str| {
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: hello-config}}\ndata: {{GREETING: \"{greeting}\"}}\n"
        );
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, text).expect("written");
        cluster.coracle(&["apply", "-f", &file.display().to_string()]).ok();
    };
    let load = Load::start(cluster.ingress(), "hello.localhost", "/", 8);
    for greeting in ["One", "Two", "Three"] {
        patch(greeting);
        // A change of the template rolls the deployment, as `kubectl rollout restart` does.
        roll(&cluster, greeting);
        cluster.coracle(&["rollout", "status", "deploy/hello", "--timeout", "90s"]).ok();
        eventually(30, || match get(cluster.ingress(), "hello.localhost", "/") {
            Ok(answer) if answer.body.starts_with(greeting) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    let report = load.stop();
    assert_eq!(report.dropped(), 0, "{:?} {:?}", report.answers, report.failures);
    assert!(report.total() > 100, "the load was no load: {:?}", report.answers);
    let greeted = |word: &str| report.bodies.keys().any(|body| body.starts_with(word));
    assert!(greeted("Hello, world!") && greeted("Three"), "{:?}", report.bodies.keys());
}

fn roll(cluster: &harness::Cluster, mark: &str) {
    let whole = cluster.coracle(&["get", "deploy/hello", "-o", "json"]).ok();
    let live: serde_json::Value = serde_json::from_str(&whole).expect("JSON");
    let mut wanted = serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "hello"}, "spec": live["spec"]});
    wanted["spec"]["template"]["metadata"]["annotations"]["mark"] = mark.into();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("deployment.json");
    std::fs::write(&file, wanted.to_string()).expect("written");
    cluster.coracle(&["apply", "-f", &file.display().to_string()]).ok();
}
