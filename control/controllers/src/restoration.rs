//! What becomes of a world when it is brought back without the machines that it was on.
//!
//! Nodes are gone, and with them what only they could see to the end. Kubernetes leaves this to time: after a restore the nodes are
//! still listed, pods are `Running` on them, and minutes later they are evicted and made anew. Here nobody has to wait: a pod that
//! had not ended is a pod that was not yet placed, with its name, its uid and its claims, and the scheduler finds it a node. So a pod
//! that nobody manages is not lost either. What was promised to a node, or is of a node alone, goes.
//!
//! It is a transaction like any other: pure, and one that changes nothing when it is made again.

use std::collections::BTreeMap;

use api::level::{self, Standing};
use api::snapshots::Saved;
use api::{Key, Object, Revision, kinds, storage};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event as EventRecord, PersistentVolume, PersistentVolumeClaim, Pod};
use serde_json::{Value, json};
use state::{Snapshot, Txn};

use crate::edit::edited_tree;
use crate::{deletion, owners, pods};

/// How far the revisions of a world that is brought back are above those that it had: more than a cluster can have written after it
/// was saved, so that no revision that somebody remembers comes to mean something else.
pub const REVISIONS_APART: u64 = 1_000_000_000;

/// Where nodes say that they are alive.
const NODE_LEASES: &str = "kube-node-lease";
/// Marks a pod that a node had from a file of its own.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What is to be done, and what people have to know of it.
#[derive(Debug, Default)]
pub struct Restoration {
    /// What makes the new world of the old one.
    pub txn: Txn,
    /// What goes with the nodes.
    pub gone: Vec<Key>,
    /// The pods that wait for a node again.
    pub unplaced: Vec<Key>,
    /// The claims whose volumes are made anew and filled from the backup, with the volumes that they had.
    pub refilled: Vec<(Key, Key)>,
    /// The volumes whose data lies on nodes that are gone, with the nodes.
    pub stranded: Vec<(Key, Vec<String>)>,
}

/// The world as it was saved, at a revision where a new life of it can begin. Objects keep theirs.
pub fn revived(revision: Revision, objects: impl IntoIterator<Item = Object>) -> Snapshot {
    Snapshot::load(Revision(revision.0 + REVISIONS_APART), objects)
}

/// What is to be done to a world that has lost all of its nodes. `saved` is what there is of volumes, by their names.
pub fn restoration(view: &Snapshot, saved: &BTreeMap<String, Saved>, now: Timestamp) -> Restoration {
    let mut restoration = Restoration::default();
    let of_nodes = view.list(kinds::NODE).chain(view.list_in(kinds::LEASE, NODE_LEASES));
    of_nodes.chain(view.list(kinds::EVENT).filter(|event| is_about_node(event))).for_each(|it| restoration.drop(it));
    for pod in view.list(kinds::POD) {
        restoration.pod(pod, now);
    }
    for claim in view.list(kinds::PERSISTENT_VOLUME_CLAIM) {
        restoration.claim(claim);
    }
    restoration.level(view);
    for volume in view.list(kinds::PERSISTENT_VOLUME) {
        if let Some(saved) = saved.get(volume.key().name())
            && restoration.refill(view, volume, saved)
        {
            continue;
        }
        let nodes = homes(volume);
        if !nodes.is_empty() {
            restoration.stranded.push((volume.key().clone(), nodes));
        }
    }
    restoration
}

// === impl Restoration ===

impl Restoration {
    fn pod(&mut self, object: &Object, now: Timestamp) {
        let Ok(pod) = object.decode::<Pod>() else { return };
        let is_of_node =
            owners::manager(object, kinds::DAEMON_SET).is_some() || object.meta().annotations.contains_key(MIRROR);
        if pods::node(&pod).is_none() || pods::has_ended(&pod) && !object.meta().finalizers.is_empty() {
            // Whoever holds one that has ended lets go of it, and then it goes as those do whose node is gone.
            return;
        }
        if is_of_node || pods::has_ended(&pod) {
            return self.drop(object);
        }
        if object.meta().is_terminating() {
            self.txn = std::mem::take(&mut self.txn).and(deletion::remove(object, now));
            return self.gone.push(object.key().clone());
        }
        if let Some(unplaced) = edited_tree(object, unplace) {
            self.txn = std::mem::take(&mut self.txn).and(Txn::replace(object, unplaced));
            self.unplaced.push(object.key().clone());
        }
    }

    /// A claim that waits for its volume forgets the node that was chosen for it.
    fn claim(&mut self, object: &Object) {
        let annotations = &object.meta().annotations;
        if !annotations.contains_key(storage::SELECTED_NODE) || annotations.contains_key(storage::BIND_COMPLETED) {
            return;
        }
        let forgotten = edited_tree(object, |value| {
            if let Some(annotations) = value["metadata"]["annotations"].as_object_mut() {
                annotations.remove(storage::SELECTED_NODE);
            }
        });
        if let Some(forgotten) = forgotten {
            self.txn = std::mem::take(&mut self.txn).and(Txn::replace(object, forgotten));
        }
    }

    /// A claim that had the volume has none any more, and gets one that is filled with what is there of it, wherever its first
    /// consumer goes. Says whether there is such a claim.
    fn refill(&mut self, view: &Snapshot, object: &Object, saved: &Saved) -> bool {
        let Ok(volume) = object.decode::<PersistentVolume>() else { return false };
        let Some(spec) = &volume.spec else { return false };
        let Some(kept) = &spec.claim_ref else { return false };
        let word = |word: &Option<String>| word.clone().unwrap_or_default();
        let key = kinds::PERSISTENT_VOLUME_CLAIM.key(&word(&kept.namespace), &word(&kept.name));
        let Some(had) = view.get(&key).filter(|claim| !claim.meta().is_terminating()) else { return false };
        let has_it = had.decode::<PersistentVolumeClaim>().is_ok_and(|claim| {
            storage::is_bound(&claim)
                && storage::volume_of(&claim) == Some(object.key().name())
                && storage::is_kept_for(&volume, &claim)
        });
        let policy = spec.persistent_volume_reclaim_policy.clone();
        let has_none = |value: &mut Value| {
            if let Some(spec) = value["spec"].as_object_mut() {
                spec.remove("volumeName");
            }
            value["status"] = json!({"phase": "Pending"});
            let Some(noted) = value["metadata"]["annotations"].as_object_mut() else { return };
            for name in [storage::BIND_COMPLETED, storage::BOUND_BY_CONTROLLER, storage::SELECTED_NODE] {
                noted.remove(name);
            }
            noted.insert(storage::RESTORED_FROM.into(), saved.to_string().into());
            noted.extend(policy.map(|policy| (storage::RESTORED_POLICY.to_owned(), policy.into())));
        };
        let Some(has_none) = edited_tree(had, has_none).filter(|_| has_it) else { return false };
        self.txn = std::mem::take(&mut self.txn).and(Txn::replace(had, has_none)).and(Txn::delete(object));
        self.refilled.push((key, object.key().clone()));
        true
    }

    /// The level stays: what was written at it is in the world. The servers that spoke it are gone.
    fn level(&mut self, view: &Snapshot) {
        let Some(object) = view.get(&level::key()) else { return };
        // What cannot be read stays as it is: no server starts with it.
        let Ok(level) = level::in_force(Some(object)) else { return };
        let alone = Standing { level, servers: BTreeMap::new() };
        if let Some(alone) = edited_tree(object, |value| value["data"] = alone.data()) {
            self.txn = std::mem::take(&mut self.txn).and(Txn::replace(object, alone));
        }
    }

    fn drop(&mut self, object: &Object) {
        self.txn = std::mem::take(&mut self.txn).and(Txn::delete(object));
        self.gone.push(object.key().clone());
    }
}

/// A pod as it was before it had a node.
fn unplace(pod: &mut Value) {
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.remove("nodeName");
    }
    let mut status = json!({"phase": "Pending"});
    if let Some(class) = pod.pointer("/status/qosClass") {
        status["qosClass"] = class.clone();
    }
    pod["status"] = status;
}

fn is_about_node(event: &Object) -> bool {
    event.decode::<EventRecord>().is_ok_and(|event| event.involved_object.kind.as_deref() == Some("Node"))
}

/// The nodes that a volume can be reached from, if it is not from all.
fn homes(volume: &Object) -> Vec<String> {
    let Ok(volume) = volume.decode::<PersistentVolume>() else { return Vec::new() };
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
    let terms = affinity.iter().flat_map(|required| &required.node_selector_terms);
    let demands = terms.flat_map(|term| term.match_expressions.iter().chain(&term.match_fields).flatten());
    let mut nodes: Vec<String> = demands.flat_map(|demand| demand.values.clone().unwrap_or_default()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

#[cfg(test)]
mod tests;
