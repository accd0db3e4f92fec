//! Binding a claim and a volume to each other, and what becomes of the two while they are.

use api::snapshots::Origin;
use api::{Object, kinds, storage};
use k8s_openapi::api::core::v1::{
    ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus,
};
use state::{Guard, Txn};

use super::Case;
use crate::deletion::{Propagation, delete};
use crate::edit::{edited, replaced};
use crate::record::Tone;

/// Why a volume that a claim asks for by name is not what it asks for.
pub(super) fn mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<&'static str> {
    let (offer, asked) = (volume.spec.as_ref()?, claim.spec.as_ref()?);
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".into());
    let offered = offer.access_modes.as_deref().unwrap_or_default();
    match () {
        () if storage::capacity(volume) < storage::wanted(claim) => Some("requested PV is too small"),
        () if storage::class_of_volume(volume) != storage::class_of(claim).unwrap_or_default() => {
            Some("storageClassName does not match")
        }
        () if mode(&offer.volume_mode) != mode(&asked.volume_mode) => Some("incompatible volumeMode"),
        () if !asked.access_modes.iter().flatten().all(|mode| offered.contains(mode)) => {
            Some("incompatible accessMode")
        }
        () => None,
    }
}

/// The claim's reference in a volume.
pub(crate) fn reference(claim: &Object) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some(kinds::PERSISTENT_VOLUME_CLAIM.kind.into()),
        namespace: Some(claim.key().namespace().into()),
        name: Some(claim.key().name().into()),
        uid: Some(claim.meta().uid.to_string()),
        ..ObjectReference::default()
    }
}

/// What a claim says once it has the volume.
pub(super) fn settled(claim: &mut PersistentVolumeClaim, name: &str, volume: &PersistentVolume) {
    let spec = claim.spec.get_or_insert_default();
    let noted = claim.metadata.annotations.get_or_insert_default();
    noted.insert(storage::BIND_COMPLETED.into(), "yes".into());
    // It has that now.
    noted.remove(storage::RESTORED_FROM);
    noted.remove(storage::RESTORED_POLICY);
    if spec.volume_name.as_deref() != Some(name) {
        noted.insert(storage::BOUND_BY_CONTROLLER.into(), "yes".into());
        spec.volume_name = Some(name.into());
    }
    holds(claim.status.get_or_insert_default(), volume);
}

/// The status of a claim that has the volume.
pub(super) fn holds(status: &mut PersistentVolumeClaimStatus, volume: &PersistentVolume) {
    status.phase = Some("Bound".into());
    let offer = volume.spec.as_ref();
    status.access_modes = offer.and_then(|offer| offer.access_modes.clone());
    status.capacity = offer.and_then(|offer| offer.capacity.clone());
}

impl Case<'_> {
    /// Both are bound to each other, or neither is.
    pub(super) fn bound(self, volume: &Object) -> Txn {
        // What it is to hold is not there yet; its node says when it is.
        if storage::is_unfilled(volume) {
            return self.forsaken(volume);
        }
        let kept = edited::<PersistentVolume>(volume, |volume| {
            let spec = volume.spec.get_or_insert_default();
            if spec.claim_ref.is_none() {
                let noted = volume.metadata.annotations.get_or_insert_default();
                noted.insert(storage::BOUND_BY_CONTROLLER.into(), "yes".into());
            }
            let known = spec.claim_ref.get_or_insert_default();
            if known.uid.as_deref() != Some(&*self.object.meta().uid) {
                *known = reference(self.object);
            }
            let status = volume.status.get_or_insert_default();
            if status.phase.as_deref() != Some("Bound") {
                status.phase = Some("Bound".into());
                status.last_phase_transition_time = Some(self.look.time());
            }
        });
        let kept = kept.map_or_else(|| volume.clone(), |kept| kept.at(volume.revision()));
        let Ok(typed) = kept.decode::<PersistentVolume>() else { return Txn::default() };
        let name = volume.key().name();
        let bound = replaced::<PersistentVolumeClaim>(self.object, |claim| settled(claim, name, &typed));
        let is_new = !storage::is_bound(self.claim) && volume.meta().annotations.contains_key(storage::FILLED_FROM);
        // Put even where it is as it should be: its revision is guarded.
        let bound = Txn::replace(volume, kept).and(bound);
        if is_new { bound.and(self.tell_made(name)) } else { bound }
    }

    /// One that a backup was to be brought to goes with its node; another is made elsewhere.
    fn forsaken(self, volume: &Object) -> Txn {
        let from = volume.meta().annotations.get(storage::FILLED_FROM).and_then(|from| from.parse().ok());
        let home = volume.meta().labels.get(storage::NODE_LABEL).map(|node| kinds::NODE.cluster_key(node));
        match (from, home) {
            (Some(Origin::Backup(_)), Some(node)) if self.view.get(&node).is_none() => {
                delete(volume, Propagation::Background, self.look.now).guard(Guard::Absent(node))
            }
            _ => Txn::default(),
        }
    }

    /// What is bound stays so, and says what it has.
    pub(super) fn keep(self) -> Txn {
        let name = storage::volume_of(self.claim).unwrap_or_default();
        let object = self.view.get(&kinds::PERSISTENT_VOLUME.cluster_key(name));
        let Some((object, volume)) =
            object.and_then(|object| Some((object, object.decode::<PersistentVolume>().ok()?)))
        else {
            let message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
            return self.lost("ClaimLost", message);
        };
        let kept = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        match kept {
            None if object.meta().is_terminating() => {
                self.lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
            }
            None => self.bound(object),
            Some(_) if !storage::is_kept_for(&volume, self.claim) => {
                self.lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
            }
            Some(kept) if kept.uid.as_deref().is_none_or(str::is_empty) => self.bound(object),
            Some(_) => self.grown(object, &volume).unwrap_or_else(|| {
                replaced::<PersistentVolumeClaim>(self.object, |claim| {
                    holds(claim.status.get_or_insert_default(), &volume);
                })
            }),
        }
    }

    fn lost(self, reason: &'static str, message: &str) -> Txn {
        let lost = replaced::<PersistentVolumeClaim>(self.object, |claim| {
            let status = claim.status.get_or_insert_default();
            (status.phase, status.capacity, status.access_modes) = (Some("Lost".into()), None, None);
        });
        if lost.is_empty() { lost } else { lost.and(self.tell(Tone::Warning, reason, message)) }
    }
}
