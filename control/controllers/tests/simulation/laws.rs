//! What must hold.

use std::collections::HashSet;

use api::{Object, kinds};
use state::Event;

use crate::actors::{is_ready, node_of, tree};
use crate::world::World;

/// At every revision.
pub(crate) fn always(world: &World, event: &Event) {
    match event.key().kind() {
        kinds::POD => one_manager(world, event.latest()),
        kinds::NODE => ranges_are_apart(world),
        _ => {}
    }
    content_of_an_ending_namespace_only_shrinks(world, event);
}

fn one_manager(world: &World, pod: &Object) {
    let managers = pod.meta().owner_references.iter().filter(|owner| owner.controller).count();
    assert!(managers <= 1, "{} has {managers} managers\n{}", pod.key(), world.story());
}

fn ranges_are_apart(world: &World) {
    let ranges: Vec<String> = world
        .view
        .list(kinds::NODE)
        .filter_map(|node| tree(node)["spec"]["podCIDR"].as_str().map(str::to_owned))
        .collect();
    let distinct: HashSet<&String> = ranges.iter().collect();
    assert_eq!(ranges.len(), distinct.len(), "two nodes share a range: {ranges:?}\n{}", world.story());
}

fn content_of_an_ending_namespace_only_shrinks(world: &World, event: &Event) {
    let home = world.view.get(&kinds::NAMESPACE.cluster_key(event.key().namespace()));
    let ends = home.is_some_and(|home| home.meta().is_terminating());
    assert!(!(ends && event.before().is_none()), "{} came into an ending namespace\n{}", event.key(), world.story());
}

/// During a rolling update in which no pod fails.
pub(crate) fn within_bounds(world: &World, event: &Event) {
    if event.key().kind() != kinds::POD {
        return;
    }
    let pods = world.pods_by_deployment();
    for deployment in world.view.list(kinds::DEPLOYMENT) {
        let spec = &tree(deployment)["spec"];
        let number = |value: &serde_json::Value| value.as_u64().unwrap_or(0) as usize;
        let replicas = number(&spec["replicas"]);
        let surge = number(&spec["strategy"]["rollingUpdate"]["maxSurge"]);
        let unavailable = number(&spec["strategy"]["rollingUpdate"]["maxUnavailable"]);
        let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
        let of_it = pods.get(deployment.key()).map(Vec::as_slice).unwrap_or_default();
        let available = of_it.iter().filter(|pod| is_ready(pod)).count();
        assert!(of_it.len() <= replicas + surge, "{} pods of {replicas}+{surge}\n{}", of_it.len(), world.story());
        assert!(
            available + unavailable >= replicas,
            "{available} available of {replicas}-{unavailable}\n{}",
            world.story()
        );
    }
}

/// Once nothing is left to do.
pub(crate) fn at_rest(world: &World) {
    let pods = world.pods_by_deployment();
    for deployment in world.view.list(kinds::DEPLOYMENT) {
        let value = tree(deployment);
        let replicas = value["spec"]["replicas"].as_u64().unwrap_or(1);
        let of_it = pods.get(deployment.key()).map(Vec::as_slice).unwrap_or_default();
        let told = || format!("{} at rest: {}\n{}", deployment.key(), value["status"], world.story());
        assert_eq!(of_it.len() as u64, replicas, "pods of {}", told());
        let image = |pod: &Object| tree(pod)["spec"]["containers"][0]["image"].clone();
        let wanted = &value["spec"]["template"]["spec"]["containers"][0]["image"];
        assert!(of_it.iter().all(|pod| image(pod) == *wanted && is_ready(pod) && node_of(pod).is_some()), "{}", told());
        let counted = |name: &str| value["status"][name].as_u64().unwrap_or(0);
        assert_eq!(
            [counted("replicas"), counted("updatedReplicas"), counted("availableReplicas")],
            [replicas; 3],
            "{}",
            told()
        );
        assert_eq!(value["status"]["observedGeneration"], value["metadata"]["generation"], "{}", told());
        assert_eq!(addresses(world, deployment), replicas, "addresses of {}", told());
    }
    for role in world.view.list(kinds::CLUSTER_ROLE) {
        roles_are_made_of_their_parts(world, role);
    }
    for object in world.view.objects() {
        let owners = &object.meta().owner_references;
        let orphaned = !owners.is_empty() && owners.iter().all(|owner| world.view.by_uid(&owner.uid).is_none());
        assert!(!orphaned, "{} outlives its owners\n{}", object.key(), world.story());
        assert!(!object.meta().is_terminating(), "{} never ends\n{}", object.key(), world.story());
    }
}

fn roles_are_made_of_their_parts(world: &World, role: &Object) {
    let value = tree(role);
    let chosen = &value["aggregationRule"]["clusterRoleSelectors"][0]["matchLabels"];
    let Some(label) = chosen.as_object().and_then(|labels| labels.keys().next()) else { return };
    let rules = |value: &serde_json::Value| -> HashSet<String> {
        value["rules"].as_array().into_iter().flatten().map(ToString::to_string).collect()
    };
    let others = world.view.list(kinds::CLUSTER_ROLE).filter(|other| other.key() != role.key());
    let parts = others.filter(|other| other.meta().labels.contains_key(label.as_str()));
    let wanted: HashSet<String> = parts.flat_map(|part| rules(&tree(part))).collect();
    assert_eq!(rules(&value), wanted, "rules of {}\n{}", role.key(), world.story());
}

/// How many ready addresses the service of the deployment has.
fn addresses(world: &World, deployment: &Object) -> u64 {
    let slices = world.view.list_in(kinds::ENDPOINT_SLICE, deployment.key().namespace());
    let ours = slices.filter(|it| {
        it.meta().labels.get("kubernetes.io/service-name").is_some_and(|name| name == deployment.key().name())
    });
    let endpoints = ours.flat_map(|slice| tree(slice)["endpoints"].as_array().cloned().unwrap_or_default());
    let uids: HashSet<String> =
        endpoints.filter(|it| it["conditions"]["ready"] == true).map(|it| it["targetRef"]["uid"].to_string()).collect();
    let pods = world.pods_by_deployment();
    let of_it = pods.get(deployment.key()).map(Vec::as_slice).unwrap_or_default();
    of_it.iter().filter(|pod| uids.contains(&format!("\"{}\"", pod.meta().uid))).count() as u64
}
