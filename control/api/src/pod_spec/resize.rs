//! A pod that is resized while it runs: what it wants is in its spec, what its node has promised it and what holds are in its
//! status, and until they agree it counts for the most of them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;

use crate::quantity::Quantity;

/// What of a container may be resized.
pub const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// The condition of a pod that has not been promised what it wants.
pub const PENDING: &str = "PodResizePending";
/// The condition of a pod that has been promised what it wants, and does not have all of it yet.
pub const IN_PROGRESS: &str = "PodResizeInProgress";
/// Why a resize is pending: its node has not so much free now.
pub const DEFERRED: &str = "Deferred";
/// Why a resize is pending: its node never has so much.
pub const INFEASIBLE: &str = "Infeasible";

/// Amounts as objects say them.
pub type Amounts = BTreeMap<String, Written>;

/// Which amounts of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// What it asks for.
    Requests,
    /// What it may take.
    Limits,
}

/// Whether a container is to be restarted when so much of it is changed.
pub fn restarts(container: &Container, resource: &str) -> bool {
    let policies = container.resize_policy.as_deref().unwrap_or_default();
    let policy = policies.iter().find(|policy| policy.resource_name == resource);
    policy.is_some_and(|policy| policy.restart_policy == "RestartContainer")
}

/// What a container of a pod counts for, which wants `wanted`: the most of that and of what its node tells. What its node can
/// never give counts nothing.
pub fn counted<'a>(pod: &Pod, container: &str, which: Which, wanted: Cow<'a, Amounts>) -> Cow<'a, Amounts> {
    let Some(status) = status_of(pod, container) else { return wanted };
    let holds = status.resources.as_ref();
    let told = match which {
        Which::Requests => [status.allocated_resources.as_ref(), holds.and_then(|holds| holds.requests.as_ref())],
        Which::Limits => [holds.and_then(|holds| holds.limits.as_ref()), None],
    };
    let told = || told.iter().flatten();
    if told().all(|told| **told == *wanted) {
        return wanted;
    }
    let mut most = if is_infeasible(pod) { Amounts::new() } else { wanted.into_owned() };
    for (name, amount) in told().flat_map(|told| told.iter()) {
        match most.get_mut(name) {
            Some(known) if Quantity::of(known) >= Quantity::of(amount) => {}
            Some(known) => known.clone_from(amount),
            None => drop(most.insert(name.clone(), amount.clone())),
        }
    }
    Cow::Owned(most)
}

/// What the status of a pod says of one of its containers.
pub fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = [&status.container_statuses, &status.init_container_statuses].into_iter().flatten().flatten();
    all.into_iter().find(|told| told.name == container)
}

fn is_infeasible(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let pending = conditions.iter().find(|condition| condition.type_ == PENDING);
    pending.is_some_and(|pending| pending.reason.as_deref() == Some(INFEASIBLE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What a pod counts for that wants so many processors, was promised so many and has so many.
    fn check(wanted: &str, promised: &str, has: &str, reason: &str, expect: &str) {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {},
            "status": {
                "conditions": [{"type": PENDING, "status": "True", "reason": reason}],
                "containerStatuses": [{
                    "name": "main", "image": "a", "imageID": "", "ready": true, "restartCount": 0,
                    "allocatedResources": {"cpu": promised}, "resources": {"requests": {"cpu": has}},
                }],
            },
        }))
        .expect("a pod");
        let wanted = Amounts::from([("cpu".to_owned(), Written(wanted.to_owned()))]);
        let counted = counted(&pod, "main", Which::Requests, Cow::Borrowed(&wanted));
        assert_eq!(counted["cpu"].0, expect);
    }

    #[test]
    fn a_pod_counts_for_the_most_of_what_it_wants_and_has() {
        check("1", "1", "1", "", "1");
        check("2", "500m", "500m", DEFERRED, "2");
        check("100m", "100m", "500m", "", "500m");
        check("100m", "2", "500m", "", "2");
    }

    #[test]
    fn what_can_never_be_given_counts_nothing() {
        check("100", "500m", "500m", INFEASIBLE, "500m");
    }
}
