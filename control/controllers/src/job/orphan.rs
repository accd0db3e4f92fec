//! Pods that wait for a job to count them which is gone, or over, or no longer theirs.

use api::{Key, Object, kinds};
use k8s_openapi::api::batch::v1::Job;
use state::{Event, Snapshot};

use super::{MANAGER, TRACKING, finished};
use crate::deletion::without_finalizer;
use crate::{Plan, owners};

/// The pods that a job left behind.
pub(super) fn left_by(event: &Event, view: &Snapshot) -> Vec<Key> {
    let pods = view.owned_by(&event.latest().meta().uid).filter(|it| it.key().kind() == kinds::POD);
    pods.filter(|pod| is_one(pod, view)).map(|pod| pod.key().clone()).collect()
}

/// Whether nobody will count the pod.
pub(super) fn is_one(pod: &Object, view: &Snapshot) -> bool {
    if !pod.meta().finalizers.iter().any(|it| it == TRACKING) {
        return false;
    }
    let Some(key) = owners::manager(pod, kinds::JOB) else { return !may_be_adopted(pod, view) };
    let Some(job) = view.get(&key).filter(|job| owners::is_managed_by(pod.meta(), job)) else { return true };
    job.decode::<Job>().is_ok_and(|job| {
        let manager = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
        finished(&job).is_some() && manager.is_none_or(|manager| manager == MANAGER)
    })
}

fn may_be_adopted(pod: &Object, view: &Snapshot) -> bool {
    pod.meta().controller().is_none() && !super::claim::candidates(pod, view).is_empty()
}

/// Lets such a pod go.
pub(super) fn release(key: &Key, view: &Snapshot) -> Plan {
    let pod = view.get(key).filter(|pod| is_one(pod, view));
    pod.map_or_else(Plan::nothing, |pod| Plan::of(without_finalizer(pod, TRACKING)))
}
