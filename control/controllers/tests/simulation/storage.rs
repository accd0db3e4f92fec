//! People who want storage and people who have some; and the nodes on which it lies.

use std::collections::BTreeSet;

use api::storage::{BIND_COMPLETED, CLAIM_PROTECTION, LOCAL_PATH, NODE_LABEL, S3, VOLUME_PROTECTION, is_ours};
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
    local.into_iter().chain([class(CLASSES[3], "Immediate", S3)]).collect()
}

fn claim_key(claim: u8) -> Key {
    kinds::PERSISTENT_VOLUME_CLAIM.key("default", &format!("claim-{claim}"))
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

/// Living nodes let go of the volumes that lie on them.
pub(crate) fn agents(world: &mut World) {
    let volumes: Vec<Object> = world.view.list(kinds::PERSISTENT_VOLUME).cloned().collect();
    for volume in volumes.iter().filter(|volume| volume.meta().is_terminating()) {
        let node = volume.meta().labels.get(NODE_LABEL).cloned().unwrap_or_default();
        let there = world.view.get(&kinds::NODE.cluster_key(&node)).is_some() && !world.dead.contains(&node);
        match volume.meta().finalizers.as_slice() {
            [only] if there && is_ours(only) => world.remove(volume.key()),
            finalizers if there && !finalizers.iter().any(|one| one == VOLUME_PROTECTION) => {
                let rest: Vec<&String> = finalizers.iter().filter(|one| !is_ours(one)).collect();
                world.edit(volume.key(), |it| it["metadata"]["finalizers"] = json!(rest));
            }
            _ => {}
        }
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
            kept(world, event, volume_of);
        }
        kinds::PERSISTENT_VOLUME => {
            let owner = |volume: &Object| tree(volume)["spec"]["claimRef"]["uid"].as_str().map(str::to_owned);
            kept(world, event, owner);
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
        kinds::PERSISTENT_VOLUME_CLAIM => users(world, object).any(|pod| node_of(pod).is_some()),
        kinds::PERSISTENT_VOLUME => tree(object)["status"]["phase"] == "Bound",
        _ => false,
    }
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
    for volume in world.view.list(kinds::PERSISTENT_VOLUME) {
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
