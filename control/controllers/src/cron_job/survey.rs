//! The jobs of a CronJob: which run, which have ended, which are missed.

use api::{Object, kinds};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Cron, News};
use crate::{job, owners};

/// What has become of what was started.
pub(super) struct Survey<'a> {
    /// Those that still run, as the status tells them.
    pub(super) active: Vec<ObjectReference>,
    /// The same, as they are.
    pub(super) running: Vec<&'a Object>,
    pub(super) last_success: Option<Time>,
    pub(super) news: Vec<News>,
}

// === impl Survey ===

impl<'a> Survey<'a> {
    pub(super) fn of(cron: &Cron<'a>) -> Self {
        let known = cron.status.active.clone().unwrap_or_default();
        let is_known = |job: &Object| known.iter().any(|one| one.uid.as_deref() == Some(&*job.meta().uid));
        let last_success = cron.status.last_successful_time.clone();
        let mut survey = Self { active: Vec::new(), running: Vec::new(), last_success, news: Vec::new() };
        for object in jobs(cron) {
            let Ok(job) = object.decode::<Job>() else { continue };
            let name = object.key().name();
            match (job::finished(&job), is_known(object)) {
                (Some(end), true) => {
                    let message = format!("Saw completed job: {name}, condition: {}", end.type_);
                    survey.news.push(News::normal("SawCompletedJob", message));
                }
                (None, true) => survey.running.push(object),
                (None, false) => {
                    let message = format!("Saw a job that the controller did not create or forgot: {name}");
                    let news = News::warning("UnexpectedJob", message);
                    survey.news.extend(cron.unless_told(news, Timestamp::UNIX_EPOCH));
                }
                (Some(_), false) => {}
            }
            let completed = job.status.as_ref().and_then(|status| status.completion_time.clone());
            survey.last_success = [survey.last_success, completed].into_iter().flatten().max_by_key(|time| time.0);
        }
        for one in known {
            let uid = one.uid.as_deref().unwrap_or_default();
            if survey.running.iter().any(|job| &*job.meta().uid == uid) {
                survey.active.push(one);
            } else if cron.view.by_uid(uid).is_none() {
                let name = one.name.as_deref().unwrap_or_default();
                survey.news.push(News::normal("MissingJob", format!("Active job went missing: {name}")));
            }
        }
        survey
    }
}

/// The jobs that it manages.
pub(super) fn jobs<'a>(cron: &Cron<'a>) -> impl Iterator<Item = &'a Object> {
    let (object, view) = (cron.object, cron.view);
    let owned = view.owned_by(&object.meta().uid).filter(|it| it.key().kind() == kinds::JOB);
    owned.filter(move |it| owners::is_managed_by(it.meta(), object))
}
