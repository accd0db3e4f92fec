//! What the audit log tells, and what it never tells.

use std::path::Path;

use harness::{Plan, eventually, kubectl_is_there};
use serde_json::Value;

use crate::PROGRAM;

const CANARY: &str = "canary-51d0c7a4";
/// The same in the base64 of the API.
const CANARY_ENCODED: &str = "Y2FuYXJ5LTUxZDBjN2E0";

/// A policy that wants everything told.
const EVERYTHING: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- {level: None, users: ['system:node:node-1']}
- {level: RequestResponse}
";

fn lines(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Waits for the last stage of a request that is about this.
fn told(log: &Path, verb: &str, resource: &str, name: &str) -> Value {
    let mut found = Value::Null;
    eventually(30, || {
        let is_it = |line: &Value| {
            line["verb"] == verb
                && line["objectRef"]["resource"] == resource
                && line["objectRef"]["name"] == name
                && line["stage"] == "ResponseComplete"
        };
        found =
            lines(log).into_iter().find(is_it).ok_or_else(|| format!("no {verb} of {resource}/{name} in the log"))?;
        Ok(())
    });
    found
}

#[test]
fn the_log_tells_who_did_what_and_no_secret() {
    if !kubectl_is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (log, policy) = (folder.path().join("audit.log"), folder.path().join("policy.yaml"));
    std::fs::write(&policy, EVERYTHING).expect("written");
    let text = |path: &Path| path.to_str().expect("a path").to_owned();
    let words = ["--audit-log", &text(&log), "--audit-policy", &text(&policy)];
    let cluster = Plan::new().say(&words).up(PROGRAM).expect("up");

    let literal = format!("--from-literal=word={CANARY}");
    cluster.kubectl(&["create", "secret", "generic", "vault", &literal]).ok();
    cluster.kubectl(&["get", "secret", "vault", "-o", "yaml"]).ok();
    cluster.kubectl(&["create", "configmap", "plain", &literal]).ok();
    let patch = format!(r#"{{"stringData":{{"more":"{CANARY}"}}}}"#);
    cluster.kubectl(&["patch", "secret", "vault", "-p", &patch]).ok();
    let token = cluster.kubectl(&["create", "token", "default"]).ok();
    cluster.kubectl(&["create", "namespace", "shop"]).ok();
    cluster.kubectl(&["get", "pod", "nobody"]).refused();

    let created = told(&log, "create", "secrets", "vault");
    assert_eq!(created["level"], "Metadata", "{created}");
    assert_eq!(created["user"]["username"], "kubernetes-admin");
    assert_eq!(created["responseStatus"]["code"], 201);
    assert_eq!(created["annotations"]["authorization.k8s.io/decision"], "allow");
    assert!(created["userAgent"].as_str().is_some_and(|agent| agent.starts_with("kubectl/")), "{created}");
    assert_eq!(created["sourceIPs"][0], "127.0.0.1");
    let namespace = told(&log, "create", "namespaces", "shop");
    assert_eq!(namespace["requestObject"]["metadata"]["name"], "shop", "{namespace}");
    assert_eq!(namespace["responseObject"]["status"]["phase"], "Active", "{namespace}");
    let missing = told(&log, "get", "pods", "nobody");
    assert_eq!(missing["responseStatus"]["reason"], "NotFound", "{missing}");
    assert_eq!(missing["responseStatus"]["message"], "pods \"nobody\" not found");
    told(&log, "patch", "secrets", "vault");
    told(&log, "create", "configmaps", "plain");
    let given = lines(&log).into_iter().find(|line| line["objectRef"]["subresource"] == "token");
    assert_eq!(given.expect("the token was asked for")["level"], "Metadata");

    let all = std::fs::read_to_string(&log).expect("a log");
    for secret in [CANARY, CANARY_ENCODED, token.trim()] {
        assert!(!all.contains(secret), "{secret} is in the log");
    }
}

/// What admission has to say for the record: what a policy computes, and what a binding wants noted instead of refused.
#[test]
fn policies_have_things_noted() {
    if !kubectl_is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("audit.log");
    let cluster = Plan::new().say(&["--audit-log", log.to_str().expect("a path")]).up(PROGRAM).expect("up");
    let policy = |name: &str, actions: &str| {
        format!(
            "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {name}.example.com}}
spec:
  matchConstraints:
    resourceRules: [{{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [serviceaccounts]}}]
  matchConditions: [{{name: which, expression: object.metadata.name.startsWith('{name}')}}]
  validations: [{{expression: size(object.metadata.name) < 8, message: the name is long}}]
  auditAnnotations: [{{key: letters, valueExpression: string(size(object.metadata.name))}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {name}-everywhere.example.com}}
spec: {{policyName: {name}.example.com, validationActions: [{actions}]}}
---
"
        )
    };
    let both = policy("quiet", "Audit") + &policy("loud", "Deny");
    cluster.kubectl_in(&["apply", "-f", "-"], &both).ok();
    for name in ["quiet", "quiet-and-long", "loud"] {
        cluster.kubectl(&["create", "serviceaccount", name]).ok();
    }
    let refused = cluster.kubectl(&["create", "serviceaccount", "loud-and-long"]).refused();
    assert!(refused.contains("denied request: the name is long"), "{refused}");

    const FAILURE: &str = "validation.policy.admission.k8s.io/validation_failure";
    let notes = |name: &str| told(&log, "create", "serviceaccounts", name)["annotations"].clone();
    assert_eq!(notes("quiet")["quiet.example.com/letters"], "5");
    assert_eq!(notes("quiet")[FAILURE], Value::Null);
    let long = notes("quiet-and-long");
    assert_eq!(long["quiet.example.com/letters"], "14");
    let failure: Value = serde_json::from_str(long[FAILURE].as_str().expect("a note")).expect("JSON");
    let expect = serde_json::json!([{
        "message": "the name is long", "policy": "quiet.example.com", "binding": "quiet-everywhere.example.com",
        "expressionIndex": 0, "validationActions": ["Audit"],
    }]);
    assert_eq!(failure, expect);
    let refused = lines(&log).into_iter().find(|line| {
        line["responseStatus"]["message"].as_str().is_some_and(|message| message.contains("the name is long"))
    });
    let refused = refused.expect("a refusal is told of");
    assert_eq!(refused["annotations"]["loud.example.com/letters"], "13", "{refused}");
}

#[test]
fn a_policy_that_cannot_be_is_refused_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let policy = folder.path().join("policy.yaml");
    std::fs::write(&policy, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{verbs: [get]}]\n").expect("written");
    let words = ["--audit-log", "-", "--audit-policy", policy.to_str().expect("a path")];
    let refused = Plan::new().say(&words).up(PROGRAM).map(drop).expect_err("refused");
    assert!(format!("{refused:#}").contains("rules[0].level: Required value"), "{refused:#}");
}
