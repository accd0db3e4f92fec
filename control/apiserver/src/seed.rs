//! The objects every cluster has: namespaces with their default accounts, the API's own service, the ingress class of the
//! built-in ingress, and the roles that come with Kubernetes; a new one has a class of storage, too, and one that is new to
//! snapshots has a class of those.

use api::rules::RBAC;
use api::{GroupKind, Object, Scope, kinds, snapshots, storage};
use jiff::Timestamp;
use serde_json::{Value, json};
use state::{Guard, Snapshot, Txn};

use crate::authorization::defaults;

/// The namespaces that are always there.
pub(crate) const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
/// The ingress class that the ingress of this binary serves.
pub const INGRESS_CLASS: &str = "coracle";
/// The address of the service `kubernetes`.
pub const KUBERNETES_ADDRESS: &str = "10.43.0.1";

/// What is missing in this world. Nothing that is there is touched but roles and bindings that are incomplete; each part stands
/// alone, so that members that start together do not undo each other's work. `uid` gives each new object its own.
pub fn seed(world: &Snapshot, now: Timestamp, mut uid: impl FnMut() -> String) -> Txn {
    let mut txn = Txn::default();
    // Whoever takes the class of storage away, or another for the default one, is not to find it again.
    let is_new = world.count(kinds::NAMESPACE) == 0;
    // The role came with them: a cluster without it was last started by a version that did not know snapshots.
    let is_new_to_snapshots = world.get(&kinds::CLUSTER_ROLE.cluster_key(defaults::SNAPSHOTS)).is_none();
    let classes = is_new.then(storage_class).into_iter().chain(is_new_to_snapshots.then(snapshot_class));
    for (kind, value) in objects().into_iter().chain(classes) {
        let metadata = &value["metadata"];
        let key =
            kind.key(metadata["namespace"].as_str().unwrap_or_default(), metadata["name"].as_str().unwrap_or_default());
        if world.get(&key).is_some() {
            if kind.group == RBAC {
                txn = txn.and(defaults::completed(world, &key, &value));
            }
            continue;
        }
        let mut value = value;
        value["metadata"]["uid"] = uid().into();
        value["metadata"]["creationTimestamp"] = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
        if let Ok(object) = Object::from_value(kind, &value) {
            debug_assert_eq!(*object.key(), key, "an object is where its metadata says");
            txn = txn.guard(Guard::Absent(key)).put(object);
        }
    }
    txn
}

/// The class of volumes that are directories of nodes, for claims that name none.
fn storage_class() -> (GroupKind, Value) {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": storage::LOCAL_PATH_CLASS, "annotations": {storage::DEFAULT_CLASS: "true"}},
        "provisioner": storage::LOCAL_PATH, "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true,
    });
    (kinds::STORAGE_CLASS, class)
}

/// How snapshots of such volumes are made, for those that name no class.
fn snapshot_class() -> (GroupKind, Value) {
    let class = json!({
        "apiVersion": snapshots::VERSION, "kind": "VolumeSnapshotClass",
        "metadata": {"name": storage::LOCAL_PATH_CLASS, "annotations": {snapshots::DEFAULT_CLASS: "true"}},
        "driver": storage::LOCAL_PATH, "deletionPolicy": "Delete",
    });
    (kinds::VOLUME_SNAPSHOT_CLASS, class)
}

fn objects() -> Vec<(GroupKind, Value)> {
    // Other namespaces get theirs from a controller; these may be asked for pods before there is one.
    let accounts = NAMESPACES.map(|namespace| {
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace},
        });
        (kinds::SERVICE_ACCOUNT, account)
    });
    let namespaces = NAMESPACES.map(|name| {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        });
        (kinds::NAMESPACE, namespace)
    });
    let class = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": {
            "name": INGRESS_CLASS, "generation": 1,
            "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"},
        },
        "spec": {"controller": "coracle.dev/ingress"},
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": KUBERNETES_ADDRESS, "clusterIPs": [KUBERNETES_ADDRESS],
            "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
            "sessionAffinity": "None", "type": "ClusterIP",
        },
        "status": {"loadBalancer": {}},
    });
    // Every node answers at this address itself: see the gateway of `cli`.
    let here = json!([{"addresses": [KUBERNETES_ADDRESS], "conditions": {"ready": true}}]);
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": "IPv4", "endpoints": here, "ports": [{"name": "https", "port": 443, "protocol": "TCP"}],
    });
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": [{"ip": KUBERNETES_ADDRESS}], "ports": [{"name": "https", "port": 443, "protocol": "TCP"}],
        }],
    });
    let mut objects: Vec<(GroupKind, Value)> = namespaces.into_iter().chain(accounts).collect();
    objects.push((kinds::INGRESS_CLASS, class));
    objects.push((kinds::SERVICE, service));
    objects.push((kinds::ENDPOINT_SLICE, slice));
    objects.push((kinds::ENDPOINTS, endpoints));
    objects.extend(defaults::objects());
    debug_assert!(
        objects.iter().all(|(kind, value)| {
            let namespaced = api::catalog::by_kind(*kind).is_some_and(|kind| kind.names().scope == Scope::Namespaced);
            namespaced == value["metadata"].get("namespace").is_some()
        }),
        "seeds live where their kinds do"
    );
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeded(world: &Snapshot) -> (Snapshot, usize) {
        let mut uids = 0..;
        let txn = seed(world, Timestamp::UNIX_EPOCH, || format!("uid-{}", uids.next().unwrap_or_default()));
        let (next, events) = world.apply(&txn).expect("only what is missing is written");
        (next, events.len())
    }

    #[test]
    fn an_empty_world_gets_everything_once() {
        let (world, written) = seeded(&Snapshot::default());
        assert_eq!(written, 2 * NAMESPACES.len() + 6 + defaults::objects().len());
        let service = world.get(&kinds::SERVICE.key("default", "kubernetes")).expect("seeded");
        assert!(service.meta().creation_timestamp.is_some());
        assert_eq!(seeded(&world).1, 0);
    }

    #[test]
    fn what_is_there_stays() {
        let (world, _) = seeded(&Snapshot::default());
        let key = kinds::INGRESS_CLASS.cluster_key(INGRESS_CLASS);
        let (without, _) = world.apply(&Txn::default().remove(key)).expect("unguarded");
        assert_eq!(seeded(&without).1, 1);
        let class = kinds::STORAGE_CLASS.cluster_key(storage::LOCAL_PATH_CLASS);
        let (without, _) = world.apply(&Txn::default().remove(class)).expect("unguarded");
        assert_eq!(seeded(&without).1, 0, "it was for a new cluster");
    }

    #[test]
    fn a_cluster_that_learns_of_snapshots_gets_their_class_once() {
        let (world, _) = seeded(&Snapshot::default());
        let class = kinds::VOLUME_SNAPSHOT_CLASS.cluster_key(storage::LOCAL_PATH_CLASS);
        let (without, _) = world.apply(&Txn::default().remove(class.clone())).expect("unguarded");
        assert_eq!(seeded(&without).1, 0, "somebody took it away");
        let role = kinds::CLUSTER_ROLE.cluster_key(defaults::SNAPSHOTS);
        let (old, _) = without.apply(&Txn::default().remove(role)).expect("unguarded");
        let (new, written) = seeded(&old);
        assert_eq!((written, new.get(&class).is_some()), (2, true));
    }

    #[test]
    fn a_role_is_completed_and_what_was_added_stays() {
        let (world, _) = seeded(&Snapshot::default());
        let key = kinds::CLUSTER_ROLE.cluster_key("system:discovery");
        let rules = |world: &Snapshot| world.get(&key).expect("seeded").to_value().expect("JSON")["rules"].clone();
        let edited = |edit: &dyn Fn(&mut Value)| {
            let mut value = world.get(&key).expect("seeded").to_value().expect("JSON");
            edit(&mut value);
            let object = Object::from_value(kinds::CLUSTER_ROLE, &value).expect("an object");
            world.apply(&Txn::default().put(object)).expect("unguarded").0
        };
        let own = json!([{"verbs": ["get"], "nonResourceURLs": ["/api/*", "/mine"]}]);
        let (completed, written) = seeded(&edited(&|role| role["rules"] = own.clone()));
        assert_eq!(written, 1);
        assert_eq!(rules(&completed)[0], own[0]);
        assert!(rules(&completed).to_string().contains("/openapi/*"));
        assert_eq!(seeded(&completed).1, 0);
        let left = edited(&|role| {
            role["rules"] = own.clone();
            role["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = "false".into();
        });
        assert_eq!(seeded(&left).1, 0, "somebody asked for it to be left alone");
    }
}
