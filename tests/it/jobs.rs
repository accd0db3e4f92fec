//! Jobs: pods that run until their work is done, or has failed.

use harness::{Cluster, eventually, kubectl_is_there};
use serde_json::Value;

use crate::{manifest, with};

/// A job of the ticker: its name, more of its spec, how its pods restart, and how the ticker ends.
fn job(name: &str, spec: &str, restart: &str, args: &str) -> String {
    format!(
        "apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  {spec}
  template:
    spec:
      restartPolicy: {restart}
      terminationGracePeriodSeconds: 5
      containers:
      - name: main
        image: EXAMPLES/ticker/ticker.wasm
        args: {args}
        resources: {{limits: {{memory: 32Mi}}}}
---
"
    )
}

const QUICK: &str = r#"["--every", "1", "--count", "1"]"#;
const FAILS: &str = r#"["--every", "1", "--count", "1", "--exit", "7"]"#;
const ENDLESS: &str = r#"["--every", "1000"]"#;

fn apply(cluster: &Cluster, text: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    // Pushes what lies beside the manifest, which `kubectl` does not.
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), text)]).ok();
}

fn status(cluster: &Cluster, name: &str) -> Value {
    let told = cluster.kubectl(&["get", "job", name, "-o", "json"]).ok();
    serde_json::from_str::<Value>(&told).expect("JSON")["status"].clone()
}

/// Waits until what the path shows of the job is `wanted`.
fn until(cluster: &Cluster, name: &str, path: &str, wanted: &str) {
    eventually(60, || {
        let told = cluster.kubectl(&["get", "job", name, "-o", &format!("jsonpath={path}")]).ok();
        if told == wanted { Ok(()) } else { Err(format!("{path} of {name} is {told:?}: {}", status(cluster, name))) }
    });
}

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

#[test]
fn jobs_run_to_their_end() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    let mut text = job("pi", "backoffLimit: 1", "Never", QUICK);
    let indexed = "completions: 4\n  parallelism: 2\n  completionMode: Indexed";
    let env = r#"["--every", "1", "--count", "1", "--text", "at $(JOB_COMPLETION_INDEX)"]"#;
    text += &job("indexed", indexed, "Never", env);
    text += &job("fails", "backoffLimit: 0", "Never", FAILS);
    let policy = "podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {operator: In, values: [7]}}]}";
    text += &job("fatal", policy, "Never", FAILS);
    text += &job("short", "activeDeadlineSeconds: 2", "Never", ENDLESS);
    text += &job("fleeting", "ttlSecondsAfterFinished: 1", "Never", QUICK);
    apply(&cluster, &text);

    contains(
        &k(&["wait", "--for=condition=complete", "--timeout=60s", "job/pi", "job/indexed"]).ok(),
        &["job.batch/pi condition met", "job.batch/indexed condition met"],
    );
    contains(&k(&["get", "jobs", "pi"]).ok(), &["NAME   STATUS     COMPLETIONS   DURATION", "pi     Complete   1/1"]);
    contains(&k(&["logs", "job/pi"]).ok(), &["tick 1"]);
    contains(
        &k(&["describe", "job", "pi"]).ok(),
        &["Pods Statuses:    0 Active (0 Ready) / 1 Succeeded / 0 Failed", "Created pod: pi-", "Job completed"],
    );
    let told = status(&cluster, "indexed");
    assert_eq!((&told["completedIndexes"], &told["succeeded"]), (&"0-3".into(), &4.into()));
    let label = "batch.kubernetes.io/job-completion-index=3";
    let third =
        k(&["get", "pods", "-l", label, "-o", "jsonpath={.items[0].metadata.name} {.items[0].spec.hostname}"]).ok();
    assert!(third.starts_with("indexed-3-") && third.ends_with(" indexed-3"), "{third}");
    contains(&k(&["logs", "-l", label]).ok(), &["at 3 1"]);
    until(&cluster, "short", "{.status.conditions[?(@.status==\"True\")].reason}", "DeadlineExceeded DeadlineExceeded");

    k(&["wait", "--for=condition=failed", "--timeout=60s", "job/fails", "job/fatal"]).ok();
    contains(
        &k(&["describe", "job", "fails"]).ok(),
        &[
            "0 Active (0 Ready) / 0 Succeeded / 1 Failed",
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
        ],
    );
    let why = k(&["get", "job", "fatal", "-o", "jsonpath={.status.conditions[?(@.type==\"Failed\")].message}"]).ok();
    contains(
        &why,
        &["Container main for pod default/fatal-", "failed with exit code 7 matching FailJob rule at index 0"],
    );
    assert_eq!(status(&cluster, "short")["failed"], 1);
    eventually(30, || match k(&["get", "job", "fleeting"]) {
        gone if gone.stderr.contains("NotFound") => Ok(()),
        other => Err(other.stdout),
    });
    let held = k(&["get", "pods", "-o", "jsonpath={.items[*].metadata.finalizers}"]).ok();
    assert_eq!(held, "", "who was counted is held by nobody");

    k(&["delete", "job", "pi", "--timeout=30s"]).ok();
    eventually(30, || match k(&["get", "pods", "-l", "job-name=pi", "-o", "name"]).ok() {
        none if none.is_empty() => Ok(()),
        some => Err(some),
    });
}

#[test]
fn a_job_is_held_and_goes_on() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    apply(&cluster, &job("slow", "parallelism: 2\n  completions: 2\n  suspend: true", "OnFailure", ENDLESS));
    until(&cluster, "slow", "{.status.conditions[0].type}/{.status.conditions[0].status}", "Suspended/True");
    assert!(status(&cluster, "slow")["startTime"].is_null());
    let suspend = |suspend: bool| {
        let patch = format!("{{\"spec\":{{\"suspend\":{suspend}}}}}");
        k(&["patch", "job", "slow", "--type=merge", "-p", &patch]).ok();
    };
    suspend(false);
    until(&cluster, "slow", "{.status.active} {.status.ready}", "2 2");
    // Who is deleted while it runs has failed, and is replaced.
    let pod = k(&["get", "pods", "-l", "job-name=slow", "-o", "jsonpath={.items[0].metadata.name}"]).ok();
    k(&["delete", "pod", &pod, "--timeout=30s"]).ok();
    until(&cluster, "slow", "{.status.active} {.status.failed}", "2 1");
    suspend(true);
    until(&cluster, "slow", "{.status.active} {.status.failed} {.status.conditions[0].status}", " 1 True");
    eventually(30, || match k(&["get", "pods", "-o", "name"]).ok() {
        none if none.is_empty() => Ok(()),
        some => Err(some),
    });
    contains(&k(&["get", "job", "slow"]).ok(), &["Suspended", "0/2"]);
    contains(&k(&["describe", "job", "slow"]).ok(), &["Job suspended", "Job resumed", "Deleted pod: slow-"]);
    for policy in ["foreground", "background"] {
        let cascade = format!("--cascade={policy}");
        suspend(false);
        until(&cluster, "slow", "{.status.active}", "2");
        contains(&k(&["delete", "job", "slow", &cascade, "--timeout=40s"]).ok(), &["job.batch \"slow\" deleted"]);
        eventually(30, || match k(&["get", "pods", "-o", "name"]).ok() {
            none if none.is_empty() => Ok(()),
            some => Err(some),
        });
        apply(&cluster, &job("slow", "parallelism: 2\n  completions: 2\n  suspend: true", "OnFailure", ENDLESS));
    }
}

#[test]
fn jobs_recur() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    let template = "template:\n        spec:\n          restartPolicy: Never\n          containers:\n          - {name: main, image: EXAMPLES/ticker/ticker.wasm, args: [\"--every\", \"1\", \"--count\", \"1\"]}\n";
    let cron = |zone: &str| {
        format!(
            "apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: tidy}}\nspec:\n  schedule: '@every 1s'\n  timeZone: {zone}\n  concurrencyPolicy: Forbid\n  jobTemplate:\n    spec:\n      {template}"
        )
    };
    let folder = tempfile::tempdir().expect("a folder");
    contains(
        &k(&["apply", "-f", &manifest(folder.path(), &cron("Mars/Olympus"))]).refused(),
        &["spec.timeZone: Invalid value: \"Mars/Olympus\": unknown time zone Mars/Olympus"],
    );
    apply(&cluster, &cron("Europe/Berlin"));
    let told = |path: &str| k(&["get", "cronjob", "tidy", "-o", &format!("jsonpath={path}")]).ok();
    eventually(60, || match told("{.status.lastSuccessfulTime}") {
        none if none.is_empty() => Err(told("{.status}")),
        time => Ok(time),
    });
    k(&["patch", "cronjob", "tidy", "-p", r#"{"spec":{"suspend":true}}"#]).ok();
    let first = k(&["get", "jobs", "-o", "jsonpath={.items[0].metadata.name} {.items[0].metadata.annotations}"]).ok();
    assert!(
        first.starts_with("tidy-2") && first.contains("cronjob-scheduled-timestamp") && first.contains("+0"),
        "{first}"
    );
    contains(
        &k(&["get", "cronjob"]).ok(),
        &["SCHEDULE    TIMEZONE        SUSPEND", "@every 1s   Europe/Berlin   True"],
    );
    contains(&k(&["describe", "cronjob", "tidy"]).ok(), &["Created job tidy-", "Saw completed job: tidy-"]);

    contains(&k(&["create", "job", "now", "--from=cronjob/tidy"]).ok(), &["job.batch/now created"]);
    k(&["wait", "--for=condition=complete", "--timeout=60s", "job/now"]).ok();
    k(&["delete", "cronjob", "tidy"]).ok();
    eventually(30, || match k(&["get", "jobs,pods", "-o", "name"]).ok() {
        none if none.is_empty() => Ok(()),
        some => Err(some),
    });
}
