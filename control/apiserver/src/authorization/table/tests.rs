//! The table beside a plain reading of the documentation: on random policies and requests both say the same.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use api::{Object, Revision};
use serde_json::{Value, json};

use super::*;
use crate::authorization::question::{About, Resource};

/// So many policies, each asked so many questions: 100,000 pairs.
const POLICIES: usize = 2_000;
const QUESTIONS: usize = 50;

// The words are few, so that rules and questions often meet, and some of them are much like others.
const USERS: [&str; 3] = ["jane", "joe", "system:serviceaccount:shop:robot"];
const GROUPS: [&str; 3] = ["dev", "ops", "system:serviceaccounts"];
const NAMESPACES: [&str; 3] = ["", "shop", "shop2"];
const VERBS: [&str; 4] = ["get", "list", "create", "*"];
const API_GROUPS: [&str; 3] = ["", "apps", "*"];
const RESOURCES: [&str; 9] =
    ["pods", "pods/log", "pods/exec", "deployments", "deployments/scale", "*", "*/scale", "*/log", "pod"];
const NAMES: [&str; 3] = ["", "web", "web2"];
const PATHS: [&str; 8] = ["/api", "/apis", "/api/*", "/api*", "*", "/metrics", "/metrics/", "/healthz/ping"];

fn some(words: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::collection::vec(proptest::sample::select(words), 0..4)
}

fn one(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    proptest::sample::select(words)
}

fn rule() -> impl Strategy<Value = Value> {
    let of_resources = (some(&VERBS), some(&API_GROUPS), some(&RESOURCES), some(&NAMES)).prop_map(
        |(verbs, groups, resources, names)| {
            let names: Vec<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
            json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names})
        },
    );
    let of_paths =
        (some(&VERBS), some(&PATHS)).prop_map(|(verbs, urls)| json!({"verbs": verbs, "nonResourceURLs": urls}));
    prop_oneof![4 => of_resources, 1 => of_paths]
}

fn subject() -> impl Strategy<Value = Value> {
    prop_oneof![
        one(&USERS).prop_map(|name| json!({"kind": "User", "name": name})),
        one(&GROUPS).prop_map(|name| json!({"kind": "Group", "name": name})),
        one(&NAMESPACES)
            .prop_map(|namespace| json!({"kind": "ServiceAccount", "name": "robot", "namespace": namespace})),
    ]
}

/// Roles `a` and `b` of both scopes, and bindings to them and to one that is not there.
fn policy() -> impl Strategy<Value = Vec<Value>> {
    let rules = || proptest::collection::vec(rule(), 0..5);
    let role = (one(&["a", "b"]), one(&NAMESPACES), rules()).prop_map(|(name, namespace, rules)| {
        let kind = if namespace.is_empty() { "ClusterRole" } else { "Role" };
        json!({"kind": kind, "metadata": {"name": name, "namespace": namespace}, "rules": rules})
    });
    let subjects = proptest::collection::vec(subject(), 0..4);
    let binding = (0..1000_u32, one(&NAMESPACES), one(&["Role", "ClusterRole"]), one(&["a", "b", "none"]), subjects)
        .prop_map(|(number, namespace, role, name, subjects)| {
            let (kind, role) =
                if namespace.is_empty() { ("ClusterRoleBinding", "ClusterRole") } else { ("RoleBinding", role) };
            let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": name});
            let metadata = json!({"name": format!("binding-{number}"), "namespace": namespace});
            json!({"kind": kind, "metadata": metadata, "roleRef": role, "subjects": subjects})
        });
    (proptest::collection::vec(role, 2..8), proptest::collection::vec(binding, 1..10))
        .prop_map(|(roles, bindings)| roles.into_iter().chain(bindings).collect())
}

fn request() -> impl Strategy<Value = (Identity, Question)> {
    let who = (one(&USERS), some(&GROUPS)).prop_map(|(user, groups)| Identity {
        user: user.into(),
        groups: groups.into_iter().map(Into::into).collect(),
        ..Identity::default()
    });
    let of_resource = (
        one(&["get", "list", "create"]),
        one(&["", "apps"]),
        one(&["pods", "deployments", "pod"]),
        one(&["", "log", "scale", "exec"]),
        one(&NAMESPACES),
        one(&NAMES),
    )
        .prop_map(|(verb, group, resource, part, namespace, name)| {
            Question::of_resource(verb, Resource::new(group, resource).part(part).within(namespace).named(name))
        });
    let paths = &["/api", "/apis", "/api/v1", "/metrics", "/metrics/slis", "/healthz/ping", "/"];
    let of_path = (one(&["get", "create"]), one(paths)).prop_map(|(verb, path)| Question::of_path(verb, path));
    (who, prop_oneof![5 => of_resource, 1 => of_path])
}

/// Straight from <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>, on the objects as they are written: every binding
/// is looked at, its role is looked up by walking all of them, and every rule is read word by word.
fn reference(policy: &[Value], who: &Identity, question: &Question) -> bool {
    policy.iter().any(|binding| {
        let namespace = binding["metadata"]["namespace"].as_str().unwrap_or_default();
        let counts = match binding["kind"].as_str() {
            Some("ClusterRoleBinding") => true,
            Some("RoleBinding") => !question.namespace().is_empty() && namespace == question.namespace(),
            _ => false,
        };
        counts && list(&binding["subjects"]).iter().any(|subject| is_subject(subject, namespace, who)) && {
            let role = &binding["roleRef"];
            let home = if role["kind"] == "Role" { namespace } else { "" };
            let named = |object: &&Value| {
                object["kind"] == role["kind"]
                    && object["metadata"]["name"] == role["name"]
                    && object["metadata"]["namespace"] == home
            };
            let role = policy.iter().rev().find(named);
            role.is_some_and(|role| list(&role["rules"]).iter().any(|rule| does_allow(rule, question)))
        }
    })
}

fn is_subject(subject: &Value, namespace: &str, who: &Identity) -> bool {
    let name = subject["name"].as_str().unwrap_or_default();
    match subject["kind"].as_str() {
        Some("User") => who.user == name,
        Some("Group") => who.groups.iter().any(|group| group == name),
        _ => {
            let own = subject["namespace"].as_str().unwrap_or_default();
            let home = if own.is_empty() { namespace } else { own };
            !home.is_empty() && who.user == ["system:serviceaccount", home, name].join(":")
        }
    }
}

fn does_allow(rule: &Value, question: &Question) -> bool {
    let says = |member: &str, word: &str| list(&rule[member]).iter().any(|said| said == "*" || said == word);
    if !says("verbs", &question.verb) {
        return false;
    }
    match &question.about {
        About::Path(path) => list(&rule["nonResourceURLs"])
            .iter()
            .filter_map(Value::as_str)
            .any(|url| url == path || url.ends_with('*') && path.starts_with(url.trim_end_matches('*'))),
        About::Resource(asked) => {
            let whole = if asked.subresource.is_empty() {
                asked.plural.clone()
            } else {
                [asked.plural.as_str(), &asked.subresource].join("/")
            };
            let any = ["*", &asked.subresource].join("/");
            let names = list(&rule["resourceNames"]);
            says("apiGroups", &asked.group)
                && (says("resources", &whole) || !asked.subresource.is_empty() && says("resources", &any))
                && (names.is_empty() || names.iter().any(|name| *name == asked.name))
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn world(policy: &[Value]) -> Snapshot {
    let objects = policy.iter().map(|value| {
        let mut value = value.clone();
        value["apiVersion"] = "rbac.authorization.k8s.io/v1".into();
        let kind = SOURCES.into_iter().find(|kind| value["kind"] == kind.kind).expect("one of them");
        Object::from_value(kind, &value).expect("an object")
    });
    Snapshot::load(Revision(1), objects)
}

#[test]
fn a_decision_is_that_of_the_documentation() {
    let mut runner = TestRunner::deterministic();
    let (policies, requests) = (policy(), proptest::collection::vec(request(), QUESTIONS));
    let mut allowed = 0;
    for _ in 0..POLICIES {
        let policy = policies.new_tree(&mut runner).expect("a policy").current();
        // Of two bindings of one name the later is the one that is there.
        let mut seen = std::collections::BTreeSet::new();
        let mut there: Vec<Value> =
            policy.into_iter().rev().filter(|one| seen.insert(format!("{}{}", one["kind"], one["metadata"]))).collect();
        there.reverse();
        let table = Table::from(&world(&there));
        for (who, question) in requests.new_tree(&mut runner).expect("requests").current() {
            let expect = reference(&there, &who, &question);
            let found = table.allows(&who, &question).is_some();
            assert_eq!(found, expect, "{who:?} {question:?} in {there:#?}");
            allowed += usize::from(found);
        }
    }
    // If all were allowed, or none, nothing would be proved.
    let pairs = POLICIES * QUESTIONS;
    assert!((pairs / 50..pairs / 2).contains(&allowed), "{allowed} of {pairs} are allowed");
}

/// What keeps people from giving away what they do not have: rights that cover others allow all that those allow.
#[test]
fn who_holds_what_covers_a_role_may_do_what_it_allows() {
    let mut runner = TestRunner::deterministic();
    let (held, wanted) = (proptest::collection::vec(rule(), 4..12), proptest::collection::vec(rule(), 1..2));
    let requests = proptest::collection::vec(request(), QUESTIONS);
    let typed = |rules: Vec<Value>| -> Vec<PolicyRule> {
        rules.into_iter().map(|value| serde_json::from_value(value).expect("a rule")).collect()
    };
    let mut covered = 0;
    for _ in 0..POLICIES * 2 {
        let held = typed(held.new_tree(&mut runner).expect("rules").current());
        let wanted = typed(wanted.new_tree(&mut runner).expect("a rule").current());
        if !super::rule::uncovered(held.iter(), &wanted).is_empty() {
            continue;
        }
        for (_, question) in requests.new_tree(&mut runner).expect("requests").current() {
            if wanted.iter().any(|rule| super::rule::allows(rule, &question)) {
                covered += 1;
                assert!(
                    held.iter().any(|rule| super::rule::allows(rule, &question)),
                    "{question:?}: {held:?} {wanted:?}"
                );
            }
        }
    }
    assert!(covered > 500, "only {covered} rights were covered");
}

#[test]
fn a_grant_tells_where_it_comes_from() {
    let rules = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
    let role = |kind: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "reader"});
    let view = world(&[
        json!({"kind": "ClusterRole", "metadata": {"name": "reader"}, "rules": rules}),
        json!({"kind": "ClusterRoleBinding", "metadata": {"name": "all"}, "roleRef": role("ClusterRole"), "subjects": [{"kind": "Group", "name": "dev"}]}),
        json!({"kind": "RoleBinding", "metadata": {"name": "some", "namespace": "shop"}, "roleRef": role("ClusterRole"), "subjects": [{"kind": "ServiceAccount", "name": "robot"}]}),
        json!({"kind": "RoleBinding", "metadata": {"name": "lost", "namespace": "shop"}, "roleRef": role("Role"), "subjects": [{"kind": "User", "name": "jane"}]}),
    ]);
    let table = Table::from(&view);
    let question = Question::of_resource("get", Resource::new("", "pods").within("shop"));
    let who = |user: &str, groups: &[&str]| Identity {
        user: user.into(),
        groups: groups.iter().map(|group| (*group).into()).collect(),
        ..Identity::default()
    };
    let told = |who: &Identity| table.allows(who, &question).map(ToString::to_string);
    assert_eq!(
        told(&who("joe", &["dev"])).as_deref(),
        Some(r#"ClusterRoleBinding "all" of ClusterRole "reader" to Group "dev""#)
    );
    assert_eq!(
        told(&who("system:serviceaccount:shop:robot", &[])).as_deref(),
        Some(r#"RoleBinding "some/shop" of ClusterRole "reader" to ServiceAccount "robot/shop""#)
    );
    assert_eq!(told(&who("jane", &[])), None);
    assert_eq!(table.missing(&who("jane", &[]), "shop"), r#"role.rbac.authorization.k8s.io "reader" not found"#);
    assert_eq!(table.missing(&who("jane", &[]), "other"), "");
}
