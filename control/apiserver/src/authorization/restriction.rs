//! What a node may write of what nodes write: itself, its lease, and its own pods.
//!
//! Which object is written is known only where it is written, so this is asked there. The words are those of Kubernetes'
//! NodeRestriction.

use std::collections::{BTreeMap, BTreeSet};

use api::{Key, Object, StatusError, kinds, snapshots, storage};
use serde_json::Value;

use super::forbidden;
use crate::verb::Verb;

/// Labels of Kubernetes that a node may give itself.
const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
];
/// Under these a node may make up labels.
const OWN_PREFIXES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// Under this it may not: whoever keeps pods apart by it relies on that.
const RESTRICTED: &str = "node-restriction.kubernetes.io";

/// Whether a node may write `new` where `old` is; none where there is nothing.
pub(crate) fn check(node: &str, verb: Verb, old: Option<&Object>, new: Option<&Object>) -> Result<(), StatusError> {
    let Some(key) = new.or(old).map(Object::key) else { return Ok(()) };
    match key.kind() {
        kinds::POD => pod(node, verb, key, old),
        kinds::NODE if key.name() != node => {
            let why = format!("node {node:?} is not allowed to modify node {:?}", key.name());
            Err(forbidden("", "nodes", key.name(), &why))
        }
        kinds::NODE => own(node, key, old, new),
        kinds::PERSISTENT_VOLUME | kinds::VOLUME_SNAPSHOT_CONTENT => volume(node, key, old, new),
        kinds::LEASE if key.name() != node => {
            let why = "can only access node lease with the same name as the requesting node";
            Err(forbidden("coordination.k8s.io", "leases", key.name(), why))
        }
        _ => Ok(()),
    }
}

fn pod(node: &str, verb: Verb, key: &Key, old: Option<&Object>) -> Result<(), StatusError> {
    let on = old.map(|old| text(old, "/spec/nodeName")).unwrap_or_default();
    if on == node {
        return Ok(());
    }
    let what = if verb == Verb::Delete { "delete pods" } else { "update pod status for pods" };
    let why = format!("node {node:?} can only {what} with spec.nodeName set to itself");
    Err(forbidden("", "pods", key.name(), &why))
}

/// Of a volume a node changes the status, and takes off the finalizer by which it held one that lies on it.
fn volume(node: &str, key: &Key, old: Option<&Object>, new: Option<&Object>) -> Result<(), StatusError> {
    let home = old.and_then(|old| old.meta().labels.get(storage::NODE_LABEL));
    let rest = |object: Option<&Object>| {
        let mut value = object.map(tree).unwrap_or_default();
        let members = ["status", "metadata"].map(|name| value[name].take());
        let mut metadata = members[1].clone();
        for name in ["managedFields", "resourceVersion", "finalizers"] {
            metadata[name] = Value::Null;
        }
        (value, metadata)
    };
    let finalizers = |object: Option<&Object>, ours: bool| -> Vec<String> {
        let all = object.map(|object| object.meta().finalizers.clone()).unwrap_or_default();
        all.into_iter().filter(|one| ours || !is_node_s(one)).collect()
    };
    let is_own = home.is_some_and(|home| home == node);
    let same_holders = finalizers(old, !is_own) == finalizers(new, !is_own);
    if new.is_some() && same_holders && rest(old) == rest(new) {
        return Ok(());
    }
    let why = format!("node {node:?} can only take off what it holds its own volumes by");
    match key.kind() {
        kinds::PERSISTENT_VOLUME => Err(forbidden("", "persistentvolumes", key.name(), &why)),
        _ => Err(forbidden(snapshots::GROUP, "volumesnapshotcontents", key.name(), &why)),
    }
}

/// Whether it is one by which nodes hold what lies on them.
fn is_node_s(finalizer: &str) -> bool {
    storage::is_ours(finalizer) || [storage::UNFILLED, snapshots::CONTENT_PROTECTION].contains(&finalizer)
}

fn own(node: &str, key: &Key, old: Option<&Object>, new: Option<&Object>) -> Result<(), StatusError> {
    let Some(new) = new else { return Ok(()) };
    let none = BTreeMap::new();
    let before = old.map_or(&none, |old| &old.meta().labels);
    let after = &new.meta().labels;
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    let denied: Vec<&str> = changed.map(AsRef::as_ref).filter(|name| !may_label(name)).collect();
    if !denied.is_empty() {
        let denied = denied.join(", ");
        let why = match old {
            Some(_) => format!("is not allowed to modify labels: {denied}"),
            None => format!("node {node:?} is not allowed to set the following labels: {denied}"),
        };
        return Err(forbidden("", "nodes", key.name(), &why));
    }
    if let Some(old) = old
        && tree(old).pointer("/spec/taints") != tree(new).pointer("/spec/taints")
    {
        let why = format!("node {node:?} is not allowed to modify taints");
        return Err(forbidden("", "nodes", key.name(), &why));
    }
    Ok(())
}

fn may_label(name: &str) -> bool {
    let prefix = name.split_once('/').map_or("", |(prefix, _)| prefix);
    let is_under = |root: &str| prefix == root || prefix.strip_suffix(root).is_some_and(|rest| rest.ends_with('.'));
    if is_under(RESTRICTED) {
        return false;
    }
    let is_kubernetes = is_under("kubernetes.io") || is_under("k8s.io");
    !is_kubernetes || OWN_LABELS.contains(&name) || OWN_PREFIXES.iter().any(|prefix| is_under(prefix))
}

fn text(object: &Object, path: &str) -> String {
    tree(object).pointer(path).and_then(Value::as_str).unwrap_or_default().into()
}

fn tree(object: &Object) -> Value {
    serde_json::from_slice(object.body()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(kind: api::GroupKind, name: &str, more: Value) -> Object {
        let mut value = json!({"apiVersion": "v1", "kind": kind.kind, "metadata": {"name": name}});
        for (member, said) in more.as_object().expect("members") {
            value[member] = said.clone();
        }
        Object::from_value(kind, &value).expect("an object")
    }

    fn check(verb: Verb, old: Option<Object>, new: Option<Object>, expect: &str) {
        let told = super::check("n1", verb, old.as_ref(), new.as_ref()).map_err(|error| error.message);
        assert_eq!(told.err().unwrap_or_default(), expect);
    }

    #[test]
    fn a_node_writes_its_own_pods() {
        let pod = |node: &str| Some(object(kinds::POD, "web", json!({"spec": {"nodeName": node}})));
        check(Verb::Patch, pod("n1"), pod("n1"), "");
        check(
            Verb::Patch,
            pod("n2"),
            pod("n1"),
            r#"pods "web" is forbidden: node "n1" can only update pod status for pods with spec.nodeName set to itself"#,
        );
        check(
            Verb::Delete,
            pod(""),
            None,
            r#"pods "web" is forbidden: node "n1" can only delete pods with spec.nodeName set to itself"#,
        );
    }

    #[test]
    fn a_node_lets_go_of_its_own_volumes() {
        let volume = |node: &str, size: &str, finalizers: &[&str]| {
            let metadata = json!({"name": "v", "labels": {storage::NODE_LABEL: node}, "finalizers": finalizers});
            Some(object(
                kinds::PERSISTENT_VOLUME,
                "v",
                json!({"metadata": metadata, "spec": {"capacity": {"storage": size}}}),
            ))
        };
        let refused =
            r#"persistentvolumes "v" is forbidden: node "n1" can only take off what it holds its own volumes by"#;
        let held = [storage::LOCAL_PATH, storage::VOLUME_PROTECTION];
        let check = |old, new, expect: &str| check(Verb::Patch, old, new, expect);
        check(volume("n1", "1Gi", &held), volume("n1", "1Gi", &held[1..]), "");
        check(volume("n2", "1Gi", &held), volume("n2", "1Gi", &held[1..]), refused);
        check(volume("n1", "1Gi", &held), volume("n1", "1Gi", &held[..1]), refused);
        check(volume("n1", "1Gi", &held), volume("n1", "2Gi", &held[1..]), refused);
        let unfilled = [storage::LOCAL_PATH, storage::UNFILLED];
        check(volume("n1", "1Gi", &unfilled), volume("n1", "1Gi", &unfilled[..1]), "");
        check(volume("n2", "1Gi", &unfilled), volume("n2", "1Gi", &unfilled[..1]), refused);
    }

    #[test]
    fn a_node_lets_go_of_its_own_archives_and_says_what_came_of_them() {
        let content = |node: &str, policy: &str, finalizers: &[&str], handle: &str| {
            let metadata = json!({"name": "c", "labels": {storage::NODE_LABEL: node}, "finalizers": finalizers});
            let more =
                json!({"metadata": metadata, "spec": {"deletionPolicy": policy}, "status": {"snapshotHandle": handle}});
            Some(object(kinds::VOLUME_SNAPSHOT_CONTENT, "c", more))
        };
        let refused = r#"volumesnapshotcontents.snapshot.storage.k8s.io "c" is forbidden: node "n1" can only take off what it holds its own volumes by"#;
        let held = [snapshots::CONTENT_PROTECTION, "mine/own"];
        let check = |old, new, expect: &str| check(Verb::Patch, old, new, expect);
        check(content("n1", "Delete", &held, ""), content("n1", "Delete", &held[1..], "h"), "");
        check(content("n2", "Delete", &held, ""), content("n2", "Delete", &held[1..], ""), refused);
        check(content("n1", "Delete", &held, ""), content("n1", "Delete", &held[..1], ""), refused);
        check(content("n1", "Delete", &held, ""), content("n1", "Retain", &held, ""), refused);
    }

    #[test]
    fn a_node_speaks_for_itself_only() {
        let node = |name: &str, labels: Value, spec: Value| {
            Some(object(kinds::NODE, name, json!({"metadata": {"name": name, "labels": labels}, "spec": spec})))
        };
        let own = json!({"kubernetes.io/hostname": "n1", "topology.kubernetes.io/zone": "z", "shop/tier": "a"});
        check(Verb::Create, None, node("n1", own.clone(), json!({})), "");
        check(
            Verb::Create,
            None,
            node("n2", json!({}), json!({})),
            r#"nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2""#,
        );
        check(
            Verb::Patch,
            node("n1", own, json!({})),
            node("n1", json!({"node-restriction.kubernetes.io/team": "a"}), json!({})),
            r#"nodes "n1" is forbidden: is not allowed to modify labels: node-restriction.kubernetes.io/team"#,
        );
        check(
            Verb::Patch,
            node("n1", json!({}), json!({})),
            node("n1", json!({}), json!({"taints": [{"key": "a", "effect": "NoSchedule"}]})),
            r#"nodes "n1" is forbidden: node "n1" is not allowed to modify taints"#,
        );
        check(
            Verb::Create,
            None,
            node("n1", json!({"node-role.kubernetes.io/control-plane": ""}), json!({})),
            r#"nodes "n1" is forbidden: node "n1" is not allowed to set the following labels: node-role.kubernetes.io/control-plane"#,
        );
    }
}
