//! People who want storage and people who have some, who keep snapshots of it and fill new claims; and the nodes on which it lies.

use std::collections::BTreeSet;

use api::snapshots::{ABANDONED, CONTENT_PROTECTION, DEFAULT_CLASS, Origin};
use api::storage::{
    BIND_COMPLETED, CLAIM_PROTECTION, FILLED_FROM, LOCAL_PATH, NODE_LABEL, S3, UNFILLED, VOLUME_PROTECTION, is_ours,
    is_unfilled,
};
use api::{Key, Object, kinds};
use proptest::prelude::*;
use serde_json::{Value, json};
use state::Event;

use crate::actors::{delete_pod, is_active, node_of, object, seconds, tree};
use crate::world::World;

/// Something that somebody does with storage. Numbers choose among what there is.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Claim { claim: u8, class: u8, size: u8 },
    Unclaim { claim: u8 },
    Offer { volume: u8, class: u8, size: u8, node: u8, kept_for: u8 },
    Withdraw { volume: u8 },
    Use { pod: u8, claim: u8 },
    Leave { pod: u8 },
    Keep { snapshot: u8, claim: u8, retained: bool },
    Forget { snapshot: u8 },
    Refill { claim: u8, class: u8, size: u8, from: u8 },
}

/// A class that waits and one that does not, both made for, one that people make volumes for by hand, and one whose volumes every
/// node reaches.
const CLASSES: [&str; 4] = ["later", "now", "manual", "far"];

pub(crate) fn act() -> impl Strategy<Value = Act> {
    let (claim, class, size, few) = (0_u8..3, 0_u8..4, 1_u8..4, 0_u8..4);
    prop_oneof![
        3 => (claim.clone(), class.clone(), size.clone()).prop_map(|(claim, class, size)| Act::Claim { claim, class, size }),
        2 => claim.clone().prop_map(|claim| Act::Unclaim { claim }),
        2 => (few.clone(), class, size, few.clone(), few.clone())
            .prop_map(|(volume, class, size, node, kept_for)| Act::Offer { volume, class, size, node, kept_for }),
        1 => few.clone().prop_map(|volume| Act::Withdraw { volume }),
        3 => (few.clone(), claim).prop_map(|(pod, claim)| Act::Use { pod, claim }),
        1 => few.prop_map(|pod| Act::Leave { pod }),
        3 => (0_u8..2, 0_u8..3, any::<bool>())
            .prop_map(|(snapshot, claim, retained)| Act::Keep { snapshot, claim, retained }),
        1 => (0_u8..2).prop_map(|snapshot| Act::Forget { snapshot }),
        3 => (0_u8..3, 0_u8..2, 1_u8..4, 0_u8..5)
            .prop_map(|(claim, class, size, from)| Act::Refill { claim, class, size, from }),
    ]
}

pub(crate) fn classes() -> Vec<Object> {
    let class = |name: &str, mode: &str, maker: &str| {
        let key = kinds::STORAGE_CLASS.cluster_key(name);
        object(
            &key,
            &json!({"apiVersion": "storage.k8s.io/v1", "provisioner": maker, "parameters": {"bucket": "b"},
                "reclaimPolicy": "Delete", "volumeBindingMode": mode}),
        )
    };
    let local = [class(CLASSES[0], "WaitForFirstConsumer", LOCAL_PATH), class(CLASSES[1], "Immediate", LOCAL_PATH)];
    let snapshots = [(false, "Delete"), (true, "Retain")].map(|(retained, policy)| {
        let key = kinds::VOLUME_SNAPSHOT_CLASS.cluster_key(snapshot_class(retained));
        object(
            &key,
            &json!({"metadata": {"annotations": {DEFAULT_CLASS: (!retained).to_string()}},
            "apiVersion": "snapshot.storage.k8s.io/v1", "driver": LOCAL_PATH, "deletionPolicy": policy}),
        )
    });
    local.into_iter().chain([class(CLASSES[3], "Immediate", S3)]).chain(snapshots).collect()
}

fn claim_key(claim: u8) -> Key {
    kinds::PERSISTENT_VOLUME_CLAIM.key("default", &format!("claim-{claim}"))
}

fn snapshot_key(snapshot: u8) -> Key {
    kinds::VOLUME_SNAPSHOT.key("default", &format!("snapshot-{snapshot}"))
}

fn snapshot_class(retained: bool) -> &'static str {
    if retained { "retained" } else { "deleted" }
}

fn volume_key(volume: u8) -> Key {
    kinds::PERSISTENT_VOLUME.cluster_key(&format!("volume-{volume}"))
}

fn pod_key(pod: u8) -> Key {
    kinds::POD.key("default", &format!("user-{pod}"))
}

pub(crate) fn carry_out(world: &mut World, act: &Act) {
    match act {
        Act::Claim { claim, class, size } => create(world, &claim_key(*claim), |_| {
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": CLASSES[usize::from(*class)],
                "resources": {"requests": {"storage": format!("{size}Gi")}}}, "status": {"phase": "Pending"}})
        }),
        Act::Unclaim { claim } => delete(world, &claim_key(*claim)),
        Act::Offer { volume, class, size, node, kept_for } => create(world, &volume_key(*volume), |_| {
            let mut spec = json!({"capacity": {"storage": format!("{size}Gi")}, "accessModes": ["ReadWriteOnce"],
                "storageClassName": CLASSES[usize::from(*class)], "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": "/data"}});
            if *node < 3 {
                let here = json!([{"key": "kubernetes.io/hostname", "operator": "In", "values": [format!("n{node}")]}]);
                spec["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": here}]}});
            }
            if *kept_for < 2 {
                spec["claimRef"] = json!({"namespace": "default", "name": format!("claim-{kept_for}")});
            }
            json!({"spec": spec, "status": {"phase": "Pending"}})
        }),
        Act::Withdraw { volume } => delete(world, &volume_key(*volume)),
        Act::Use { pod, claim } => create(world, &pod_key(*pod), |_| {
            let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": format!("claim-{claim}")}}]);
            json!({"spec": {"containers": [{"name": "c", "image": "app:1"}], "volumes": volumes}, "status": {"phase": "Pending"}})
        }),
        Act::Leave { pod } => delete_pod(world, &pod_key(*pod)),
        Act::Keep { snapshot, claim, retained } => create(world, &snapshot_key(*snapshot), |_| {
            json!({"spec": {"source": {"persistentVolumeClaimName": format!("claim-{claim}")},
                "volumeSnapshotClassName": snapshot_class(*retained)}})
        }),
        Act::Forget { snapshot } => delete(world, &snapshot_key(*snapshot)),
        Act::Refill { claim, class, size, from } => create(world, &claim_key(*claim), |_| {
            let source = match from {
                0 | 1 => {
                    json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": format!("snapshot-{from}")})
                }
                _ => json!({"kind": "PersistentVolumeClaim", "name": format!("claim-{}", from - 2)}),
            };
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": CLASSES[usize::from(*class)],
                "dataSource": source, "dataSourceRef": source,
                "resources": {"requests": {"storage": format!("{size}Gi")}}}, "status": {"phase": "Pending"}})
        }),
    }
}

/// As the API creates: what is protected is so from its first moment.
fn create(world: &mut World, key: &Key, what: impl FnOnce(&World) -> Value) {
    if world.view.get(key).is_some() {
        return;
    }
    let mut value = what(world);
    let uid = world.draw();
    value["apiVersion"] = "v1".into();
    value["metadata"] = json!({"uid": format!("{}-{uid:x}", key.name()), "creationTimestamp": seconds(world.now)});
    match key.kind() {
        kinds::PERSISTENT_VOLUME_CLAIM => value["metadata"]["finalizers"] = json!([CLAIM_PROTECTION]),
        kinds::PERSISTENT_VOLUME => value["metadata"]["finalizers"] = json!([VOLUME_PROTECTION]),
        _ => {}
    }
    world.put(object(key, &value));
}

/// As the API deletes.
fn delete(world: &mut World, key: &Key) {
    let Some(object) = world.view.get(key) else { return };
    if object.meta().finalizers.is_empty() {
        return world.remove(key);
    }
    let now = seconds(world.now);
    world.edit(key, |it| {
        if it["metadata"]["deletionTimestamp"].is_null() {
            it["metadata"]["deletionTimestamp"] = now;
        }
    });
}

/// Living nodes make what is to lie on them, and let go of what lies on them.
pub(crate) fn agents(world: &mut World) {
    let contents: Vec<Object> = world.view.list(kinds::VOLUME_SNAPSHOT_CONTENT).cloned().collect();
    for content in &contents {
        if lives(world, content) {
            see_to_content(world, content);
        }
    }
    let volumes: Vec<Object> = world.view.list(kinds::PERSISTENT_VOLUME).cloned().collect();
    for volume in volumes.iter().filter(|volume| volume.meta().is_terminating() || is_unfilled(volume)) {
        if lives(world, volume) && volume.meta().is_terminating() {
            see_off(world, volume);
        } else if lives(world, volume) {
            fill(world, volume);
        }
    }
}

/// Whether the node on which it lies does anything.
fn lives(world: &World, object: &Object) -> bool {
    let node = object.meta().labels.get(NODE_LABEL).cloned().unwrap_or_default();
    world.view.get(&kinds::NODE.cluster_key(&node)).is_some() && !world.dead.contains(&node)
}

fn see_to_content(world: &mut World, content: &Object) {
    let value = tree(content);
    if content.meta().is_terminating() {
        if content.meta().annotations.contains_key(ABANDONED) {
            without(world, content, |one| one == CONTENT_PROTECTION);
        }
        return;
    }
    if value["status"]["snapshotHandle"].is_null() {
        let named = value["spec"]["source"]["volumeHandle"].as_str().unwrap_or_default();
        let volume =
            world.view.list(kinds::PERSISTENT_VOLUME).find(|it| tree(it)["spec"]["csi"]["volumeHandle"] == named);
        assert!(volume.is_some_and(|it| !is_unfilled(it)), "{named} is not there to be kept\n{}", world.story());
        let (node, hash) = (&content.meta().labels[NODE_LABEL], "0".repeat(64));
        let handle = format!("{node}/{}@sha256:{hash}", content.key().name());
        let status =
            json!({"snapshotHandle": handle, "restoreSize": 2_i64 << 30, "readyToUse": true, "creationTime": 1});
        world.edit(content.key(), |it| it["status"] = status);
    }
}

fn fill(world: &mut World, volume: &Object) {
    let from = &volume.meta().annotations[FILLED_FROM];
    let is_there = match from.parse().expect("an origin") {
        Origin::Archive(handle) => world
            .view
            .list(kinds::VOLUME_SNAPSHOT_CONTENT)
            .any(|it| tree(it)["status"]["snapshotHandle"] == handle.to_string()),
        Origin::Volume(name) => world
            .view
            .list(kinds::PERSISTENT_VOLUME)
            .any(|it| tree(it)["spec"]["csi"]["volumeHandle"] == name && !is_unfilled(it)),
        Origin::Backup(_) => true,
    };
    let claim = tree(volume)["spec"]["claimRef"]["uid"].as_str().and_then(|uid| world.view.by_uid(uid)).is_some();
    assert!(is_there || !claim, "{from} is gone before {} was filled\n{}", volume.key(), world.story());
    without(world, volume, |one| one == UNFILLED);
}

fn see_off(world: &mut World, volume: &Object) {
    if !volume.meta().finalizers.iter().any(|one| one == VOLUME_PROTECTION) {
        without(world, volume, |one| one == UNFILLED || is_ours(one));
    }
}

/// Takes finalizers off; what was on its way out goes with the last.
fn without(world: &mut World, object: &Object, goes: impl Fn(&str) -> bool) {
    let rest: Vec<&String> = object.meta().finalizers.iter().filter(|one| !goes(one)).collect();
    if rest.is_empty() && object.meta().is_terminating() {
        return world.remove(object.key());
    }
    if rest.len() < object.meta().finalizers.len() {
        world.edit(object.key(), |it| it["metadata"]["finalizers"] = json!(rest));
    }
}

/// At every revision: a volume is one claim's, and a claim has one volume, for good.
pub(crate) fn always(world: &World, event: &Event) {
    match event.key().kind() {
        kinds::PERSISTENT_VOLUME_CLAIM => {
            let mut taken: Vec<String> =
                world.view.list(kinds::PERSISTENT_VOLUME_CLAIM).filter_map(volume_of).collect();
            let all = taken.len();
            taken.sort();
            taken.dedup();
            assert_eq!(all, taken.len(), "two claims have one volume\n{}", world.story());
            let has = event.after().and_then(volume_of);
            let has = has.and_then(|name| world.view.get(&kinds::PERSISTENT_VOLUME.cluster_key(&name)));
            assert!(!has.is_some_and(is_unfilled), "{} has what is not filled\n{}", event.key(), world.story());
            kept(world, event, volume_of);
        }
        kinds::PERSISTENT_VOLUME => {
            let owner = |volume: &Object| tree(volume)["spec"]["claimRef"]["uid"].as_str().map(str::to_owned);
            kept(world, event, owner);
        }
        kinds::VOLUME_SNAPSHOT_CONTENT => {
            let contents = world.view.list(kinds::VOLUME_SNAPSHOT_CONTENT);
            let mut owners: Vec<String> =
                contents.map(|it| tree(it)["spec"]["volumeSnapshotRef"]["uid"].to_string()).collect();
            let all = owners.len();
            owners.sort();
            owners.dedup();
            assert_eq!(all, owners.len(), "one snapshot has two contents\n{}", world.story());
            let handle = |it: &Object| tree(it)["status"]["snapshotHandle"].as_str().map(str::to_owned);
            kept(world, event, handle);
        }
        kinds::VOLUME_SNAPSHOT => {
            let bound = |it: &Object| tree(it)["status"]["boundVolumeSnapshotContentName"].as_str().map(str::to_owned);
            kept(world, event, bound);
        }
        kinds::POD => {
            // What every node reaches is written from one node at a time.
            for claim in world.view.list(kinds::PERSISTENT_VOLUME_CLAIM) {
                let volume =
                    volume_of(claim).and_then(|name| world.view.get(&kinds::PERSISTENT_VOLUME.cluster_key(&name)));
                if volume.is_none_or(|volume| tree(volume)["spec"]["csi"]["driver"] != S3) {
                    continue;
                }
                let has_ended =
                    |pod: &&Object| matches!(tree(pod)["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
                let writers = users(world, claim).filter(|pod| !has_ended(pod));
                let nodes: BTreeSet<String> = writers.filter_map(node_of).collect();
                assert!(nodes.len() < 2, "{} is written from {nodes:?}\n{}", claim.key(), world.story());
            }
        }
        _ => {}
    }
}

/// What an object once had it has no other of.
fn kept(world: &World, event: &Event, of: impl Fn(&Object) -> Option<String>) {
    if let (Some(before), Some(after)) = (event.before(), event.after())
        && let (Some(had), Some(has)) = (of(before), of(after))
    {
        assert_eq!(had, has, "{} changed hands\n{}", event.key(), world.story());
    }
}

fn volume_of(claim: &Object) -> Option<String> {
    claim.meta().annotations.get(BIND_COMPLETED)?;
    tree(claim)["spec"]["volumeName"].as_str().map(str::to_owned)
}

/// Whether it stays although it is on its way out: a claim for its pods, a volume for its claim.
pub(crate) fn is_held(world: &World, object: &Object) -> bool {
    match object.key().kind() {
        kinds::PERSISTENT_VOLUME_CLAIM => {
            users(world, object).any(|pod| node_of(pod).is_some()) || is_source(world, object)
        }
        kinds::VOLUME_SNAPSHOT => {
            let name = tree(object)["status"]["boundVolumeSnapshotContentName"].as_str().map(str::to_owned);
            let content = name.and_then(|name| world.view.get(&kinds::VOLUME_SNAPSHOT_CONTENT.cluster_key(&name)));
            let handle = content.and_then(|it| tree(it)["status"]["snapshotHandle"].as_str().map(str::to_owned));
            handle.is_some_and(|handle| feeds(world, &format!("snapshot:{handle}")))
        }
        kinds::PERSISTENT_VOLUME => tree(object)["status"]["phase"] == "Bound",
        _ => false,
    }
}

/// Whether a node that is gone was to make something of it.
fn is_source(world: &World, claim: &Object) -> bool {
    let name = volume_of(claim).unwrap_or_default();
    let is_kept = |it: &Object| {
        let value = tree(it);
        value["spec"]["source"]["volumeHandle"] == *name
            && value["status"]["snapshotHandle"].is_null()
            && !lives(world, it)
    };
    feeds(world, &format!("volume:{name}")) || world.view.list(kinds::VOLUME_SNAPSHOT_CONTENT).any(is_kept)
}

/// Whether a volume of a node that is gone was to be filled from this.
fn feeds(world: &World, from: &str) -> bool {
    let is_fed = |it: &Object| is_unfilled(it) && it.meta().annotations.get(FILLED_FROM).is_some_and(|it| it == from);
    world.view.list(kinds::PERSISTENT_VOLUME).any(|it| is_fed(it) && !lives(world, it))
}

fn users<'a>(world: &'a World, claim: &'a Object) -> impl Iterator<Item = &'a Object> {
    world
        .view
        .list_in(kinds::POD, claim.key().namespace())
        .filter(|pod| tree(pod)["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim.key().name())
}

/// Once nothing is left to do.
pub(crate) fn at_rest(world: &World) {
    for claim in world.view.list(kinds::PERSISTENT_VOLUME_CLAIM) {
        let value = tree(claim);
        let phase = value["status"]["phase"].as_str().unwrap_or_default();
        let told = || format!("{} at rest: {value}\n{}", claim.key(), world.story());
        let has_volume = volume_of(claim).and_then(|name| world.view.get(&kinds::PERSISTENT_VOLUME.cluster_key(&name)));
        let is_ours = has_volume.is_some_and(|it| tree(it)["spec"]["claimRef"]["uid"] == *claim.meta().uid);
        assert_eq!(phase == "Bound", is_ours, "{}", told());
        if value["spec"]["dataSource"].is_object() {
            // What it asks for may not be there, or be too large for it.
            continue;
        }
        let runs = |pod: &Object| node_of(pod).is_some() && is_active(pod);
        if users(world, claim).any(runs) && !claim.meta().is_terminating() {
            assert_ne!(phase, "Pending", "somebody uses {}", told());
        }
        if (value["spec"]["storageClassName"] == "now" || value["spec"]["storageClassName"] == "far")
            && !claim.meta().is_terminating()
        {
            assert_ne!(phase, "Pending", "{}", told());
        }
    }
    for snapshot in world.view.list(kinds::VOLUME_SNAPSHOT) {
        let value = tree(snapshot);
        let name = value["status"]["boundVolumeSnapshotContentName"].as_str().unwrap_or_default();
        let content = world.view.get(&kinds::VOLUME_SNAPSHOT_CONTENT.cluster_key(name));
        let is_made = content.is_some_and(|it| !tree(it)["status"]["snapshotHandle"].is_null());
        let told = || format!("{} at rest: {value}\n{}", snapshot.key(), world.story());
        assert_eq!(value["status"]["readyToUse"] == true, is_made, "{}", told());
        assert!(is_made || content.is_none_or(|it| !lives(world, it)), "{}", told());
    }
    for volume in world.view.list(kinds::PERSISTENT_VOLUME) {
        if is_unfilled(volume) {
            assert!(!lives(world, volume), "{} is never filled\n{}", volume.key(), world.story());
            continue;
        }
        let value = tree(volume);
        let uid = value["spec"]["claimRef"]["uid"].as_str().unwrap_or_default();
        let expected = match (uid, world.view.by_uid(uid)) {
            ("", _) => "Available",
            (_, Some(_)) => "Bound",
            (_, None) => "Released",
        };
        assert_eq!(value["status"]["phase"], expected, "{} at rest: {value}\n{}", volume.key(), world.story());
    }
}
