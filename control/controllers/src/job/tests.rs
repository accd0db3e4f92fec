use serde_json::{Value, json};

use super::*;
use crate::notation::{check, noon, object};

const STATUS: &[&str] = &["/status/active", "/status/succeeded", "/status/failed"];

/// A job called `pi` with more in its spec, and this status.
fn job(more: Value, status: Value) -> api::Object {
    let labels = json!({"job-name": "pi"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "pi:v1"}]}});
    let mut spec = json!({"parallelism": 1, "completions": 1, "backoffLimit": 2, "selector": {"matchLabels": labels}, "template": template});
    spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let mut status = status;
    if status.is_object() && status.get("startTime").is_none() && more.get("suspend").is_none() {
        status["startTime"] = json!("2026-11-21T11:00:00Z");
    }
    object(kinds::JOB, "default/pi", json!({"apiVersion": "batch/v1", "spec": spec, "status": status}))
}

/// A pod of the job: its name, how it is, and perhaps its index: `a Failed 3 @2` failed with code 3 at index 2. What comes
/// after `--` is deleted.
fn pod(text: &str) -> api::Object {
    let words: Vec<&str> = text.split_whitespace().collect();
    let index = words.iter().find_map(|word| word.strip_prefix('@'));
    let code = words.get(2).and_then(|word| word.parse::<i32>().ok()).unwrap_or(1);
    let mut annotations = json!({});
    if let Some(index) = index {
        annotations[member::INDEX] = json!(index);
        annotations[member::FAILURES] = json!("0");
    }
    let owner = json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "pi", "uid": "pi", "controller": true}]);
    let mut metadata = json!({"labels": {"job-name": "pi"}, "ownerReferences": owner, "annotations": annotations});
    if !words.contains(&"counted") {
        metadata["finalizers"] = json!([TRACKING]);
    }
    if words.contains(&"leaves") {
        metadata["deletionTimestamp"] = json!("2026-11-21T12:00:20Z");
        metadata["deletionGracePeriodSeconds"] = json!(30);
    }
    let ended = json!({"exitCode": code, "finishedAt": "2026-11-21T11:59:00Z"});
    let statuses = json!([{"name": "c", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": {"terminated": ended}}]);
    let mut status = json!({"phase": words[1]});
    if matches!(words[1], "Failed" | "Succeeded") {
        status["containerStatuses"] = statuses;
    }
    let spec = json!({"containers": [], "nodeName": "n1"});
    object(kinds::POD, &format!("default/{}", words[0]), json!({"metadata": metadata, "spec": spec, "status": status}))
}

fn home() -> Vec<api::Object> {
    vec![object(kinds::SERVICE_ACCOUNT, "default/default", json!({}))]
}

/// What one look does to a job with these pods.
fn see(more: Value, status: Value, pods: &[&str], show: &[&str], expected: &[&str]) -> Snapshot {
    let job = job(more, status);
    let key = job.key().clone();
    let objects: Vec<api::Object> = home().into_iter().chain([job]).chain(pods.iter().map(|text| pod(text))).collect();
    check(&Jobs, &objects, &key, show, expected)
}

/// The conditions of the job `pi`: those that hold, with their reasons.
fn conditions(view: &Snapshot) -> Vec<String> {
    let job = view.get(&kinds::JOB.key("default", "pi")).expect("it is there").to_value().expect("JSON");
    let conditions = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let told = conditions
        .iter()
        .map(|it| [&it["type"], &it["status"], &it["reason"]].map(|it| it.as_str().unwrap_or("").to_owned()).join(" "));
    told.collect()
}

/// What the status of the job `pi` says.
fn said(view: &Snapshot, field: &str) -> Value {
    let job = view.get(&kinds::JOB.key("default", "pi")).expect("it is there").to_value().expect("JSON");
    job["status"][field].clone()
}

/// The world once looks at a job with these pods change nothing more.
fn see_all(more: Value, pods: &[&str]) -> Snapshot {
    let job = job(more, json!({}));
    let key = job.key().clone();
    let home = home().into_iter().chain([object(kinds::NAMESPACE, "default", json!({}))]);
    let objects = home.chain([job]).chain(pods.iter().map(|text| pod(text)));
    settled(Snapshot::load(api::Revision(1), objects.map(|it| it.at(api::Revision(1)))), &key)
}

/// Looks on until nothing changes, as long as no pod does anything.
fn settled(mut view: Snapshot, key: &Key) -> Snapshot {
    for seed in 0..8 {
        let plan = Jobs.reconcile(key, &view, Look::new(noon(), seed));
        if plan.txns.is_empty() {
            return view;
        }
        for txn in &plan.txns {
            view = view.apply(txn).expect("every guard holds").0;
        }
    }
    panic!("it does not settle")
}

#[test]
fn a_new_job_gets_its_pod_and_a_beginning() {
    let plan = |more| {
        let objects =
            home().into_iter().chain([job(more, Value::Null), object(kinds::NAMESPACE, "default", json!({}))]);
        let view = Snapshot::load(api::Revision(1), objects.map(|it| it.at(api::Revision(1))));
        settled(view, &kinds::JOB.key("default", "pi"))
    };
    let view = plan(json!({"parallelism": 2, "completions": 3}));
    assert_eq!(view.count(kinds::POD), 2);
    let pod = view.list(kinds::POD).next().expect("a pod").to_value().expect("JSON");
    assert_eq!(pod["metadata"]["finalizers"], json!([TRACKING]));
    let view = plan(json!({"parallelism": 2, "completions": 3, "completionMode": "Indexed"}));
    let told: Vec<Value> = view.list(kinds::POD).map(|pod| pod.to_value().expect("JSON")).collect();
    let index = |at: usize| &told[at]["metadata"]["labels"][member::INDEX];
    assert_eq!((index(0), index(1)), (&json!("0"), &json!("1")));
    assert_eq!(told[1]["spec"]["hostname"], "pi-1");
    let variable = &told[1]["spec"]["containers"][0]["env"][0];
    assert_eq!(variable["valueFrom"]["fieldRef"]["fieldPath"], format!("metadata.labels['{}']", member::INDEX));
    assert!(told[1]["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("pi-1-") && name.len() == 10));
    assert_eq!(plan(json!({"suspend": true})).count(kinds::POD), 0);
}

#[test]
fn a_success_is_counted_once_and_completes_the_job() {
    let expected = ["event Completed: Job completed", "~Job pi 1", "~Pod a"];
    let view = see(json!({}), json!({"active": 1}), &["a Succeeded"], &["/status/succeeded"], &expected);
    assert_eq!(conditions(&view), ["SuccessCriteriaMet True CompletionsReached", "Complete True CompletionsReached"]);
    let again = settled(view.clone(), &kinds::JOB.key("default", "pi"));
    assert_eq!(again.revision(), view.revision());
}

#[test]
fn a_pod_that_was_counted_counts_no_more() {
    let status = json!({"succeeded": 1, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {}, "active": 1});
    see(json!({"completions": 2}), status, &["a Succeeded counted", "b Running"], STATUS, &[]);
}

#[test]
fn what_another_controller_noted_is_counted_once() {
    let status = json!({"uncountedTerminatedPods": {"succeeded": ["a", "gone"]}, "active": 1});
    let show = ["/status/succeeded", "/status/uncountedTerminatedPods"];
    see(json!({"completions": 3}), status, &["a Succeeded", "b Running"], &show, &["~Job pi 2 {}", "~Pod a"]);
}

#[test]
fn a_failure_is_counted_and_waited_after() {
    // It failed a minute ago: the first wait, ten seconds, is over.
    let view = see_all(json!({}), &["a Failed"]);
    assert_eq!((view.count(kinds::POD), said(&view, "failed")), (2, json!(1)));
    // Four in a row: eighty seconds.
    let key = kinds::JOB.key("default", "pi");
    let pods = ["a Failed counted", "b Failed counted", "c Failed counted", "d Failed"];
    let objects = pods.iter().map(|text| pod(text)).chain([job(json!({"backoffLimit": 9}), json!({"failed": 3}))]);
    let view = Snapshot::load(api::Revision(1), objects.chain(home()).map(|it| it.at(api::Revision(1))));
    let plan = Jobs.reconcile(&key, &view, Look::new(noon(), 7));
    let wait = plan.again.map(|again| again.duration_since(noon()).as_secs());
    assert_eq!((wait, settled(view, &key).count(kinds::POD)), (Some(20), 4));
}

#[test]
fn too_many_failures_end_it() {
    let view = see(
        json!({"backoffLimit": 0}),
        json!({"active": 2}),
        &["a Failed", "b Running"],
        STATUS,
        &["~Job pi 1 1", "~Pod a"],
    );
    assert_eq!(conditions(&view), ["FailureTarget True BackoffLimitExceeded"]);
    let view = settled(view, &kinds::JOB.key("default", "pi"));
    assert_eq!(conditions(&view), ["FailureTarget True BackoffLimitExceeded"], "b still runs");
    let job = view.get(&kinds::JOB.key("default", "pi")).expect("it is there").to_value().expect("JSON");
    assert_eq!((&job["status"]["failed"], &job["status"]["terminating"]), (&json!(2), &json!(1)));
}

#[test]
fn what_a_job_comes_to() {
    let indexed = |more: Value| {
        let mut spec = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3});
        spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        spec
    };
    let rules = |rules: Value| json!({"podFailurePolicy": {"rules": rules}, "backoffLimit": 0});
    let codes = |action: &str| json!([{"action": action, "onExitCodes": {"operator": "In", "values": [42]}}]);
    let check = |more: Value, pods: &[&str], expected: &[&str]| {
        assert_eq!(conditions(&see_all(more.clone(), pods)), expected, "{more} {pods:?}");
    };
    check(json!({"completions": null, "parallelism": 2}), &["a Succeeded", "b Running"], &[]);
    check(
        json!({"completions": null, "parallelism": 2}),
        &["a Succeeded", "b Failed"],
        &["SuccessCriteriaMet True CompletionsReached", "Complete True CompletionsReached"],
    );
    check(json!({"activeDeadlineSeconds": 7200}), &["a Running"], &[]);
    check(json!({"activeDeadlineSeconds": 60}), &["a Running"], &["FailureTarget True DeadlineExceeded"]);
    check(
        rules(codes("FailJob")),
        &["a Failed 42"],
        &["FailureTarget True PodFailurePolicy", "Failed True PodFailurePolicy"],
    );
    check(rules(codes("Ignore")), &["a Failed 42"], &[]);
    check(
        rules(codes("Ignore")),
        &["a Failed 41"],
        &["FailureTarget True BackoffLimitExceeded", "Failed True BackoffLimitExceeded"],
    );
    let per_index = |more: Value| {
        let mut spec = indexed(json!({"backoffLimitPerIndex": 0, "backoffLimit": 100}));
        spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        spec
    };
    check(per_index(json!({})), &["a Failed @0", "b Succeeded @1", "c Running @2"], &[]);
    check(
        per_index(json!({})),
        &["a Failed @0", "b Succeeded @1", "c Succeeded @2"],
        &["FailureTarget True FailedIndexes", "Failed True FailedIndexes"],
    );
    check(
        per_index(json!({"maxFailedIndexes": 1})),
        &["a Failed @0", "b Failed @1", "c Succeeded @2"],
        &["FailureTarget True MaxFailedIndexesExceeded", "Failed True MaxFailedIndexesExceeded"],
    );
    let success = json!({"successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 1}]}});
    check(indexed(success.clone()), &["a Running @0", "b Running @1", "c Succeeded @2"], &[]);
    check(
        indexed(success),
        &["a Running @0", "b Succeeded @1", "c Succeeded @2"],
        &["SuccessCriteriaMet True SuccessPolicy"],
    );
    check(json!({"suspend": true}), &[], &["Suspended True JobSuspended"]);
}

#[test]
fn a_failed_index_is_tried_again_and_tells_how_often_it_failed() {
    let spec = json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimitPerIndex": 1, "backoffLimit": 100});
    let view = see_all(spec, &["a Failed @0", "b Running @1"]);
    assert_eq!(
        (said(&view, "failed"), said(&view, "failedIndexes"), said(&view, "active")),
        (json!(1), json!(""), json!(2))
    );
    let newest = view.list(kinds::POD).find(|pod| pod.key().name().starts_with("pi-0-")).expect("a new pod");
    assert_eq!(newest.meta().annotations[member::FAILURES], "1");
}

#[test]
fn a_leaving_pod_is_replaced_at_once_or_when_it_has_ended() {
    let view = see_all(json!({}), &["a Running leaves"]);
    assert_eq!((view.count(kinds::POD), said(&view, "failed")), (2, json!(1)));
    let view = see_all(json!({"podReplacementPolicy": "Failed"}), &["a Running leaves"]);
    assert_eq!((view.count(kinds::POD), said(&view, "failed"), said(&view, "terminating")), (1, Value::Null, json!(1)));
}

#[test]
fn who_is_too_many_goes_uncounted() {
    let spec = json!({"parallelism": 1, "completions": 5});
    let expected = ["event SuccessfulDelete: Deleted pod: b", "~Pod b"];
    see(spec, json!({"active": 2}), &["a Running", "b Pending"], &["/metadata/finalizers"], &expected);
    let spec = json!({"suspend": true});
    let expected = ["event SuccessfulDelete: Deleted pod: a", "~Pod a"];
    see(spec, json!({"active": 1}), &["a Running"], &["/metadata/finalizers"], &expected);
    let spec = json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2});
    let expected =
        ["event SuccessfulDelete: Deleted pod: b", "event SuccessfulDelete: Deleted pod: c", "~Pod b", "~Pod c"];
    see(
        spec,
        json!({"active": 3}),
        &["a Running @0", "b Pending @0", "c Running @7"],
        &["/metadata/finalizers"],
        &expected,
    );
}

#[test]
fn a_job_that_is_over_goes_when_its_time_is_up() {
    let over = |at: &str| json!({"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": at}]});
    let ttl = json!({"ttlSecondsAfterFinished": 60});
    let show = ["/metadata/finalizers"];
    see(ttl.clone(), over("2026-11-21T11:58:00Z"), &[], &show, &["~Job pi [\"foregroundDeletion\"]"]);
    see(ttl, over("2026-11-21T11:59:30Z"), &[], &show, &[]);
    see(json!({}), over("2026-11-21T11:00:00Z"), &[], &show, &[]);
}

#[test]
fn a_job_of_another_manager_is_left_alone() {
    see(json!({"managedBy": "acme.io/jobs"}), json!({}), &["a Failed"], &[], &[]);
}

#[test]
fn a_pod_whose_job_is_gone_is_held_by_nobody() {
    let lost = pod("a Failed");
    check(&Jobs, std::slice::from_ref(&lost), lost.key(), &["/metadata/finalizers"], &["~Pod a"]);
}
