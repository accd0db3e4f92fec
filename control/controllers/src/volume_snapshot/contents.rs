//! What holds the data of snapshots: whose it is, and what becomes of it when nobody's.
//!
//! Something that is there already is brought to its node's notice by a label, as its handle says. What a snapshot had is deleted
//! with it or left alone, as it says itself; either way it is marked, and only what is marked is seen to by its node when it is
//! deleted: until then the snapshot keeps it.

use api::snapshots::{
    ABANDONED, CONTENT_PROTECTION, Handle, VolumeSnapshotContent, VolumeSnapshotContentStatus, VolumeSnapshotError,
};
use api::{Object, kinds, storage};
use serde_json::Value;
use state::{Guard, Snapshot, Txn};

use super::whose;
use crate::Look;
use crate::deletion::{Propagation, delete, without_finalizer};
use crate::edit::{edited_tree, replaced};

/// What is to be done about it now.
pub(super) fn look(object: &Object, view: &Snapshot, look: Look<'_>) -> Txn {
    let Ok(content) = object.decode::<VolumeSnapshotContent>() else { return Txn::default() };
    let is_held = object.meta().finalizers.iter().any(|one| one == CONTENT_PROTECTION);
    let ends = object.meta().is_terminating();
    match () {
        () if ends && !is_held => Txn::default(),
        () if ends && is_nobodys(object, &content) => gone_with_its_node(object, view),
        () if is_orphan(object, &content, view) => abandoned(object, &content, look),
        () if ends => Txn::default(),
        () if content.spec.driver == storage::LOCAL_PATH && content.spec.source.snapshot_handle.is_some() => {
            noticed(object, &content, look)
        }
        () => Txn::default(),
    }
}

/// Whether the snapshot that had it is on its way out.
pub(super) fn is_abandoned(object: &Object) -> bool {
    object.meta().annotations.contains_key(ABANDONED)
}

/// Whether no snapshot has it.
fn is_nobodys(object: &Object, content: &VolumeSnapshotContent) -> bool {
    is_abandoned(object) || content.spec.volume_snapshot_ref.uid.as_deref().is_none_or(str::is_empty)
}

/// Whether the snapshot that had it is gone, and it does not say so yet.
fn is_orphan(object: &Object, content: &VolumeSnapshotContent, view: &Snapshot) -> bool {
    let uid = content.spec.volume_snapshot_ref.uid.as_deref().filter(|uid| !uid.is_empty());
    let owner = whose(object).and_then(|key| view.get(&key));
    uid.is_some_and(|uid| owner.is_none_or(|owner| *owner.meta().uid != *uid)) && !is_abandoned(object)
}

/// Marks it, and deletes it where it is to go with its snapshot.
pub(super) fn abandoned(object: &Object, content: &VolumeSnapshotContent, look: Look<'_>) -> Txn {
    let marked = edited_tree(object, |value| {
        if !value["metadata"]["annotations"].is_object() {
            value["metadata"]["annotations"] = Value::Object(serde_json::Map::new());
        }
        value["metadata"]["annotations"][ABANDONED] = "yes".into();
    });
    let Some(marked) = marked.map(|marked| marked.at(object.revision())) else { return Txn::default() };
    let goes = content.spec.deletion_policy == "Delete" && !object.meta().is_terminating();
    let ended = if goes { delete(&marked, Propagation::Background, look.now) } else { Txn::default() };
    if ended.is_empty() { Txn::replace(object, marked) } else { ended }
}

/// With the node what lay there is gone.
fn gone_with_its_node(object: &Object, view: &Snapshot) -> Txn {
    let node = object.meta().labels.get(storage::NODE_LABEL).map(|node| kinds::NODE.cluster_key(node));
    match node {
        Some(node) if view.get(&node).is_some() => Txn::default(),
        Some(node) => without_finalizer(object, CONTENT_PROTECTION).guard(Guard::Absent(node)),
        None => without_finalizer(object, CONTENT_PROTECTION),
    }
}

/// Has its node look at what is there already.
fn noticed(object: &Object, content: &VolumeSnapshotContent, look: Look<'_>) -> Txn {
    let handle = content.spec.source.snapshot_handle.as_deref().unwrap_or_default();
    let Ok(Handle { node, .. }) = handle.parse::<Handle>() else {
        let message = format!("\"{handle}\" is no snapshot of {}", storage::LOCAL_PATH);
        return replaced::<VolumeSnapshotContent>(object, |content| {
            let status = content.status.get_or_insert_with(VolumeSnapshotContentStatus::default);
            status.ready_to_use = Some(false);
            let since = status.error.take().filter(|error| error.message.as_ref() == Some(&message));
            let error = || VolumeSnapshotError { time: Some(look.time()), message: Some(message.clone()) };
            status.error = Some(since.unwrap_or_else(error));
        });
    };
    replaced::<VolumeSnapshotContent>(object, |content| {
        content.metadata.labels.get_or_insert_default().insert(storage::NODE_LABEL.into(), node);
        let held = content.metadata.finalizers.get_or_insert_default();
        if !held.iter().any(|one| one == CONTENT_PROTECTION) {
            held.push(CONTENT_PROTECTION.into());
        }
    })
}
