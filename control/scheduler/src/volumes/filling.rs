//! What a claim can be filled from, and on which node that lies: a snapshot's archive, or the volume of another claim.
//!
//! Asked by those who place pods and by those who make volumes, so that nobody is sent where nothing can be made. Nothing is made
//! here. Whoever makes a volume of it guards what was looked at.

use api::quantity::Quantity;
use api::snapshots::{GROUP, Handle, Origin, Source, VolumeSnapshot, VolumeSnapshotContent, restored_from, source_of};
use api::{Key, kinds, storage};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use state::{Guard, Snapshot};

/// Something that a claim can be filled from.
#[derive(Clone, Debug)]
pub struct Filling {
    /// The node on which it lies.
    pub node: String,
    /// What it is.
    pub origin: Origin,
    /// What has to be as it was for that to be true.
    pub guards: Vec<Guard>,
}

/// What the claim of this key can be filled from, if it is to be filled at all; or why that cannot be, at least not yet.
pub fn filling(view: &Snapshot, key: &Key, claim: &PersistentVolumeClaim) -> Option<Result<Filling, String>> {
    // It had what it was to be filled from, and more; a backup of that is brought to any node.
    if restored_from(claim).is_some() {
        return None;
    }
    let (kind, name, found) = match source_of(claim)? {
        Source::Snapshot(name) => ("VolumeSnapshot", name, of_snapshot(view, key, claim, name)),
        Source::Claim(name) => ("PersistentVolumeClaim", name, of_claim(view, key, claim, name)),
    };
    let failed = |why| format!("error getting handle for DataSource Type {kind} by Name {name}: {why}");
    Some(found.map_err(failed))
}

/// Where the data of a snapshot is, if a volume can be made from it.
fn of_snapshot(view: &Snapshot, key: &Key, claim: &PersistentVolumeClaim, name: &str) -> Result<Filling, String> {
    let object = view.get(&key.sibling(kinds::VOLUME_SNAPSHOT, name));
    let object = object.ok_or_else(|| format!("volumesnapshots.{GROUP} \"{name}\" not found"))?;
    let snapshot = object.decode::<VolumeSnapshot>().map_err(|error| error.to_string())?;
    if object.meta().is_terminating() {
        return Err(format!("snapshot {name} is currently being deleted"));
    }
    let not_ready = || format!("snapshot {name} is not Ready");
    let kept = snapshot.content().filter(|_| snapshot.is_ready()).ok_or_else(not_ready)?;
    let kept_object = view.get(&kinds::VOLUME_SNAPSHOT_CONTENT.cluster_key(kept)).ok_or_else(not_ready)?;
    let content = kept_object.decode::<VolumeSnapshotContent>().map_err(|error| error.to_string())?;
    let is_its = content.spec.volume_snapshot_ref.uid.as_deref() == Some(&*object.meta().uid);
    let home = kept_object.meta().labels.get(storage::NODE_LABEL);
    // A node speaks for what lies on it, and for nothing else.
    let handle = content.handle().and_then(|handle| handle.parse::<Handle>().ok());
    let handle = handle.filter(|handle| is_its && home == Some(&handle.node)).ok_or_else(not_ready)?;
    let needed = snapshot.status.as_ref().and_then(|status| status.restore_size.as_ref()).map(Quantity::of);
    holds(claim, needed.unwrap_or_default(), &format!("the size {} of the snapshot", needed.unwrap_or_default()))?;
    let guards = [object, kept_object].map(|it| Guard::Unchanged(it.key().clone(), it.revision())).to_vec();
    Ok(Filling { node: handle.node.clone(), origin: Origin::Archive(handle), guards })
}

/// Where the volume of another claim is.
fn of_claim(view: &Snapshot, key: &Key, claim: &PersistentVolumeClaim, name: &str) -> Result<Filling, String> {
    if key.name() == name {
        return Err("a claim cannot be filled from itself".into());
    }
    let object = view.get(&key.sibling(kinds::PERSISTENT_VOLUME_CLAIM, name));
    let object = object.ok_or_else(|| format!("persistentvolumeclaim \"{name}\" not found"))?;
    let source = object.decode::<PersistentVolumeClaim>().map_err(|error| error.to_string())?;
    if object.meta().is_terminating() {
        return Err(format!("the source PVC {name} is currently being deleted"));
    }
    let volume = storage::volume_of(&source).filter(|_| storage::is_bound(&source));
    let volume = volume.and_then(|volume| view.get(&kinds::PERSISTENT_VOLUME.cluster_key(volume)));
    let volume = volume.ok_or_else(|| format!("the PVC {name} is not yet bound to a PV"))?;
    let typed = volume.decode::<PersistentVolume>().map_err(|error| error.to_string())?;
    let local = typed.spec.as_ref().and_then(|spec| spec.csi.as_ref());
    let local = local.filter(|source| source.driver == storage::LOCAL_PATH);
    let home = volume.meta().labels.get(storage::NODE_LABEL);
    let (Some(local), Some(home)) = (local, home) else {
        let name = volume.key().name();
        return Err(format!("volume {name} is not one of {}, of which copies are made", storage::LOCAL_PATH));
    };
    let needed = storage::capacity(&typed);
    holds(claim, needed, &format!("the size {needed} for the source PVC"))?;
    let guards = [object, volume].map(|it| Guard::Unchanged(it.key().clone(), it.revision())).to_vec();
    Ok(Filling { node: home.clone(), origin: Origin::Volume(local.volume_handle.clone()), guards })
}

fn holds(claim: &PersistentVolumeClaim, needed: Quantity, what: &str) -> Result<(), String> {
    let wanted = storage::wanted(claim);
    if needed <= wanted { Ok(()) } else { Err(format!("requested volume size {wanted} is less than {what}")) }
}
