//! The job that is started when its time has come.

use api::{Object, kinds};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use state::Txn;

use super::due::Due;
use super::survey::Survey;
use super::{Cron, News};
use crate::charge::Tab;
use crate::created::created_for;
use crate::{owners, refusal};

/// The annotation that tells when it was due.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// What is started, and what gives way to it.
#[derive(Default)]
pub(super) struct Start<'a> {
    /// The time that has been seen to.
    pub(super) scheduled: Option<Time>,
    pub(super) created: Option<Object>,
    /// What the new job costs.
    pub(super) charges: Txn,
    pub(super) replaced: Vec<&'a Object>,
    pub(super) news: Vec<News>,
    pub(super) again: Option<Timestamp>,
}

/// What is started now.
pub(super) fn of<'a>(cron: &Cron<'a>, due: &Due, survey: &Survey<'a>) -> Start<'a> {
    let mut start = Start::default();
    let Some(scheduled) = due.scheduled else { return start };
    let policy = cron.spec.concurrency_policy.as_deref().unwrap_or_default();
    if policy == "Forbid" && !survey.running.is_empty() {
        let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
        start.news.extend(cron.unless_told(News::normal("JobAlreadyActive", message), scheduled));
        return start;
    }
    let wanted = wanted(cron, scheduled, due.zone.as_ref().unwrap_or(&TimeZone::UTC));
    let key = cron.object.key().sibling(kinds::JOB, wanted.metadata.name.as_deref().unwrap_or_default());
    match cron.view.get(&key) {
        // It was started, and that was not noted.
        Some(known) if owners::is_managed_by(known.meta(), cron.object) => {}
        Some(_) => return refused(start, cron, &format!("jobs.batch {:?} already exists", key.name())),
        None => match charged(cron, &wanted) {
            Ok((job, charges)) => {
                start.charges = charges;
                start.news.push(News::normal("SuccessfulCreate", format!("Created job {}", key.name())));
                start.created = Some(job);
            }
            Err(why) => return refused(start, cron, &why),
        },
    }
    if policy == "Replace" && start.created.is_some() {
        start.replaced.clone_from(&survey.running);
        let told = survey.running.iter().map(|job| format!("Deleted job {}", job.key().name()));
        start.news.extend(told.map(|message| News::normal("SuccessfulDelete", message)));
    }
    start.scheduled = Some(Time(scheduled));
    start
}

/// The job to store, and what it costs.
fn charged(cron: &Cron<'_>, wanted: &Job) -> Result<(Object, Txn), String> {
    let mut tab = Tab::open(cron.object.key(), cron.view, cron.look);
    let job = created_for(kinds::JOB, wanted, &mut tab)?;
    Ok((job, tab.settle()))
}

fn refused<'a>(mut start: Start<'a>, cron: &Cron<'_>, why: &str) -> Start<'a> {
    let news = News::warning("FailedCreate", format!("Error creating job: {why}"));
    start.news.extend(cron.unless_told(news, cron.look.now - refusal::AGAIN));
    start.again = Some(cron.look.now + refusal::AGAIN);
    start
}

/// The job for a time: named after its minute.
fn wanted(cron: &Cron<'_>, scheduled: Timestamp, zone: &TimeZone) -> Job {
    let template = &cron.spec.job_template;
    let metadata = template.metadata.clone().unwrap_or_default();
    let mut annotations = metadata.annotations.unwrap_or_default();
    let offset = zone.to_offset(scheduled);
    let time = if offset.is_zero() { scheduled.to_string() } else { scheduled.display_with_offset(offset).to_string() };
    annotations.insert(SCHEDULED.into(), time);
    Job {
        metadata: ObjectMeta {
            name: Some(format!("{}-{}", cron.object.key().name(), scheduled.as_second().div_euclid(60))),
            namespace: Some(cron.object.key().namespace().into()),
            labels: metadata.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![owners::controlled_by(cron.object)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// A reference to a job that is about to exist.
pub(super) fn reference(job: &Object) -> ObjectReference {
    ObjectReference { resource_version: None, ..crate::record::reference(job) }
}
