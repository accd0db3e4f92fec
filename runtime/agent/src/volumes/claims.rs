//! What is behind a claim: the volume that it is bound to, if that is one that this node has.

use std::path::{Component, Path, PathBuf};

use api::storage::s3::{Credentials, Location};
use api::{kinds, storage};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{CSIPersistentVolumeSource, PersistentVolume, PersistentVolumeClaim, Pod};

use super::host_path::HostType;
use super::{Content, Remote, unsupported};
use crate::environment::{Surroundings, secret};

/// Why a claim cannot be mounted.
pub(super) struct NotClaimed {
    pub(super) message: String,
    /// Whether it never can, here.
    pub(super) unsupported: bool,
}

/// What the volume of a claim holds.
pub(super) fn content(
    pod: &Pod,
    name: &str,
    read_only: bool,
    around: &Surroundings<'_>,
) -> Result<Content, NotClaimed> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let key = kinds::PERSISTENT_VOLUME_CLAIM.key(namespace, name);
    let claim = around.view.get(&key).and_then(|claim| claim.decode::<PersistentVolumeClaim>().ok());
    let claim = claim.ok_or_else(|| waits(format!("persistentvolumeclaim \"{name}\" not found")))?;
    let failed = |why: String| waits(format!("error processing PVC {namespace}/{name}: {why}"));
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    let Some(volume_name) = storage::volume_of(&claim).filter(|_| phase == Some("Bound")) else {
        return Err(failed("PVC is not bound".into()));
    };
    let volume = around.view.get(&kinds::PERSISTENT_VOLUME.cluster_key(volume_name));
    if volume.is_some_and(storage::is_unfilled) {
        return Err(failed(format!("PV \"{volume_name}\" is not filled yet")));
    }
    let volume = volume.and_then(|volume| volume.decode::<PersistentVolume>().ok());
    let volume = volume.ok_or_else(|| failed(format!("persistentvolume \"{volume_name}\" not found")))?;
    if !storage::is_kept_for(&volume, &claim) {
        return Err(failed(format!("PV \"{volume_name}\" is not bound to this PVC")));
    }
    let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref());
    if storage::is_only(modes, storage::ONE_POD) && is_used_before(pod, name, around) {
        let why = "volume uses the ReadWriteOncePod access mode and is already in use by another pod";
        return Err(failed(why.into()));
    }
    let read_only = read_only || storage::is_only(modes, storage::READ_ONLY);
    if let Some(source) = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref()).filter(|it| it.driver == storage::S3)
    {
        if let Some(why) = storage::unsuited(storage::S3, modes) {
            return Err(never(failed(why).message));
        }
        if storage::is_for_one_node(&volume, &claim)
            && let Some(other) = user_elsewhere(pod, name, around)
        {
            let why = format!("Multi-Attach error for volume \"{volume_name}\" Volume is already used by pod {other}");
            return Err(waits(why));
        }
        return remote(volume_name, source, storage::capacity(&volume).value(), read_only, around).map(Content::Remote);
    }
    of_volume(pod, &volume, read_only)
}

/// What a volume that nobody uses any more has in a store.
pub(super) fn remote_of(volume: &PersistentVolume, around: &Surroundings<'_>) -> Result<Remote, String> {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let source = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref());
    let source = source.ok_or_else(|| "the volume says nothing".to_owned())?;
    remote(name, source, 0, false, around).map_err(|why| why.message)
}

/// What a volume has in a store, with what lets this node in.
fn remote(
    name: &str,
    source: &CSIPersistentVolumeSource,
    capacity: i64,
    read_only: bool,
    around: &Surroundings<'_>,
) -> Result<Remote, NotClaimed> {
    let place = Location::of(source).map_err(|why| never(format!("spec.csi.volumeAttributes.{why}")))?;
    let word = |word: &Option<String>| word.clone().unwrap_or_default();
    let credentials = match &source.node_stage_secret_ref {
        None => None,
        Some(named) => {
            let secret = secret(around.view, &word(&named.namespace), &word(&named.name), None);
            let secret = secret.map_err(|blocked| waits(blocked.message))?;
            secret.map(|secret| Credentials::of(&secret)).transpose().map_err(waits)?
        }
    };
    let bytes_max = u64::try_from(capacity).unwrap_or(0);
    let read_only = read_only || source.read_only == Some(true);
    Ok(Remote { volume: name.to_owned(), place, credentials, bytes_max, read_only })
}

/// A pod of another node that has the claim: one that runs, or was there before.
fn user_elsewhere(pod: &Pod, name: &str, around: &Surroundings<'_>) -> Option<String> {
    let here = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let others = around.view.list_in(kinds::POD, namespace).filter_map(|other| other.decode::<Pod>().ok());
    let mut users = others.filter(|other| {
        let phase = other.status.as_ref().and_then(|status| status.phase.as_deref());
        let node = other.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|node| !node.is_empty());
        node.is_some() && node != here && uses(other, name) && (phase == Some("Running") || age(other) < age(pod))
    });
    users.next().and_then(|other| other.metadata.name.clone())
}

fn waits(message: String) -> NotClaimed {
    NotClaimed { message, unsupported: false }
}

fn never(message: String) -> NotClaimed {
    NotClaimed { message, unsupported: true }
}

fn of_volume(pod: &Pod, volume: &PersistentVolume, read_only: bool) -> Result<Content, NotClaimed> {
    let Some(spec) = &volume.spec else { return Err(never("the volume says nothing".into())) };
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err(never(format!("PV \"{name}\" has volumeMode Block: guests are given directories and files")));
    }
    if let Some(source) = &spec.host_path {
        let kind = HostType::named(source.type_.as_deref()).map_err(|not| never(not.to_string()))?;
        return Ok(Content::Host { path: PathBuf::from(&source.path), kind, read_only });
    }
    if let Some(source) = &spec.local {
        return Ok(Content::Host { path: PathBuf::from(&source.path), kind: HostType::Directory, read_only });
    }
    if let Some(source) = spec.csi.as_ref().filter(|source| source.driver == storage::LOCAL_PATH) {
        let home = volume.metadata.labels.as_ref().and_then(|labels| labels.get(storage::NODE_LABEL));
        let here = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
        if home.is_some() && home != here {
            return Err(waits("MountVolume.NodeAffinity check failed: no matching NodeSelectorTerms".into()));
        }
        let directory = directory(&source.volume_handle)
            .ok_or_else(|| never(format!("\"{}\" is not the name of a directory", source.volume_handle)))?;
        let bytes_max = u64::try_from(storage::capacity(volume).value()).unwrap_or(0);
        return Ok(Content::Local { directory, bytes_max, read_only: read_only || source.read_only == Some(true) });
    }
    let members = serde_json::to_value(spec).unwrap_or_default();
    let is_source = |name: &&String| super::is_source(name);
    let kind = members.as_object().and_then(|members| members.keys().find(is_source).cloned());
    Err(never(unsupported(&kind.unwrap_or_else(|| "unknown".into()))))
}

/// A handle as the name of a directory beside others of its kind.
pub(crate) fn directory(handle: &str) -> Option<PathBuf> {
    let mut parts = Path::new(handle).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) if name == handle => Some(PathBuf::from(name)),
        _ => None,
    }
}

/// Whether another pod of this node has used the claim for longer.
fn is_used_before(pod: &Pod, name: &str, around: &Surroundings<'_>) -> bool {
    let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) else { return false };
    around.view.pods_on(node).filter_map(|other| other.decode::<Pod>().ok()).any(|other| {
        other.metadata.namespace == pod.metadata.namespace
            && other.metadata.uid != pod.metadata.uid
            && uses(&other, name)
            && age(&other) < age(pod)
    })
}

/// Whether a pod has the claim and has not ended.
fn uses(pod: &Pod, claim: &str) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed")) && storage::claim_names(pod).any(|used| used == claim)
}

/// What pods are ordered by: no two are of one age.
fn age(pod: &Pod) -> (Option<Timestamp>, Option<String>) {
    (pod.metadata.creation_timestamp.as_ref().map(|time| time.0), pod.metadata.uid.clone())
}
