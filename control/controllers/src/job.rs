//! Jobs: pods that run until enough of them have succeeded, or too many have failed.
//!
//! A pod is counted once: it carries a finalizer until then, and the transaction that counts it is the one that takes the
//! finalizer off. So the list in which Kubernetes remembers pods between its two writes (`uncountedTerminatedPods`) stays empty
//! here; what somebody else's controller left in it is still honoured. Back-off is not remembered either: it follows from the
//! pods that have failed, as long as they are there.
//!
//! One look either lets surplus pods go, each in a transaction of its own because agents write pods all the time, or counts,
//! creates and says so in one breath. What a job comes to is first said as a criterion (`SuccessCriteriaMet`,
//! `FailureTarget`), and as an end (`Complete`, `Failed`) once its last pod is gone.

mod backoff;
mod claim;
mod count;
mod expiry;
mod failure_policy;
mod growth;
mod indexes;
mod member;
mod orphan;
mod pod;
mod ranking;
mod status;
mod success_policy;
mod surplus;
mod tally;
#[cfg(test)]
mod tests;
mod verdict;
mod work;

pub(crate) use status::finished;

use api::{Key, kinds};
use state::{Event, Guard, Snapshot, Txn};

use crate::charge::has_more_room;
use crate::record::{Tale, Tone, told};
use crate::{Controller, Look, Plan, owners};
use growth::Growth;
use tally::Tally;
use verdict::Verdict;
use work::Work;

/// Who tells the events.
const COMPONENT: &str = "job-controller";
/// What holds a pod until it is counted.
pub(crate) const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// The value of `managedBy` that means this controller.
const MANAGER: &str = "kubernetes.io/job-controller";

/// The controller of Jobs, and of the pods that they leave behind.
pub(crate) struct Jobs;

// === impl Jobs ===

impl Controller for Jobs {
    fn name(&self) -> &'static str {
        "job"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        match event.key().kind() {
            kinds::JOB => {
                let mut keys = vec![event.key().clone()];
                keys.extend(orphan::left_by(event, view));
                keys
            }
            kinds::POD => {
                let mut keys = owners::managers(event, kinds::JOB);
                if event.after().is_some_and(|pod| pod.meta().controller().is_none()) {
                    keys.extend(claim::candidates(event.latest(), view));
                }
                keys.extend(event.after().filter(|pod| orphan::is_one(pod, view)).map(|pod| pod.key().clone()));
                keys
            }
            // What could not be created for want of its account, or of room, can be now.
            kinds::SERVICE_ACCOUNT if event.after().is_some() => jobs_in(event.key().namespace(), view),
            kinds::RESOURCE_QUOTA if has_more_room(event) => jobs_in(event.key().namespace(), view),
            _ => Vec::new(),
        }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        if key.kind() == kinds::POD {
            return orphan::release(key, view);
        }
        let Some(work) = Work::read(key, view, look) else { return Plan::nothing() };
        if finished(&work.job).is_some() {
            return expiry::expire(&work);
        }
        if !work.is_ours() {
            return Plan::nothing();
        }
        let claims = claim::claims(&work);
        if !claims.is_empty() {
            return claims.into_iter().collect();
        }
        let tally = Tally::of(&work);
        let verdict = verdict::of(&work, &tally);
        let surplus = surplus::let_go(&work, &tally, verdict.as_ref());
        let plan = if surplus.txns.is_empty() { settle(&work, &tally, verdict.as_ref()) } else { surplus };
        plan.again_at(verdict::deadline(&work))
    }
}

fn jobs_in(namespace: &str, view: &Snapshot) -> Vec<Key> {
    view.list_in(kinds::JOB, namespace).map(|job| job.key().clone()).collect()
}

/// Counts who has ended, creates who is missing, and says how things stand.
fn settle(work: &Work<'_>, tally: &Tally, verdict: Option<&Verdict>) -> Plan {
    let count = count::of(work, tally, verdict);
    let mut growth = if verdict.is_none() { growth::of(work, tally) } else { Growth::default() };
    let mut txn = Txn::default().guard(Guard::Unchanged(work.object.key().clone(), work.object.revision()));
    txn = txn.and(std::mem::take(&mut growth.charges));
    for release in &count.released {
        txn = txn.and(crate::deletion::without_finalizer(release, TRACKING));
    }
    for pod in &growth.created {
        let message = format!("Created pod: {}", pod.key().name());
        let tale = Tale { by: COMPONENT, tone: Tone::Normal, reason: "SuccessfulCreate", message: &message };
        txn = txn.and(told(work.view, work.look, work.object, &tale));
        txn = txn.guard(Guard::Absent(pod.key().clone())).put(pod.clone());
    }
    if !growth.created.is_empty() {
        txn = txn.guard(Guard::Alive(kinds::NAMESPACE.cluster_key(work.object.key().namespace())));
    }
    if let Some(message) = &growth.refused {
        let tale = Tale { by: COMPONENT, tone: Tone::Warning, reason: "FailedCreate", message };
        txn = txn.and(told(work.view, work.look, work.object, &tale));
    }
    let (status, tales) = status::updated(work, tally, &count, &growth, verdict);
    for tale in tales.iter().map(status::News::tale) {
        txn = txn.and(told(work.view, work.look, work.object, &tale));
    }
    Plan::of(status.into_iter().fold(txn, Txn::put)).again_at(growth.again)
}
