//! What is wrong is refused in words that Kubernetes users know, and nothing of it is stored.

use harness::{Cluster, kubectl_is_there};

use crate::with;

const GOOD: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: main, image: web}]
";

fn check(cluster: &Cluster, from: &str, to: &str, words: &[&str]) {
    let text = GOOD.replace(from, to);
    assert_ne!(text, GOOD, "{from:?} is not in the manifest");
    let told = cluster.kubectl_in(&["create", "-f", "-"], &text).refused();
    for word in words {
        assert!(told.contains(word), "{word:?} is missing in {told}");
    }
    let left = cluster.kubectl(&["get", "deploy,rs,pods", "-o", "name"]).ok();
    assert_eq!(left, "", "nothing is stored");
}

#[test]
fn manifests_that_are_wrong() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    check(&cluster, "replicas: 1", "replicaz: 1", &["strict decoding error: unknown field \"spec.replicaz\""]);
    check(&cluster, "replicas: 1", "replicas: many", &["cannot be handled as a Deployment", "replicas"]);
    check(
        &cluster,
        "replicas: 1",
        "replicas: -1",
        &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
    );
    check(&cluster, "{labels: {app: web}}", "{labels: {app: other}}", &["`selector` does not match template `labels`"]);
    check(&cluster, "name: web", "name: Web_1", &["metadata.name: Invalid value: \"Web_1\"", "RFC 1123"]);
    check(&cluster, "[{name: main, image: web}]", "[]", &["spec.template.spec.containers: Required value"]);
    check(&cluster, "image: web", "image: \"\"", &["spec.template.spec.containers[0].image: Required value"]);
    let unknown = |kind: &str, version: &str| {
        format!(
            "error: resource mapping not found for name: \"web\" namespace: \"\" from \"STDIN\": no matches for kind \"{kind}\" in version \"{version}\"\nensure CRDs are installed first"
        )
    };
    check(&cluster, "apps/v1", "apps/v9", &[&unknown("Deployment", "apps/v9")]);
    check(&cluster, "kind: Deployment", "kind: Unicorn", &[&unknown("Unicorn", "apps/v1")]);
    check(&cluster, "{name: web}", "{name: web, namespace: nowhere}", &["namespaces \"nowhere\" not found"]);
}

#[test]
fn items_of_a_list_are_judged_one_by_one() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let list = |data: &str| {
        format!(
            "apiVersion: v1\nkind: List\nitems:\n- {{apiVersion: v1, kind: ConfigMap, metadata: {{name: one}}, {data}}}\n"
        )
    };
    let told = cluster.kubectl_in(&["apply", "-f", "-"], &list("date: {a: b}")).refused();
    assert!(told.contains("unknown field \"date\""), "{told}");
    assert_eq!(cluster.kubectl_in(&["apply", "-f", "-"], &list("data: {a: b}")).ok(), "configmap/one created\n");
}

#[test]
fn requests_that_are_wrong() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let refused = |words: &[&str], expect: &str| {
        let told = cluster.kubectl(words).refused();
        assert!(told.contains(expect), "{expect:?} is missing in {told}");
    };
    refused(&["get", "pods", "-l", "a=b=c"], "found '=', expected: ',' or 'end of string'");
    refused(&["get", "pods", "--field-selector", "spec.nothing=1"], "field label not supported: spec.nothing");
    refused(&["delete", "namespace", "default"], "this namespace may not be deleted");
    cluster.kubectl_in(&["create", "-f", "-"], GOOD).ok();
    refused(
        &["patch", "deploy", "web", "-p", r#"{"spec":{"selector":{"matchLabels":{"app":"x"}}}}"#],
        "field is immutable",
    );
    refused(&["scale", "deploy/web", "--replicas=2", "--current-replicas=9"], "Expected replicas to be 9, was 1");
    let changed = r#"{"metadata":{"resourceVersion":"1"},"spec":{"replicas":3}}"#;
    refused(&["patch", "deploy", "web", "--type=merge", "-p", changed], "the object has been modified");
}
