use serde_json::{Value, json};

use super::*;
use crate::notation::{check, object};

/// The volume `v` of a policy, that knows the claim `default/data` of the uid `data`.
fn volume(policy: &str, phase: &str, edit: impl FnOnce(&mut Value)) -> Object {
    let mut value = json!({"metadata": {"finalizers": [storage::VOLUME_PROTECTION]}, "status": {"phase": phase}, "spec":
        {"persistentVolumeReclaimPolicy": policy, "claimRef": {"namespace": "default", "name": "data", "uid": "data"}}});
    edit(&mut value);
    object(kinds::PERSISTENT_VOLUME, "v", value)
}

fn claim(named: &str) -> Object {
    let value = json!({"metadata": {"annotations": {storage::BIND_COMPLETED: "yes"}}, "spec": {"volumeName": named}});
    object(kinds::PERSISTENT_VOLUME_CLAIM, "default/data", value)
}

fn ours(value: &mut Value) {
    value["metadata"] = json!({"finalizers": [storage::LOCAL_PATH, storage::VOLUME_PROTECTION],
        "annotations": {storage::PROVISIONED_BY: storage::LOCAL_PATH}, "labels": {storage::NODE_LABEL: "n1"}});
}

fn ends(value: &mut Value) {
    value["metadata"]["deletionTimestamp"] = "2026-11-21T11:00:00Z".into();
}

fn look(objects: &[Object], expected: &[&str]) {
    let key = kinds::PERSISTENT_VOLUME.cluster_key("v");
    let show = ["/status/phase", "/metadata/finalizers", "/metadata/deletionTimestamp"];
    check(&VolumeReclaim, objects, &key, &show, expected);
}

const HELD: &str = r#"["kubernetes.io/pv-protection"]"#;

#[test]
fn a_volume_says_whose_it_is() {
    let told = |phase: &str| format!("~PersistentVolume v \"{phase}\" {HELD}");
    let free = |it: &mut Value| it["spec"]["claimRef"] = Value::Null;
    let by_name = |it: &mut Value| it["spec"]["claimRef"]["uid"] = Value::Null;
    look(&[volume("Retain", "Pending", free)], &[&told("Available")]);
    look(&[volume("Retain", "Pending", by_name)], &[&told("Available")]);
    look(&[volume("Retain", "Available", |_| {}), claim("v")], &[&told("Bound")]);
    look(&[volume("Retain", "Bound", |_| {})], &[&told("Released")]);
    look(&[volume("Retain", "Released", |_| {})], &[]);
    // The claim took another.
    look(&[volume("Retain", "Bound", |_| {}), claim("w")], &[&told("Available")]);
    let bare = |it: &mut Value| it["metadata"]["finalizers"] = json!([]);
    look(&[volume("Retain", "Released", bare)], &[&told("Released")]);
}

#[test]
fn what_is_released_goes_only_where_somebody_can_take_it_away() {
    let both = r#"["coracle.dev/local-path","kubernetes.io/pv-protection"]"#;
    look(
        &[volume("Delete", "Released", ours)],
        &[&format!("~PersistentVolume v \"Released\" {both} \"2026-11-21T12:00:00Z\"")],
    );
    let somebody =
        |it: &mut Value| it["metadata"]["annotations"] = json!({storage::PROVISIONED_BY: "example.com/disk"});
    look(&[volume("Delete", "Released", somebody)], &[]);
    let failed = format!("~PersistentVolume v \"Failed\" {HELD}");
    look(
        &[volume("Delete", "Released", |_| {})],
        &[
            "event VolumeFailedDelete: error getting deleter volume plugin for volume \"v\": no deletable volume plugin matched",
            &failed,
        ],
    );
    look(
        &[volume("Recycle", "Released", |_| {})],
        &["event VolumeFailedRecycle: No recycler plugin found for the volume!", &failed],
    );
    look(&[volume("Recycle", "Failed", |_| {})], &[]);
}

#[test]
fn a_volume_on_its_way_out_goes_when_nobody_has_it_and_its_node_has_seen_to_it() {
    let node = object(kinds::NODE, "n1", json!({}));
    look(&[volume("Delete", "Bound", ends), claim("v")], &[]);
    look(
        &[volume("Retain", "Released", ends)],
        &[&format!("-PersistentVolume v \"Released\" {HELD} \"2026-11-21T11:00:00Z\"")],
    );
    let ends_ours = |it: &mut Value| {
        ours(it);
        ends(it);
    };
    let unheld = |it: &mut Value| {
        ends_ours(it);
        it["metadata"]["finalizers"] = json!([storage::LOCAL_PATH]);
    };
    let left = r#"["coracle.dev/local-path"] "2026-11-21T11:00:00Z""#;
    look(
        &[volume("Delete", "Released", ends_ours), node.clone()],
        &[&format!("~PersistentVolume v \"Released\" {left}")],
    );
    look(&[volume("Delete", "Released", unheld), node], &[]);
    look(&[volume("Delete", "Released", unheld)], &[&format!("-PersistentVolume v \"Released\" {left}")]);
}

#[test]
fn what_every_node_reaches_is_seen_to_by_one_that_is_ready() {
    let node = |name: &str, ready: &str| {
        object(kinds::NODE, name, json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}}))
    };
    let handed_to = |label: Value, nodes: &[Object], expected: &[&str]| {
        let ends = |it: &mut Value| {
            it["metadata"] = json!({"finalizers": [storage::S3], "labels": label,
                "annotations": {storage::PROVISIONED_BY: storage::S3}, "deletionTimestamp": "2026-11-21T11:00:00Z"});
        };
        let objects: Vec<Object> =
            [volume("Delete", "Released", ends)].into_iter().chain(nodes.iter().cloned()).collect();
        let key = kinds::PERSISTENT_VOLUME.cluster_key("v");
        check(&VolumeReclaim, &objects, &key, &["/metadata/labels"], expected);
    };
    let (n1, n2) = (node("n1", "True"), node("n2", "Unknown"));
    let on = |name: &str| json!({storage::NODE_LABEL: name});
    let handed = [r#"~PersistentVolume v {"coracle.dev/node":"n1"}"#];
    handed_to(json!({}), &[n1.clone(), n2.clone()], &handed);
    handed_to(on("n2"), &[n1.clone(), n2.clone()], &handed);
    handed_to(on("n3"), std::slice::from_ref(&n1), &handed);
    handed_to(on("n1"), &[n1, n2.clone()], &[]);
    handed_to(json!({}), &[n2], &[]);
}
