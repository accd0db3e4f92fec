//! Jobs that are over are deleted when their time is up.

use jiff::SignedDuration;

use super::status::finished;
use super::work::Work;
use crate::Plan;
use crate::deletion::{Propagation, delete};

/// Deletes the job and its pods `ttlSecondsAfterFinished` after its end.
pub(super) fn expire(work: &Work<'_>) -> Plan {
    let kept = work.spec().ttl_seconds_after_finished.map(|seconds| SignedDuration::from_secs(seconds.into()));
    let end = finished(&work.job).and_then(|condition| condition.last_transition_time.as_ref()).map(|time| time.0);
    match end.zip(kept).map(|(end, kept)| end + kept) {
        None => Plan::nothing(),
        Some(due) if due > work.look.now => Plan::nothing().again_at(Some(due)),
        Some(_) => Plan::of(delete(work.object, Propagation::Foreground, work.look.now)),
    }
}
