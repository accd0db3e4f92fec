//! Which pods are the job's own: adoption and release.

use api::{Key, Object, kinds};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::Pod;
use state::{Guard, Snapshot, Txn};

use super::TRACKING;
use super::work::Work;
use crate::edit::replaced;
use crate::{owners, selector};

/// The jobs that would take a pod without a manager.
pub(super) fn candidates(pod: &Object, view: &Snapshot) -> Vec<Key> {
    let jobs = view.list_in(kinds::JOB, pod.key().namespace());
    let takes = |object: &&Object| {
        let matches = |spec: &JobSpec| read(spec).matches(&pod.meta().labels);
        let job = object.decode::<Job>();
        !object.meta().is_terminating()
            && job.is_ok_and(|job| super::finished(&job).is_none() && job.spec.as_ref().is_some_and(matches))
    };
    jobs.filter(takes).map(|job| job.key().clone()).collect()
}

/// What must change for the job to manage exactly the pods it matches. Adopted ones are counted like its own.
pub(super) fn claims(work: &Work<'_>) -> Vec<Txn> {
    let selector = read(work.spec());
    let matches = |pod: &Object| selector.matches(&pod.meta().labels);
    // Who is on the way out is seen off where it is.
    let stays = |pod: &&Object| !pod.meta().is_terminating();
    let strangers = work.members.iter().map(|member| member.object).filter(stays).filter(|pod| !matches(pod));
    let mut txns: Vec<Txn> = strangers.map(|pod| release(pod, work.object)).collect();
    if !work.object.meta().is_terminating() {
        let alone = work.view.unmanaged(kinds::POD, work.object.key().namespace()).filter(stays);
        txns.extend(alone.filter(|pod| matches(pod)).map(|pod| adopt(pod, work.object)));
    }
    txns
}

fn read(spec: &JobSpec) -> api::selector::LabelSelector {
    spec.selector.as_ref().map_or_else(api::selector::LabelSelector::nothing, selector::read)
}

fn release(pod: &Object, job: &Object) -> Txn {
    replaced::<Pod>(pod, |pod| {
        if let Some(references) = &mut pod.metadata.owner_references {
            references.retain(|reference| reference.uid != *job.meta().uid);
        }
        pod.metadata.owner_references.take_if(|references| references.is_empty());
        if let Some(finalizers) = &mut pod.metadata.finalizers {
            finalizers.retain(|it| it != TRACKING);
        }
        pod.metadata.finalizers.take_if(|finalizers| finalizers.is_empty());
    })
}

fn adopt(pod: &Object, job: &Object) -> Txn {
    let adopted = replaced::<Pod>(pod, |pod| {
        let references = pod.metadata.owner_references.get_or_insert_default();
        references.retain(|reference| reference.uid != *job.meta().uid);
        references.push(owners::controlled_by(job));
        let finalizers = pod.metadata.finalizers.get_or_insert_default();
        if !finalizers.iter().any(|it| it == TRACKING) {
            finalizers.push(TRACKING.into());
        }
    });
    adopted.guard(Guard::Alive(job.key().clone()))
}
