//! Volumes say whose they are, and what becomes of them when nobody's.
//!
//! A volume that nobody claims is available; one whose claim is gone is released, and then kept, or deleted if it is one that this
//! cluster makes. It is never given to another claim before somebody takes the old claim's name off it. A volume on its way out
//! goes when no claim has it and, where its data lies on a node, when that node has seen to the data. Data that every node reaches
//! is seen to by a node that is ready, to which the volume is handed by its label.

#[cfg(test)]
mod tests;

use api::{Key, Object, kinds, storage};
use k8s_openapi::api::core::v1::{Node, ObjectReference, PersistentVolume, PersistentVolumeClaim};
use state::{Event, Guard, Snapshot, Txn};

use crate::deletion::{Propagation, delete, with_finalizer, without_finalizer};
use crate::edit::replaced;
use crate::record::{Tale, Tone, told};
use crate::volume_binding::COMPONENT;
use crate::{Controller, Look, Plan};

/// The controller of volumes.
pub(crate) struct VolumeReclaim;

/// What a volume is, seen from the claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nobody has it; it may be kept for a claim that is yet to come.
    Available,
    /// The claim it names has it.
    Bound,
    /// The claim it names is gone.
    Released,
    /// The claim it names has another volume.
    Unwanted,
    /// The claim it names is about to have it.
    Promised,
}

// === impl VolumeReclaim ===

impl Controller for VolumeReclaim {
    fn name(&self) -> &'static str {
        "volume-reclaim"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        match event.key().kind() {
            kinds::PERSISTENT_VOLUME if event.after().is_some() => vec![event.key().clone()],
            kinds::PERSISTENT_VOLUME_CLAIM => {
                let claims = [event.before(), event.after()].into_iter().flatten();
                let mut keys: Vec<Key> = claims.flat_map(|claim| volumes_of(claim, view)).collect();
                keys.sort_unstable();
                keys.dedup();
                keys
            }
            kinds::NODE if event.before().is_some_and(is_ready) != event.after().is_some_and(is_ready) => {
                let node = event.key().name();
                let volumes = view.list(kinds::PERSISTENT_VOLUME);
                let lost = event.after().is_none_or(|node| !is_ready(node));
                let on_it = move |volume: &&Object| match node_of(volume) {
                    Some(home) => lost && home == node,
                    None => volume.meta().is_terminating(),
                };
                volumes.filter(on_it).map(|volume| volume.key().clone()).collect()
            }
            kinds::NODE if event.after().is_none() => {
                let node = event.key().name();
                let on_it = view.list(kinds::PERSISTENT_VOLUME).filter(|volume| node_of(volume) == Some(node));
                on_it.map(|volume| volume.key().clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key) else { return Plan::nothing() };
        let Ok(volume) = object.decode::<PersistentVolume>() else { return Plan::nothing() };
        let is_held = object.meta().finalizers.iter().any(|one| one == storage::VOLUME_PROTECTION);
        if !is_held && !object.meta().is_terminating() {
            return Plan::of(with_finalizer(object, storage::VOLUME_PROTECTION));
        }
        let standing = standing(&volume, view);
        let told = match standing {
            Standing::Promised => Txn::default(),
            Standing::Available => phased(object, "Available", look),
            Standing::Bound => phased(object, "Bound", look),
            Standing::Unwanted if maker(object).is_some() && policy(&volume) == "Delete" => {
                phased(object, "Released", look)
            }
            Standing::Unwanted => set_free(object, look),
            Standing::Released => return Plan::of(released(object, &volume, view, look)),
        };
        if !told.is_empty() || !object.meta().is_terminating() {
            return Plan::of(told);
        }
        if standing == Standing::Bound { Plan::nothing() } else { Plan::of(let_go(object, view, look)) }
    }
}

/// The volume that a claim has; while it has none, those that are kept for it.
fn volumes_of(object: &Object, view: &Snapshot) -> Vec<Key> {
    let Ok(claim) = object.decode::<PersistentVolumeClaim>() else { return Vec::new() };
    match storage::volume_of(&claim) {
        Some(name) => vec![kinds::PERSISTENT_VOLUME.cluster_key(name)],
        None => {
            let kept = |volume: &&Object| {
                volume.decode::<PersistentVolume>().is_ok_and(|volume| storage::is_kept_for(&volume, &claim))
            };
            view.list(kinds::PERSISTENT_VOLUME).filter(kept).map(|volume| volume.key().clone()).collect()
        }
    }
}

fn standing(volume: &PersistentVolume, view: &Snapshot) -> Standing {
    let Some(kept) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else { return Standing::Available };
    let Some(uid) = kept.uid.as_deref().filter(|uid| !uid.is_empty()) else { return Standing::Available };
    let word = |word: &Option<String>| word.clone().unwrap_or_default();
    let key = kinds::PERSISTENT_VOLUME_CLAIM.key(&word(&kept.namespace), &word(&kept.name));
    let claim = view.get(&key).filter(|claim| *claim.meta().uid == *uid);
    let Some(claim) = claim.and_then(|claim| claim.decode::<PersistentVolumeClaim>().ok()) else {
        return Standing::Released;
    };
    match storage::volume_of(&claim) {
        None => Standing::Promised,
        Some(name) if Some(name) != volume.metadata.name.as_deref() => Standing::Unwanted,
        Some(_) if storage::is_bound(&claim) => Standing::Bound,
        Some(_) => Standing::Promised,
    }
}

fn node_of(volume: &Object) -> Option<&str> {
    volume.meta().labels.get(storage::NODE_LABEL).map(String::as_str)
}

/// Who made the volume, if it was made for a claim.
fn maker(volume: &Object) -> Option<&str> {
    volume.meta().annotations.get(storage::PROVISIONED_BY).map(String::as_str)
}

fn policy(volume: &PersistentVolume) -> &str {
    volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref()).unwrap_or("Retain")
}

fn phased(object: &Object, phase: &str, look: Look<'_>) -> Txn {
    replaced::<PersistentVolume>(object, |volume| say(volume, phase, None, look))
}

fn say(volume: &mut PersistentVolume, phase: &str, message: Option<&str>, look: Look<'_>) {
    let status = volume.status.get_or_insert_default();
    if status.phase.as_deref() != Some(phase) {
        status.phase = Some(phase.into());
        status.message = message.map(str::to_owned);
        status.last_phase_transition_time = Some(look.time());
    }
}

/// The claim chose another: what the controller wrote is taken back, what a person wrote is left as he wrote it.
fn set_free(object: &Object, look: Look<'_>) -> Txn {
    let by_controller = object.meta().annotations.contains_key(storage::BOUND_BY_CONTROLLER);
    replaced::<PersistentVolume>(object, |volume| {
        let spec = volume.spec.get_or_insert_default();
        if by_controller {
            spec.claim_ref = None;
            volume.metadata.annotations.as_mut().map(|noted| noted.remove(storage::BOUND_BY_CONTROLLER));
        } else if let Some(kept) = spec.claim_ref.take() {
            spec.claim_ref = Some(ObjectReference { uid: None, resource_version: None, ..kept });
        }
        say(volume, "Available", None, look);
    })
}

/// Nobody has it any more: it is kept, or goes.
fn released(object: &Object, volume: &PersistentVolume, view: &Snapshot, look: Look<'_>) -> Txn {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    if object.meta().is_terminating() {
        let told = if phase == Some("Failed") { Txn::default() } else { phased(object, "Released", look) };
        return if told.is_empty() { let_go(object, view, look) } else { told };
    }
    match (phase, policy(volume)) {
        (Some("Failed"), _) => Txn::default(),
        (Some("Released"), "Delete") if maker(object).is_some_and(storage::is_ours) => {
            delete(object, Propagation::Background, look.now)
        }
        // Whoever made it takes it away.
        (Some("Released"), "Delete") if maker(object).is_some() => Txn::default(),
        (Some("Released"), "Delete") => {
            let name = object.key().name();
            let why = format!(
                "error getting deleter volume plugin for volume \"{name}\": no deletable volume plugin matched"
            );
            failed(object, view, look, "VolumeFailedDelete", &why)
        }
        (Some("Released"), "Recycle") => {
            failed(object, view, look, "VolumeFailedRecycle", "No recycler plugin found for the volume!")
        }
        _ => phased(object, "Released", look),
    }
}

fn failed(object: &Object, view: &Snapshot, look: Look<'_>, reason: &'static str, message: &str) -> Txn {
    let after = replaced::<PersistentVolume>(object, |volume| say(volume, "Failed", Some(message), look));
    let tale = Tale { by: COMPONENT, tone: Tone::Warning, reason, message };
    after.and(told(view, look, object, &tale))
}

/// No claim has it and somebody deleted it: nothing here holds it any more. Its node does, until the data is seen to; with the
/// node the data is gone.
fn let_go(object: &Object, view: &Snapshot, look: Look<'_>) -> Txn {
    let finalizers = &object.meta().finalizers;
    let has = |finalizer: &str| finalizers.iter().any(|one| one == finalizer);
    if has(storage::VOLUME_PROTECTION) {
        return without_finalizer(object, storage::VOLUME_PROTECTION);
    }
    let node = node_of(object).map(|node| kinds::NODE.cluster_key(node));
    match node {
        Some(node) if has(storage::UNFILLED) && view.get(&node).is_none() => {
            without_finalizer(object, storage::UNFILLED).guard(Guard::Absent(node))
        }
        Some(node) if has(storage::LOCAL_PATH) && view.get(&node).is_none() => {
            without_finalizer(object, storage::LOCAL_PATH).guard(Guard::Absent(node))
        }
        home if has(storage::S3) => {
            let ready = |node: &Key| view.get(node).is_some_and(is_ready);
            if home.is_some_and(|home| ready(&home)) { Txn::default() } else { handed_over(object, view, look) }
        }
        _ => Txn::default(),
    }
}

/// A node that is ready is to see to the data; which of them does not matter.
fn handed_over(object: &Object, view: &Snapshot, look: Look<'_>) -> Txn {
    let ready: Vec<&Object> = view.list(kinds::NODE).filter(|node| is_ready(node)).collect();
    let Some(node) = usize::try_from(look.number("node")).ok().and_then(|lot| ready.get(lot.checked_rem(ready.len())?))
    else {
        return Txn::default();
    };
    replaced::<PersistentVolume>(object, |volume| {
        let labels = volume.metadata.labels.get_or_insert_default();
        labels.insert(storage::NODE_LABEL.into(), node.key().name().into());
    })
}

fn is_ready(node: &Object) -> bool {
    let node = node.decode::<Node>().ok();
    let conditions = node.as_ref().and_then(|node| node.status.as_ref()?.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
