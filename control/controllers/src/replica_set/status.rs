//! What a ReplicaSet reports of its pods.

use api::Object;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::{Replica, kind};
use crate::Look;
use crate::conditions::{Says, replica_set_says};
use crate::pods::{self, Availability};

/// The condition of a set that does not get the pods that it asks for.
pub(crate) const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The set with the status that is true once `created` exist; nothing if it says so already.
pub(super) fn updated(
    object: &Object,
    active: &[&Replica<'_>],
    created: &[Object],
    refused: Option<&str>,
    look: Look<'_>,
) -> Option<Object> {
    let set = kind::read(object)?;
    let spec = set.spec.clone().unwrap_or_default();
    kind::with_status(object, |status| {
        let labels = spec
            .template
            .and_then(|template| template.metadata)
            .and_then(|metadata| metadata.labels)
            .unwrap_or_default();
        let seconds = spec.min_ready_seconds.unwrap_or(0);
        let labelled = |pod: &Pod| {
            let has = pod.metadata.labels.as_ref();
            labels.iter().all(|(name, value)| has.and_then(|has| has.get(name)) == Some(value))
        };
        let available = |pod: &Pod| pods::availability(pod, seconds, look.now) == Availability::Available;
        let count = |which: &dyn Fn(&Pod) -> bool| active.iter().filter(|replica| which(&replica.pod)).count();
        status.replicas = number(active.len() + created.len()).unwrap_or(0);
        // A new pod carries the template's labels, so it is fully labelled.
        status.fully_labeled_replicas = number(count(&labelled) + created.len());
        status.ready_replicas = number(count(&pods::is_ready));
        status.available_replicas = number(count(&available));
        status.observed_generation = set.metadata.generation;
        tell_refusal(status, refused, look);
    })
}

/// Whether the set tells of this refusal already.
pub(super) fn says_refused(set: &ReplicaSet, why: &str) -> bool {
    let conditions = set.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|it| it.type_ == REPLICA_FAILURE && it.message.as_deref() == Some(why))
}

fn tell_refusal(status: &mut ReplicaSetStatus, refused: Option<&str>, look: Look<'_>) {
    match refused {
        Some(message) => {
            let says = Says { kind: REPLICA_FAILURE, status: "True", reason: "FailedCreate", message };
            replica_set_says(&mut status.conditions, says, &look.time());
        }
        None => {
            if let Some(conditions) = &mut status.conditions {
                conditions.retain(|condition| condition.type_ != REPLICA_FAILURE);
            }
            status.conditions.take_if(|conditions| conditions.is_empty());
        }
    }
}

/// A count as Kubernetes writes it: nothing for none.
pub(crate) fn number(count: usize) -> Option<i32> {
    i32::try_from(count).ok().filter(|count| *count > 0)
}
