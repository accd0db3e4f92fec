//! Server-side apply, as somebody with `kubectl` and other managers sees it.

use harness::{Cluster, kubectl_is_there};
use serde_json::Value;

use crate::with;

/// Nothing runs it: the story is about what is stored.
fn web(replicas: u32, container: &str, labels: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, labels: {{{labels}}}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      nodeSelector: {{nowhere: at-all}}
      containers:
      - name: main
        image: registry.example/web:1
        {container}
"
    )
}

fn apply(cluster: &Cluster, manager: &str, more: &[&str], text: &str) -> harness::Output {
    let manager = format!("--field-manager={manager}");
    let words = [&["apply", "--server-side", manager.as_str(), "-f", "-"], more].concat();
    cluster.kubectl_in(&words, text)
}

fn object(cluster: &Cluster, what: &str) -> Value {
    let text = cluster.kubectl(&["get", what, "-o", "json", "--show-managed-fields"]).ok();
    serde_json::from_str(&text).expect("JSON")
}

/// What a manager owns, as `fieldsV1`.
fn owned(object: &Value, manager: &str, operation: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let found = entries.into_iter().find(|entry| entry["manager"] == manager && entry["operation"] == operation);
    found.map(|entry| entry["fieldsV1"].clone()).unwrap_or_default()
}

fn main_container(fields: &Value) -> &Value {
    &fields["f:spec"]["f:template"]["f:spec"]["f:containers"][r#"k:{"name":"main"}"#]
}

#[test]
fn managers_share_an_object() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    let first = web(1, "env: [{name: A, value: '1'}, {name: B, value: '2'}]", "tier: front, owner: first");

    let dry = apply(&cluster, "first", &["--dry-run=server"], &first).ok();
    assert!(dry.contains("deployment.apps/web serverside-applied (server dry run)"), "{dry}");
    assert!(k(&["get", "deploy", "web"]).refused().contains("NotFound"));
    assert!(apply(&cluster, "first", &[], &first).ok().contains("deployment.apps/web serverside-applied"));
    let made = object(&cluster, "deploy/web");
    let fields = owned(&made, "first", "Apply");
    assert_eq!(fields["f:metadata"]["f:labels"], serde_json::json!({"f:tier": {}, "f:owner": {}}));
    assert_eq!(main_container(&fields)["f:env"][r#"k:{"name":"A"}"#]["f:value"], serde_json::json!({}));
    assert!(main_container(&fields)["f:imagePullPolicy"].is_null(), "a default is nobody's: {fields}");
    let shown = k(&["get", "deploy", "web", "-o", "yaml", "--show-managed-fields"]).ok();
    for part in ["managedFields:", "f:replicas: {}", "operation: Apply", "manager: first"] {
        assert!(shown.contains(part), "{part:?} is missing in\n{shown}");
    }
    assert!(!k(&["get", "deploy", "web", "-o", "yaml"]).ok().contains("managedFields"));

    apply(&cluster, "first", &[], &first).ok();
    let version = |object: &Value| object["metadata"]["generation"].clone();
    let again = object(&cluster, "deploy/web");
    assert_eq!(owned(&again, "first", "Apply"), fields);
    assert_eq!((version(&again), &again["spec"]), (version(&made), &made["spec"]));

    // A second manager adds what is its own, shares what it agrees with, and is told what it may not take.
    let second = web(1, "env: [{name: C, value: '3'}]", "team: second");
    apply(&cluster, "second", &[], &second).ok();
    let refused = apply(&cluster, "second", &[], &second.replace("replicas: 1", "replicas: 3")).refused();
    assert!(refused.contains("Apply failed with 1 conflict: conflict with \"first\": .spec.replicas"), "{refused}");
    let both = second.replace("replicas: 1", "replicas: 3").replace("web:1", "web:2");
    let refused = apply(&cluster, "second", &[], &both).refused();
    for part in [
        "Apply failed with 2 conflicts: conflicts with \"first\":",
        "- .spec.replicas",
        "- .spec.template.spec.containers[name=\"main\"].image",
    ] {
        assert!(refused.contains(part), "{part:?} is missing in\n{refused}");
    }
    apply(&cluster, "second", &["--force-conflicts"], &both).ok();
    let taken = object(&cluster, "deploy/web");
    assert_eq!(taken["spec"]["replicas"], 3);
    assert!(owned(&taken, "first", "Apply")["f:spec"]["f:replicas"].is_null());
    let env: Vec<&str> = taken["spec"]["template"]["spec"]["containers"][0]["env"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|variable| variable["name"].as_str())
        .collect();
    assert_eq!(env.len(), 3, "{env:?}");

    // What the first gives up goes, unless the second wants it too.
    let less = web(3, "env: [{name: A, value: '1'}]", "tier: front").replace("web:1", "web:2");
    apply(&cluster, "first", &[], &less).ok();
    let left = object(&cluster, "deploy/web");
    assert_eq!(left["metadata"]["labels"], serde_json::json!({"tier": "front", "team": "second"}));
    let env = k(&["get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env[*].name}"]).ok();
    assert!(env.contains('A') && env.contains('C') && !env.contains('B'), "{env}");

    // Whoever changes it otherwise owns what it changed.
    k(&["scale", "deploy/web", "--replicas=5"]).ok();
    let scaled = object(&cluster, "deploy/web");
    assert_eq!(owned(&scaled, "kubectl", "Update")["f:spec"], serde_json::json!({"f:replicas": {}}));
    assert!(owned(&scaled, "second", "Apply")["f:spec"]["f:replicas"].is_null());
    let refused = apply(&cluster, "first", &[], &less).refused();
    let words = "conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas";
    assert!(refused.contains(words), "{refused}");

    // One empty entry forgets them all.
    let reset = r#"[{"op":"replace","path":"/metadata/managedFields","value":[{}]}]"#;
    k(&["patch", "deploy", "web", "--type=json", "-p", reset]).ok();
    assert!(object(&cluster, "deploy/web")["metadata"]["managedFields"].is_null());
    let refused = apply(&cluster, "first", &[], &less).refused();
    assert!(refused.contains("conflict with \"before-first-apply\" using apps/v1: .spec.replicas"), "{refused}");
}

#[test]
fn kubectl_moves_from_its_own_side_to_the_servers() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let map = |data: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: conf}}\ndata: {{{data}}}\n");
    cluster.kubectl_in(&["apply", "-f", "-"], &map("a: '1', b: '2'")).ok();
    let made = object(&cluster, "cm/conf");
    let expect = serde_json::json!({".": {}, "f:a": {}, "f:b": {}});
    assert_eq!(owned(&made, "kubectl-client-side-apply", "Update")["f:data"], expect);

    // The same file, now with another value and a field less: what the client's side owned is the server's now.
    cluster.kubectl_in(&["apply", "--server-side", "-f", "-"], &map("a: '3'")).ok();
    let moved = object(&cluster, "cm/conf");
    assert_eq!(owned(&moved, "kubectl-client-side-apply", "Update"), Value::Null, "{moved}");
    assert_eq!(owned(&moved, "kubectl", "Apply")["f:data"], serde_json::json!({"f:a": {}}));
    assert_eq!(moved["data"], serde_json::json!({"a": "3"}));
    cluster.kubectl_in(&["apply", "--server-side", "-f", "-"], &map("a: '3'")).ok();
    let again = object(&cluster, "cm/conf");
    assert_eq!(again["metadata"]["resourceVersion"], moved["metadata"]["resourceVersion"], "nothing was written");

    // And back: a client's own apply still knows what was applied last.
    cluster.kubectl_in(&["apply", "-f", "-"], &map("c: '4'")).ok();
    assert_eq!(object(&cluster, "cm/conf")["data"], serde_json::json!({"c": "4"}));
}
