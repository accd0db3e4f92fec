//! Admission, as somebody with `kubectl` meets it: policies in CEL with their parameters, and webhooks over HTTPS that change, refuse
//! and fail.

use harness::{Cluster, eventually, kubectl_is_there};
use serde_json::json;

use crate::hook::{Hook, base64};
use crate::{manifest, with};

pub(crate) fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

pub(crate) fn apply(cluster: &Cluster, manifest: &str) -> harness::Output {
    cluster.kubectl_in(&["apply", "-f", "-"], manifest)
}

/// A deployment that nobody runs: its namespace has nothing to run it with, and nothing here waits for it.
fn deployment(name: &str, replicas: u32) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: shop}}
spec:
  paused: true
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{containers: [{{name: main, image: 'none:v1'}}]}}}}
"
    )
}

/// The policy of the Kubernetes documentation, with a ConfigMap for its parameters.
const POLICY: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {environment: test}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: replica-limit, namespace: default}
data: {maxReplicas: '3'}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: replicalimit-policy.example.com}
spec:
  failurePolicy: Fail
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  variables: [{name: most, expression: int(params.data.maxReplicas)}]
  validations:
  - expression: object.spec.replicas <= variables.most
    messageExpression: \"'object.spec.replicas must be no greater than ' + string(variables.most)\"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: replicalimit-binding-test.example.com}
spec:
  policyName: replicalimit-policy.example.com
  validationActions: [Deny]
  paramRef: {name: replica-limit, namespace: default, parameterNotFoundAction: Deny}
  matchResources: {namespaceSelector: {matchLabels: {environment: test}}}
";

const REFUSED: &str = "ValidatingAdmissionPolicy 'replicalimit-policy.example.com' with binding 'replicalimit-binding-test.example.com' denied request: ";

#[test]
fn a_policy_limits_replicas_with_parameters() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    apply(&cluster, POLICY).ok();
    contains(
        &k(&["get", "validatingadmissionpolicies"]).ok(),
        &["VALIDATIONS   PARAMKIND", "1             v1/ConfigMap"],
    );
    contains(
        &k(&["get", "validatingadmissionpolicybindings"]).ok(),
        &["POLICYNAME", "replicalimit-policy.example.com   default/replica-limit"],
    );

    apply(&cluster, &deployment("web", 3)).ok();
    let said = format!("{REFUSED}object.spec.replicas must be no greater than 3");
    contains(&apply(&cluster, &deployment("big", 4)).refused(), &["The deployments \"big\" is invalid: ", &said]);
    let patch = ["-n", "shop", "patch", "deployment", "web", "--type=merge", "-p", r#"{"spec":{"replicas":5}}"#];
    contains(&k(&patch).refused(), &[&said]);
    let dry = k(&[&patch[..], &["--dry-run=server"]].concat());
    contains(&dry.refused(), &[&said]);
    assert_eq!(k(&["-n", "shop", "get", "deployments", "-o", "jsonpath={.items[*].spec.replicas}"]).ok(), "3");
    // The rule names deployments, and not their scale.
    k(&["-n", "shop", "scale", "deployment", "web", "--replicas=4"]).ok();
    // A namespace that is not chosen is free.
    apply(&cluster, &deployment("free", 9).replace("namespace: shop", "namespace: default")).ok();

    // New parameters count at once.
    k(&["patch", "configmap", "replica-limit", "--type=merge", "-p", r#"{"data":{"maxReplicas":"6"}}"#]).ok();
    apply(&cluster, &deployment("big", 6)).ok();
    k(&["delete", "configmap", "replica-limit"]).ok();
    let missing = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    contains(&apply(&cluster, &deployment("more", 1)).refused(), &[REFUSED, missing]);

    // Without parameters, and with a warning instead of a refusal.
    let plain = POLICY
        .replace("  paramKind: {apiVersion: v1, kind: ConfigMap}\n", "")
        .replace("  variables: [{name: most, expression: int(params.data.maxReplicas)}]\n", "")
        .replace("variables.most\n    messageExpression: \"'object.spec.replicas must be no greater than ' + string(variables.most)\"", "5")
        .replace("  paramRef: {name: replica-limit, namespace: default, parameterNotFoundAction: Deny}\n", "")
        .replace("validationActions: [Deny]", "validationActions: [Warn, Audit]");
    apply(&cluster, &plain).ok();
    let applied = apply(&cluster, &deployment("loud", 6));
    contains(
        &applied.stderr,
        &[
            "Warning: Validation failed for ValidatingAdmissionPolicy 'replicalimit-policy.example.com' with binding 'replicalimit-binding-test.example.com': failed expression: object.spec.replicas <= 5",
        ],
    );
    assert!(applied.ok().contains("deployment.apps/loud created"));

    // What compiles, and fits no object that it is about, is doubted in its status.
    let doubtful = plain.replace("object.spec.replicas <= 5", "object.spec.replicaz <= 5");
    apply(&cluster, &doubtful).ok();
    let doubt = "jsonpath={.status.observedGeneration} {.status.typeChecking.expressionWarnings[*].fieldRef}: \
                 {.status.typeChecking.expressionWarnings[*].warning}";
    let seen = || k(&["get", "validatingadmissionpolicy", "replicalimit-policy.example.com", "-o", doubt]).ok();
    eventually(30, || match seen() {
        told if told.contains("apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'replicaz'") => Ok(()),
        told => Err(told),
    });
    contains(&seen(), &["spec.validations[0].expression: "]);

    // What does not compile is not stored.
    let wrong = plain.replace("object.spec.replicas <= 5", "object.spec.replicas <= limit");
    contains(
        &apply(&cluster, &wrong).refused(),
        &[
            "spec.validations[0].expression: Invalid value: \"object.spec.replicas <= limit\": compilation failed: ERROR: <input>:1:25: undeclared reference to 'limit' (in container '')",
        ],
    );
}

pub(crate) const SHOP: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {environment: test}}}";

#[test]
fn webhooks_change_refuse_and_fail() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    let create = |name: &str, word: &str| {
        k(&["-n", "shop", "create", "configmap", name, &format!("--from-literal=word={word}")])
    };
    apply(&cluster, SHOP).ok();
    let mutating = Hook::new(|request| {
        assert_eq!(request["resource"]["resource"], "configmaps");
        if request["operation"] == "DELETE" {
            return json!({"allowed": true});
        }
        let patch = json!([{"op": "add", "path": "/data/added", "value": request["userInfo"]["username"]}]);
        json!({"allowed": true, "patchType": "JSONPatch", "patch": base64(patch.to_string().as_bytes()), "warnings": ["I was here"]})
    });
    let validating = Hook::new(|request| {
        let word = request["object"]["data"]["word"].as_str().unwrap_or_default();
        let is_kept = request["oldObject"]["data"]["word"] == "kept" && request["operation"] == "DELETE";
        let is_whole = request["operation"] == "DELETE" || request["object"]["data"]["added"].is_string();
        assert!(is_whole, "it is asked about what others have made of an object");
        let status = json!({"message": "bad words are not stored", "code": 403, "reason": "Forbidden"});
        json!({"allowed": word != "bad" && !is_kept, "status": status})
    });
    apply(&cluster, &mutating.configuration("MutatingWebhookConfiguration", "Fail")).ok();
    apply(&cluster, &validating.configuration("ValidatingWebhookConfiguration", "Fail")).ok();
    contains(&k(&["get", "validatingwebhookconfigurations"]).ok(), &["WEBHOOKS", "hook.example.com   1"]);

    let created = create("good", "fine");
    contains(&created.stderr, &["Warning: I was here"]);
    created.ok();
    let added = k(&["-n", "shop", "get", "configmap", "good", "-o", "jsonpath={.data.added}"]).ok();
    assert!(!added.is_empty(), "who asked is told, and what was changed is stored");
    let denied = "admission webhook \"maps.hook.example.com\" denied the request: bad words are not stored";
    contains(&create("bad", "bad").refused(), &[denied]);
    let patch = ["-n", "shop", "patch", "configmap", "good", "--type=merge", "-p", r#"{"data":{"word":"bad"}}"#];
    contains(&k(&patch).refused(), &[denied]);
    create("kept", "kept").ok();
    contains(&k(&["-n", "shop", "delete", "configmap", "kept"]).refused(), &[denied]);
    // What conditions or selectors leave out is not asked about.
    apply(&cluster, "{apiVersion: v1, kind: ConfigMap, metadata: {name: free, namespace: shop, labels: {free: 'yes'}}, data: {word: bad}}").ok();
    k(&["create", "configmap", "elsewhere", "--from-literal=word=bad"]).ok();
    // Nothing comes of a dry run, and webhooks are told.
    k(&["-n", "shop", "create", "configmap", "dry", "--from-literal=word=fine", "--dry-run=server"]).ok();
    let asked = validating.asked.lock().expect("not poisoned").last().cloned().expect("asked");
    assert_eq!(
        (&asked["dryRun"], &asked["name"], &asked["operation"]),
        (&json!(true), &json!("dry"), &json!("CREATE"))
    );
    assert_eq!((&asked["kind"]["kind"], &asked["namespace"]), (&json!("ConfigMap"), &json!("shop")));

    // A webhook that is gone refuses, or is as if it were not there.
    let ignoring = validating.configuration("ValidatingWebhookConfiguration", "Ignore");
    let address = validating.address;
    drop(validating);
    let failed = create("late", "fine").refused();
    let calling = format!(
        "Internal error occurred: failed calling webhook \"maps.hook.example.com\": failed to call webhook: Post \"https://{address}/review?timeout=10s\": "
    );
    contains(&failed, &[&calling]);
    // The configuration itself is never asked about, so it can be mended.
    apply(&cluster, &ignoring).ok();
    create("late", "fine").ok();
    k(&["delete", "mutatingwebhookconfiguration,validatingwebhookconfiguration", "hook.example.com"]).ok();
    eventually(10, || {
        let free = create("bad", "bad");
        if free.stderr.is_empty() { Ok(()) } else { Err(free.stderr) }
    });
}

/// A webhook that is a program in a pod, and speaks TLS itself.
const IN_A_POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: labels, namespace: shop, labels: {app: labels}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: EXAMPLES/tls/tls.wasm
    args: [review, '0.0.0.0:8443', --cert, /tls/tls.crt, --key, /tls/tls.key]
    ports: [{containerPort: 8443}]
    volumeMounts: [{name: tls, mountPath: /tls}]
  volumes: [{name: tls, secret: {secretName: labels}}]
---
apiVersion: v1
kind: Service
metadata: {name: labels, namespace: shop}
spec: {selector: {app: labels}, ports: [{port: 443, targetPort: 8443}]}
";

/// Ciphers are much to compile for a program that is itself not optimised.
const COMPILED_WITHIN_SECONDS: u64 = 240;

/// What has the apiserver ask it; `more` is part of the webhook, `bundle` of how it is reached.
fn asking_the_pod(more: &str, bundle: &str) -> String {
    format!(
        "apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {{name: a-pod.example.com}}
webhooks:
- name: labels.example.com
  sideEffects: None
  admissionReviewVersions: [v1]
  clientConfig: {{service: {{namespace: shop, name: labels, path: /review}}{bundle}}}
  namespaceSelector: {{matchLabels: {{environment: test}}}}
  rules: [{{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}}]
  {more}
"
    )
}

#[test]
fn a_webhook_is_a_pod_behind_a_service() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    apply(&cluster, SHOP).ok();
    let key = rcgen::generate_simple_self_signed(["labels.shop.svc".to_owned()]).expect("a certificate");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "labels", "namespace": "shop"}, "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": key.cert.pem(), "tls.key": key.signing_key.serialize_pem()},
    });
    apply(&cluster, &secret.to_string()).ok();
    let folder = tempfile::tempdir().expect("a folder");
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), IN_A_POD)]).ok();
    eventually(COMPILED_WITHIN_SECONDS, || {
        let told = k(&["-n", "shop", "logs", "labels"]);
        if told.stdout.contains("listens on") { Ok(()) } else { Err(told.stderr + &told.stdout) }
    });
    let bundle = format!(", caBundle: {}", base64(key.cert.pem().as_bytes()));
    let late = Hook::new(|_| {
        let patch = json!([{"op": "add", "path": "/metadata/labels/late", "value": "yes"}]);
        json!({"allowed": true, "patchType": "JSONPatch", "patch": base64(patch.to_string().as_bytes())})
    });
    apply(&cluster, &late.configuration("MutatingWebhookConfiguration", "Fail")).ok();
    let make = |name: &str| {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop", "labels": {"seen": "yes"}}});
        cluster.kubectl_in(&["create", "-f", "-"], &map.to_string())
    };
    let labels = |name: &str| {
        let labels = "jsonpath={.metadata.annotations['example\\.com/labels']}";
        k(&["-n", "shop", "get", "configmap", name, "-o", labels]).ok()
    };

    // Once before the other, and once more after it, if that is wanted.
    apply(&cluster, &asking_the_pod("reinvocationPolicy: Never", &bundle)).ok();
    make("once").ok();
    assert_eq!(labels("once"), "seen");
    apply(&cluster, &asking_the_pod("reinvocationPolicy: IfNeeded", &bundle)).ok();
    make("twice").ok();
    assert_eq!(labels("twice"), "late,seen");
    let asked = k(&["-n", "shop", "logs", "labels"]).ok();
    assert_eq!(asked.matches("POST /review?timeout=10s HTTP/1.1\n").count(), 3, "{asked}");

    // Nobody that this machine trusts has signed for it.
    const CALLING: &str = "failed calling webhook \"labels.example.com\": failed to call webhook: Post \"https://labels.shop.svc:443/review?timeout=10s\": ";
    apply(&cluster, &asking_the_pod("failurePolicy: Fail", "")).ok();
    contains(&make("distrusted").refused(), &[CALLING, "tls: failed to verify certificate: "]);

    // Where it is away it refuses, or is as if it were not there.
    apply(&cluster, &asking_the_pod("failurePolicy: Fail", &bundle)).ok();
    k(&["-n", "shop", "delete", "pod", "labels"]).ok();
    contains(&make("away").refused(), &[CALLING]);
    eventually(30, || {
        let told = make("away").refused();
        if told.contains("no endpoints available for service \"labels\"") { Ok(()) } else { Err(told) }
    });
    apply(&cluster, &asking_the_pod("failurePolicy: Ignore", &bundle)).ok();
    make("ignored").ok();
    assert_eq!(labels("ignored"), "");
}
