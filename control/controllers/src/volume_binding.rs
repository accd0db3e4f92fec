//! Claims get volumes: one that is there, or one that is made for them.
//!
//! A claim and its volume are bound in one transaction that guards both, so that no volume is ever promised twice and nothing is
//! bound by half. A claim of a class that waits for its first consumer is left alone until the scheduler has chosen the node
//! (the annotation `volume.kubernetes.io/selected-node`) or has kept a volume for it. What is bound stays bound: a claim whose
//! volume is gone is lost, not given another.

mod bind;
mod grow;
mod provision;
#[cfg(test)]
mod tests;

pub(crate) use bind::reference;

use std::collections::BTreeMap;

use api::snapshots::{Origin, Source, VolumeSnapshotContent, restored_from, source_of};
use api::{Key, Object, kinds, storage};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use scheduler::volumes::{Filling, filling, find, reaches};
use state::{Event, Snapshot, Txn};

use crate::deletion::{with_finalizer, without_finalizer};
use crate::edit::replaced;
use crate::record::{Tale, Tone, told_once};
use crate::{Controller, Look, Plan, pods};

/// Who tells the events, but for those of volumes that are made.
pub(crate) const COMPONENT: &str = "persistentvolume-controller";

/// The controller of claims.
pub(crate) struct VolumeBinding;

/// A claim as it is looked at.
#[derive(Clone, Copy)]
struct Case<'a> {
    object: &'a Object,
    claim: &'a PersistentVolumeClaim,
    view: &'a Snapshot,
    look: Look<'a>,
}

// === impl VolumeBinding ===

impl Controller for VolumeBinding {
    fn name(&self) -> &'static str {
        "volume-binding"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        match event.key().kind() {
            kinds::PERSISTENT_VOLUME_CLAIM => {
                let own = event.after().map(|claim| claim.key().clone());
                let copies = filled_from(view, event.key().namespace(), Source::Claim(event.key().name()));
                own.into_iter().chain(copies).collect()
            }
            kinds::PERSISTENT_VOLUME => {
                let mut keys: Vec<Key> =
                    [event.before(), event.after()].into_iter().flatten().filter_map(kept_for).collect();
                keys.dedup();
                // What it was filled from is not needed for that any more.
                if event.before().is_some_and(storage::is_unfilled) {
                    keys.extend(ending_claims(view));
                }
                // What is kept for nobody may be for anybody.
                if event.after().is_none_or(|volume| kept_for(volume).is_none()) {
                    keys.extend(open_claims(view));
                }
                keys
            }
            kinds::STORAGE_CLASS => {
                view.list(kinds::PERSISTENT_VOLUME_CLAIM).map(|claim| claim.key().clone()).collect()
            }
            kinds::VOLUME_SNAPSHOT => {
                let (namespace, name) = (event.key().namespace(), event.key().name());
                filled_from(view, namespace, Source::Snapshot(name))
            }
            kinds::VOLUME_SNAPSHOT_CONTENT => ending_claims(view).collect(),
            kinds::NODE if event.before().is_none() || event.after().is_none() => open_claims(view).collect(),
            kinds::POD => event.latest().decode::<Pod>().map(|pod| claims_of(event.key(), &pod)).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key) else { return Plan::nothing() };
        let Ok(claim) = object.decode::<PersistentVolumeClaim>() else { return Plan::nothing() };
        let case = Case { object, claim: &claim, view, look };
        let is_held = object.meta().finalizers.iter().any(|one| one == storage::CLAIM_PROTECTION);
        match (object.meta().is_terminating(), is_held) {
            (true, true) if !case.is_used() && !case.is_source() => {
                Plan::of(without_finalizer(object, storage::CLAIM_PROTECTION))
            }
            // One that is deleted while a pod with a node waits for it is seen through: the pod has it until its own end.
            (true, true) if !storage::is_bound(&claim) => Plan::of(case.seek()),
            (true, _) => Plan::nothing(),
            (false, false) => Plan::of(with_finalizer(object, storage::CLAIM_PROTECTION)),
            (false, true) if storage::is_bound(&claim) => Plan::of(case.keep()),
            (false, true) => Plan::of(case.seek()),
        }
    }
}

/// The claim that a volume is kept for.
fn kept_for(volume: &Object) -> Option<Key> {
    let volume = volume.decode::<PersistentVolume>().ok()?;
    let kept = volume.spec.as_ref()?.claim_ref.as_ref()?;
    let (namespace, name) = (kept.namespace.as_deref()?, kept.name.as_deref()?);
    Some(kinds::PERSISTENT_VOLUME_CLAIM.key(namespace, name))
}

/// The claims that have no volume for good.
fn open_claims(view: &Snapshot) -> impl Iterator<Item = Key> {
    let open = |claim: &&Object| claim.decode::<PersistentVolumeClaim>().is_ok_and(|claim| !storage::is_bound(&claim));
    view.list(kinds::PERSISTENT_VOLUME_CLAIM).filter(open).map(|claim| claim.key().clone())
}

/// The claims on their way out.
fn ending_claims(view: &Snapshot) -> impl Iterator<Item = Key> {
    let ending = view.list(kinds::PERSISTENT_VOLUME_CLAIM).filter(|claim| claim.meta().is_terminating());
    ending.map(|claim| claim.key().clone())
}

/// The claims without a volume that are to be filled from this.
fn filled_from(view: &Snapshot, namespace: &str, source: Source<'_>) -> Vec<Key> {
    let from_it = |claim: &&Object| {
        let claim = claim.decode::<PersistentVolumeClaim>();
        claim.is_ok_and(|claim| source_of(&claim) == Some(source) && !storage::is_bound(&claim))
    };
    let claims = view.list_in(kinds::PERSISTENT_VOLUME_CLAIM, namespace).filter(from_it);
    claims.map(|claim| claim.key().clone()).collect()
}

fn claims_of(key: &Key, pod: &Pod) -> Vec<Key> {
    storage::claim_names(pod).map(|name| key.sibling(kinds::PERSISTENT_VOLUME_CLAIM, &name)).collect()
}

// === impl Case ===

impl<'a> Case<'a> {
    /// Whether a pod uses the claim: one that has a node, whether it runs or has ended.
    fn is_used(self) -> bool {
        self.consumers().any(|(_, pod)| pods::node(&pod).is_some())
    }

    /// Whether what it holds is being kept by a snapshot, or copied for another claim, at this moment.
    fn is_source(self) -> bool {
        let volume = storage::volume_of(self.claim).filter(|_| storage::is_bound(self.claim));
        let volume = volume.and_then(|name| self.view.get(&kinds::PERSISTENT_VOLUME.cluster_key(name)));
        let volume = volume.and_then(|volume| volume.decode::<PersistentVolume>().ok());
        let Some(source) = volume.as_ref().and_then(|volume| volume.spec.as_ref()?.csi.as_ref()) else { return false };
        let is_kept = |object: &Object| {
            let content = object.decode::<VolumeSnapshotContent>().ok().filter(|content| content.is_open());
            content.is_some_and(|content| {
                let of = &content.spec.source.volume_handle;
                content.spec.driver == source.driver && of.as_ref() == Some(&source.volume_handle)
            })
        };
        let copy = Origin::Volume(source.volume_handle.clone()).to_string();
        let is_copied = |object: &Object| {
            storage::is_unfilled(object)
                && !object.meta().is_terminating()
                && object.meta().annotations.get(storage::FILLED_FROM).is_some_and(|from| *from == copy)
        };
        let mut contents = self.view.list(kinds::VOLUME_SNAPSHOT_CONTENT).filter(|it| !it.meta().is_terminating());
        contents.any(is_kept) || self.view.list(kinds::PERSISTENT_VOLUME).any(is_copied)
    }

    fn consumers(self) -> impl Iterator<Item = (&'a Object, std::sync::Arc<Pod>)> {
        let key = self.object.key();
        let pods = self.view.list_in(kinds::POD, key.namespace());
        let pods = pods.filter_map(|object| Some((object, object.decode::<Pod>().ok()?)));
        pods.filter(move |(_, pod)| storage::claim_names(pod).any(|name| name == key.name()))
    }

    fn class(self) -> Option<std::sync::Arc<StorageClass>> {
        let name = storage::class_of(self.claim).filter(|name| !name.is_empty())?;
        self.view.get(&kinds::STORAGE_CLASS.cluster_key(name))?.decode().ok()
    }

    /// What it is to be filled from, or why it cannot be.
    fn filling(self) -> Option<Result<Filling, String>> {
        filling(self.view, self.object.key(), self.claim)
    }

    fn selected_node(self) -> Option<&'a str> {
        self.object.meta().annotations.get(storage::SELECTED_NODE).map(String::as_str)
    }

    /// The node of a pod that was given one without the scheduler, or before the claim was there.
    fn node_of_consumer(self) -> Option<&'a Object> {
        let active = self.consumers().filter(|(_, pod)| pods::is_active(pod));
        let nodes = active.filter_map(|(_, pod)| Some(kinds::NODE.cluster_key(pods::node(&pod)?)));
        self.view.get(&nodes.min()?)
    }

    /// Looks for a volume.
    fn seek(self) -> Txn {
        if let Some(name) = storage::volume_of(self.claim) {
            return self.named(name);
        }
        let class = self.class();
        let waits = class.as_ref().is_some_and(|class| storage::waits_for_consumer(class));
        let node = match self.selected_node() {
            Some(node) => match self.view.get(&kinds::NODE.cluster_key(node)) {
                Some(node) => Some(node),
                None => return self.forget_node(),
            },
            None => self.node_of_consumer(),
        };
        let labels = node.map(|node| &node.meta().labels);
        let fits = |volume: &PersistentVolume| match (node, labels) {
            (Some(node), Some(labels)) => reaches(volume, node.key().name(), labels),
            _ => true,
        };
        let found = find(self.view, self.claim);
        let found = found.into_iter().find(|one| (one.is_kept || !waits || node.is_some()) && fits(&one.volume));
        if let Some(found) = found {
            return self.bound(&found.object);
        }
        match class {
            None => self.no_class(),
            Some(class) => match storage::unmakeable(&class.provisioner, self.claim) {
                Some(why) if storage::is_ours(&class.provisioner) => self.not_made(&class, &why),
                _ if class.provisioner == storage::LOCAL_PATH
                    && let Some(Err(why)) = self.filling() =>
                {
                    self.not_made(&class, &why)
                }
                _ if waits && node.is_none() => self.waits(),
                _ => self.made(&class, node),
            },
        }
    }

    /// The claim asks for a volume by its name.
    fn named(self, name: &str) -> Txn {
        let Some(object) = self.view.get(&kinds::PERSISTENT_VOLUME.cluster_key(name)) else { return Txn::default() };
        let Ok(volume) = object.decode::<PersistentVolume>() else { return Txn::default() };
        let kept = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        match kept {
            _ if object.meta().is_terminating() => Txn::default(),
            Some(_) if storage::is_kept_for(&volume, self.claim) => self.bound(object),
            Some(_) => {
                let message = format!("volume \"{name}\" already bound to a different claim.");
                self.tell(Tone::Warning, "FailedBinding", &message)
            }
            None => match bind::mismatch(&volume, self.claim) {
                None => self.bound(object),
                Some(why) => {
                    let message = format!("Cannot bind to requested volume \"{name}\": {why}");
                    self.tell(Tone::Warning, "VolumeMismatch", &message)
                }
            },
        }
    }

    fn no_class(self) -> Txn {
        let default = storage::default_class(self.view.list(kinds::STORAGE_CLASS));
        match (storage::class_of(self.claim), default) {
            (None, Some(default)) => replaced::<PersistentVolumeClaim>(self.object, |claim| {
                claim.spec.get_or_insert_default().storage_class_name = Some(default.key().name().into());
            }),
            (None | Some(""), _) => {
                let message = "no persistent volumes available for this claim and no storage class is set";
                self.tell(Tone::Normal, "FailedBinding", message)
            }
            (Some(name), _) => {
                let message = format!("storageclass.storage.k8s.io \"{name}\" not found");
                self.tell(Tone::Warning, "ProvisioningFailed", &message)
            }
        }
    }

    fn waits(self) -> Txn {
        let mut consumers: Vec<&str> = self
            .consumers()
            .filter(|(_, pod)| pods::node(pod).is_none() && pods::is_active(pod))
            .map(|(object, _)| object.key().name())
            .collect();
        consumers.sort_unstable();
        match consumers.as_slice() {
            [] => {
                let message = "waiting for first consumer to be created before binding";
                self.tell(Tone::Normal, "WaitForFirstConsumer", message)
            }
            names => {
                let what = if names.len() == 1 { "pod" } else { "pods" };
                let message = format!("waiting for {what} {} to be scheduled", names.join(","));
                self.tell(Tone::Normal, "WaitForPodScheduled", &message)
            }
        }
    }

    /// The node that was chosen is gone: the scheduler is to choose anew.
    fn forget_node(self) -> Txn {
        replaced::<PersistentVolumeClaim>(self.object, |claim| {
            claim
                .metadata
                .annotations
                .as_mut()
                .map(|noted: &mut BTreeMap<String, String>| noted.remove(storage::SELECTED_NODE));
        })
    }

    /// Has a volume made by whoever makes those of the class.
    fn made(self, class: &StorageClass, node: Option<&Object>) -> Txn {
        match class.provisioner.as_str() {
            storage::LOCAL_PATH if let Some(saved) = restored_from(self.claim) => self.brought_back(class, node, saved),
            storage::LOCAL_PATH => match (self.filling(), node) {
                (None, _) => self.provisioned(class, node),
                (Some(Ok(filling)), Some(node)) if node.key().name() != filling.node => {
                    self.astray(class, node, &filling)
                }
                (Some(Ok(filling)), _) => self.provisioned_from(class, &filling),
                (Some(Err(why)), _) => self.not_made(class, &why),
            },
            storage::S3 => self.provisioned_anywhere(class),
            storage::NO_PROVISIONER => {
                let message = format!("no volume plugin matched name: {}", storage::NO_PROVISIONER);
                self.tell(Tone::Warning, "ProvisioningFailed", &message)
            }
            other => {
                let asked = replaced::<PersistentVolumeClaim>(self.object, |claim| {
                    let noted = claim.metadata.annotations.get_or_insert_default();
                    noted.extend(storage::STORAGE_PROVISIONER.map(|name| (name.to_owned(), other.to_owned())));
                });
                let message = format!(
                    "Waiting for a volume to be created either by the external provisioner '{other}' or manually by the \
                     system administrator. If volume creation is delayed, please verify that the provisioner is running and \
                     correctly registered."
                );
                asked.and(self.tell(Tone::Normal, "ExternalProvisioning", &message))
            }
        }
    }

    /// It is used on another node than the one on which there is what it is to be filled from.
    fn astray(self, class: &StorageClass, node: &Object, filling: &Filling) -> Txn {
        if self.selected_node().is_some() {
            return self.forget_node();
        }
        let (there, here) = (&filling.node, node.key().name());
        self.not_made(
            class,
            &format!("what it is to be filled from lies on node \"{there}\", and its pod is on \"{here}\""),
        )
    }

    fn not_made(self, class: &StorageClass, why: &str) -> Txn {
        let class = class.metadata.name.as_deref().unwrap_or_default();
        let message = format!("failed to provision volume with StorageClass \"{class}\": {why}");
        self.tell(Tone::Warning, "ProvisioningFailed", &message)
    }

    fn tell(self, tone: Tone, reason: &'static str, message: &str) -> Txn {
        told_once(self.view, self.look, self.object, &Tale { by: COMPONENT, tone, reason, message })
    }
}

/// The value that a node goes by in affinities: its host name, or its own name.
fn host_name(node: &Object) -> String {
    let label = node.decode::<Node>().ok().and_then(|node| node.metadata.labels.as_ref()?.get(HOST_NAME).cloned());
    label.unwrap_or_else(|| node.key().name().to_owned())
}

/// The label of a node that volumes know it by.
const HOST_NAME: &str = "kubernetes.io/hostname";
