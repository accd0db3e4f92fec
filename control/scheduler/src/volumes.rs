//! What a pod's claims ask of a node: that it reaches the volumes they have, or such as they could have.
//!
//! [`find`] is the whole of matching a claim with the volumes that there are; whoever binds asks it, too. Nothing is bound here.

mod filling;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::quantity::Quantity;
use api::selector::LabelSelector;
use api::snapshots;
use api::{Key, Object, kinds, storage};
use k8s_openapi::api::core::v1::{
    NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim, Pod, TopologySelectorTerm,
};
use k8s_openapi::api::storage::v1::StorageClass;
use state::Snapshot;

use crate::{NodeName, Reason, affinity};

pub use filling::{Filling, filling};

/// What a pod's claims ask of a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct VolumeDemand {
    /// Of each volume that a claim has: the node must be described by one of them.
    bound: Vec<Vec<NodeSelectorTerm>>,
    /// Claims whose volume is yet to be found, the smallest first.
    open: Vec<Open>,
    /// Claims that one pod at a time may use.
    pub(crate) exclusive: Vec<Key>,
    /// Claims that pods of one node at a time may use, and where that is.
    pub(crate) shared: Vec<Key>,
    held_on: BTreeSet<String>,
    /// Whether another pod uses one of them.
    is_taken: bool,
    /// Whether a claim has a volume that is not there.
    is_lost: bool,
}

/// A claim that waits for its first consumer.
#[derive(Clone, Debug)]
struct Open {
    claim: Key,
    wanted: Quantity,
    /// The volumes that it could have, the best first.
    found: Vec<Candidate>,
    /// Where one could be made for it; none if nobody would.
    made: Option<Vec<NodeSelectorTerm>>,
    /// The node that was chosen for it already.
    chosen: Option<String>,
}

/// A volume that a claim could have.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The volume as it was read.
    pub object: Object,
    /// What it says.
    pub volume: Arc<PersistentVolume>,
    /// Whether it was kept for this claim.
    pub is_kept: bool,
}

/// What becomes of a claim when its first consumer gets a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It gets this volume.
    Found(Key),
    /// One is made for it on that node.
    Made,
}

/// The volumes that a claim could have wherever it is used: the one that is kept for it, or all that are free and fit, the
/// smallest first. One that is to be filled has no use for what others hold.
pub fn find(view: &Snapshot, claim: &PersistentVolumeClaim) -> Vec<Candidate> {
    let Some(spec) = &claim.spec else { return Vec::new() };
    let (wanted, class) = (storage::wanted(claim), storage::class_of(claim).unwrap_or_default());
    let Ok(selector) = selector_of(claim) else { return Vec::new() };
    let is_filled = snapshots::source_of(claim).is_some() || snapshots::restored_from(claim).is_some();
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".into());
    let mut free: Vec<(Quantity, Candidate)> = Vec::new();
    for object in view.list(kinds::PERSISTENT_VOLUME).filter(|object| !object.meta().is_terminating()) {
        let Ok(volume) = object.decode::<PersistentVolume>() else { continue };
        let Some(offer) = &volume.spec else { continue };
        let is_kept = storage::is_kept_for(&volume, claim);
        let holds = storage::capacity(&volume);
        let offered = offer.access_modes.as_deref().unwrap_or_default();
        let reaches = spec.access_modes.iter().flatten().all(|mode| offered.contains(mode));
        if ((offer.claim_ref.is_some() || is_filled) && !is_kept)
            || holds < wanted
            || mode(&offer.volume_mode) != mode(&spec.volume_mode)
            || !reaches
        {
            continue;
        }
        let candidate = Candidate { object: object.clone(), volume: volume.clone(), is_kept };
        if is_kept {
            return vec![candidate];
        }
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        let is_of_class = storage::class_of_volume(&volume) == class;
        if phase == Some("Available") && is_of_class && selector.matches(&object.meta().labels) {
            free.push((holds, candidate));
        }
    }
    free.sort_by(|(one, a), (other, b)| one.cmp(other).then_with(|| a.object.key().cmp(b.object.key())));
    free.into_iter().map(|(_, candidate)| candidate).collect()
}

/// Whether a node of this name and these labels reaches the volume.
pub fn reaches(volume: &PersistentVolume, node: &str, labels: &BTreeMap<String, String>) -> bool {
    let terms = terms_of(volume);
    terms.is_empty() || terms.iter().any(|term| affinity::describes(term, node, labels))
}

/// The nodes that a class of storage is for, as terms of an affinity; none of them means everywhere.
pub fn topology_of(class: &StorageClass) -> Vec<NodeSelectorTerm> {
    let expressions = |term: &TopologySelectorTerm| {
        let labels = term.match_label_expressions.iter().flatten();
        let expression = labels.map(|label| NodeSelectorRequirement {
            key: label.key.clone(),
            operator: "In".into(),
            values: Some(label.values.clone()),
        });
        NodeSelectorTerm { match_expressions: Some(expression.collect()), match_fields: None }
    };
    class.allowed_topologies.iter().flatten().map(expressions).collect()
}

/// The node of this name.
fn only(node: String) -> NodeSelectorTerm {
    let named =
        NodeSelectorRequirement { key: "metadata.name".into(), operator: "In".into(), values: Some(vec![node]) };
    NodeSelectorTerm { match_expressions: None, match_fields: Some(vec![named]) }
}

fn terms_of(volume: &PersistentVolume) -> Vec<NodeSelectorTerm> {
    let required = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
    required.map(|required| required.node_selector_terms.clone()).unwrap_or_default()
}

fn selector_of(claim: &PersistentVolumeClaim) -> Result<LabelSelector, api::selector::NotASelector> {
    match claim.spec.as_ref().and_then(|spec| spec.selector.as_ref()) {
        Some(selector) => LabelSelector::try_from(selector),
        None => Ok(LabelSelector::everything()),
    }
}

fn is_of(claim: &Object, pod: &Pod) -> bool {
    claim.meta().controller().is_some_and(|owner| Some(&*owner.uid) == pod.metadata.uid.as_deref())
}

// === impl VolumeDemand ===

impl VolumeDemand {
    /// What the claims of `pod` ask; or why no node will do, whichever it is.
    pub(crate) fn of(pod: &Pod, view: &Snapshot) -> Result<Self, String> {
        let mut demand = Self::default();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let names: BTreeSet<String> = storage::claim_names(pod).collect();
        let brought: BTreeSet<String> = storage::brought_names(pod).collect();
        for name in &names {
            let key = kinds::PERSISTENT_VOLUME_CLAIM.key(namespace, name);
            let Some(object) = view.get(&key) else {
                let brings = brought.contains(name);
                let waits = if brings { "waiting for ephemeral volume controller to create the " } else { "" };
                let missing = if brings { "" } else { " not found" };
                return Err(format!("{waits}persistentvolumeclaim \"{name}\"{missing}"));
            };
            if brought.contains(name) && !is_of(object, pod) {
                return Err(format!("PVC {namespace}/{name} was not created for pod (pod is not owner)"));
            }
            if object.meta().is_terminating() {
                return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
            }
            let claim = object.decode::<PersistentVolumeClaim>().map_err(|error| error.to_string())?;
            demand.ask(key, &claim, view)?;
        }
        demand.open.sort_by(|one, other| one.wanted.cmp(&other.wanted).then_with(|| one.claim.cmp(&other.claim)));
        demand.is_taken = users(view, pod, &demand.exclusive).next().is_some();
        demand.held_on = users(view, pod, &demand.shared).collect();
        Ok(demand)
    }

    fn ask(&mut self, key: Key, claim: &PersistentVolumeClaim, view: &Snapshot) -> Result<(), String> {
        let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref());
        if storage::is_only(modes, storage::ONE_POD) {
            self.exclusive.push(key.clone());
        }
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        if let Some(volume) = storage::volume_of(claim).filter(|_| storage::is_bound(claim)) {
            if phase == Some("Lost") {
                let name = key.name();
                return Err(format!(
                    "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{volume}\""
                ));
            }
            let volume = view.get(&kinds::PERSISTENT_VOLUME.cluster_key(volume));
            match volume.and_then(|volume| volume.decode::<PersistentVolume>().ok()) {
                Some(volume) => {
                    if storage::is_for_one_node(&volume, claim) {
                        self.shared.push(key);
                    }
                    self.bound.push(terms_of(&volume));
                }
                None => self.is_lost = true,
            }
            return Ok(());
        }
        let class = storage::class_of(claim).filter(|class| !class.is_empty());
        let class = class.and_then(|class| view.get(&kinds::STORAGE_CLASS.cluster_key(class)));
        let class = class.and_then(|class| class.decode::<StorageClass>().ok());
        let waits = class.filter(|class| storage::waits_for_consumer(class) && storage::volume_of(claim).is_none());
        let Some(class) = waits else { return Err("pod has unbound immediate PersistentVolumeClaims".into()) };
        let made = match class.provisioner.as_str() {
            storage::NO_PROVISIONER => None,
            ours if storage::is_ours(ours) && storage::unmakeable(ours, claim).is_some() => None,
            storage::LOCAL_PATH if let Some(found) = filling(view, &key, claim) => {
                found.ok().map(|filling| vec![only(filling.node)])
            }
            _ => Some(topology_of(&class)),
        };
        let chosen = claim.metadata.annotations.as_ref().and_then(|noted| noted.get(storage::SELECTED_NODE)).cloned();
        self.open.push(Open { claim: key, wanted: storage::wanted(claim), found: find(view, claim), made, chosen });
        Ok(())
    }

    /// Whether it asks for anything at all.
    pub(crate) fn is_nothing(&self) -> bool {
        self.bound.is_empty() && self.open.is_empty() && self.exclusive.is_empty() && !self.is_lost
    }

    /// Whether it has claims, whatever they ask.
    pub(crate) fn asks(&self) -> bool {
        !self.is_nothing() || !self.shared.is_empty()
    }

    /// Why a node will not do; `taken` are the claims that were given to a pod in this round, and the node of that pod.
    pub(crate) fn obstacle(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
        taken: &BTreeMap<Key, NodeName>,
    ) -> Option<Reason> {
        if self.is_taken || self.exclusive.iter().any(|claim| taken.contains_key(claim)) {
            return Some(Reason::ClaimTaken);
        }
        let is_elsewhere = |claim: &Key| taken.get(claim).is_some_and(|node| node.as_str() != name);
        if self.held_on.iter().any(|node| node != name) || self.shared.iter().any(is_elsewhere) {
            return Some(Reason::ClaimElsewhere);
        }
        if self.is_lost {
            return Some(Reason::VolumeMissing);
        }
        let here = |terms: &Vec<NodeSelectorTerm>| {
            terms.is_empty() || terms.iter().any(|term| affinity::describes(term, name, labels))
        };
        if !self.bound.iter().all(here) {
            return Some(Reason::VolumeElsewhere);
        }
        self.choose(name, labels).is_none().then_some(Reason::NoVolume)
    }

    /// What becomes of the open claims on a node, if it can have them all.
    pub(crate) fn choose(&self, name: &str, labels: &BTreeMap<String, String>) -> Option<Vec<(Key, Choice)>> {
        let mut given: BTreeSet<&Key> = BTreeSet::new();
        let mut choices = Vec::new();
        for open in &self.open {
            if open.chosen.as_ref().is_some_and(|chosen| chosen != name) {
                return None;
            }
            let found = open
                .found
                .iter()
                .find(|candidate| !given.contains(candidate.object.key()) && reaches(&candidate.volume, name, labels));
            let choice = match (found, &open.made) {
                (Some(candidate), _) => {
                    given.insert(candidate.object.key());
                    Choice::Found(candidate.object.key().clone())
                }
                // The one that is kept for it lies elsewhere.
                (None, _) if open.found.iter().any(|candidate| candidate.is_kept) => return None,
                (None, Some(terms)) => {
                    if !terms.is_empty() && !terms.iter().any(|term| affinity::describes(term, name, labels)) {
                        return None;
                    }
                    Choice::Made
                }
                (None, None) => return None,
            };
            choices.push((open.claim.clone(), choice));
        }
        Some(choices)
    }
}

/// The nodes of pods other than this one that use one of the claims.
fn users<'a>(view: &'a Snapshot, pod: &'a Pod, claims: &'a [Key]) -> impl Iterator<Item = String> + 'a {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let pods = (!claims.is_empty()).then(|| view.list_in(kinds::POD, namespace));
    pods.into_iter().flatten().filter_map(|object| object.decode::<Pod>().ok()).filter_map(move |other| {
        let phase = other.status.as_ref().and_then(|status| status.phase.as_deref());
        let is_user = other.metadata.uid != pod.metadata.uid
            && !matches!(phase, Some("Succeeded" | "Failed"))
            && storage::claim_names(&other).any(|name| claims.iter().any(|claim| claim.name() == name));
        let node = other.spec.as_ref().and_then(|spec| spec.node_name.clone())?;
        (is_user && !node.is_empty()).then_some(node)
    })
}

#[cfg(test)]
mod tests;
