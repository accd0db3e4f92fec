//! Pods that run until enough of them have succeeded.

mod rules;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

use super::{AGE, CONTAINERS, IMAGES, NAME, SELECTOR, text};
use crate::pod_spec::template;
use crate::rules::Causes;
use crate::selector::LabelSelector as Selector;
use crate::{Column, Names, Resource, Scope, Subresource, cells, duration};

pub(super) use rules::validate;

/// The kind.
#[derive(Debug)]
pub struct Jobs;

/// The label of a job's pods that its selector asks for.
const UID: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
/// The same labels as they were once called.
const UID_BEFORE: &str = "controller-uid";
const NAME_BEFORE: &str = "job-name";

/// Fills in what the template of a CronJob's jobs leaves out, beside what every job fills in.
pub(super) fn default_template(spec: &mut JobSpec) {
    template::default(&mut spec.template);
    for rule in spec.pod_failure_policy.iter_mut().flat_map(|policy| &mut policy.rules) {
        for condition in rule.on_pod_conditions.iter_mut().flatten().filter(|condition| condition.status.is_empty()) {
            condition.status = "True".into();
        }
    }
}

impl Resource for Jobs {
    type Object = Job;

    const NAMES: &'static Names = &Names {
        group: "batch",
        version: "v1",
        kind: "Job",
        plural: "jobs",
        singular: "job",
        short: &[],
        categories: &["all"],
        scope: Scope::Namespaced,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = &[
        NAME,
        text("Status", "Whether it runs, has succeeded or has failed."),
        text("Completions", "How many pods have succeeded, of how many are to."),
        text("Duration", "How long it has run, or ran."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ];
    const SELECTABLE: &'static [&'static str] = &["status.successful"];

    fn default(job: &mut Job) {
        let spec = job.spec.get_or_insert_default();
        if spec.completions.is_none() && spec.parallelism.is_none() {
            spec.completions = Some(1);
        }
        spec.parallelism.get_or_insert(1);
        spec.backoff_limit.get_or_insert(if spec.backoff_limit_per_index.is_some() { i32::MAX } else { 6 });
        spec.completion_mode.get_or_insert_with(|| "NonIndexed".into());
        spec.suspend.get_or_insert(false);
        spec.manual_selector.get_or_insert(false);
        let replacement = if spec.pod_failure_policy.is_some() { "Failed" } else { "TerminatingOrFailed" };
        spec.pod_replacement_policy.get_or_insert_with(|| replacement.into());
        default_template(spec);
        if job.metadata.labels.as_ref().is_none_or(BTreeMap::is_empty) {
            job.metadata.labels = template::labels_of(&spec.template).cloned();
        }
    }

    /// A job's pods carry its uid and name, and its selector asks for the uid, unless it takes care of both itself.
    fn prepare_create(job: &mut Job) {
        let Some(spec) = &mut job.spec else { return };
        if spec.manual_selector == Some(true) {
            return;
        }
        let uid = job.metadata.uid.clone().unwrap_or_default();
        let name = job.metadata.name.clone().unwrap_or_default();
        let labels = spec.template.metadata.get_or_insert_default().labels.get_or_insert_default();
        for (label, value) in [(UID, &uid), (UID_BEFORE, &uid), (NAME_LABEL, &name), (NAME_BEFORE, &name)] {
            labels.entry(label.into()).or_insert_with(|| value.clone());
        }
        let asked = spec.selector.get_or_insert_default().match_labels.get_or_insert_default();
        asked.entry(UID.into()).or_insert(uid);
    }

    fn validate(job: &Job, causes: &mut Causes) {
        let Some(spec) = &job.spec else { return };
        validate("spec", spec, causes);
        match &spec.selector {
            None => causes.required("spec.selector", ""),
            Some(selector) => {
                crate::rules::selector("spec.selector", selector, causes);
                template::validate_labels_match(selector, &spec.template, causes);
            }
        }
    }

    fn validate_create(job: &Job, causes: &mut Causes) {
        if let Some(spec) = &job.spec {
            validate_generated(job, spec, causes);
        }
    }

    fn validate_update(job: &Job, old: &Job, causes: &mut Causes) {
        let (Some(spec), Some(before)) = (&job.spec, &old.spec) else { return };
        let together = spec.completions == spec.parallelism && spec.completions != before.completions;
        if spec.completions != before.completions {
            if spec.completion_mode.as_deref() != Some("Indexed") {
                causes.immutable("spec.completions", &spec.completions, &before.completions);
            } else if !together || spec.completions.is_none() {
                let detail = "can only be modified in tandem with spec.parallelism";
                causes.invalid("spec.completions", spec.completions, detail);
            }
        }
        if let (Some(selector), Some(before)) = (&spec.selector, &before.selector) {
            template::immutable_selector(selector, before, causes);
        }
        let mut wanted = spec.template.clone();
        if is_not_started(old) {
            schedule_like(&mut wanted, &before.template);
        }
        if wanted != before.template {
            causes.invalid("spec.template", &spec.template, "field is immutable");
        }
        causes.immutable("spec.completionMode", &spec.completion_mode, &before.completion_mode);
        causes.immutable("spec.podFailurePolicy", &spec.pod_failure_policy, &before.pod_failure_policy);
        causes.immutable("spec.backoffLimitPerIndex", &spec.backoff_limit_per_index, &before.backoff_limit_per_index);
        causes.immutable("spec.managedBy", &spec.managed_by, &before.managed_by);
        causes.immutable("spec.successPolicy", &spec.success_policy, &before.success_policy);
    }

    fn warnings(job: &Job) -> Vec<String> {
        job.spec.as_ref().map(|spec| template::warnings(&spec.template)).unwrap_or_default()
    }

    fn cells(job: &Job, now: Timestamp) -> Vec<Value> {
        let spec = job.spec.as_ref();
        let [containers, images] = cells::containers(spec.and_then(|spec| spec.template.spec.as_ref()));
        let selector = spec.and_then(|spec| spec.selector.as_ref());
        vec![
            cells::name(&job.metadata),
            state(job).into(),
            completions(job).into(),
            run_time(job, now).into(),
            cells::age(&job.metadata, now),
            containers,
            images,
            selector.map_or(cells::NONE.into(), cells::selector),
        ]
    }

    fn fields(job: &Job) -> Vec<(&'static str, String)> {
        let succeeded = job.status.as_ref().and_then(|status| status.succeeded).unwrap_or(0);
        vec![("status.successful", succeeded.to_string())]
    }
}

/// The labels and the selector that the server made are as it made them.
fn validate_generated(job: &Job, spec: &JobSpec, causes: &mut Causes) {
    if spec.manual_selector == Some(true) {
        return;
    }
    let uid = job.metadata.uid.clone().unwrap_or_default();
    let name = job.metadata.name.clone().unwrap_or_default();
    let none = BTreeMap::new();
    let labels = template::labels_of(&spec.template).unwrap_or(&none);
    let expected = [(UID, &uid), (UID_BEFORE, &uid), (NAME_LABEL, &name), (NAME_BEFORE, &name)];
    for (label, value) in expected {
        let path = "spec.template.metadata.labels";
        match labels.get(label) {
            None => causes.required(format!("{path}[{label}]"), &format!("must be '{value}'")),
            Some(found) if found != value => {
                causes.invalid(format!("{path}[{label}]"), found, &format!("must be '{value}'"));
            }
            Some(_) => {}
        }
    }
    let expected = expected.into_iter().map(|(label, value)| (label.to_owned(), value.clone())).collect();
    let Some(selector) = &spec.selector else { return };
    if Selector::try_from(selector).is_ok_and(|selector| !selector.matches(&expected)) {
        causes.invalid_go("spec.selector", &template::go_selector(selector), "`selector` not auto-generated");
    }
}

/// A job that is suspended and has never run may still be sent to other nodes.
fn is_not_started(job: &Job) -> bool {
    let suspended = job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true);
    suspended && job.status.as_ref().is_none_or(|status| status.start_time.is_none())
}

/// Where pods go, and what they are called, is taken from `before`.
fn schedule_like(template: &mut PodTemplateSpec, before: &PodTemplateSpec) {
    template.metadata.clone_from(&before.metadata);
    if let (Some(spec), Some(before)) = (&mut template.spec, &before.spec) {
        spec.node_selector.clone_from(&before.node_selector);
        spec.affinity.clone_from(&before.affinity);
        spec.tolerations.clone_from(&before.tolerations);
        spec.scheduling_gates.clone_from(&before.scheduling_gates);
    }
}

fn state(job: &Job) -> &'static str {
    let has = |wanted: &str| {
        let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.type_ == wanted && condition.status == "True")
    };
    if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if job.metadata.deletion_timestamp.is_some() {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else if has("FailureTarget") {
        "FailureTarget"
    } else if has("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(job: &Job) -> String {
    let succeeded = job.status.as_ref().and_then(|status| status.succeeded).unwrap_or(0);
    let spec = job.spec.as_ref();
    let parallelism = spec.and_then(|spec| spec.parallelism).unwrap_or(0);
    match spec.and_then(|spec| spec.completions) {
        Some(all) => format!("{succeeded}/{all}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    }
}

fn run_time(job: &Job, now: Timestamp) -> String {
    let status = job.status.as_ref();
    let Some(start) = status.and_then(|status| status.start_time.as_ref()) else { return String::new() };
    let end = status.and_then(|status| status.completion_time.as_ref()).map_or(now, |end| end.0);
    duration::age_of(Some(start), end)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::JOB;

    fn job() -> Value {
        json!({"metadata": {"name": "pi"}, "spec": {"template": plus(template(), "/spec/restartPolicy", json!("Never"))}})
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let job = completed(JOB, job());
        let spec = &job["spec"];
        let expect = json!({"completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": false,
            "manualSelector": false, "podReplacementPolicy": "TerminatingOrFailed", "selector": {"matchLabels": {UID: "u-1"}}});
        for (field, value) in expect.as_object().expect("an object") {
            assert_eq!(&spec[field], value, "{field}");
        }
        let labels = json!({"app": "web", UID: "u-1", UID_BEFORE: "u-1", NAME_LABEL: "pi", NAME_BEFORE: "pi"});
        assert_eq!(
            (&spec["template"]["metadata"]["labels"], &job["metadata"]["labels"]),
            (&labels, &json!({"app": "web"}))
        );
        let queue = completed(JOB, plus(super::tests::job(), "/spec/parallelism", json!(3)));
        assert_eq!(queue["spec"].get("completions"), None);
    }

    #[test]
    fn what_breaks_a_rule_is_told() {
        let check = |path: &str, wrong: Value, expect: &str| assert_eq!(refusal(JOB, job(), path, wrong), expect);
        check(
            "/spec/template/spec/restartPolicy",
            json!("Always"),
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        );
        check(
            "/spec/backoffLimit",
            json!(-1),
            "spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0",
        );
        check(
            "/spec/completionMode",
            json!("Sorted"),
            "spec.completionMode: Unsupported value: \"Sorted\": supported values: \"NonIndexed\", \"Indexed\"",
        );
        check(
            "/spec/backoffLimitPerIndex",
            json!(1),
            "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
        );
        check(
            "/spec/selector",
            json!({"matchLabels": {"app": "web"}}),
            "spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string{\"app\":\"web\", \"batch.kubernetes.io/controller-uid\":\"u-1\"}, MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: `selector` not auto-generated",
        );
        check(
            "/spec/podFailurePolicy",
            json!({"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3, 0]}}]}),
            "[spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator, spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [3,0]: must be ordered]",
        );
        check(
            "/spec/podFailurePolicy",
            json!({"rules": [{"action": "Panic", "onPodConditions": [{"type": "DisruptionTarget"}]}]}),
            "spec.podFailurePolicy.rules[0].action: Unsupported value: \"Panic\": supported values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\"",
        );
        check(
            "/spec/managedBy",
            json!("me"),
            "spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path (such as \"acme.io/foo\")",
        );
    }

    #[test]
    fn little_of_it_changes() {
        let old = created(JOB, job());
        assert_eq!(
            refused_change(&old, "/spec/completions", json!(2)),
            "spec.completions: Invalid value: 2: field is immutable"
        );
        let told = refused_change(&old, "/spec/template/spec/nodeSelector", json!({"disk": "ssd"}));
        assert!(told.starts_with("spec.template: Invalid value: ") && told.ends_with(": field is immutable"), "{told}");
        let waits = created(JOB, plus(job(), "/spec/suspend", json!(true)));
        assert!(update(&waits, with(&waits, &[("/spec/template/spec/nodeSelector", json!({"disk": "ssd"}))])).is_ok());
        assert!(update(&old, with(&old, &[("/spec/parallelism", json!(0)), ("/spec/suspend", json!(true))])).is_ok());
    }

    #[test]
    fn a_row_tells_how_far_it_is() {
        let check = |status: Value, expect: [&str; 3]| {
            let job = plus(completed(JOB, job()), "/status", status);
            assert_eq!(row(JOB, &job).as_array().expect("cells")[1..4], expect.map(Value::from));
        };
        check(json!({}), ["Running", "0/1", ""]);
        check(json!({"startTime": "2026-11-21T05:17:17Z"}), ["Running", "0/1", "60s"]);
        let over = json!([{"type": "Complete", "status": "True"}]);
        check(
            json!({"startTime": "2026-11-21T05:13:17Z", "completionTime": "2026-11-21T05:13:24Z", "succeeded": 1, "conditions": over}),
            ["Complete", "1/1", "7s"],
        );
    }
}
