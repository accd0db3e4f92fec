//! What controllers create is admitted as what people create: policies and webhooks of a namespace hold for a deployment's pods.

use harness::{Cluster, eventually, kubectl_is_there};
use serde_json::json;

use crate::admission::{SHOP, apply, contains};
use crate::hook::{Hook, base64};
use crate::{manifest, with};

/// Only one image may run, and only a controller may say so.
const POLICY: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: images.example.com}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  validations:
  - expression: object.spec.containers.all(one, one.image.contains('hello'))
    message: only hello may run
  - expression: request.userInfo.username == 'system:serviceaccount:kube-system:replicaset-controller'
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: images.example.com}
spec:
  policyName: images.example.com
  validationActions: [Deny]
  matchResources: {namespaceSelector: {matchLabels: {environment: test}}}
";

fn deployment(image: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: shop}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template: {{metadata: {{labels: {{app: web}}}}, spec: {{containers: [{{name: main, image: '{image}'}}]}}}}
"
    )
}

/// Lets the deployment run what there is, and waits until it does.
fn run(cluster: &Cluster) {
    let folder = tempfile::tempdir().expect("a folder");
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), &deployment("EXAMPLES/hello/hello.wasm"))]).ok();
    cluster.kubectl(&["-n", "shop", "rollout", "status", "deployment/web", "--timeout=60s"]).ok();
}

#[test]
fn a_policy_holds_for_the_pods_of_a_deployment() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    apply(&cluster, SHOP).ok();
    apply(&cluster, POLICY).ok();
    apply(&cluster, &deployment("other:v1")).ok();
    let denied = "ValidatingAdmissionPolicy 'images.example.com' with binding 'images.example.com' denied request: only hello may run";
    let condition = "jsonpath={.items[0].status.conditions[?(@.type=='ReplicaFailure')].message}";
    eventually(30, || match k(&["-n", "shop", "get", "replicasets", "-o", condition]).ok() {
        told if told.contains(denied) => Ok(()),
        told => Err(told),
    });
    let told = k(&["-n", "shop", "get", "events", "--field-selector=reason=FailedCreate", "-o", "name"]).ok();
    assert_eq!(told.lines().count(), 1, "it is told once:\n{told}");
    contains(
        &k(&["-n", "shop", "describe", "replicaset"]).ok(),
        &["Error creating: pods \"web-", "is forbidden: ", denied],
    );
    assert_eq!(k(&["-n", "shop", "get", "pods", "-o", "name"]).ok(), "");

    // What is let in comes, and by the name of its controller alone.
    run(&cluster);
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: alone, namespace: shop}, spec: {containers: [{name: main, image: 'hello:v1'}]}}";
    contains(&apply(&cluster, pod).refused(), &["failed expression: request.userInfo.username == "]);
}

#[test]
fn a_webhook_changes_and_refuses_the_pods_of_a_deployment() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    apply(&cluster, SHOP).ok();
    let hook = Hook::new(|request| {
        let object = &request["object"];
        if object["spec"]["containers"][0]["env"][0]["name"] == "REFUSE" {
            return json!({"allowed": false, "status": {"message": "not here", "code": 403, "reason": "Forbidden"}});
        }
        let side = json!({"name": "GREETING", "value": "Injected"});
        let patch = json!([
            {"op": "add", "path": "/metadata/labels/injected", "value": "yes"},
            {"op": "add", "path": "/spec/containers/0/env", "value": [side]},
        ]);
        json!({"allowed": true, "patchType": "JSONPatch", "patch": base64(patch.to_string().as_bytes())})
    });
    let configuration = hook.configuration("MutatingWebhookConfiguration", "Fail");
    apply(&cluster, &configuration.replace("resources: [configmaps]", "resources: [pods]")).ok();
    run(&cluster);
    let read = |path: &str| k(&["-n", "shop", "get", "pods", "-o", &format!("jsonpath={path}")]).ok();
    assert_eq!(read("{.items[*].metadata.labels.injected}"), "yes yes");
    assert_eq!(read("{.items[*].spec.containers[0].env[0].value}"), "Injected Injected");
    assert_eq!(read("{.items[0].spec.volumes[*].name}").split_whitespace().count(), 1, "one token for each");
    let asked = hook.asked.lock().expect("not poisoned").last().cloned().expect("asked");
    assert_eq!(asked["userInfo"]["username"], "system:serviceaccount:kube-system:replicaset-controller");
    assert_eq!((&asked["operation"], &asked["namespace"]), (&json!("CREATE"), &json!("shop")));

    // A refusal is told where its controller tells of such.
    k(&["-n", "shop", "set", "env", "deployment/web", "REFUSE=1"]).ok();
    eventually(30, || match k(&["-n", "shop", "get", "events", "--field-selector=reason=FailedCreate"]).ok() {
        told if told.contains("admission webhook \"maps.hook.example.com\" denied the request: not here") => Ok(()),
        told => Err(told),
    });
    assert_eq!(read("{.items[*].metadata.labels.injected}"), "yes yes", "who is there stays");
}
