//! A namespace moves: what people have said of it, and nothing that only its cluster means.

use harness::{Plan, eventually};
use serde_json::Value;

use crate::{PROGRAM, example, manifest};

const MORE: &str = "apiVersion: v1
kind: Secret
metadata: {name: word}
stringData: {word: open}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: parent}
---
apiVersion: v1
kind: Pod
metadata: {name: alone}
spec: {containers: [{name: alone, image: EXAMPLES/hello/hello.wasm, env: [{name: GREETING, value: hi}]}]}
";

#[test]
fn a_namespace_is_said_again_elsewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let more = manifest(folder.path(), MORE);
    let cluster = Plan::new().apply(example("hello")).apply(more).up(PROGRAM).expect("up");
    let c = |words: &[&str]| cluster.coracle(words);
    let object = |words: &[&str]| -> Value {
        let text = c(&[&["get"], words, &["-o", "json"]].concat()).ok();
        serde_json::from_str(&text).expect("JSON")
    };
    let parent = object(&["cm/parent"]);
    let child = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: child\n  ownerReferences: [{{apiVersion: v1, kind: ConfigMap, name: parent, uid: {}}}]\n",
        parent["metadata"]["uid"].as_str().expect("a uid")
    );
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("child.yaml"), child).expect("written");
    c(&["apply", "-f", &path("child.yaml")]).ok();
    c(&["wait", "pod/alone", "--for", "condition=Ready", "--timeout", "120s"]).ok();

    let exported = c(&["export", "-n", "default"]);
    assert!(exported.stderr.contains("1 secrets are in it as anybody can read them"), "{exported:?}");
    let text = exported.ok();
    for left in ["resourceVersion", "uid:", "nodeName", "clusterIP:", "ReplicaSet", "EndpointSlice", "podIP"] {
        assert!(!text.contains(left), "{left} is in\n{text}");
    }
    std::fs::write(path("all.yaml"), &text).expect("written");

    let refused = c(&["import", &path("all.yaml")]).refused();
    assert!(refused.contains("nothing was changed") && refused.contains("deployment.apps/hello"), "{refused}");
    let dry = c(&["import", &path("all.yaml"), "-n", "other", "--dry-run"]).ok();
    assert!(dry.contains("deployment.apps/hello would be created"), "{dry}");
    assert!(c(&["get", "ns", "other"]).refused().contains("not found"));
    std::fs::write(
        path("unknown.yaml"),
        format!("{text}---\napiVersion: example.com/v1\nkind: Boat\nmetadata: {{name: b}}\n"),
    )
    .expect("written");
    assert!(c(&["import", &path("unknown.yaml"), "-n", "other"]).refused().contains("no matches for kind \"Boat\""));
    assert!(c(&["get", "ns", "other"]).refused().contains("not found"), "nothing was written");

    c(&["import", &path("all.yaml"), "-n", "other"]).ok();
    c(&["wait", "pod/alone", "-n", "other", "--for", "condition=Ready", "--timeout", "120s"]).ok();
    eventually(120, || {
        let web = object(&["deploy/hello", "-n", "other"]);
        if web["status"]["availableReplicas"] == 2 { Ok(()) } else { Err(web["status"].to_string()) }
    });
    let [here, there] =
        ["default", "other"].map(|namespace| object(&["svc/hello", "-n", namespace])["spec"]["clusterIP"].clone());
    assert!(there.is_string() && here != there, "{there}");
    let [parent, child] = ["cm/parent", "cm/child"].map(|what| object(&[what, "-n", "other"]));
    assert_eq!(child["metadata"]["ownerReferences"][0]["uid"], parent["metadata"]["uid"]);
    assert!(
        child["metadata"]["annotations"]
            .as_object()
            .is_none_or(|said| said.keys().all(|name| !name.contains("coracle.dev")))
    );
}
