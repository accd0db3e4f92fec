//! Which pods go first when there are too many: those that would be missed least.

use std::cmp::Reverse;
use std::collections::HashMap;

use api::{Object, kinds};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use state::Snapshot;

use super::{Replica, replicas};
use crate::pods;

/// The annotation by which people rank pods.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// `count` of the active pods, least missed first.
pub(super) fn doomed<'a, 'b>(
    set: &Object,
    active: &'b [&'b Replica<'a>],
    count: usize,
    view: &Snapshot,
    now: Timestamp,
) -> Vec<&'b Replica<'a>> {
    let crowd = crowd(set, view);
    let mut ranked: Vec<&Replica<'_>> = active.to_vec();
    ranked.sort_by_cached_key(|replica| {
        let pod = &replica.pod;
        let ready_since = pods::ready_since(pod);
        let company = pods::node(pod).and_then(|node| crowd.get(node)).copied().unwrap_or(0);
        (
            pods::node(pod).is_some(),
            ["Pending", "Unknown", "Running"].iter().position(|phase| *phase == pods::phase(pod)),
            ready_since.is_some(),
            cost(replica.object),
            Reverse(company),
            ready_since.map(|since| age_class(since, now)),
            Reverse(restarts(pod)),
            Reverse(replica.object.meta().creation_timestamp),
            replica.object.key().name().to_owned(),
        )
    });
    ranked.truncate(count);
    ranked
}

/// How many active pods of the set and of its sister sets each node has.
fn crowd(set: &Object, view: &Snapshot) -> HashMap<String, usize> {
    let sisters = set.meta().controller().into_iter().flat_map(|owner| view.owned_by(&owner.uid));
    let sisters = sisters.filter(|it| it.key().kind() == kinds::REPLICA_SET && it.key() != set.key());
    let mut crowd = HashMap::new();
    for replica in sisters.chain([set]).flat_map(|set| replicas(set, view)) {
        if let Some(node) = pods::node(&replica.pod)
            && pods::is_active(&replica.pod)
        {
            *crowd.entry(node.to_owned()).or_default() += 1;
        }
    }
    crowd
}

fn cost(pod: &Object) -> i32 {
    pod.meta().annotations.get(DELETION_COST).and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

/// Powers of two of seconds: small differences in age should not decide. The younger class goes first.
fn age_class(since: Timestamp, now: Timestamp) -> u32 {
    u64::try_from(now.duration_since(since).as_secs())
        .map_or(0, |seconds| seconds.checked_ilog2().map_or(0, |log| log + 1))
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|container| container.restart_count).max().unwrap_or(0)
}
