//! Whether a job is over, and why.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::JobCondition;

use super::failure_policy::{self, Judgement};
use super::success_policy;
use super::tally::{Tally, policy};
use super::work::{Work, count};

/// What a job comes to. It is kept in the status as soon as it is known, and does not change any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    pub(super) reason: String,
    pub(super) message: String,
    /// Whether the status says so already.
    pub(super) is_known: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    Failure,
}

// === impl Outcome ===

impl Outcome {
    /// The condition that says what it will come to, once its pods are gone.
    pub(super) fn criterion(self) -> &'static str {
        match self {
            Self::Success => "SuccessCriteriaMet",
            Self::Failure => "FailureTarget",
        }
    }

    /// The condition that says that it has.
    pub(super) fn end(self) -> &'static str {
        match self {
            Self::Success => "Complete",
            Self::Failure => "Failed",
        }
    }
}

/// The verdict, if there is one.
pub(super) fn of(work: &Work<'_>, tally: &Tally) -> Option<Verdict> {
    let known = [Outcome::Success, Outcome::Failure].into_iter().find_map(|outcome| known(work, outcome));
    known.or_else(|| failure(work, tally)).or_else(|| success(work, tally))
}

/// When the job will have been active for too long.
pub(super) fn deadline(work: &Work<'_>) -> Option<Timestamp> {
    let seconds = work.spec().active_deadline_seconds.filter(|_| !work.is_suspended())?;
    let start = work.status().and_then(|status| status.start_time.as_ref()).map_or(work.look.now, |time| time.0);
    Some(start + SignedDuration::from_secs(seconds)).filter(|end| *end > work.look.now)
}

fn known(work: &Work<'_>, outcome: Outcome) -> Option<Verdict> {
    let conditions = work.status().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let says = |it: &&JobCondition| it.type_ == outcome.criterion() && it.status == "True";
    let found = conditions.iter().find(says)?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Some(Verdict { outcome, reason: text(&found.reason), message: text(&found.message), is_known: true })
}

fn failure(work: &Work<'_>, tally: &Tally) -> Option<Verdict> {
    let failed = |reason: &str, message: &str| {
        Some(Verdict { outcome: Outcome::Failure, reason: reason.into(), message: message.into(), is_known: false })
    };
    if let Some(why) = work.members.iter().filter(|member| member.has_failed()).find_map(|it| is_fatal(work, &it.pod)) {
        return failed("PodFailurePolicy", &why);
    }
    let limit = work.spec().backoff_limit.map_or(6, count);
    if tally.failed > limit || restarted_too_often(work, limit) {
        return failed("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if is_late(work) {
        return failed("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    let lost = tally.lost.len();
    if work.spec().max_failed_indexes.is_some_and(|most| lost > count(most)) {
        let message = "Job has exceeded the specified maximal number of failed indexes";
        return failed("MaxFailedIndexesExceeded", message);
    }
    if lost > 0 && lost + tally.done.len() >= work.completions().unwrap_or(0) {
        return failed("FailedIndexes", "Job has failed indexes");
    }
    None
}

fn is_fatal(work: &Work<'_>, pod: &k8s_openapi::api::core::v1::Pod) -> Option<String> {
    match failure_policy::judge(policy(work), pod) {
        Judgement::JobLost(why) => Some(why),
        _ => None,
    }
}

/// Pods that restart their containers themselves fail by doing so too often.
fn restarted_too_often(work: &Work<'_>, limit: usize) -> bool {
    let template = work.spec().template.spec.as_ref();
    if template.and_then(|spec| spec.restart_policy.as_deref()) != Some("OnFailure") {
        return false;
    }
    let live = work.members.iter().filter(|member| !crate::pods::has_ended(&member.pod));
    let statuses = live.filter_map(|member| member.pod.status.as_ref());
    let containers = statuses.flat_map(|status| {
        [&status.init_container_statuses, &status.container_statuses].into_iter().flatten().flatten()
    });
    let restarts: usize = containers.map(|container| count(container.restart_count)).sum();
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

fn is_late(work: &Work<'_>) -> bool {
    let limit = work.spec().active_deadline_seconds.filter(|_| !work.is_suspended());
    let start = work.status().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    limit.zip(start).is_some_and(|(seconds, start)| start + SignedDuration::from_secs(seconds) <= work.look.now)
}

fn success(work: &Work<'_>, tally: &Tally) -> Option<Verdict> {
    let succeeded = |reason: &str, message: String| {
        Some(Verdict { outcome: Outcome::Success, reason: reason.into(), message, is_known: false })
    };
    if let (Some(policy), Some(completions)) = (&work.spec().success_policy, work.completions())
        && let Some(message) = success_policy::met(policy, &tally.done, completions)
    {
        return succeeded("SuccessPolicy", message);
    }
    let enough = match work.completions() {
        Some(wanted) => tally.succeeded >= wanted,
        // The first that succeeds has seen the queue empty; the others may end as they like.
        None => tally.succeeded > 0,
    };
    if enough && tally.active == 0 {
        return succeeded("CompletionsReached", "Reached expected number of succeeded pods".into());
    }
    None
}
