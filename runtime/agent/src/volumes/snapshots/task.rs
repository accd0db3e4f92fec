//! What is to be done for snapshots on a node: a pure function of a snapshot of the world.

use std::collections::BTreeMap;
use std::path::PathBuf;

use api::snapshots::{ABANDONED, CONTENT_PROTECTION, Handle, Origin, VolumeSnapshotContent};
use api::{Key, Object, kinds, storage};
use k8s_openapi::api::core::v1::PersistentVolume;
use state::Snapshot;

use crate::volumes::archive::Room;
use crate::volumes::claims::directory;

/// Something to be done on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// An archive is to be made of a volume, if that is there.
    Take { content: Key, volume: Option<PathBuf> },
    /// An archive is said to be there already.
    Find { content: Key, handle: Handle },
    /// An archive is to go, or to be left alone.
    Drop { content: Key, archive: Option<String>, finalizers: Vec<String> },
    /// A volume is to be made.
    Fill { volume: Key, directory: PathBuf, origin: Option<Origin>, room: Room, finalizers: Vec<String> },
    /// A volume that was to be made is not wanted any more.
    Abandon { volume: Key, directory: PathBuf, finalizers: Vec<String> },
}

/// All that is to be done, by the uid of what it is about.
pub(super) fn tasks(view: &Snapshot, node: &str) -> BTreeMap<String, Task> {
    let is_here = |object: &&Object| object.meta().labels.get(storage::NODE_LABEL).is_some_and(|home| home == node);
    let contents = view.list(kinds::VOLUME_SNAPSHOT_CONTENT).filter(is_here);
    let contents = contents.filter_map(|object| Some((object, of_content(object, view, node)?)));
    let volumes = view.list(kinds::PERSISTENT_VOLUME).filter(is_here);
    let volumes = volumes.filter_map(|object| Some((object, of_volume(object)?)));
    contents.chain(volumes).map(|(object, task)| (object.meta().uid.to_string(), task)).collect()
}

fn of_content(object: &Object, view: &Snapshot, node: &str) -> Option<Task> {
    let content = object.decode::<VolumeSnapshotContent>().ok()?;
    let (key, source) = (object.key().clone(), &content.spec.source);
    let named = source.snapshot_handle.as_deref().and_then(|handle| handle.parse::<Handle>().ok());
    if object.meta().is_terminating() {
        let has_owner = content.spec.volume_snapshot_ref.uid.as_deref().is_some_and(|uid| !uid.is_empty());
        if !has(object, CONTENT_PROTECTION) || (has_owner && !object.meta().annotations.contains_key(ABANDONED)) {
            return None;
        }
        let goes = content.spec.deletion_policy == "Delete" && content.spec.driver == storage::LOCAL_PATH;
        let archive = match named {
            Some(handle) => (handle.node == node).then_some(handle.name),
            // What was made of a volume has its name, also where that was not told yet.
            None => source.volume_handle.is_some().then(|| key.name().to_owned()),
        };
        let finalizers = without(object, CONTENT_PROTECTION);
        return Some(Task::Drop { content: key, archive: archive.filter(|_| goes), finalizers });
    }
    if content.handle().is_some() || content.spec.driver != storage::LOCAL_PATH {
        return None;
    }
    match (named, &source.volume_handle) {
        (Some(handle), _) => Some(Task::Find { content: key, handle }),
        (None, Some(handle)) => {
            let volume = volume_of(view, node, handle).and_then(|_| directory(handle));
            Some(Task::Take { content: key, volume })
        }
        (None, None) => None,
    }
}

/// The volume of this node that the driver calls so, which is there to stay and has its data.
fn volume_of<'a>(view: &'a Snapshot, node: &str, handle: &str) -> Option<&'a Object> {
    view.list(kinds::PERSISTENT_VOLUME).find(|object| {
        let is_it = object.decode::<PersistentVolume>().is_ok_and(|volume| {
            let source = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref());
            source.is_some_and(|source| source.driver == storage::LOCAL_PATH && source.volume_handle == handle)
        });
        let is_here = object.meta().labels.get(storage::NODE_LABEL).is_some_and(|home| home == node);
        is_it && is_here && !storage::is_unfilled(object)
    })
}

fn of_volume(object: &Object) -> Option<Task> {
    let volume = object.decode::<PersistentVolume>().ok()?;
    let (meta, key) = (object.meta(), object.key().clone());
    if !storage::is_unfilled(object) {
        return None;
    }
    let finalizers = without(object, storage::UNFILLED);
    let local = volume.spec.as_ref()?.csi.as_ref().filter(|source| source.driver == storage::LOCAL_PATH)?;
    let directory = directory(&local.volume_handle)?;
    if meta.is_terminating() {
        let is_held = has(object, storage::VOLUME_PROTECTION);
        return (!is_held).then_some(Task::Abandon { volume: key, directory, finalizers });
    }
    let origin = meta.annotations.get(storage::FILLED_FROM).and_then(|from| from.parse().ok());
    // A server that has it brings it.
    if matches!(origin, Some(Origin::Backup(_))) {
        return None;
    }
    let room = Room::of(u64::try_from(storage::capacity(&volume).value()).unwrap_or(0));
    Some(Task::Fill { volume: key, directory, origin, room, finalizers })
}

pub(super) fn without(object: &Object, finalizer: &str) -> Vec<String> {
    object.meta().finalizers.iter().filter(|one| *one != finalizer).cloned().collect()
}

fn has(object: &Object, finalizer: &str) -> bool {
    object.meta().finalizers.iter().any(|one| one == finalizer)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fixture::{object, world};

    const HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

    fn content(edit: impl FnOnce(&mut Value)) -> Object {
        let mut value = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
            "metadata": {"name": "c", "uid": "c", "labels": {storage::NODE_LABEL: "n1"}, "finalizers": [CONTENT_PROTECTION]},
            "spec": {"driver": storage::LOCAL_PATH, "deletionPolicy": "Delete", "source": {"volumeHandle": "v"},
                "volumeSnapshotRef": {"namespace": "shop", "name": "s", "uid": "s"}}});
        edit(&mut value);
        object(&value.to_string())
    }

    fn volume(edit: impl FnOnce(&mut Value)) -> Object {
        let mut value = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v", "uid": "v",
            "labels": {storage::NODE_LABEL: "n1"}, "annotations": {}, "finalizers": [storage::LOCAL_PATH]},
            "spec": {"capacity": {"storage": "1Mi"}, "csi": {"driver": storage::LOCAL_PATH, "volumeHandle": "v"}}});
        edit(&mut value);
        object(&value.to_string())
    }

    /// A task in a few words.
    fn told(task: &Task) -> String {
        match task {
            Task::Take { content, volume } => format!("take {} of {volume:?}", content.name()),
            Task::Find { content, handle } => format!("find {} at {}/{}", content.name(), handle.node, handle.name),
            Task::Drop { content, archive, finalizers } => {
                format!("drop {} {archive:?} {finalizers:?}", content.name())
            }
            Task::Fill { volume, origin, room, finalizers, .. } => {
                let origin = origin.as_ref().map(ToString::to_string).unwrap_or_default();
                format!("fill {} {} from {origin} {finalizers:?}", volume.name(), room.bytes_max)
            }
            Task::Abandon { volume, finalizers, .. } => format!("abandon {} {finalizers:?}", volume.name()),
        }
    }

    fn check(objects: &[Object], expected: &[&str]) {
        let tasks = tasks(&world(objects.iter().cloned()), "n1");
        assert_eq!(tasks.values().map(told).collect::<Vec<_>>(), expected);
    }

    fn gone(value: &mut Value) {
        value["metadata"]["deletionTimestamp"] = "2026-11-21T11:00:00Z".into();
    }

    #[test]
    fn an_archive_is_made_of_a_volume_that_is_here() {
        check(&[content(|_| {}), volume(|_| {})], &[r#"take c of Some("v")"#]);
        check(&[content(|it| it["metadata"]["labels"][storage::NODE_LABEL] = "n2".into()), volume(|_| {})], &[]);
        check(&[content(|it| it["spec"]["driver"] = "x".into()), volume(|_| {})], &[]);
        check(&[content(|it| it["status"] = json!({"snapshotHandle": "h"})), volume(|_| {})], &[]);
        // What is elsewhere, gone or half filled is not taken for an empty one.
        check(&[content(|_| {})], &["take c of None"]);
        let elsewhere = volume(|it| it["metadata"]["labels"][storage::NODE_LABEL] = "n2".into());
        check(&[content(|_| {}), elsewhere], &["take c of None"]);
        let unfilled = volume(|it| it["metadata"]["finalizers"] = json!([storage::UNFILLED]));
        check(&[content(|_| {}), unfilled], &["take c of None", "fill v 1048576 from  []"]);
        let out = content(|it| it["spec"]["source"]["volumeHandle"] = "../v".into());
        check(&[out, volume(|it| it["spec"]["csi"]["volumeHandle"] = "../v".into())], &["take c of None"]);
    }

    #[test]
    fn an_archive_goes_when_no_snapshot_has_it() {
        let gone = |edit: &dyn Fn(&mut Value)| {
            content(|it| {
                gone(it);
                edit(it);
            })
        };
        let mark = |it: &mut Value| it["metadata"]["annotations"] = json!({ABANDONED: "yes"});
        check(&[gone(&|_| {})], &[]);
        check(&[gone(&mark)], &[r#"drop c Some("c") []"#]);
        let kept = |it: &mut Value| {
            mark(it);
            it["spec"]["deletionPolicy"] = "Retain".into();
        };
        check(&[gone(&kept)], &["drop c None []"]);
        let named = |node: &'static str| {
            move |it: &mut Value| {
                it["spec"]["volumeSnapshotRef"]["uid"] = Value::Null;
                it["spec"]["source"] = json!({"snapshotHandle": format!("{node}/old@sha256:{HASH}")});
            }
        };
        check(&[content(named("n1"))], &["find c at n1/old"]);
        check(&[gone(&named("n1"))], &[r#"drop c Some("old") []"#]);
        check(&[gone(&named("n2"))], &["drop c None []"]);
        let seen = |it: &mut Value| {
            mark(it);
            it["metadata"]["finalizers"] = json!(["mine/own"]);
        };
        check(&[gone(&seen)], &[]);
    }

    #[test]
    fn a_volume_is_filled_or_abandoned() {
        let unfilled = |edit: &dyn Fn(&mut Value)| {
            volume(|it| {
                it["metadata"]["finalizers"] = json!([storage::LOCAL_PATH, storage::UNFILLED]);
                it["metadata"]["annotations"] = json!({storage::FILLED_FROM: "volume:w"});
                edit(it);
            })
        };
        check(&[unfilled(&|_| {})], &[r#"fill v 1048576 from volume:w ["coracle.dev/local-path"]"#]);
        check(&[unfilled(&gone)], &[r#"abandon v ["coracle.dev/local-path"]"#]);
        let held = |it: &mut Value| {
            gone(it);
            it["metadata"]["finalizers"] = json!([storage::UNFILLED, storage::VOLUME_PROTECTION]);
        };
        check(&[unfilled(&held)], &[]);
        check(&[unfilled(&|it| it["metadata"]["labels"] = json!({}))], &[]);
        // What a backup held is brought; where nobody wants it any more, that is for the node to see to.
        let backup = |it: &mut Value| {
            it["metadata"]["annotations"] = json!({storage::FILLED_FROM: format!("backup:w@sha256:{HASH}")});
        };
        check(&[unfilled(&backup)], &[]);
        let backup_gone = |it: &mut Value| {
            backup(it);
            gone(it);
        };
        check(&[unfilled(&backup_gone)], &[r#"abandon v ["coracle.dev/local-path"]"#]);
    }
}
