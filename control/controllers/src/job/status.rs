//! What a job reports of its pods.

use api::Object;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus, UncountedTerminatedPods};

use super::COMPONENT;
use super::count::Count;
use super::growth::Growth;
use super::tally::Tally;
use super::verdict::{Outcome, Verdict};
use super::work::Work;
use crate::conditions::{Says, job_says};
use crate::edit::edited;
use crate::record::{Tale, Tone};
use crate::replica_set::number;

const SUSPENDED: &str = "Suspended";

/// Something to tell of the job.
pub(super) struct News {
    tone: Tone,
    reason: String,
    message: String,
}

/// The condition that says that the job is over, if it is.
pub(crate) fn finished(job: &Job) -> Option<&JobCondition> {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().find(|it| matches!(it.type_.as_str(), "Complete" | "Failed") && it.status == "True")
}

/// The job with the status that is true once the count is made and what is new exists, or nothing if it says so already; and
/// what there is to tell.
pub(super) fn updated(
    work: &Work<'_>,
    tally: &Tally,
    count: &Count<'_>,
    growth: &Growth,
    verdict: Option<&Verdict>,
) -> (Option<Object>, Vec<News>) {
    let mut news = Vec::new();
    let object = edited::<Job>(work.object, |job| {
        let mut status = job.status.take().unwrap_or_default();
        status.active = number(tally.active + growth.created.len());
        status.ready = Some(number(tally.ready).unwrap_or(0));
        status.terminating = Some(number(tally.leaving).unwrap_or(0));
        status.succeeded = number(count.succeeded);
        status.failed = number(count.failed);
        status.uncounted_terminated_pods = Some(UncountedTerminatedPods::default());
        if work.is_indexed() {
            status.completed_indexes = Some(count.done.to_string()).filter(|text| !text.is_empty());
        }
        if work.limit_per_index().is_some() {
            status.failed_indexes = Some(tally.lost.to_string());
        }
        if status.start_time.is_none() && !work.is_suspended() {
            status.start_time = Some(work.look.time());
        }
        match verdict {
            Some(verdict) => judge(&mut status, work, verdict, tally, count, &mut news),
            None if !work.object.meta().is_terminating() => pause(&mut status, work, &mut news),
            None => {}
        }
        job.status = Some(status);
    });
    (object, news)
}

/// Says what it comes to, and that it has once no pod is left.
fn judge(
    status: &mut JobStatus,
    work: &Work<'_>,
    verdict: &Verdict,
    tally: &Tally,
    count: &Count<'_>,
    news: &mut Vec<News>,
) {
    let Verdict { outcome, reason, message, .. } = verdict;
    say(status, work, Says { kind: outcome.criterion(), status: "True", reason, message });
    if tally.active + tally.leaving > 0 || !count.is_all {
        return;
    }
    say(status, work, Says { kind: outcome.end(), status: "True", reason, message });
    match outcome {
        Outcome::Success => {
            status.completion_time = Some(work.look.time());
            news.push(News { tone: Tone::Normal, reason: "Completed".into(), message: "Job completed".into() });
        }
        Outcome::Failure => {
            news.push(News { tone: Tone::Warning, reason: reason.clone(), message: message.clone() });
        }
    }
}

/// Says that it is held, or goes on. Its time begins anew when it goes on.
fn pause(status: &mut JobStatus, work: &Work<'_>, news: &mut Vec<News>) {
    let known = status.conditions.iter().flatten().find(|it| it.type_ == SUSPENDED).map(|it| it.status == "True");
    let (reason, status_word, message, told) = match (work.is_suspended(), known) {
        (true, Some(true)) | (false, Some(false) | None) => return,
        (true, _) => ("JobSuspended", "True", "Job suspended", "Suspended"),
        (false, Some(true)) => ("JobResumed", "False", "Job resumed", "Resumed"),
    };
    say(status, work, Says { kind: SUSPENDED, status: status_word, reason, message });
    news.push(News { tone: Tone::Normal, reason: told.into(), message: message.into() });
    if !work.is_suspended() {
        status.start_time = Some(work.look.time());
    }
}

fn say(status: &mut JobStatus, work: &Work<'_>, says: Says<'_>) {
    let now = work.look.time();
    job_says(&mut status.conditions, says, &now);
    let said = status.conditions.iter_mut().flatten().find(|it| it.type_ == says.kind);
    if let Some(said) = said.filter(|it| it.last_probe_time.is_none() || it.last_transition_time.as_ref() == Some(&now))
    {
        said.last_probe_time.clone_from(&said.last_transition_time);
    }
}

// === impl News ===

impl News {
    pub(super) fn tale(&self) -> Tale<'_> {
        Tale { by: COMPONENT, tone: self.tone, reason: &self.reason, message: &self.message }
    }
}
