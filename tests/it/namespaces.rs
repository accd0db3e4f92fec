//! How a namespace begins and ends, and what the cluster tells of itself.

use harness::{eventually, kubectl_is_there};

use crate::with;

const HELD: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: held, namespace: shop, finalizers: [example.org/hold]}
";
const MORE: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: more, namespace: shop}
";

#[test]
fn a_namespace_begins_complete_and_ends_empty() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    assert_eq!(k(&["create", "namespace", "shop"]).ok(), "namespace/shop created\n");
    eventually(30, || {
        match k(&["get", "-n", "shop", "serviceaccount/default", "configmap/kube-root-ca.crt", "-o", "name"]) {
            told if told.code == 0 => Ok(()),
            told => Err(told.stderr),
        }
    });
    let certificate = k(&["get", "-n", "shop", "cm", "kube-root-ca.crt", "-o", "jsonpath={.data.ca\\.crt}"]).ok();
    assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----"), "{certificate}");

    cluster.kubectl_in(&["create", "-f", "-"], HELD).ok();
    k(&["delete", "namespace", "shop", "--wait=false"]).ok();
    let left = "jsonpath={range .status.conditions[*]}{.type}={.status} {.message}{'\\n'}{end}";
    let told = eventually(30, || {
        let told = k(&["get", "namespace", "shop", "-o", left]).ok();
        if told.contains("NamespaceContentRemaining=True") { Ok(told) } else { Err(told) }
    });
    for line in [
        "NamespaceDeletionDiscoveryFailure=False All resources successfully discovered",
        "NamespaceContentRemaining=True Some resources are remaining: configmaps. has 1 resource instances",
        "NamespaceFinalizersRemaining=True Some content in the namespace has finalizers remaining: example.org/hold in 1 resource instances",
    ] {
        assert!(told.contains(line), "{line:?} is missing in {told}");
    }
    let refused = cluster.kubectl_in(&["create", "-f", "-"], MORE).refused();
    let words = "configmaps \"more\" is forbidden: unable to create new content in namespace shop because it is being terminated";
    assert!(refused.contains(words), "{refused}");
    k(&["patch", "-n", "shop", "configmap", "held", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]).ok();
    k(&["wait", "--for=delete", "namespace/shop", "--timeout=30s"]).ok();
}

#[test]
fn a_cluster_tells_of_itself() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let metrics = cluster.kubectl(&["get", "--raw", "/metrics"]).ok();
    for name in [
        "apiserver_request_total{verb=\"PATCH\",group=\"coordination.k8s.io\"",
        "apiserver_request_duration_seconds_bucket{",
        "apiserver_current_inflight_requests{request_kind=\"readOnly\"} 1",
        "apiserver_storage_objects{resource=\"namespaces\"} 4",
        "coracle_store_revision ",
    ] {
        assert!(metrics.contains(name), "{name:?} is missing in\n{metrics}");
    }
    eventually(30, || {
        let told = cluster.kubectl(&["describe", "node", "node-1"]).ok();
        if told.contains("RegisteredNode") && told.contains("NodeReady") { Ok(()) } else { Err(told) }
    });
}
