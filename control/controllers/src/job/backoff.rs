//! How long to wait after failures before the next pod.

use jiff::{SignedDuration, Timestamp};

use super::work::Work;

/// The wait after the first failure; it doubles with each further one. Kubernetes' own figures.
const FIRST: SignedDuration = SignedDuration::from_secs(10);
const LONGEST: SignedDuration = SignedDuration::from_mins(10);

/// When the next pod may come after so many failures in a row, the last of which was at `last`.
pub(super) fn after(failures: usize, last: Timestamp) -> Timestamp {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(8);
    last + (FIRST * 2_i32.pow(doublings)).min(LONGEST)
}

/// When the job's next pod may come, if it has to wait: failures since the last success, as far as their pods are there to
/// tell. Those that a suspension ended are none.
pub(super) fn until(work: &Work<'_>) -> Option<Timestamp> {
    let start = work.status().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    let ended = work.members.iter().filter(|member| member.has_succeeded() || member.has_failed());
    let mut ends: Vec<(Timestamp, bool)> =
        ended.filter_map(|member| Some((member.finished_at()?, member.has_succeeded()))).collect();
    ends.retain(|(at, _)| start.is_none_or(|start| *at >= start));
    ends.sort();
    let failures = ends.iter().rev().take_while(|(_, succeeded)| !succeeded).count();
    let (last, _) = ends.last().filter(|_| failures > 0)?;
    Some(after(failures, *last)).filter(|until| *until > work.look.now)
}
