//! How a snapshot comes by what holds its data: something that is there already, or something new, made of a claim.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::snapshots::{
    self, VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent, VolumeSnapshotContentSource,
    VolumeSnapshotContentSpec, VolumeSnapshotStatus,
};
use api::{Object, kinds, storage};
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use state::{Guard, Txn};

use super::{Case, NotYet, told};
use crate::created::created;
use crate::edit::replaced;
use crate::record::Tone;

impl Case<'_> {
    /// Looks for what holds the data, or has it made.
    pub(super) fn seek(self) -> Txn {
        let source = &self.snapshot.spec.source;
        let bound = match (&source.volume_snapshot_content_name, &source.persistent_volume_claim_name) {
            (Some(name), _) => self.found(name),
            (None, Some(claim)) => self.made(claim),
            (None, None) => return Txn::default(),
        };
        bound.unwrap_or_else(|why| self.not_yet(&why))
    }

    /// Something that is there already.
    fn found(self, name: &str) -> Result<Txn, NotYet> {
        let missing = |message: String| NotYet { reason: "SnapshotContentMissing", message };
        let (object, content) =
            self.content(name).ok_or_else(|| missing(format!("VolumeSnapshotContent {name} is missing")))?;
        if object.meta().is_terminating() {
            return Err(missing(format!("VolumeSnapshotContent {name} is being deleted")));
        }
        let (key, named) = (self.object.key(), &content.spec.volume_snapshot_ref);
        let uid = named.uid.as_deref().unwrap_or_default();
        let is_ours = named.name.as_deref() == Some(key.name())
            && named.namespace.as_deref() == Some(key.namespace())
            && (uid.is_empty() || *uid == *self.object.meta().uid);
        if !is_ours {
            let message = format!("VolumeSnapshotContent {name} is bound to another VolumeSnapshot");
            return Err(NotYet { reason: "SnapshotContentMisbound", message });
        }
        let noted = replaced::<VolumeSnapshotContent>(object, |content| {
            content.spec.volume_snapshot_ref.uid = Some(self.object.meta().uid.to_string());
            content.metadata.annotations.as_mut().map(|noted| noted.remove(snapshots::ABANDONED));
        });
        let there = Guard::Unchanged(object.key().clone(), object.revision());
        Ok(noted.guard(there).and(self.bound_to(name, &content)))
    }

    /// Something new, of a claim.
    fn made(self, claim: &str) -> Result<Txn, NotYet> {
        let failed = |why: String| NotYet {
            reason: "SnapshotContentCreationFailed",
            message: format!("Failed to create snapshot content with error {why}"),
        };
        // Made before, and the snapshot has forgotten it.
        let name = format!("snapcontent-{}", self.object.meta().uid);
        if let Some((object, content)) = self.content(&name) {
            let is_ours = content.spec.volume_snapshot_ref == self.reference() && !object.meta().is_terminating();
            let taken = || failed(format!("VolumeSnapshotContent {name} is there and is of something else"));
            return if is_ours { Ok(self.bound_to(&name, &content)) } else { Err(taken()) };
        }
        let key = self.object.key().sibling(kinds::PERSISTENT_VOLUME_CLAIM, claim);
        let object = self.view.get(&key);
        let object = object.ok_or_else(|| failed(format!("persistentvolumeclaim \"{claim}\" not found")))?;
        if object.meta().is_terminating() {
            return Err(failed(format!("the PVC {claim} is being deleted")));
        }
        let bound = object.decode::<PersistentVolumeClaim>().ok().filter(|claim| storage::is_bound(claim));
        let volume = bound.and_then(|claim| {
            let volume = self.view.get(&kinds::PERSISTENT_VOLUME.cluster_key(storage::volume_of(&claim)?))?;
            Some((volume, volume.decode::<PersistentVolume>().ok()?))
        });
        let (volume_object, volume) =
            volume.ok_or_else(|| failed(format!("the PVC {claim} is not yet bound to a PV")))?;
        let source = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref());
        let home = volume_object.meta().labels.get(storage::NODE_LABEL);
        let (Some(source), Some(home)) = (source.filter(|source| source.driver == storage::LOCAL_PATH), home) else {
            let name = volume_object.key().name();
            let driver = storage::LOCAL_PATH;
            return Err(failed(format!("volume {name} is not one of {driver}, of which snapshots are made")));
        };
        let class = self.class(&source.driver).map_err(failed)?;
        let wanted = VolumeSnapshotContent {
            api_version: snapshots::VERSION.into(),
            kind: kinds::VOLUME_SNAPSHOT_CONTENT.kind.into(),
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(BTreeMap::from([(storage::NODE_LABEL.into(), home.clone())])),
                finalizers: Some(vec![snapshots::CONTENT_PROTECTION.into()]),
                ..ObjectMeta::default()
            },
            spec: VolumeSnapshotContentSpec {
                volume_snapshot_ref: self.reference(),
                deletion_policy: class.deletion_policy.clone(),
                driver: source.driver.clone(),
                volume_snapshot_class_name: class.metadata.name.clone(),
                source: VolumeSnapshotContentSource {
                    volume_handle: Some(source.volume_handle.clone()),
                    snapshot_handle: None,
                },
                source_volume_mode: volume.spec.as_ref().and_then(|spec| spec.volume_mode.clone()),
            },
            ..VolumeSnapshotContent::default()
        };
        let content = created(kinds::VOLUME_SNAPSHOT_CONTENT, &wanted, self.look).map_err(failed)?;
        let message = format!("Waiting for a snapshot {} to be created by the CSI driver.", self.full_name());
        let tale = self.tell(Tone::Normal, "CreatingSnapshot", &message);
        let claim = Guard::Unchanged(object.key().clone(), object.revision());
        let volume = Guard::Unchanged(volume_object.key().clone(), volume_object.revision());
        Ok(Txn::create(content).guard(claim).guard(volume).and(self.bound_to(&name, &wanted)).and(tale))
    }

    /// What names the snapshot in what it has.
    fn reference(self) -> ObjectReference {
        ObjectReference {
            api_version: Some(snapshots::VERSION.into()),
            kind: Some(kinds::VOLUME_SNAPSHOT.kind.into()),
            namespace: Some(self.object.key().namespace().into()),
            name: Some(self.object.key().name().into()),
            uid: Some(self.object.meta().uid.to_string()),
            ..ObjectReference::default()
        }
    }

    /// The class that the snapshot names, or the default one of the driver.
    fn class(self, driver: &str) -> Result<Arc<VolumeSnapshotClass>, String> {
        let class = match &self.snapshot.spec.volume_snapshot_class_name {
            Some(name) => {
                let object = self.view.get(&kinds::VOLUME_SNAPSHOT_CLASS.cluster_key(name));
                let class = object.and_then(|object| object.decode::<VolumeSnapshotClass>().ok());
                class.ok_or_else(|| format!("volumesnapshotclass.snapshot.storage.k8s.io \"{name}\" not found"))?
            }
            None => {
                let is_default = |object: &&Object| {
                    object.meta().annotations.get(snapshots::DEFAULT_CLASS).is_some_and(|is| is == "true")
                };
                let marked = self.view.list(kinds::VOLUME_SNAPSHOT_CLASS).filter(is_default);
                let classes = marked.filter_map(|object| object.decode::<VolumeSnapshotClass>().ok());
                let class = classes.min_by_key(|class| (class.driver != driver, class.metadata.name.clone()));
                class.filter(|class| class.driver == driver).ok_or("cannot find default snapshot class")?
            }
        };
        if class.driver != driver {
            let name = class.metadata.name.clone().unwrap_or_default();
            return Err(format!("snapshot class {name} is of the driver {}, and the volume of {driver}", class.driver));
        }
        Ok(class)
    }

    /// Has it from now on.
    fn bound_to(self, name: &str, content: &VolumeSnapshotContent) -> Txn {
        replaced::<VolumeSnapshot>(self.object, |snapshot| {
            snapshot.spec.volume_snapshot_class_name = snapshot
                .spec
                .volume_snapshot_class_name
                .take()
                .or_else(|| content.spec.volume_snapshot_class_name.clone());
            let held = snapshot.metadata.finalizers.get_or_insert_default();
            if !held.iter().any(|one| one == snapshots::BOUND_PROTECTION) {
                held.push(snapshots::BOUND_PROTECTION.into());
            }
            snapshot.status = Some(VolumeSnapshotStatus {
                bound_volume_snapshot_content_name: Some(name.to_owned()),
                ..told(content)
            });
        })
    }
}
