//! A job with its pods, as one look finds them.

use std::sync::Arc;

use api::{Key, Object, kinds};
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use state::Snapshot;

use super::member::{Member, Replacement};
use crate::{Look, owners};

/// A job that has a spec, and the pods that it manages.
pub(super) struct Work<'a> {
    pub(super) object: &'a Object,
    pub(super) job: Arc<Job>,
    pub(super) members: Vec<Member<'a>>,
    pub(super) view: &'a Snapshot,
    pub(super) look: Look<'a>,
}

// === impl Work ===

impl<'a> Work<'a> {
    pub(super) fn read(key: &Key, view: &'a Snapshot, look: Look<'a>) -> Option<Self> {
        let object = view.get(key)?;
        let job = object.decode::<Job>().ok().filter(|job| job.spec.is_some())?;
        let replacement = match job.spec.as_ref().and_then(|spec| spec.pod_replacement_policy.as_deref()) {
            Some("Failed") => Replacement::OfEnded,
            _ => Replacement::OfLeaving,
        };
        let owned = view.owned_by(&object.meta().uid).filter(|it| it.key().kind() == kinds::POD);
        let managed = owned.filter(|it| owners::is_managed_by(it.meta(), object));
        let read = |object: &'a Object| Some(Member::new(object, object.decode::<Pod>().ok()?, replacement));
        Some(Self { object, job, members: managed.filter_map(read).collect(), view, look })
    }

    pub(super) fn spec(&self) -> &JobSpec {
        self.job.spec.as_ref().expect("a job without a spec is not read")
    }

    pub(super) fn status(&self) -> Option<&JobStatus> {
        self.job.status.as_ref()
    }

    /// Whether nobody else has been asked to see to it.
    pub(super) fn is_ours(&self) -> bool {
        self.spec().managed_by.as_deref().is_none_or(|manager| manager == super::MANAGER)
    }

    pub(super) fn is_indexed(&self) -> bool {
        self.spec().completion_mode.as_deref() == Some("Indexed")
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.spec().suspend == Some(true)
    }

    /// Whether a pod is replaced only once it has ended.
    pub(super) fn replaces_ended_only(&self) -> bool {
        self.spec().pod_replacement_policy.as_deref() == Some("Failed")
    }

    pub(super) fn parallelism(&self) -> usize {
        count(self.spec().parallelism.unwrap_or(1))
    }

    /// How many are to succeed; none for a queue of work, whose pods know themselves when it is empty.
    pub(super) fn completions(&self) -> Option<usize> {
        self.spec().completions.map(count)
    }

    pub(super) fn limit_per_index(&self) -> Option<usize> {
        self.spec().backoff_limit_per_index.map(count)
    }

    /// The pod's index, if it is one of the job's.
    pub(super) fn index(&self, member: &Member<'_>) -> Option<u32> {
        let all = self.completions().unwrap_or(0);
        member.index.filter(|index| (*index as usize) < all)
    }

    /// Whether the pod's end matters: in an indexed job only that of a pod with an index.
    pub(super) fn counts(&self, member: &Member<'_>) -> bool {
        !self.is_indexed() || self.index(member).is_some()
    }
}

/// A number of the API, which are never negative.
pub(super) fn count(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}
