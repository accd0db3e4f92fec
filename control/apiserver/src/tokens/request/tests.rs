//! Requests for tokens, in the world of one pod.

use api::{Revision, kinds};

use super::*;
use crate::identity::NODES;

fn object(kind: api::GroupKind, value: Value) -> Object {
    let mut value = value;
    value["apiVersion"] = "v1".into();
    value["kind"] = kind.kind.into();
    Object::from_value(kind, &value).expect("an object")
}

fn world() -> Snapshot {
    let pod = json!({
        "metadata": {"name": "web-0", "namespace": "shop", "uid": "u-pod"},
        "spec": {
            "serviceAccountName": "web", "nodeName": "n1",
            "volumes": [{"name": "t", "projected": {"sources": [
                {"serviceAccountToken": {"path": "token"}}, {"serviceAccountToken": {"audience": "vault", "path": "v"}},
            ]}}],
        },
    });
    let other = json!({
        "metadata": {"name": "web-1", "namespace": "shop", "uid": "u-other"},
        "spec": {"serviceAccountName": "web", "nodeName": "n2"},
    });
    let of = |name: &str, uid: &str| json!({"metadata": {"name": name, "namespace": "shop", "uid": uid}});
    Snapshot::load(
        Revision(1),
        [
            object(kinds::SERVICE_ACCOUNT, of("web", "u-account")),
            object(kinds::SERVICE_ACCOUNT, of("other", "u-else")),
            object(kinds::SECRET, of("s", "u-secret")),
            object(kinds::POD, pod),
            object(kinds::POD, other),
            object(kinds::NODE, json!({"metadata": {"name": "n1", "uid": "u-node"}})),
        ],
    )
}

fn ask_of(identity: &Identity, account: &str, spec: &Value) -> Result<Granted, StatusError> {
    let world = world();
    let account = world.get(&kinds::SERVICE_ACCOUNT.key("shop", account)).expect("an account");
    let now = Timestamp::from_second(1_000).expect("a time");
    grant(&Asking { identity, world: &world, account, now, id: "j".into() }, json!({"spec": spec}))
}

fn ask(spec: Value) -> Result<Granted, StatusError> {
    ask_of(&Identity::known("admin", ["system:masters".into()]), "web", &spec)
}

fn refused(spec: Value, expect: &str) {
    let error = ask(spec).expect_err("refused");
    assert_eq!(format!("{} {}", error.code(), error.message), expect);
}

#[test]
fn a_token_is_for_the_api_and_an_hour_unless_it_says_otherwise() {
    let granted = ask(json!({})).expect("granted");
    assert_eq!((granted.claims.exp, granted.claims.aud.as_slice()), (Some(4_600), &[jwt::ISSUER.to_owned()][..]));
    let expect = json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": "web", "namespace": "shop", "creationTimestamp": "1970-01-01T00:16:40Z"},
        "spec": {"audiences": [jwt::ISSUER], "expirationSeconds": 3600, "boundObjectRef": null},
        "status": {"token": "t", "expirationTimestamp": "1970-01-01T01:16:40Z"},
    });
    assert_eq!(granted.answer("t"), expect);
    let granted = ask(json!({"audiences": ["vault", "bank"], "expirationSeconds": 600})).expect("granted");
    assert_eq!((granted.claims.exp, granted.claims.aud), (Some(1_600), vec!["vault".into(), "bank".into()]));
}

#[test]
fn a_token_is_bound_to_what_is_there() {
    let bound = |kind: &str, name: &str| {
        let granted =
            ask(json!({"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name}})).expect("granted");
        serde_json::to_value(granted.claims.kubernetes.expect("bound")).expect("JSON")
    };
    let account = json!({"name": "web", "uid": "u-account"});
    let (pod, node) = (json!({"name": "web-0", "uid": "u-pod"}), json!({"name": "n1", "uid": "u-node"}));
    assert_eq!(
        bound("Pod", "web-0"),
        json!({"namespace": "shop", "serviceaccount": account, "pod": pod, "node": node})
    );
    let secret = json!({"name": "s", "uid": "u-secret"});
    assert_eq!(bound("Secret", "s"), json!({"namespace": "shop", "serviceaccount": account, "secret": secret}));
    assert_eq!(bound("Node", "n1"), json!({"namespace": "shop", "serviceaccount": account, "node": node}));
    let unknown_node = json!({"name": "n2"});
    assert_eq!(bound("Pod", "web-1")["node"], unknown_node);
}

#[test]
fn what_cannot_be_granted_is_refused_in_kubernetes_words() {
    refused(
        json!({"expirationSeconds": 599}),
        "422 TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
    );
    refused(
        json!({"expirationSeconds": (1_i64 << 32) + 1}),
        "422 TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds",
    );
    let to = |kind: &str, name: &str| json!({"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name}});
    refused(to("ConfigMap", "c"), "400 cannot bind token to object of type /v1, Kind=ConfigMap");
    refused(to("Pod", "none"), "404 pods \"none\" not found");
    let mut another = to("Pod", "web-0");
    another["boundObjectRef"]["uid"] = "u-9".into();
    refused(
        another,
        "409 Operation cannot be fulfilled on Pod \"web-0\": the UID in the bound object reference (u-9) does not match the UID in record. The object might have been deleted and then recreated",
    );
    let admin = Identity::known("admin", ["system:masters".into()]);
    let error = ask_of(&admin, "other", &to("Pod", "web-0")).expect_err("refused");
    assert_eq!(
        error.message,
        "cannot bind token for serviceaccount \"other\" to pod running with different serviceaccount name."
    );
}

#[test]
fn a_pod_that_asks_as_admission_has_it_ask_is_only_warned() {
    let mut spec =
        json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "web-0"}, "expirationSeconds": 3607});
    let granted = ask(spec.clone()).expect("granted");
    assert_eq!(granted.claims.exp, Some(1_000 + 365 * 24 * 3600));
    assert_eq!(granted.claims.kubernetes.as_ref().and_then(|bound| bound.warnafter), Some(4_607));
    assert_eq!(granted.answer("t")["status"]["expirationTimestamp"], "1970-01-01T01:16:47Z");
    spec["audiences"] = json!(["vault"]);
    assert_eq!(ask(spec).expect("granted").claims.exp, Some(4_607));
}

#[test]
fn a_node_asks_only_for_its_own_pods() {
    let node = Identity::known("system:node:n1", [NODES.into()]);
    let check = |spec: Value, expect: Result<(), &str>| {
        let found = ask_of(&node, "web", &spec).map(drop).map_err(|error| error.message);
        assert_eq!(found, expect.map_err(String::from));
    };
    let to = |name: &str, uid: &str, audience: &str| json!({"audiences": [audience], "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}});
    check(to("web-0", "u-pod", jwt::ISSUER), Ok(()));
    check(to("web-0", "u-pod", "vault"), Ok(()));
    const NOT: &str = "serviceaccounts \"web\" is forbidden: ";
    check(json!({}), Err(&format!("{NOT}node requested token not bound to a pod")));
    check(to("web-0", "", "vault"), Err(&format!("{NOT}node requested token with a pod binding without a uid")));
    check(
        to("web-1", "u-other", "vault"),
        Err(&format!("{NOT}node requested token bound to a pod scheduled on a different node")),
    );
    check(to("web-0", "u-pod", "bank"), Err(&format!("{NOT}audience \"bank\" not found in pod spec volume")));
}
