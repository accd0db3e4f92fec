//! A quota in a busy namespace: what holds at every revision, and that its room is used in the end.

use api::{Key, Object, kinds};
use serde_json::{Value, json};
use state::Event;

use crate::actors::{is_active, object, tree};
use crate::world::World;

fn key() -> Key {
    kinds::RESOURCE_QUOTA.key("default", "team")
}

/// Room for so many pods, of which none is there yet.
pub(crate) fn of(pods: u8) -> Object {
    let hard = json!({"pods": pods.to_string()});
    let status = json!({"hard": hard, "used": {"pods": "0"}});
    object(&key(), &json!({"apiVersion": "v1", "metadata": {"uid": "team"}, "spec": {"hard": hard}, "status": status}))
}

/// No pod comes beyond it, whoever makes it and however many do at once.
pub(crate) fn is_kept(world: &World, event: &Event) {
    if event.key().namespace() != "default" || ![kinds::POD, kinds::RESOURCE_QUOTA].contains(&event.key().kind()) {
        return;
    }
    let (there, hard) = (pods(world), said(world, "hard"));
    assert!(there <= hard, "{there} of {hard} pods\n{}", world.story());
    assert!(said(world, "used") <= hard, "more is said to be used than there may be\n{}", world.story());
}

/// What is said to be used is, and nobody lacks a pod while there is room.
pub(crate) fn is_used(world: &World) {
    let (there, used, hard) = (pods(world), said(world, "used"), said(world, "hard"));
    assert_eq!(there, used, "pods and those that are counted\n{}", world.story());
    for set in world.view.list_in(kinds::REPLICA_SET, "default").filter(|set| !set.meta().is_terminating()) {
        let wanted = tree(set)["spec"]["replicas"].as_u64().unwrap_or(1);
        let active = world.view.owned_by(&set.meta().uid).filter(|pod| is_active(pod)).count() as u64;
        assert!(active >= wanted || used == hard, "{} has {active} of {wanted} pods\n{}", set.key(), world.story());
    }
}

/// The pods that take room: those that have not ended, and are not long due to be gone.
fn pods(world: &World) -> u64 {
    let takes_room = |pod: &&Object| {
        let value = tree(pod);
        let time = |path: &str| value.pointer(path).and_then(Value::as_str)?.parse::<jiff::Timestamp>().ok();
        let grace = value["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        let gone = time("/metadata/deletionTimestamp").map(|at| at + jiff::SignedDuration::from_secs(grace));
        value["status"]["phase"] != "Failed"
            && value["status"]["phase"] != "Succeeded"
            && gone.is_none_or(|gone| gone >= world.now)
    };
    world.view.list_in(kinds::POD, "default").filter(takes_room).count() as u64
}

fn said(world: &World, what: &str) -> u64 {
    let quota = world.view.get(&key()).map(tree).unwrap_or_default();
    quota["status"][what]["pods"].as_str().and_then(|amount| amount.parse().ok()).unwrap_or(0)
}
