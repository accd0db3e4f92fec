//! What a deployment reports: counts, whether it is available, and whether it gets anywhere.

use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};

use super::rollout::{Rollout, Set};
use crate::conditions::{Says, deployment_says};
use crate::replica_set::{REPLICA_FAILURE, number};

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// Writes the status that is true once this look's decisions are.
pub(super) fn report(rollout: &mut Rollout<'_>) {
    let before = rollout.after.status.clone().unwrap_or_default();
    let counted = counted(rollout, &before);
    *rollout.status() = counted;
    availability(rollout);
    failure(rollout);
    if rollout.spec.progress_deadline_seconds.is_none_or(|seconds| seconds == i32::MAX) {
        rollout.status().conditions.get_or_insert_default().retain(|it| it.type_ != PROGRESSING);
    } else if !pause(rollout) {
        progress(rollout, &before);
    }
}

/// A new set was made.
pub(super) fn made(rollout: &mut Rollout<'_>, name: &str) {
    super::history::number(rollout);
    if rollout.spec.progress_deadline_seconds.is_some_and(|seconds| seconds != i32::MAX) {
        say(rollout, "True", "NewReplicaSetCreated", &format!("Created new replica set \"{name}\""));
    }
}

/// A new set was refused.
pub(super) fn unmade(rollout: &mut Rollout<'_>, why: &str) {
    if rollout.spec.progress_deadline_seconds.is_some_and(|seconds| seconds != i32::MAX) {
        let is_known = |it: &DeploymentCondition| it.status == "False" && it.message.as_deref() == Some(why);
        if !condition(rollout).is_some_and(is_known) {
            say(rollout, "False", "ReplicaSetCreateError", why);
        }
    }
}

/// Whether every replica is of the wanted template and available, and no other is left.
pub(super) fn is_complete(rollout: &Rollout<'_>) -> bool {
    let active: i32 = rollout.sets.iter().map(|set| set.active).sum();
    rollout.newest.map(|place| &rollout.sets[place]).is_some_and(|newest| {
        newest.active == rollout.replicas && active == rollout.replicas && newest.available >= rollout.replicas
    })
}

fn counted(rollout: &Rollout<'_>, before: &DeploymentStatus) -> DeploymentStatus {
    let sum = |of: fn(&Set) -> i32| rollout.sets.iter().map(of).sum::<i32>();
    let some = |count: i32| usize::try_from(count).ok().and_then(number);
    let available = sum(|set| set.available);
    DeploymentStatus {
        observed_generation: rollout.after.metadata.generation,
        replicas: some(sum(|set| set.active)),
        updated_replicas: rollout.newest.and_then(|place| some(rollout.sets[place].active)),
        ready_replicas: some(sum(|set| set.ready)),
        available_replicas: some(available),
        unavailable_replicas: some(sum(Set::wanted) - available),
        ..before.clone()
    }
}

fn availability(rollout: &mut Rollout<'_>) {
    let available = rollout.sets.iter().map(|set| set.available).sum::<i32>();
    let says = if available >= rollout.replicas - rollout.bounds.unavailable {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    let (status, reason, message) = says;
    let now = rollout.look.time();
    let conditions = &mut rollout.status().conditions;
    let known = conditions.iter().flatten().find(|it| it.type_ == AVAILABLE).cloned();
    deployment_says(conditions, Says { kind: AVAILABLE, status, reason, message }, &now);
    for condition in conditions.iter_mut().flatten().filter(|it| it.type_ == AVAILABLE) {
        if known.as_ref() != Some(condition) {
            condition.last_update_time = Some(now.clone());
        }
    }
}

/// What keeps the newest set that it has from its pods, or an older one.
fn failure(rollout: &mut Rollout<'_>) {
    let newest = rollout.newest.into_iter().chain(rollout.old());
    let told = newest.filter_map(|place| {
        let conditions = rollout.sets[place].after.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|condition| condition.type_ == REPLICA_FAILURE).cloned()
    });
    let told = told.into_iter().next();
    let now = rollout.look.time();
    let conditions = rollout.status().conditions.get_or_insert_default();
    let Some(told) = told else { return conditions.retain(|it| it.type_ != REPLICA_FAILURE) };
    let known = conditions.iter().any(|it| it.type_ == REPLICA_FAILURE && it.message == told.message);
    if !known {
        conditions.retain(|it| it.type_ != REPLICA_FAILURE);
        conditions.push(DeploymentCondition {
            type_: REPLICA_FAILURE.into(),
            status: told.status,
            reason: told.reason,
            message: told.message,
            last_transition_time: Some(now.clone()),
            last_update_time: Some(now),
        });
    }
}

/// Whether the deployment is paused, which is all that can be said of its progress then.
fn pause(rollout: &mut Rollout<'_>) -> bool {
    let reason = condition(rollout).and_then(|it| it.reason.as_deref()).unwrap_or_default().to_owned();
    if rollout.is_paused() {
        if reason != PAUSED && reason != TIMED_OUT {
            say(rollout, "Unknown", PAUSED, "Deployment is paused");
        }
        return true;
    }
    if reason == PAUSED {
        say(rollout, "Unknown", "DeploymentResumed", "Deployment is resumed");
    }
    false
}

fn progress(rollout: &mut Rollout<'_>, before: &DeploymentStatus) {
    let reason = condition(rollout).and_then(|it| it.reason.as_deref()).unwrap_or_default().to_owned();
    let after = rollout.status().clone();
    if reason == COMPLETE && after.replicas == after.updated_replicas {
        return;
    }
    let subject = match rollout.newest {
        Some(newest) => format!("ReplicaSet \"{}\"", rollout.sets[newest].name()),
        None => format!("Deployment \"{}\"", rollout.object.key().name()),
    };
    if is_complete(rollout) {
        say(rollout, "True", COMPLETE, &format!("{subject} has successfully progressed."));
    } else if has_moved(before, &after) || condition(rollout).is_none() {
        say(rollout, "True", "ReplicaSetUpdated", &format!("{subject} is progressing."));
    } else if reason != TIMED_OUT && reason != COMPLETE && is_late(rollout) {
        say(rollout, "False", TIMED_OUT, &format!("{subject} has timed out progressing."));
    }
}

fn has_moved(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let of = |count: Option<i32>| count.unwrap_or(0);
    let old = |status: &DeploymentStatus| of(status.replicas) - of(status.updated_replicas);
    of(after.updated_replicas) > of(before.updated_replicas)
        || old(after) < old(before)
        || of(after.ready_replicas) > of(before.ready_replicas)
        || of(after.available_replicas) > of(before.available_replicas)
}

/// Whether nothing has moved for longer than the deployment allows; if not yet, the moment it would be is noted.
fn is_late(rollout: &mut Rollout<'_>) -> bool {
    let seconds = i64::from(rollout.spec.progress_deadline_seconds.unwrap_or(600));
    let Some(moved) = condition(rollout).and_then(|it| it.last_update_time.as_ref()).map(|time| time.0) else {
        return false;
    };
    let deadline = moved + SignedDuration::from_secs(seconds);
    if rollout.look.now > deadline {
        return true;
    }
    let after = deadline + SignedDuration::from_secs(1);
    rollout.again = Some(rollout.again.map_or(after, |known| known.min(after)));
    false
}

fn condition<'a>(rollout: &'a Rollout<'_>) -> Option<&'a DeploymentCondition> {
    rollout.after.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == PROGRESSING)
}

fn say(rollout: &mut Rollout<'_>, status: &'static str, reason: &'static str, message: &str) {
    let now = rollout.look.time();
    let conditions = &mut rollout.status().conditions;
    deployment_says(conditions, Says { kind: PROGRESSING, status, reason, message }, &now);
    for condition in conditions.iter_mut().flatten().filter(|condition| condition.type_ == PROGRESSING) {
        condition.last_update_time = Some(now.clone());
    }
}
