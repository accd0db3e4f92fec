use serde_json::{Value, json};

use super::*;
use crate::notation::{check, noon, object};

/// The minute of noon, counted from the beginning of time.
const NOON: i64 = 29_921_040;

/// A CronJob called `tidy` with more in its spec, and this status.
fn cron(more: Value, status: Value) -> Object {
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "tidy:v1"}]}});
    let mut spec =
        json!({"schedule": "0 * * * *", "concurrencyPolicy": "Allow", "jobTemplate": {"spec": {"template": template}}});
    spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let metadata = json!({"creationTimestamp": "2026-11-21T11:30:00Z"});
    object(
        kinds::CRON_JOB,
        "default/tidy",
        json!({"apiVersion": "batch/v1", "metadata": metadata, "spec": spec, "status": status}),
    )
}

/// A job of it that runs, or that has ended so at this minute of the hour before noon.
fn job(name: &str, end: Option<(&str, u8)>) -> Object {
    let owner =
        json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": "tidy", "uid": "tidy", "controller": true}]);
    let status = end.map_or(json!({}), |(end, minute)| {
        let time = format!("2026-11-21T11:{minute:02}:00Z");
        let mut status = json!({"startTime": time, "conditions": [{"type": end, "status": "True"}]});
        if end == "Complete" {
            status["completionTime"] = json!(time);
        }
        status
    });
    let rest = json!({"apiVersion": "batch/v1", "metadata": {"ownerReferences": owner}, "spec": {"template": {}}, "status": status});
    object(kinds::JOB, &format!("default/{name}"), rest)
}

fn active(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"kind": "Job", "name": name, "uid": name})).collect()
}

fn see(more: Value, status: Value, jobs: &[Object], show: &[&str], expected: &[&str]) -> Snapshot {
    let cron = cron(more, status);
    let key = cron.key().clone();
    let objects: Vec<Object> = [cron].into_iter().chain(jobs.iter().cloned()).collect();
    check(&CronJobs, &objects, &key, show, expected)
}

#[test]
fn a_job_starts_when_its_time_has_come() {
    let name = format!("tidy-{NOON}");
    let show = ["/status/lastScheduleTime", "/status/active/0/name", "/metadata/annotations"];
    let started = [
        format!("+Job {name} {{\"batch.kubernetes.io/cronjob-scheduled-timestamp\":\"2026-11-21T12:00:00Z\"}}"),
        format!("event SuccessfulCreate: Created job {name}"),
        format!("~CronJob tidy \"2026-11-21T12:00:00Z\" \"{name}\""),
    ];
    let started: Vec<&str> = started.iter().map(String::as_str).collect();
    let view = see(json!({}), json!({}), &[], &show, &started);
    let job = view.list(kinds::JOB).next().expect("a job").to_value().expect("JSON");
    assert_eq!(
        (&job["spec"]["backoffLimit"], &job["metadata"]["ownerReferences"][0]["kind"]),
        (&json!(6), &json!("CronJob"))
    );
    let again = CronJobs.reconcile(&kinds::CRON_JOB.key("default", "tidy"), &view, Look::new(noon(), 8));
    assert_eq!(again.txns, []);
    assert_eq!(again.again.map(|again| again.duration_since(noon()).as_mins()), Some(60));
    see(json!({}), json!({"lastScheduleTime": "2026-11-21T12:00:00Z"}), &[], &show, &[]);
    see(json!({"suspend": true}), json!({}), &[], &show, &[]);
    see(json!({"schedule": "30 * * * *"}), json!({}), &[], &show, &[]);
}

#[test]
fn a_schedule_is_read_on_the_clock_of_its_time_zone() {
    let spec = |zone: &str| json!({"schedule": "0 13 * * *", "timeZone": zone});
    let show = ["/metadata/annotations/batch.kubernetes.io~1cronjob-scheduled-timestamp"];
    let view = see(
        spec("Europe/Berlin"),
        json!({}),
        &[],
        &["/none"],
        &[&format!("+Job tidy-{NOON}"), &format!("event SuccessfulCreate: Created job tidy-{NOON}"), "~CronJob tidy"],
    );
    let job = view.list(kinds::JOB).next().expect("a job").to_value().expect("JSON");
    assert_eq!(job.pointer(show[0]), Some(&json!("2026-11-21T13:00:00+01:00")));
    let told = "event UnknownTimeZone: invalid timeZone: Mars/Olympus: unknown time zone Mars/Olympus";
    see(spec("Mars/Olympus"), json!({}), &[], &[], &[told]);
}

#[test]
fn only_the_latest_of_what_was_missed_is_made_up_for() {
    let last = json!({"lastScheduleTime": "2026-11-20T12:00:00Z"});
    let name = format!("tidy-{NOON}");
    let (made, told) = (format!("+Job {name}"), format!("event SuccessfulCreate: Created job {name}"));
    see(json!({}), last.clone(), &[], &[], &[&made, &told, "~CronJob tidy"]);
    let many = "event TooManyMissedTimes: too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
    see(json!({"schedule": "*/5 * * * *"}), last.clone(), &[], &[], &[&made, &told, many, "~CronJob tidy"]);
    let few = json!({"schedule": "*/5 * * * *", "startingDeadlineSeconds": 600});
    see(few, last.clone(), &[], &[], &[&made, &told, "~CronJob tidy"]);
    see(json!({"schedule": "50 * * * *", "startingDeadlineSeconds": 60}), last, &[], &[], &[]);
}

#[test]
fn who_still_runs_is_beside_it_or_before_it_or_gives_way() {
    let (name, status) = (format!("tidy-{NOON}"), json!({"active": active(&["old"])}));
    let (made, told) = (format!("+Job {name}"), format!("event SuccessfulCreate: Created job {name}"));
    let see = |policy: &str, expected: &[&str]| {
        let spec = json!({"concurrencyPolicy": policy});
        see(spec, status.clone(), &[job("old", None)], &["/status/active/1/name"], expected)
    };
    see("Allow", &[&made, &told, &format!("~CronJob tidy \"{name}\"")]);
    let held =
        "event JobAlreadyActive: Not starting job because prior execution is running and concurrency policy is Forbid";
    let view = see("Forbid", &[held]);
    let again = CronJobs.reconcile(&kinds::CRON_JOB.key("default", "tidy"), &view, Look::new(noon(), 8));
    assert_eq!(again.txns, [], "it is told once");
    see("Replace", &[&made, "-Job old", &told, "event SuccessfulDelete: Deleted job old", "~CronJob tidy"]);
}

#[test]
fn what_has_ended_is_noted_and_the_oldest_forgotten() {
    let status = json!({"lastScheduleTime": "2026-11-21T12:00:00Z", "active": active(&["a", "gone"])});
    let show = ["/status/active", "/status/lastSuccessfulTime"];
    let expected = [
        "event MissingJob: Active job went missing: gone",
        "event SawCompletedJob: Saw completed job: a, condition: Complete",
        "~CronJob tidy \"2026-11-21T11:07:00Z\"",
    ];
    see(json!({}), status, &[job("a", Some(("Complete", 7)))], &show, &expected);
    let limits = json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0});
    let status = json!({"lastScheduleTime": "2026-11-21T12:00:00Z", "lastSuccessfulTime": "2026-11-21T11:30:00Z"});
    let jobs = [job("a", Some(("Complete", 9))), job("b", Some(("Complete", 7))), job("c", Some(("Failed", 8)))];
    let expected =
        ["-Job b", "-Job c", "event SuccessfulDelete: Deleted job b", "event SuccessfulDelete: Deleted job c"];
    see(limits, status, &jobs, &[], &expected);
}

#[test]
fn a_job_made_by_hand_is_nobodys_turn() {
    let status = json!({"lastScheduleTime": "2026-11-21T12:00:00Z"});
    let told = "event UnexpectedJob: Saw a job that the controller did not create or forgot: mine";
    see(json!({"concurrencyPolicy": "Forbid"}), status, &[job("mine", None)], &[], &[told]);
}
