//! What a node may do: read what its pods refer to and what its network is made of, and write what it alone knows.
//!
//! Most of it is what Kubernetes' node authorizer allows a kubelet, in its words. A node here is more than a kubelet: pod network,
//! policies, services, names and the edge are parts of it, and read what they are made of of the whole cluster:
//!
//! | kinds | who reads them on a node |
//! |---|---|
//! | pods, namespaces, networkpolicies | policies: which pods, by label and namespace, may reach which; names of pods |
//! | services, endpointslices | the service table, names, the environment of pods |
//! | nodes | the tunnels to other nodes, the addresses of the edge |
//! | endpoints | those of the API: which servers there are |
//! | the config map `kube-system/kube-root-ca.crt` | who is trusted: when that changes, the next certificate is asked for |
//! | buckets, bucketentries | what components keep by `wasi:keyvalue`, in namespaces of which a pod is on the node |
//! | ingresses, ingressclasses | the route table of the edge; their status says where the edge is |
//!
//! Of nodes, pods and leases it writes those that are its own: `restriction` sees to it, where it is known whose they are.

use api::references::{PROOFS_LABEL, PROOFS_NAMESPACE};
use api::{GroupKind, authority, kinds, snapshots, storage};
use state::Snapshot;

use super::Decision;
use super::question::{About, Question, Resource};

const READ: &[&str] = &["get", "list", "watch"];
const CHANGE: &[&str] = &["update", "patch"];
/// Where the leases are that say that a node lives.
const LEASES: &str = "kube-node-lease";

/// What every node may do with any object: group, resource with its part, verbs.
const RIGHTS: &[(&str, &str, &[&str])] = &[
    ("", "services", READ),
    ("", "endpoints", READ),
    ("discovery.k8s.io", "endpointslices", READ),
    ("", "namespaces", READ),
    ("networking.k8s.io", "networkpolicies", READ),
    ("networking.k8s.io", "ingresses", READ),
    ("networking.k8s.io", "ingressclasses", READ),
    ("networking.k8s.io", "ingresses/status", CHANGE),
    ("node.k8s.io", "runtimeclasses", READ),
    ("", "nodes", READ),
    ("", "nodes", &["create", "update", "patch"]),
    ("", "nodes/status", CHANGE),
    ("", "pods", READ),
    ("", "pods", &["delete"]),
    ("", "pods/status", CHANGE),
    ("", "events", &["create", "update", "patch"]),
    ("events.k8s.io", "events", &["create", "update", "patch"]),
    ("certificates.k8s.io", "certificatesigningrequests", &["create", "get", "list", "watch"]),
    ("authentication.k8s.io", "tokenreviews", &["create"]),
    ("authorization.k8s.io", "subjectaccessreviews", &["create"]),
    ("authorization.k8s.io", "localsubjectaccessreviews", &["create"]),
    ("coracle.dev", "images", &["get", "list"]),
];

/// Whether the node may do it.
pub(super) fn decide(node: &str, question: &Question, world: &Snapshot) -> Decision {
    let About::Resource(asked) = &question.about else { return no("") };
    let verb = question.verb.as_str();
    if asked.is("", "secrets") {
        return reads(node, verb, asked, kinds::SECRET, world);
    }
    if asked.is("", "configmaps") {
        return reads(node, verb, asked, kinds::CONFIG_MAP, world);
    }
    if asked.is("", "serviceaccounts") {
        return account(node, verb, asked, world);
    }
    if asked.is("", "persistentvolumeclaims") || asked.is("", "persistentvolumes") {
        return volume(node, verb, asked, world);
    }
    if asked.is(snapshots::GROUP, "volumesnapshotcontents") {
        return content(node, verb, asked, world);
    }
    if asked.is("coordination.k8s.io", "leases") {
        return lease(node, verb, asked);
    }
    if asked.is("coracle.dev", "buckets") || asked.is("coracle.dev", "bucketentries") {
        return bucket(node, verb, asked, world);
    }
    let is_named = |resource: &str| match resource.split_once('/') {
        None => asked.subresource.is_empty() && resource == asked.plural,
        Some((of, part)) => of == asked.plural && part == asked.subresource,
    };
    let mut rights = RIGHTS.iter();
    if rights.any(|(group, resource, verbs)| *group == asked.group && is_named(resource) && verbs.contains(&verb)) {
        return yes();
    }
    no("")
}

/// What holds data is read only by nodes that have a pod, or an edge, that uses it.
fn reads(node: &str, verb: &str, asked: &Resource, kind: GroupKind, world: &Snapshot) -> Decision {
    match () {
        () if !READ.contains(&verb) => no("can only read resources of this type"),
        () if !asked.subresource.is_empty() => no("cannot read subresource"),
        () if asked.namespace.is_empty() => no("can only read namespaced object of this type"),
        // Whoever comes to prove a host may come to any edge, and nobody knows the proofs by their names.
        () if kind == kinds::CONFIG_MAP && kind.key(&asked.namespace, &asked.name) == authority::published() => yes(),
        () if kind == kinds::SECRET && asked.namespace == PROOFS_NAMESPACE && asked.labels == PROOFS_LABEL => yes(),
        () => used(node, asked, kind, world),
    }
}

fn used(node: &str, asked: &Resource, kind: GroupKind, world: &Snapshot) -> Decision {
    if asked.name.is_empty() {
        return no("No Object name found");
    }
    if world.is_used_on(node, &kind.key(&asked.namespace, &asked.name)) {
        return yes();
    }
    no(&format!("no relationship found between node '{node}' and this object"))
}

/// The accounts of its pods say which secrets they pull images with, and are whom their tokens are for.
fn account(node: &str, verb: &str, asked: &Resource, world: &Snapshot) -> Decision {
    match (verb, asked.subresource.as_str()) {
        ("create", "token") | ("get" | "list" | "watch", "") => used(node, asked, kinds::SERVICE_ACCOUNT, world),
        ("create", _) => no("can only create tokens for individual service accounts"),
        _ => no("can only read service accounts and create tokens for them"),
    }
}

fn volume(node: &str, verb: &str, asked: &Resource, world: &Snapshot) -> Decision {
    let kind =
        if asked.plural == "persistentvolumes" { kinds::PERSISTENT_VOLUME } else { kinds::PERSISTENT_VOLUME_CLAIM };
    match asked.subresource.as_str() {
        "" if kind == kinds::PERSISTENT_VOLUME && lies_here(node, verb, asked, world) => yes(),
        "" if READ.contains(&verb) => used(node, asked, kind, world),
        "" => no("can only get individual resources of this type"),
        "status" if verb == "get" || CHANGE.contains(&verb) => used(node, asked, kind, world),
        _ => no("cannot get subresource"),
    }
}

/// A node watches the volumes that lie on it, whoever uses them, and takes off what it holds them by.
fn lies_here(node: &str, verb: &str, asked: &Resource, world: &Snapshot) -> bool {
    if matches!(verb, "list" | "watch") && asked.labels == format!("{}={node}", storage::NODE_LABEL) {
        return true;
    }
    is_on(node, kinds::PERSISTENT_VOLUME, asked, world) && matches!(verb, "get" | "patch")
}

fn is_on(node: &str, kind: GroupKind, asked: &Resource, world: &Snapshot) -> bool {
    let home = world.get(&kind.cluster_key(&asked.name)).and_then(|it| it.meta().labels.get(storage::NODE_LABEL));
    home.is_some_and(|home| home == node)
}

/// A node makes and removes the archives of its own volumes, and says what came of it.
fn content(node: &str, verb: &str, asked: &Resource, world: &Snapshot) -> Decision {
    let is_list = matches!(verb, "list" | "watch") && asked.labels == format!("{}={node}", storage::NODE_LABEL);
    let is_own = matches!(verb, "get" | "patch") && is_on(node, kinds::VOLUME_SNAPSHOT_CONTENT, asked, world);
    match asked.subresource.as_str() {
        "" if is_list || is_own => yes(),
        "status" if is_own => yes(),
        _ => no("can only see to what lies on the node"),
    }
}

/// A component opens the buckets of its pod's namespace, and the node does it for the component.
fn bucket(node: &str, verb: &str, asked: &Resource, world: &Snapshot) -> Decision {
    let verbs: &[&str] = match asked.plural.as_str() {
        "buckets" => &["get"],
        _ => &["get", "list", "create", "update", "delete"],
    };
    match () {
        () if !verbs.contains(&verb) || !asked.subresource.is_empty() => no("can only keep entries in buckets"),
        () if asked.namespace.is_empty() => no("can only keep entries in buckets of a namespace"),
        () if world.pods_on(node).any(|pod| pod.key().namespace() == asked.namespace) => yes(),
        () => no(&format!("no pod of namespace '{}' is on node '{node}'", asked.namespace)),
    }
}

fn lease(node: &str, verb: &str, asked: &Resource) -> Decision {
    match () {
        () if !["get", "create", "update", "patch", "delete"].contains(&verb) => {
            no("can only get, create, update, patch, or delete a node lease")
        }
        () if asked.namespace != LEASES => no(&format!("can only access leases in the {LEASES:?} system namespace")),
        // Of one that is not there yet the name is known only when it is written.
        () if verb != "create" && asked.name != node => {
            no("can only access node lease with the same name as the requesting node")
        }
        () => yes(),
    }
}

fn yes() -> Decision {
    Decision::Allowed(String::new())
}

fn no(why: &str) -> Decision {
    Decision::Refused(why.into())
}
