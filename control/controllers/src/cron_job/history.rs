//! The jobs that have ended and are kept for people to read: so many, and no more.

use api::Object;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use state::Txn;

use super::survey::jobs;
use super::{Cron, News};
use crate::deletion::{Propagation, delete};
use crate::job;
use crate::record::told;

/// Deletes the oldest beyond the limits, each by itself.
pub(super) fn surplus(cron: &Cron<'_>) -> Vec<Txn> {
    let mut surplus = beyond(cron, "Complete", cron.spec.successful_jobs_history_limit);
    surplus.extend(beyond(cron, "Failed", cron.spec.failed_jobs_history_limit));
    let removed = surplus.into_iter().map(|job| {
        let news = News::normal("SuccessfulDelete", format!("Deleted job {}", job.key().name()));
        let gone = delete(job, Propagation::Background, cron.look.now);
        gone.and(told(cron.view, cron.look, cron.object, &news.tale()))
    });
    removed.collect()
}

fn beyond<'a>(cron: &Cron<'a>, end: &str, limit: Option<i32>) -> Vec<&'a Object> {
    let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return Vec::new() };
    let ended = jobs(cron).filter(|job| !job.meta().is_terminating()).filter_map(|object| {
        let job = object.decode::<Job>().ok()?;
        let is_so = job::finished(&job).is_some_and(|condition| condition.type_ == end);
        let began = job.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
        is_so.then_some((began, object))
    });
    let mut ended: Vec<(Option<Timestamp>, &Object)> = ended.collect();
    ended.sort_by_key(|(began, object)| (*began, object.key().clone()));
    let excess = ended.len().saturating_sub(limit);
    ended.into_iter().take(excess).map(|(_, object)| object).collect()
}
