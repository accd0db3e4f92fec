//! One pod of a job.

use std::sync::Arc;

use api::Object;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::{TRACKING, failure_policy};
use crate::pods;

/// The annotation, and the label, that tells a pod's index.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How often the index of this pod had failed before it.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// How often it had failed without that being counted.
pub(super) const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// A pod that the job manages, whatever has become of it.
#[derive(Clone)]
pub(super) struct Member<'a> {
    pub(super) object: &'a Object,
    pub(super) pod: Arc<Pod>,
    pub(super) index: Option<u32>,
    replacement: Replacement,
}

/// From when on a pod that is being deleted counts as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replacement {
    /// As soon as its deletion is asked for.
    OfLeaving,
    /// Once it has ended.
    OfEnded,
}

// === impl Member ===

impl<'a> Member<'a> {
    pub(super) fn new(object: &'a Object, pod: Arc<Pod>, replacement: Replacement) -> Self {
        let index = object.meta().annotations.get(INDEX).and_then(|index| index.parse().ok());
        Self { object, pod, index, replacement }
    }

    /// Whether it waits to be counted.
    pub(super) fn is_tracked(&self) -> bool {
        self.object.meta().finalizers.iter().any(|it| it == TRACKING)
    }

    pub(super) fn is_active(&self) -> bool {
        pods::is_active(&self.pod)
    }

    /// Whether it was told to end and has not yet.
    pub(super) fn is_leaving(&self) -> bool {
        self.object.meta().is_terminating() && !pods::has_ended(&self.pod)
    }

    pub(super) fn has_succeeded(&self) -> bool {
        pods::phase(&self.pod) == "Succeeded"
    }

    pub(super) fn has_failed(&self) -> bool {
        let leaves = self.replacement == Replacement::OfLeaving && self.is_leaving();
        pods::phase(&self.pod) == "Failed" || leaves
    }

    /// How often its index has failed before it: counted, and ignored.
    pub(super) fn failures_before(&self) -> (usize, usize) {
        let number = |name| self.object.meta().annotations.get(name).and_then(|it| it.parse().ok()).unwrap_or(0);
        (number(FAILURES), number(IGNORED))
    }

    /// The same, with its own failure.
    pub(super) fn failures(&self, policy: &[failure_policy::Rule]) -> (usize, usize) {
        let (counted, ignored) = self.failures_before();
        match failure_policy::judge(policy, &self.pod) {
            failure_policy::Judgement::Ignored => (counted, ignored + 1),
            _ => (counted + 1, ignored),
        }
    }

    /// When it ended: with its last container, or else when it was to be gone.
    pub(super) fn finished_at(&self) -> Option<Timestamp> {
        let statuses = self.pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let ends = statuses.map(|one| one.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(|time| time.0));
        let last = ends.collect::<Option<Vec<_>>>().and_then(|ends| ends.into_iter().max());
        let grace = SignedDuration::from_secs(self.pod.metadata.deletion_grace_period_seconds.unwrap_or(0));
        let asked = || Some(self.object.meta().deletion_timestamp? - grace);
        let unready = || pods::condition(&self.pod, "Ready")?.last_transition_time.as_ref().map(|time| time.0);
        last.or_else(asked).or_else(unready).or(self.object.meta().creation_timestamp)
    }
}
