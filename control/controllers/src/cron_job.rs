//! CronJobs: a job whenever its time has come.
//!
//! A job is named after the minute it was due, and is created by the transaction that notes that time as the last one: there are
//! never two for one time. Of times that were missed only the latest is made up for. What the status calls active is what the
//! world shows as unfinished of what was started here; a job that somebody makes by hand out of the template is nobody's turn.

mod due;
mod history;
mod start;
mod survey;
#[cfg(test)]
mod tests;

use api::{Key, Object, kinds};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus};
use state::{Event, Guard, Snapshot, Txn};

use crate::charge::has_more_room;
use crate::edit::edited;
use crate::record::{Tale, Tone, told, told_since};
use crate::{Controller, Look, Plan, created, owners};
use due::Due;
use start::Start;
use survey::Survey;

/// Who tells the events.
const COMPONENT: &str = "cronjob-controller";

/// The controller of CronJobs.
pub(crate) struct CronJobs;

/// A CronJob as one look finds it.
struct Cron<'a> {
    object: &'a Object,
    spec: &'a CronJobSpec,
    status: CronJobStatus,
    view: &'a Snapshot,
    look: Look<'a>,
}

/// Something to tell.
struct News {
    tone: Tone,
    reason: &'static str,
    message: String,
}

// === impl CronJobs ===

impl Controller for CronJobs {
    fn name(&self) -> &'static str {
        "cron-job"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        match event.key().kind() {
            kinds::CRON_JOB => vec![event.key().clone()],
            kinds::JOB => owners::managers(event, kinds::CRON_JOB),
            kinds::RESOURCE_QUOTA if has_more_room(event) => {
                view.list_in(kinds::CRON_JOB, event.key().namespace()).map(|cron| cron.key().clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key) else { return Plan::nothing() };
        let Ok(typed) = object.decode::<CronJob>() else { return Plan::nothing() };
        let Some(spec) = &typed.spec else { return Plan::nothing() };
        let cron = Cron { object, spec, status: typed.status.clone().unwrap_or_default(), view, look };
        let mut survey = Survey::of(&cron);
        let ends = object.meta().is_terminating() || created::home_ends(key, view);
        let due = if ends { Due::never() } else { due::of(&cron) };
        let start = start::of(&cron, &due, &survey);
        survey.news.extend(due.news);
        let plan = cron.settle(survey, start);
        history::surplus(&cron).into_iter().fold(plan, Plan::also).again_at(due.next)
    }
}

// === impl Cron ===

impl Cron<'_> {
    /// Starts what is to be started, and says how things stand.
    fn settle(&self, survey: Survey<'_>, start: Start<'_>) -> Plan {
        let mut txn = Txn::default().guard(Guard::Unchanged(self.object.key().clone(), self.object.revision()));
        txn = txn.and(start.charges);
        let mut active = survey.active;
        active.retain(|one| !start.replaced.iter().any(|replaced| one.uid.as_deref() == Some(&*replaced.meta().uid)));
        for replaced in &start.replaced {
            txn = txn.and(crate::deletion::delete(replaced, crate::deletion::Propagation::Background, self.look.now));
        }
        if let Some(job) = &start.created {
            active.push(start::reference(job));
            let home = kinds::NAMESPACE.cluster_key(job.key().namespace());
            txn = txn.guard(Guard::Alive(home)).guard(Guard::Absent(job.key().clone())).put(job.clone());
        }
        for news in survey.news.iter().chain(&start.news) {
            txn = txn.and(told(self.view, self.look, self.object, &news.tale()));
        }
        let status = edited::<CronJob>(self.object, |cron| {
            let status = cron.status.get_or_insert_default();
            status.active = Some(active).filter(|active| !active.is_empty());
            if start.scheduled.is_some() {
                status.last_schedule_time.clone_from(&start.scheduled);
            }
            status.last_successful_time = survey.last_success;
        });
        Plan::of(status.into_iter().fold(txn, Txn::put)).again_at(start.again)
    }

    /// What has not been told since `moment`.
    fn unless_told(&self, news: News, moment: jiff::Timestamp) -> Option<News> {
        (!told_since(self.view, self.object, &news.tale(), moment)).then_some(news)
    }
}

// === impl News ===

impl News {
    fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self { tone: Tone::Normal, reason, message: message.into() }
    }

    fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { tone: Tone::Warning, reason, message: message.into() }
    }

    fn tale(&self) -> Tale<'_> {
        Tale { by: COMPONENT, tone: self.tone, reason: self.reason, message: &self.message }
    }
}
