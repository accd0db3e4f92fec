//! What of a namespace is what people have said, and can be said again elsewhere.
//!
//! Left out is what a cluster makes by itself: what is owned by a controller that goes along, the addresses behind services, leases,
//! events, the accounts and certificates that every namespace is given. Of the rest goes what only this cluster means: uids,
//! revisions, statuses, nodes, and addresses unless they are wanted. Who owns what is told by name, in an annotation, because a uid
//! means nothing elsewhere.

use std::collections::BTreeMap;

use anyhow::Context;
use api::{GroupKind, Object, kinds, storage};
use serde_json::{Value, json};

/// The annotation that tells the owners that are in the same file.
pub(super) const OWNERS: &str = "coracle.dev/exported-owners";

/// What becomes of the addresses and node ports of services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addresses {
    /// They are for this cluster only.
    Left,
    /// The other cluster is to have the same.
    Kept,
}

/// Made again wherever they are needed.
const OF_CLUSTER: [GroupKind; 4] =
    [kinds::EVENT, kinds::LEASE, kinds::CONTROLLER_REVISION, GroupKind::new("events.k8s.io", "Event")];
/// What the system writes about an object, and not a person.
const METADATA: [&str; 9] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
];
const ANNOTATIONS: [&str; 10] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
    "deprecated.daemonset.template.generation",
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.kubernetes.io/selected-node",
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
    storage::RESTORED_FROM,
    storage::RESTORED_POLICY,
];
/// What a Job is told its pods by, unless it says so itself.
const JOB_LABELS: [&str; 4] =
    ["controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"];
/// Labels that are of whoever made an object, and tell who that was.
const MANAGED_BY: [&str; 2] = ["endpointslice.kubernetes.io/managed-by", "endpoints.kubernetes.io/managed-by"];

/// What is to be in the file, by kind and name as it was listed.
pub(super) fn exported(objects: &[Object], addresses: Addresses) -> anyhow::Result<Vec<Value>> {
    let by_uid: BTreeMap<&str, &Object> = objects.iter().map(|object| (&*object.meta().uid, object)).collect();
    let selecting = |name: &str| {
        let is_it = |object: &&Object| object.key().kind() == kinds::SERVICE && object.key().name() == name;
        let service = objects.iter().find(is_it).and_then(|service| service.to_value().ok());
        service.is_some_and(|service| service["spec"]["selector"].as_object().is_some_and(|found| !found.is_empty()))
    };
    let kept: Vec<&Object> =
        objects.iter().filter(|object| !is_made(object, &by_uid) && !is_behind(object, selecting)).collect();
    kept.iter()
        .map(|object| {
            let value = object.to_value().with_context(|| format!("{} cannot be read", object.key()))?;
            let owners = owners(&value, &kept);
            Ok(portable(object.key().kind(), value, owners, addresses))
        })
        .collect()
}

/// Whether the cluster makes it by itself.
fn is_made(object: &Object, by_uid: &BTreeMap<&str, &Object>) -> bool {
    let key = object.key();
    let is_controlled = object.meta().controller().is_some_and(|owner| by_uid.contains_key(&*owner.uid));
    let value = || object.to_value().unwrap_or_default();
    OF_CLUSTER.contains(&key.kind())
        || key.kind().group == "metrics.k8s.io"
        // The API itself, which every cluster has there.
        || key.namespace() == "default" && key.name() == "kubernetes"
        // An entry is not made of what its bucket says.
        || is_controlled && key.kind() != kinds::BUCKET_ENTRY
        || key.kind() == kinds::CONFIG_MAP && key.name() == "kube-root-ca.crt"
        || key.kind() == kinds::SERVICE_ACCOUNT && key.name() == "default"
        || key.kind() == kinds::SECRET && value()["type"] == "kubernetes.io/service-account-token"
}

/// Whether these are the addresses of pods behind a service, which somebody finds by its selector.
fn is_behind(object: &Object, selecting: impl Fn(&str) -> bool) -> bool {
    match object.key().kind() {
        kinds::ENDPOINT_SLICE => {
            let service = object.meta().labels.get("kubernetes.io/service-name");
            MANAGED_BY.iter().any(|label| object.meta().labels.get(*label).is_some_and(|by| by.contains("controller")))
                || service.is_some_and(|service| selecting(service))
        }
        kinds::ENDPOINTS => selecting(object.key().name()),
        _ => false,
    }
}

/// The owners that go along, by name.
fn owners(value: &Value, kept: &[&Object]) -> Vec<Value> {
    let named = value["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    let goes_along = |owner: &&Value| kept.iter().any(|object| owner["uid"] == *object.meta().uid);
    let without_uid = |owner: &Value| {
        let mut owner = owner.clone();
        remove(&mut owner, "", &["uid"]);
        owner
    };
    named.filter(goes_along).map(without_uid).collect()
}

fn portable(kind: GroupKind, mut value: Value, owners: Vec<Value>, addresses: Addresses) -> Value {
    remove(&mut value, "", &["status"]);
    remove(&mut value, "/metadata", &METADATA);
    remove(&mut value, "/metadata/annotations", &ANNOTATIONS);
    if let Some(finalizers) = value.pointer_mut("/metadata/finalizers").and_then(Value::as_array_mut) {
        // Those without a domain, and Kubernetes' own, are put on by whoever takes them off.
        finalizers.retain(|one| one.as_str().is_some_and(|one| one.contains('/') && !one.contains("kubernetes.io/")));
    }
    if !owners.is_empty() {
        value["metadata"]["annotations"][OWNERS] = json!(owners).to_string().into();
    }
    match kind {
        kinds::POD => remove(&mut value, "/spec", &["nodeName"]),
        kinds::PERSISTENT_VOLUME_CLAIM => remove(&mut value, "/spec", &["volumeName"]),
        kinds::SERVICE_ACCOUNT => remove(&mut value, "", &["secrets"]),
        kinds::SERVICE if addresses == Addresses::Left => service(&mut value),
        kinds::JOB if value["spec"]["manualSelector"] != true => {
            remove(&mut value, "/spec", &["selector"]);
            remove(&mut value, "/metadata/labels", &JOB_LABELS);
            remove(&mut value, "/spec/template/metadata/labels", &JOB_LABELS);
        }
        _ => {}
    }
    for name in ["annotations", "labels", "finalizers"] {
        let is_empty = match &value["metadata"][name] {
            Value::Object(members) => members.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Null => true,
            _ => false,
        };
        if is_empty {
            remove(&mut value, "/metadata", &[name]);
        }
    }
    value
}

/// A service that has no address of its own keeps saying so.
fn service(value: &mut Value) {
    if value["spec"]["clusterIP"] != "None" {
        remove(value, "/spec", &["clusterIP", "clusterIPs"]);
    }
    remove(value, "/spec", &["healthCheckNodePort"]);
    for port in value.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten() {
        remove(port, "", &["nodePort"]);
    }
}

fn remove(value: &mut Value, place: &str, names: &[&str]) {
    let Some(members) = value.pointer_mut(place).and_then(Value::as_object_mut) else { return };
    for name in names {
        members.remove(*name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: GroupKind, name: &str, more: Value) -> Object {
        let mut value = json!({"apiVersion": "v1", "kind": kind.kind, "metadata": {
            "name": name, "namespace": "n", "uid": name, "resourceVersion": "7", "creationTimestamp": "2026-11-22T09:00:00Z"}});
        for (member, said) in more.as_object().expect("an object") {
            match value[member].as_object_mut() {
                Some(members) => members.extend(said.as_object().expect("an object").clone()),
                None => value[member] = said.clone(),
            }
        }
        Object::from_tree(kind, value).expect("an object")
    }

    fn owned(by: &str, controller: bool) -> Value {
        json!({"ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": by, "uid": by, "controller": controller}]})
    }

    /// The names of what is exported.
    fn check(objects: &[Object], expected: &[&str]) {
        let found = exported(objects, Addresses::Left).expect("exported");
        let names: Vec<&str> = found.iter().filter_map(|object| object["metadata"]["name"].as_str()).collect();
        assert_eq!(names, expected);
    }

    /// What one object is without its cluster, beside what all are.
    fn says(kind: GroupKind, more: Value, addresses: Addresses, expected: Value) {
        let found = exported(&[object(kind, "it", more)], addresses).expect("exported");
        let mut all = json!({"apiVersion": "v1", "kind": kind.kind, "metadata": {"name": "it", "namespace": "n"}});
        for (member, said) in expected.as_object().expect("an object") {
            match (all[member].as_object_mut(), said) {
                (Some(members), Value::Object(said)) => members.extend(said.clone()),
                _ => all[member] = said.clone(),
            }
        }
        assert_eq!(found, [all]);
    }

    #[test]
    fn what_a_controller_makes_stays_behind() {
        check(
            &[
                object(kinds::DEPLOYMENT, "web", json!({})),
                object(kinds::REPLICA_SET, "web-1", json!({"metadata": owned("web", true)})),
                object(kinds::POD, "web-1-a", json!({"metadata": owned("web-1", true)})),
                object(kinds::POD, "alone", json!({"metadata": owned("gone", true)})),
                object(kinds::EVENT, "e", json!({})),
                object(kinds::LEASE, "l", json!({})),
                object(kinds::CONFIG_MAP, "kube-root-ca.crt", json!({})),
                object(kinds::SERVICE_ACCOUNT, "default", json!({})),
                object(kinds::SECRET, "token", json!({"type": "kubernetes.io/service-account-token"})),
                object(kinds::BUCKET, "b", json!({})),
                object(kinds::BUCKET_ENTRY, "b.x", json!({"metadata": owned("b", true)})),
            ],
            &["web", "alone", "b", "b.x"],
        );
    }

    #[test]
    fn addresses_behind_a_service_stay_behind_unless_people_wrote_them() {
        check(
            &[
                object(kinds::SERVICE, "web", json!({"spec": {"selector": {"app": "web"}}})),
                object(kinds::SERVICE, "db", json!({"spec": {}})),
                object(kinds::ENDPOINTS, "web", json!({})),
                object(kinds::ENDPOINTS, "db", json!({})),
                object(
                    kinds::ENDPOINT_SLICE,
                    "web-1",
                    json!({"metadata": {"labels": {"kubernetes.io/service-name": "web"}}}),
                ),
                object(
                    kinds::ENDPOINT_SLICE,
                    "db-1",
                    json!({"metadata": {"labels": {"kubernetes.io/service-name": "db"}}}),
                ),
            ],
            &["web", "db", "db", "db-1"],
        );
    }

    #[test]
    fn what_only_one_cluster_means_is_left_out() {
        let ports = json!([{"port": 80, "nodePort": 30_080}]);
        let service =
            json!({"spec": {"clusterIP": "10.43.0.7", "clusterIPs": ["10.43.0.7"], "ports": ports}, "status": {}});
        says(kinds::SERVICE, service.clone(), Addresses::Left, json!({"spec": {"ports": [{"port": 80}]}}));
        says(kinds::SERVICE, service.clone(), Addresses::Kept, json!({"spec": service["spec"]}));
        let headless = json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}});
        says(kinds::SERVICE, headless.clone(), Addresses::Left, headless);
        let pod = json!({"spec": {"nodeName": "n1", "containers": []}, "status": {"phase": "Running"}});
        says(kinds::POD, pod, Addresses::Left, json!({"spec": {"containers": []}}));
        let claim = json!({"metadata": {"finalizers": ["kubernetes.io/pvc-protection"],
            "annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "pv"}});
        says(kinds::PERSISTENT_VOLUME_CLAIM, claim, Addresses::Left, json!({"spec": {}}));
        let job = json!({"metadata": {"labels": {"job-name": "it", "mine": "x"}}, "spec": {"selector": {"x": 1},
            "template": {"metadata": {"labels": {"controller-uid": "u"}}}}});
        let expected =
            json!({"metadata": {"labels": {"mine": "x"}}, "spec": {"template": {"metadata": {"labels": {}}}}});
        says(kinds::JOB, job, Addresses::Left, expected);
    }

    #[test]
    fn owners_that_go_along_are_told_by_name() {
        let objects = [
            object(kinds::CONFIG_MAP, "a", json!({})),
            object(kinds::CONFIG_MAP, "b", json!({"metadata": owned("a", false)})),
        ];
        let found = exported(&objects, Addresses::Left).expect("exported");
        let told = found[1]["metadata"]["annotations"][OWNERS].as_str().expect("an annotation");
        let told: Value = serde_json::from_str(told).expect("JSON");
        assert_eq!(told, json!([{"apiVersion": "v1", "kind": "X", "name": "a", "controller": false}]));
        assert!(found[1]["metadata"]["ownerReferences"].is_null());
    }
}
