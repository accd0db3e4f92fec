//! Plain questions about a pod.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition};

/// Whether a pod serves, and if not, when it might.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Availability {
    /// Ready for as long as asked.
    Available,
    /// Ready, but not yet for long enough.
    From(Timestamp),
    /// Not ready.
    Unavailable,
}

/// The node the pod is bound to.
pub(crate) fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// The phase, `Pending` where none is told.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Whether all its containers are done, for good or ill.
pub(crate) fn has_ended(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether it counts as one of its owner's replicas.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !has_ended(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// The condition of a type.
pub(crate) fn condition<'a>(pod: &'a Pod, name: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == name)
}

/// Since when it is ready; a readiness that does not tell its time began with the pod.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|condition| condition.status == "True")?;
    let since = ready.last_transition_time.as_ref().or(pod.metadata.creation_timestamp.as_ref());
    Some(since.map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

/// Whether it is ready.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    ready_since(pod).is_some()
}

/// Whether it has been ready for `seconds`.
pub(crate) fn availability(pod: &Pod, seconds: i32, now: Timestamp) -> Availability {
    match ready_since(pod) {
        None => Availability::Unavailable,
        Some(_) if seconds <= 0 => Availability::Available,
        Some(since) => match since + SignedDuration::from_secs(seconds.into()) {
            due if due <= now => Availability::Available,
            due => Availability::From(due),
        },
    }
}
