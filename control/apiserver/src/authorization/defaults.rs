//! The roles and bindings that every cluster has, as Kubernetes ships them.
//!
//! They are seeded, and completed when a server starts: what somebody took out of them comes back, what somebody added stays, and
//! one whose annotation says that it is not to be updated is left alone. The words here are short: verbs, groups, resources and
//! names between spaces, `core` for the group that has no name.

mod controllers;
mod namespaced;
mod parts;
mod people;

use api::{GroupKind, Key, Object, kinds};
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value, json};
use state::{Snapshot, Txn};

use super::rule;

/// Marks what is seeded.
const LABEL: (&str, &str) = ("kubernetes.io/bootstrapping", "rbac-defaults");
/// Says whether it is completed again.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// What roles that are made of others are told apart by; the name of the role follows.
const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";
const GROUP: &str = "rbac.authorization.k8s.io";
/// The role of those who keep snapshots of volumes.
pub(crate) const SNAPSHOTS: &str = "coracle:snapshots-aggregate-to-edit";

/// A role that may be given everywhere.
struct Role {
    name: &'static str,
    rules: Vec<PolicyRule>,
    /// Which roles it is a part of.
    part_of: &'static [&'static str],
    /// Whether it is made of others.
    is_aggregated: bool,
}

/// Rights to objects, in short words.
pub(crate) fn on(verbs: &str, groups: &str, resources: &str) -> PolicyRule {
    let groups = words(groups).into_iter().map(|group| if group == "core" { String::new() } else { group });
    PolicyRule {
        api_groups: Some(sorted(groups.collect())),
        resources: Some(sorted(words(resources))),
        verbs: sorted(words(verbs)),
        ..PolicyRule::default()
    }
}

/// Rights to objects of these names.
pub(crate) fn named(verbs: &str, groups: &str, resources: &str, names: &str) -> PolicyRule {
    PolicyRule { resource_names: Some(sorted(words(names))), ..on(verbs, groups, resources) }
}

/// Rights to what is no resource.
pub(crate) fn at(verbs: &str, paths: &str) -> PolicyRule {
    PolicyRule { non_resource_urls: Some(sorted(words(paths))), verbs: sorted(words(verbs)), ..PolicyRule::default() }
}

/// Telling what happened: what every part of a cluster does.
fn events() -> PolicyRule {
    on("create update patch", "core events.k8s.io", "events")
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(Into::into).collect()
}

fn sorted(mut words: Vec<String>) -> Vec<String> {
    words.sort();
    words
}

fn role(name: &'static str, rules: impl Into<Vec<PolicyRule>>) -> Role {
    Role { name, rules: rules.into(), part_of: &[], is_aggregated: false }
}

/// Everything that is seeded, with the kind of each.
pub(crate) fn objects() -> Vec<(GroupKind, Value)> {
    let mut objects = Vec::new();
    for role in people::roles().into_iter().chain(parts::roles()) {
        objects.push((kinds::CLUSTER_ROLE, role.value()));
    }
    for (name, subjects) in people::bindings().into_iter().chain(parts::bindings()) {
        objects.push((kinds::CLUSTER_ROLE_BINDING, binding(name, name, subjects)));
    }
    for (account, rules) in controllers::roles() {
        let name = format!("system:controller:{account}");
        objects.push((kinds::CLUSTER_ROLE, value("ClusterRole", &name, &[], json!({"rules": rules}))));
        let subjects = vec![json!({"kind": "ServiceAccount", "name": account, "namespace": "kube-system"})];
        objects.push((kinds::CLUSTER_ROLE_BINDING, binding(&name, &name, subjects)));
    }
    for (namespace, name, rules, subjects) in namespaced::roles() {
        let mut role = value("Role", name, &[], json!({"rules": rules}));
        role["metadata"]["namespace"] = namespace.into();
        objects.push((kinds::ROLE, role));
        if subjects.is_empty() {
            continue;
        }
        let role = json!({"apiGroup": GROUP, "kind": "Role", "name": name});
        let mut binding = value("RoleBinding", name, &[], json!({"roleRef": role, "subjects": subjects}));
        binding["metadata"]["namespace"] = namespace.into();
        objects.push((kinds::ROLE_BINDING, binding));
    }
    objects
}

/// What has to be written for one of them to be complete again; nothing if it is.
pub(crate) fn completed(world: &Snapshot, key: &Key, wanted: &Value) -> Txn {
    let Some(old) = world.get(key) else { return Txn::default() };
    let Ok(mut value) = serde_json::from_slice::<Value>(old.body()) else { return Txn::default() };
    if value["metadata"]["annotations"][AUTOUPDATE] == "false" || old.meta().is_terminating() {
        return Txn::default();
    }
    let before = value.clone();
    for said in ["labels", "annotations"] {
        for (name, word) in wanted["metadata"][said].as_object().into_iter().flatten() {
            if value["metadata"][said][name] != *word {
                value["metadata"][said][name] = word.clone();
            }
        }
    }
    match key.kind() {
        kinds::CLUSTER_ROLE if wanted.get("aggregationRule").is_some() => {
            if value["aggregationRule"].is_null() {
                value["aggregationRule"] = wanted["aggregationRule"].clone();
            }
        }
        kinds::CLUSTER_ROLE | kinds::ROLE => complete_rules(&mut value, wanted),
        // What a binding gives never changes: one that gives something else is somebody's own.
        _ if value["roleRef"] == wanted["roleRef"] => complete_subjects(&mut value, wanted),
        _ => return Txn::default(),
    }
    if value == before {
        return Txn::default();
    }
    Object::from_value(key.kind(), &value).map_or_else(|_| Txn::default(), |object| Txn::replace(old, object))
}

fn complete_rules(value: &mut Value, wanted: &Value) {
    let rules = |value: &Value| serde_json::from_value::<Option<Vec<PolicyRule>>>(value["rules"].clone());
    let (Ok(held), Ok(wanted)) = (rules(value), rules(wanted)) else { return };
    let mut held = held.unwrap_or_default();
    let missing = rule::compact(rule::uncovered(held.iter(), &wanted.unwrap_or_default()));
    if !missing.is_empty() {
        held.extend(missing);
        value["rules"] = json!(held);
    }
}

fn complete_subjects(value: &mut Value, wanted: &Value) {
    let mut subjects = value["subjects"].as_array().cloned().unwrap_or_default();
    let missing = wanted["subjects"].as_array().into_iter().flatten().filter(|subject| !subjects.contains(subject));
    let missing: Vec<Value> = missing.cloned().collect();
    if !missing.is_empty() {
        subjects.extend(missing);
        value["subjects"] = subjects.into();
    }
}

fn value(kind: &str, name: &str, part_of: &[&str], more: Value) -> Value {
    let mut labels = json!({LABEL.0: LABEL.1});
    for role in part_of {
        labels[format!("{AGGREGATE}{role}")] = "true".into();
    }
    let mut value = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind,
        "metadata": {"name": name, "labels": labels, "annotations": {AUTOUPDATE: "true"}},
    });
    for (member, said) in more.as_object().into_iter().flatten() {
        value[member] = said.clone();
    }
    value
}

fn binding(name: &str, role: &str, subjects: Vec<Value>) -> Value {
    let role = json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": role});
    let more =
        if subjects.is_empty() { json!({"roleRef": role}) } else { json!({"roleRef": role, "subjects": subjects}) };
    value("ClusterRoleBinding", name, &[], more)
}

fn group(name: &str) -> Value {
    json!({"apiGroup": GROUP, "kind": "Group", "name": name})
}

fn user(name: &str) -> Value {
    json!({"apiGroup": GROUP, "kind": "User", "name": name})
}

// === impl Role ===

impl Role {
    fn part_of(mut self, roles: &'static [&'static str]) -> Self {
        self.part_of = roles;
        self
    }

    fn aggregated(name: &'static str) -> Self {
        Self { is_aggregated: true, ..role(name, []) }
    }

    fn value(&self) -> Value {
        let mut more = json!({});
        if self.is_aggregated {
            let selector = json!({"matchLabels": {format!("{AGGREGATE}{}", self.name): "true"}});
            more["aggregationRule"] = json!({"clusterRoleSelectors": [selector]});
        } else {
            more["rules"] = json!(self.rules);
        }
        value("ClusterRole", self.name, self.part_of, more)
    }
}
