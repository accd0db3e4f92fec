use api::snapshots::{ABANDONED, CONTENT_PROTECTION, DEFAULT_CLASS};
use serde_json::{Value, json};

use super::*;
use crate::notation::{check, object};

const HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const SHOW: [&str; 6] = [
    "/metadata/finalizers",
    "/metadata/deletionTimestamp",
    "/status/boundVolumeSnapshotContentName",
    "/status/readyToUse",
    "/status/restoreSize",
    "/status/error/message",
];
const HELD: &str = r#"["snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection","snapshot.storage.kubernetes.io/volumesnapshot-bound-protection"]"#;
const CONTENT_HELD: &str = r#"["snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection"]"#;

/// The snapshot `default/s` of the claim `data`, with `edit`.
fn snapshot(edit: impl FnOnce(&mut Value)) -> Object {
    let mut value = json!({"metadata": {"finalizers": [snapshots::SOURCE_PROTECTION]},
        "spec": {"source": {"persistentVolumeClaimName": "data"}}});
    edit(&mut value);
    object(kinds::VOLUME_SNAPSHOT, "default/s", value)
}

/// One that has the content `snapcontent-s`.
fn bound(value: &mut Value) {
    value["metadata"]["finalizers"] = json!([snapshots::SOURCE_PROTECTION, snapshots::BOUND_PROTECTION]);
    value["status"] = json!({"boundVolumeSnapshotContentName": "snapcontent-s", "readyToUse": false});
}

fn ends(value: &mut Value) {
    value["metadata"]["deletionTimestamp"] = "2026-11-21T11:00:00Z".into();
}

fn content(edit: impl FnOnce(&mut Value)) -> Object {
    let mut value = json!({"metadata": {"finalizers": [CONTENT_PROTECTION], "labels": {storage::NODE_LABEL: "n1"}},
        "spec": {"driver": storage::LOCAL_PATH, "deletionPolicy": "Delete", "source": {"volumeHandle": "v"},
            "volumeSnapshotRef": {"apiVersion": snapshots::VERSION, "kind": "VolumeSnapshot", "namespace": "default",
                "name": "s", "uid": "s"}}});
    edit(&mut value);
    object(kinds::VOLUME_SNAPSHOT_CONTENT, "snapcontent-s", value)
}

fn made(value: &mut Value) {
    let handle = format!("n1/snapcontent-s@sha256:{HASH}");
    value["status"] =
        json!({"snapshotHandle": handle, "restoreSize": 1_i64 << 20, "readyToUse": true, "creationTime": 0});
}

fn class(name: &str, is_default: bool, driver: &str) -> Object {
    let noted = json!({DEFAULT_CLASS: is_default.to_string()});
    let value = json!({"metadata": {"annotations": noted}, "driver": driver, "deletionPolicy": "Delete"});
    object(kinds::VOLUME_SNAPSHOT_CLASS, name, value)
}

fn claim(edit: impl FnOnce(&mut Value)) -> Object {
    let mut value = json!({"metadata": {"annotations": {storage::BIND_COMPLETED: "yes"}}, "spec": {"volumeName": "v"}});
    edit(&mut value);
    object(kinds::PERSISTENT_VOLUME_CLAIM, "default/data", value)
}

fn volume(driver: &str, edit: impl FnOnce(&mut Value)) -> Object {
    let mut value = json!({"metadata": {"labels": {storage::NODE_LABEL: "n1"}, "annotations": {}},
        "spec": {"csi": {"driver": driver, "volumeHandle": "v"}, "volumeMode": "Filesystem"}});
    edit(&mut value);
    object(kinds::PERSISTENT_VOLUME, "v", value)
}

fn local() -> Object {
    volume(storage::LOCAL_PATH, |_| {})
}

fn look(objects: &[Object], expected: &[&str]) -> Snapshot {
    check(&VolumeSnapshots, objects, &kinds::VOLUME_SNAPSHOT.key("default", "s"), &SHOW, expected)
}

fn look_at_content(objects: &[Object], expected: &[&str]) -> Snapshot {
    let key = kinds::VOLUME_SNAPSHOT_CONTENT.cluster_key("snapcontent-s");
    check(&VolumeSnapshots, objects, &key, &SHOW, expected)
}

#[test]
fn a_snapshot_gets_what_holds_its_data_once() {
    let classes = || [class("c", true, storage::LOCAL_PATH), class("other", true, "example.com/disk")];
    let world = || [snapshot(|_| {}), claim(|_| {}), local()].into_iter().chain(classes()).collect::<Vec<_>>();
    let view = look(
        &world(),
        &[
            &format!("+VolumeSnapshotContent snapcontent-s {CONTENT_HELD}"),
            "event CreatingSnapshot: Waiting for a snapshot default/s to be created by the CSI driver.",
            &format!(r#"~VolumeSnapshot s {HELD} "snapcontent-s" false"#),
        ],
    );
    let tree = |view: &Snapshot, key: &Key| view.get(key).expect("there").to_value().expect("JSON");
    let made = tree(&view, &kinds::VOLUME_SNAPSHOT_CONTENT.cluster_key("snapcontent-s"));
    assert_eq!(made["metadata"]["labels"], json!({storage::NODE_LABEL: "n1"}));
    assert_eq!(made["spec"]["source"], json!({"volumeHandle": "v"}));
    assert_eq!(made["spec"]["volumeSnapshotRef"]["uid"], "s");
    let key = kinds::VOLUME_SNAPSHOT.key("default", "s");
    assert_eq!(tree(&view, &key)["spec"]["volumeSnapshotClassName"], "c");
    let after: Vec<Object> = view.objects().filter(|it| it.key().kind() != kinds::NAMESPACE).cloned().collect();
    look(&after, &[]);
    // One that has forgotten what it has is told again.
    let again: Vec<Object> = world().into_iter().chain([content(|_| {})]).collect();
    look(&again, &[&format!(r#"~VolumeSnapshot s {HELD} "snapcontent-s" false"#)]);
    let bare = snapshot(|it| it["metadata"]["finalizers"] = json!([]));
    look(&[bare], &[r#"~VolumeSnapshot s ["snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection"]"#]);
}

#[test]
fn what_cannot_be_kept_is_told() {
    let refused = |objects: &[Object], why: &str| {
        let why = format!("Failed to create snapshot content with error {why}");
        let held = r#"["snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection"]"#;
        let told = format!("event SnapshotContentCreationFailed: {why}");
        let all: Vec<Object> = objects.iter().cloned().chain([snapshot(|_| {})]).collect();
        let view = look(&all, &[&told, &format!("~VolumeSnapshot s {held} false {why:?}")]);
        let after: Vec<Object> = view.objects().filter(|it| it.key().kind() != kinds::NAMESPACE).cloned().collect();
        look(&after, &[]);
    };
    let class = || class("c", true, storage::LOCAL_PATH);
    refused(&[class()], "persistentvolumeclaim \"data\" not found");
    refused(&[class(), claim(|it| it["spec"]["volumeName"] = Value::Null)], "the PVC data is not yet bound to a PV");
    refused(&[class(), claim(ends), local()], "the PVC data is being deleted");
    refused(&[claim(|_| {}), local()], "cannot find default snapshot class");
    let far = "volume v is not one of coracle.dev/local-path, of which snapshots are made";
    refused(&[class(), claim(|_| {}), volume(storage::S3, |_| {})], far);
    let named = |name: &str, expected: &str, objects: &[Object]| {
        let named = snapshot(|it| it["spec"]["volumeSnapshotClassName"] = name.into());
        let all: Vec<Object> = objects.iter().cloned().chain([named, claim(|_| {}), local()]).collect();
        let told = check(
            &VolumeSnapshots,
            &all,
            &kinds::VOLUME_SNAPSHOT.key("default", "s"),
            &[],
            &[
                &format!(
                    "event SnapshotContentCreationFailed: Failed to create snapshot content with error {expected}"
                ),
                "~VolumeSnapshot s",
            ],
        );
        assert!(told.list(kinds::VOLUME_SNAPSHOT_CONTENT).next().is_none());
    };
    named("no", "volumesnapshotclass.snapshot.storage.k8s.io \"no\" not found", &[]);
    let other = super::tests::class("no", false, "example.com/disk");
    named(
        "no",
        "snapshot class no is of the driver example.com/disk, and the volume of coracle.dev/local-path",
        &[other],
    );
}

#[test]
fn a_snapshot_says_what_its_node_said() {
    let ready = [
        "event SnapshotReady: Snapshot default/s is ready to use.",
        &format!(r#"~VolumeSnapshot s {HELD} "snapcontent-s" true "1Mi""#),
    ];
    look(&[snapshot(bound), content(made)], &ready);
    let failed = content(|it| it["status"] = json!({"readyToUse": false, "error": {"message": "no room"}}));
    let told = [
        "event SnapshotCreationFailed: no room",
        &format!(r#"~VolumeSnapshot s {HELD} "snapcontent-s" false "no room""#),
    ];
    look(&[snapshot(bound), failed], &told);
    let lost = [
        "event SnapshotContentMissing: VolumeSnapshotContent is missing",
        &format!(r#"~VolumeSnapshot s {HELD} "snapcontent-s" false "VolumeSnapshotContent is missing""#),
    ];
    look(&[snapshot(bound)], &lost);
}

#[test]
fn what_is_there_already_is_brought_to_its_node_and_then_to_its_snapshot() {
    let pre = |handle: &str| {
        let handle = handle.to_owned();
        content(move |it| {
            it["metadata"] = json!({});
            it["spec"]["source"] = json!({"snapshotHandle": handle});
            it["spec"]["volumeSnapshotRef"]["uid"] = Value::Null;
        })
    };
    let handle = format!("n1/old@sha256:{HASH}");
    let noticed = format!("~VolumeSnapshotContent snapcontent-s {CONTENT_HELD}");
    let view = look_at_content(&[pre(&handle)], &[&noticed]);
    let content = view.get(&kinds::VOLUME_SNAPSHOT_CONTENT.cluster_key("snapcontent-s")).expect("there");
    assert_eq!(content.meta().labels[storage::NODE_LABEL], "n1");
    look_at_content(std::slice::from_ref(content), &[]);
    let none = "~VolumeSnapshotContent snapcontent-s false \"\\\"x\\\" is no snapshot of coracle.dev/local-path\"";
    look_at_content(&[pre("x")], &[none]);

    let of_it = |it: &mut Value| it["spec"]["source"] = json!({"volumeSnapshotContentName": "snapcontent-s"});
    let told =
        [format!("~VolumeSnapshot s {HELD} \"snapcontent-s\" false"), "~VolumeSnapshotContent snapcontent-s".into()];
    look(&[snapshot(of_it), pre(&handle)], &told.each_ref().map(String::as_str));
    let other = |it: &mut Value| it["spec"]["volumeSnapshotRef"]["name"] = "t".into();
    let misbound = "VolumeSnapshotContent snapcontent-s is bound to another VolumeSnapshot";
    let source = r#"["snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection"]"#;
    look(
        &[snapshot(of_it), super::tests::content(other)],
        &[
            &format!("event SnapshotContentMisbound: {misbound}"),
            &format!("~VolumeSnapshot s {source} false {misbound:?}"),
        ],
    );
    let missing = "VolumeSnapshotContent snapcontent-s is missing";
    look(
        &[snapshot(of_it)],
        &[
            &format!("event SnapshotContentMissing: {missing}"),
            &format!("~VolumeSnapshot s {source} false {missing:?}"),
        ],
    );
}

#[test]
fn a_snapshot_takes_its_data_with_it_or_leaves_it() {
    let ending = || {
        snapshot(|it| {
            bound(it);
            ends(it);
        })
    };
    let gone = format!(r#"~VolumeSnapshotContent snapcontent-s {CONTENT_HELD} "2026-11-21T12:00:00Z" true 1048576"#);
    let view = look(&[ending(), content(made)], &[&gone]);
    let marked = view.get(&kinds::VOLUME_SNAPSHOT_CONTENT.cluster_key("snapcontent-s")).expect("there").clone();
    assert_eq!(marked.meta().annotations[ABANDONED], "yes");
    // It waits for the data.
    look(&[ending(), marked], &[]);
    let one = r#"["snapshot.storage.kubernetes.io/volumesnapshot-bound-protection"]"#;
    look(&[ending()], &[&format!(r#"~VolumeSnapshot s {one} "2026-11-21T11:00:00Z" "snapcontent-s" false"#)]);
    let last = snapshot(ends);
    look(&[last], &[&format!(r#"-VolumeSnapshot s ["{}"] "2026-11-21T11:00:00Z""#, snapshots::SOURCE_PROTECTION)]);

    let retained = |it: &mut Value| {
        made(it);
        it["spec"]["deletionPolicy"] = "Retain".into();
    };
    let left = format!("~VolumeSnapshotContent snapcontent-s {CONTENT_HELD} true 1048576");
    let view = look(&[ending(), content(retained)], &[&left]);
    let marked = view.get(&kinds::VOLUME_SNAPSHOT_CONTENT.cluster_key("snapcontent-s")).expect("there").clone();
    look(&[ending(), marked], &[&format!(r#"~VolumeSnapshot s {one} "2026-11-21T11:00:00Z" "snapcontent-s" false"#)]);

    let unfilled = |it: &mut Value| {
        it["metadata"]["finalizers"] = json!([storage::UNFILLED]);
        it["metadata"]["annotations"] =
            json!({storage::FILLED_FROM: format!("snapshot:n1/snapcontent-s@sha256:{HASH}")});
    };
    let pending = "event SnapshotDeletePending: Snapshot is being used to restore a PVC";
    look(&[ending(), content(made), volume(storage::LOCAL_PATH, unfilled)], &[pending]);
}

#[test]
fn data_of_a_snapshot_that_is_gone_goes_and_that_of_one_that_is_there_stays() {
    look_at_content(&[snapshot(bound), content(made)], &[]);
    let gone = format!(r#"~VolumeSnapshotContent snapcontent-s {CONTENT_HELD} "2026-11-21T12:00:00Z" true 1048576"#);
    look_at_content(&[content(made)], &[&gone]);
    let deleted = |it: &mut Value| {
        made(it);
        ends(it);
    };
    // Somebody deleted it beside its snapshot: it waits for that, and for its node.
    look_at_content(&[snapshot(bound), content(deleted)], &[]);
    let node = object(kinds::NODE, "n1", json!({}));
    let marked = |it: &mut Value| {
        deleted(it);
        it["metadata"]["annotations"] = json!({ABANDONED: "yes"});
    };
    look_at_content(&[content(marked), node], &[]);
    let over = format!(r#"-VolumeSnapshotContent snapcontent-s {CONTENT_HELD} "2026-11-21T11:00:00Z" true 1048576"#);
    look_at_content(&[content(marked)], &[&over]);
}
