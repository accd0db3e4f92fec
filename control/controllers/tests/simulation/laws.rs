//! What must hold.

use std::collections::HashSet;

use api::{Object, kinds};
use state::Event;

use crate::actors::{is_ready, node_of, tree};
use crate::storage;
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
        .flat_map(|node| tree(node)["spec"]["podCIDRs"].as_array().cloned().unwrap_or_default())
        .filter_map(|range| range.as_str().map(str::to_owned))
        .collect();
    let distinct: HashSet<&String> = ranges.iter().collect();
    assert_eq!(ranges.len(), distinct.len(), "two nodes share a range: {ranges:?}\n{}", world.story());
}

fn content_of_an_ending_namespace_only_shrinks(world: &World, event: &Event) {
    let home = world.view.get(&kinds::NAMESPACE.cluster_key(event.key().namespace()));
    let ends = home.is_some_and(|home| home.meta().is_terminating());
    assert!(!(ends && event.before().is_none()), "{} came into an ending namespace\n{}", event.key(), world.story());
}

/// In a world of jobs: no pod is counted twice or lost, and there are never more than may be.
pub(crate) fn of_jobs(world: &World, event: &Event) {
    match event.key().kind() {
        kinds::JOB if event.after().is_some() => counts_are_exact(world, event.latest()),
        kinds::POD if event.before().is_none() => parallelism_is_kept(world, event.latest()),
        _ => {}
    }
}

fn counts_are_exact(world: &World, job: &Object) {
    let value = tree(job);
    let of_it = world.counted.iter().filter(|pod| pod.meta().controller().is_some_and(|it| it.uid == job.meta().uid));
    let of_it: Vec<&Object> = of_it.collect();
    let uids: HashSet<&str> = of_it.iter().map(|pod| &*pod.meta().uid).collect();
    assert_eq!(uids.len(), of_it.len(), "a pod of {} was counted twice\n{}", job.key(), world.story());
    let has = |kind: &str| {
        value["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|it| it["type"] == kind && it["status"] == "True")
    };
    let phase = |pod: &Object| tree(pod)["status"]["phase"].as_str().unwrap_or("Pending").to_owned();
    let succeeded: Vec<&&Object> = of_it.iter().filter(|pod| phase(pod) == "Succeeded").collect();
    let leaving_fails = value["spec"]["podReplacementPolicy"] != "Failed" || has("FailureTarget");
    let fails = |pod: &Object| {
        let code = &tree(pod)["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"];
        let ignored = !value["spec"]["podFailurePolicy"].is_null() && *code == 42;
        !ignored && (phase(pod) == "Failed" || (phase(pod) != "Succeeded" && leaving_fails))
    };
    let failed = of_it.iter().filter(|pod| fails(pod)).count() as u64;
    let said = |field: &str| value["status"][field].as_u64().unwrap_or(0);
    let indexes: HashSet<String> = succeeded
        .iter()
        .map(|pod| pod.meta().annotations.get("batch.kubernetes.io/job-completion-index").cloned().unwrap_or_default())
        .collect();
    let expected = if value["spec"]["completionMode"] == "Indexed" { indexes.len() } else { succeeded.len() } as u64;
    let told = || format!("{} {}\n{}", job.key(), value["status"], world.story());
    assert_eq!(said("succeeded"), expected, "succeeded pods of {}", told());
    // A job that is deleted lets its pods go without anybody's interest in what they come to.
    if !job.meta().is_terminating() {
        assert_eq!(said("failed"), failed, "failed pods of {}", told());
    }
}

fn parallelism_is_kept(world: &World, pod: &Object) {
    let Some(job) = pod.meta().controller().filter(|it| it.kind == "Job").and_then(|it| world.view.by_uid(&it.uid))
    else {
        return;
    };
    let value = tree(job);
    let of_it = || world.view.owned_by(&job.meta().uid).filter(|it| it.key().kind() == kinds::POD);
    let active = of_it().filter(|pod| crate::actors::is_active(pod)).count() as u64;
    let parallelism = value["spec"]["parallelism"].as_u64().unwrap_or(1);
    assert!(active <= parallelism, "{active} of {parallelism} pods of {}\n{}", job.key(), world.story());
    assert_ne!(value["spec"]["suspend"], true, "a pod of a suspended job\n{}", world.story());
    if value["spec"]["completionMode"] == "Indexed" {
        let mine = &pod.meta().annotations["batch.kubernetes.io/job-completion-index"];
        let same = of_it().filter(|it| {
            crate::actors::is_active(it)
                && it
                    .meta()
                    .annotations
                    .values()
                    .any(|_| it.meta().annotations.get("batch.kubernetes.io/job-completion-index") == Some(mine))
        });
        assert_eq!(same.count(), 1, "two pods at index {mine}\n{}", world.story());
    }
}

/// Where jobs recur: one for each time, that has come; with `Forbid` and `Replace` none beside it.
pub(crate) fn of_cron_jobs(world: &World, event: &Event) {
    let job = event.latest();
    if job.key().kind() != kinds::JOB || event.before().is_some() {
        return;
    }
    let time = &job.meta().annotations[crate::world::SCHEDULED];
    let same = world.started.iter().filter(|it| *it == time).count();
    assert_eq!(same, 1, "{time} was started {same} times\n{}", world.story());
    let due: jiff::Timestamp = time.parse().expect("a time");
    assert!(due <= world.now && due.as_second() % 60 == 0, "{time} was not due\n{}", world.story());
    let cron = world.view.get(&crate::actors::cron_key()).map(tree).expect("who starts jobs is there");
    let runs = |job: &&Object| {
        let ended = |it: &serde_json::Value| it["type"] == "Complete" || it["type"] == "Failed";
        !job.meta().is_terminating() && !tree(job)["status"]["conditions"].as_array().into_iter().flatten().any(ended)
    };
    let running = world.view.list(kinds::JOB).filter(runs).count();
    assert!(cron["spec"]["concurrencyPolicy"] == "Allow" || running == 1, "{running} run\n{}", world.story());
}

/// Once nothing recurs any more: as many are kept as should be.
pub(crate) fn history_is_kept(world: &World) {
    let Some(cron) = world.view.get(&crate::actors::cron_key()).map(tree) else { return };
    for (end, limit) in [("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")] {
        let has = |job: &&Object| {
            tree(job)["status"]["conditions"].as_array().into_iter().flatten().any(|it| it["type"] == end)
        };
        let kept = world.view.list(kinds::JOB).filter(has).count() as u64;
        assert!(kept <= cron["spec"][limit].as_u64().unwrap_or(0), "{kept} {end}\n{}", world.story());
    }
    assert!(cron["status"]["active"].is_null(), "{}\n{}", cron["status"], world.story());
}

/// Once nothing is left to do in a world of jobs: each has come to something, or waits for somebody.
pub(crate) fn jobs_at_rest(world: &World) {
    for job in world.view.list(kinds::JOB) {
        let value = tree(job);
        let told = || format!("{} at rest: {}\n{}", job.key(), value["status"], world.story());
        let has = |kind: &str| {
            value["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|it| it["type"] == kind && it["status"] == "True")
        };
        let waits = value["spec"]["suspend"] == true || value["spec"]["parallelism"] == 0;
        assert!(has("Complete") || has("Failed") || waits, "{}", told());
        assert!(!(has("Complete") && has("Failed")), "{}", told());
        let said = |field: &str| value["status"][field].as_u64().unwrap_or(0);
        assert_eq!((said("active"), said("terminating")), (0, 0), "{}", told());
        if let Some(completions) = value["spec"]["completions"].as_u64().filter(|_| has("Complete")) {
            assert!(said("succeeded") >= completions, "{}", told());
        }
    }
    for pod in world.view.list(kinds::POD).filter(|pod| is_tracked(pod)) {
        assert!(tells_the_next(world, pod), "{} waits for nobody\n{}", pod.key(), world.story());
    }
}

fn is_tracked(pod: &Object) -> bool {
    pod.meta().finalizers.iter().any(|it| it == crate::world::TRACKING)
}

/// Whether a pod is kept, even deleted, to tell the next one of its index how often that has failed: there is none while the
/// job is held.
fn tells_the_next(world: &World, pod: &Object) -> bool {
    let job = pod.meta().controller().and_then(|it| world.view.by_uid(&it.uid));
    job.filter(|job| job.key().kind() == kinds::JOB && is_tracked(pod)).map(tree).is_some_and(|job| {
        let is_held = job["spec"]["suspend"] == true || job["spec"]["parallelism"] == 0;
        is_held && !job["spec"]["backoffLimitPerIndex"].is_null()
    })
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
    storage::at_rest(world);
    for role in world.view.list(kinds::CLUSTER_ROLE) {
        roles_are_made_of_their_parts(world, role);
    }
    for object in world.view.objects() {
        let owners = &object.meta().owner_references;
        let orphaned = !owners.is_empty() && owners.iter().all(|owner| world.view.by_uid(&owner.uid).is_none());
        assert!(!orphaned, "{} outlives its owners\n{}", object.key(), world.story());
        assert!(
            !object.meta().is_terminating() || storage::is_held(world, object) || tells_the_next(world, object),
            "{} never ends\n{}",
            object.key(),
            world.story()
        );
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
