//! Jobs that recur.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec};
use serde_json::Value;

use super::{AGE, CONTAINERS, IMAGES, NAME, SELECTOR, integer, job, text};
use crate::pod_spec::template;
use crate::rules::Causes;
use crate::schedule::Schedule;
use crate::{Column, Names, Resource, Scope, Subresource, cells, duration, time_zone};

/// The kind.
#[derive(Debug)]
pub struct CronJobs;

/// The time is added to the name of each job, and what it becomes must fit a label.
const NAME_CHARS_MAX: usize = 52;
const CONCURRENCY: &[&str] = &["Allow", "Forbid", "Replace"];

impl Resource for CronJobs {
    type Object = CronJob;

    const NAMES: &'static Names = &Names {
        group: "batch",
        version: "v1",
        kind: "CronJob",
        plural: "cronjobs",
        singular: "cronjob",
        short: &["cj"],
        categories: &["all"],
        scope: Scope::Namespaced,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = &[
        NAME,
        text("Schedule", "When its jobs begin."),
        text("Timezone", "The time zone of the schedule."),
        text("Suspend", "Whether it is held."),
        integer("Active", "How many of its jobs run."),
        text("Last Schedule", "How long ago a job began."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ];

    fn default(cron: &mut CronJob) {
        let spec = cron.spec.get_or_insert_default();
        spec.concurrency_policy.get_or_insert_with(|| "Allow".into());
        spec.suspend.get_or_insert(false);
        spec.successful_jobs_history_limit.get_or_insert(3);
        spec.failed_jobs_history_limit.get_or_insert(1);
        job::default_template(spec.job_template.spec.get_or_insert_default());
    }

    fn validate(cron: &CronJob, causes: &mut Causes) {
        let none = CronJobSpec::default();
        let spec = cron.spec.as_ref().unwrap_or(&none);
        validate_schedule(spec, causes);
        causes.not_negative("spec.startingDeadlineSeconds", spec.starting_deadline_seconds.unwrap_or(0));
        causes.one_of("spec.concurrencyPolicy", spec.concurrency_policy.as_deref().unwrap_or_default(), CONCURRENCY);
        if let Some(job) = &spec.job_template.spec {
            job::validate("spec.jobTemplate.spec", job, causes);
            if let Some(selector) = &job.selector {
                let selector = template::go_selector(selector);
                causes.invalid_go("spec.jobTemplate.spec.selector", &selector, "`selector` will be auto-generated");
            }
            if job.manual_selector == Some(true) {
                causes.unsupported("spec.jobTemplate.spec.manualSelector", true, &["nil", "false"]);
            }
        }
        causes.not_negative("spec.successfulJobsHistoryLimit", spec.successful_jobs_history_limit.unwrap_or(0));
        causes.not_negative("spec.failedJobsHistoryLimit", spec.failed_jobs_history_limit.unwrap_or(0));
        let name = cron.metadata.name.as_deref().unwrap_or_default();
        if name.len() > NAME_CHARS_MAX {
            causes.invalid("metadata.name", name, "must be no more than 52 characters");
        }
    }

    fn warnings(cron: &CronJob) -> Vec<String> {
        let job = cron.spec.as_ref().and_then(|spec| spec.job_template.spec.as_ref());
        job.map(|job| template::warnings_at("spec.jobTemplate.spec.template", &job.template)).unwrap_or_default()
    }

    fn cells(cron: &CronJob, now: Timestamp) -> Vec<Value> {
        let spec = cron.spec.as_ref();
        let status = cron.status.as_ref();
        let job = spec.and_then(|spec| spec.job_template.spec.as_ref());
        let [containers, images] = cells::containers(job.and_then(|job| job.template.spec.as_ref()));
        let suspend = match spec.and_then(|spec| spec.suspend) {
            Some(true) => "True",
            Some(false) => "False",
            None => "<unset>",
        };
        let last = status.and_then(|status| status.last_schedule_time.as_ref());
        let selector = job.and_then(|job| job.selector.as_ref());
        vec![
            cells::name(&cron.metadata),
            spec.map_or("", |spec| spec.schedule.as_str()).into(),
            cells::text(spec.and_then(|spec| spec.time_zone.as_deref())),
            suspend.into(),
            status.and_then(|status| status.active.as_ref()).map_or(0, Vec::len).into(),
            last.map_or(cells::NONE.into(), |last| duration::age_of(Some(last), now).into()),
            cells::age(&cron.metadata, now),
            containers,
            images,
            selector.map_or(cells::NONE.into(), cells::selector),
        ]
    }
}

fn validate_schedule(spec: &CronJobSpec, causes: &mut Causes) {
    let path = "spec.schedule";
    if spec.schedule.is_empty() {
        causes.required(path, "");
    } else if spec.schedule.contains("TZ") {
        let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        causes.invalid(path, &spec.schedule, detail);
    } else if let Err(why) = spec.schedule.parse::<Schedule>() {
        causes.invalid(path, &spec.schedule, &why.to_string());
    }
    let Some(zone) = &spec.time_zone else { return };
    let explicit = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
    if zone.is_empty() {
        causes.invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string");
    } else if zone.eq_ignore_ascii_case("local") {
        causes.invalid("spec.timeZone", zone, explicit);
    } else if time_zone::named(zone).is_none() {
        causes.invalid("spec.timeZone", zone, &format!("unknown time zone {zone}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::CRON_JOB;

    fn cron() -> Value {
        let pods = plus(template(), "/spec/restartPolicy", json!("OnFailure"));
        json!({"metadata": {"name": "tidy"}, "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": pods}}}})
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let spec = completed(CRON_JOB, cron())["spec"].clone();
        let expect = json!({"concurrencyPolicy": "Allow", "suspend": false, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1});
        for (field, value) in expect.as_object().expect("an object") {
            assert_eq!(&spec[field], value, "{field}");
        }
        assert_eq!(spec["jobTemplate"]["spec"]["template"]["spec"]["dnsPolicy"], "ClusterFirst");
        assert_eq!(spec["jobTemplate"]["spec"].get("selector"), None);
    }

    #[test]
    fn what_breaks_a_rule_is_told() {
        let check = |path: &str, wrong: Value, expect: &str| assert_eq!(refusal(CRON_JOB, cron(), path, wrong), expect);
        check("/spec/schedule", json!(""), "spec.schedule: Required value");
        check(
            "/spec/schedule",
            json!("* * *"),
            "spec.schedule: Invalid value: \"* * *\": expected exactly 5 fields, found 3: [* * *]",
        );
        check(
            "/spec/schedule",
            json!("TZ=UTC 0 * * * *"),
            "spec.schedule: Invalid value: \"TZ=UTC 0 * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        );
        check(
            "/spec/timeZone",
            json!("local"),
            "spec.timeZone: Invalid value: \"local\": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        );
        check(
            "/spec/timeZone",
            json!("Mars/Olympus"),
            "spec.timeZone: Invalid value: \"Mars/Olympus\": unknown time zone Mars/Olympus",
        );
        check(
            "/spec/concurrencyPolicy",
            json!("Maybe"),
            "spec.concurrencyPolicy: Unsupported value: \"Maybe\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
        );
        check(
            "/spec/jobTemplate/spec/template/spec/restartPolicy",
            json!("Always"),
            "spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        );
        check(
            "/spec/jobTemplate/spec/manualSelector",
            json!(true),
            "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
        );
        let long = "a".repeat(53);
        check(
            "/metadata/name",
            json!(long),
            &format!("metadata.name: Invalid value: \"{long}\": must be no more than 52 characters"),
        );
    }

    #[test]
    fn a_row_tells_when_it_ran_last() {
        let status = json!({"lastScheduleTime": "2026-11-21T05:17:17Z", "active": [{"kind": "Job", "name": "tidy-1"}]});
        assert_eq!(
            row(CRON_JOB, &plus(completed(CRON_JOB, cron()), "/status", status)),
            json!(["tidy", "*/5 * * * *", "<none>", "False", 1, "60s", "5m3s", "main", "web:v1", "<none>"])
        );
    }
}
