//! Revisions: every template that was rolled out has a number, and the sets of the last few are kept to go back to.

use std::collections::BTreeMap;

use super::rollout::{DESIRED, MAX, Rollout, Set};

const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Notes that are the deployment's own affair, or the tools'.
const NOT_COPIED: [&str; 5] =
    ["kubectl.kubernetes.io/last-applied-configuration", REVISION, REVISION_HISTORY, DESIRED, MAX];

/// Gives the newest set the highest number and the deployment's annotations, and the deployment the newest set's number.
pub(super) fn number(rollout: &mut Rollout<'_>) {
    let Some(newest) = rollout.newest else { return };
    let highest = rollout.old().filter_map(|place| rollout.sets[place].noted(REVISION)).max().unwrap_or(0);
    let annotations = rollout.object.meta().annotations.clone();
    let min_ready_seconds = rollout.spec.min_ready_seconds;
    let set = &mut rollout.sets[newest];
    let known = set.noted(REVISION);
    if known.is_none_or(|known| known <= highest) {
        renumber(set, known, highest + 1);
    }
    copy(&annotations, set);
    set.after.spec.get_or_insert_default().min_ready_seconds = min_ready_seconds;
    let revision = set.annotation(REVISION).unwrap_or_default().to_owned();
    rollout.after.metadata.annotations.get_or_insert_default().insert(REVISION.into(), revision);
}

fn renumber(set: &mut Set, known: Option<i64>, next: i64) {
    let annotations = set.after.metadata.annotations.get_or_insert_default();
    if let Some(known) = known {
        let history = annotations.entry(REVISION_HISTORY.into()).or_default();
        *history = if history.is_empty() { known.to_string() } else { format!("{history},{known}") };
    }
    annotations.insert(REVISION.into(), next.to_string());
}

fn copy(annotations: &BTreeMap<String, String>, set: &mut Set) {
    let copied = annotations.iter().filter(|(name, _)| !NOT_COPIED.contains(&name.as_str()));
    let copied = copied.map(|(name, value)| (name.clone(), value.clone()));
    set.after.metadata.annotations.get_or_insert_default().extend(copied);
}

/// Lets the oldest sets go when a rollout is complete and more are kept than asked for.
pub(super) fn clean_up(rollout: &mut Rollout<'_>) {
    let limit = usize::try_from(rollout.spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
    if !super::progress::is_complete(rollout) {
        return;
    }
    let is_spent = |set: &Set| {
        let status = set.after.status.clone().unwrap_or_default();
        set.wanted() == 0
            && set.running == 0
            && status.replicas == 0
            && status.observed_generation == set.after.metadata.generation
    };
    let mut spent: Vec<usize> = rollout.old().filter(|place| is_spent(&rollout.sets[*place])).collect();
    spent.sort_by_key(|place| rollout.sets[*place].noted(REVISION));
    let excess = rollout.old().count().saturating_sub(limit);
    for place in spent.into_iter().take(excess) {
        rollout.sets[place].is_deleted = true;
    }
}
