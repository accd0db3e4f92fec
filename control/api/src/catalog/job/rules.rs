//! What a job may be, on its own and as the template of a CronJob's jobs.

use k8s_openapi::api::batch::v1::{JobSpec, PodFailurePolicyRule, SuccessPolicy};

use crate::pod_spec::template;
use crate::rules::{self, Causes};

const INDEXED: &str = "Indexed";
const PARALLEL_INDEXED_MAX: i32 = 100_000;
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];

/// Everything wrong with the spec at `path`, its selector left out.
pub(in crate::catalog) fn validate(path: &str, spec: &JobSpec, causes: &mut Causes) {
    for (field, number) in [
        ("parallelism", spec.parallelism.map(i64::from)),
        ("completions", spec.completions.map(i64::from)),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("backoffLimit", spec.backoff_limit.map(i64::from)),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished.map(i64::from)),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index.map(i64::from)),
        ("maxFailedIndexes", spec.max_failed_indexes.map(i64::from)),
    ] {
        causes.not_negative(format!("{path}.{field}"), number.unwrap_or(0));
    }
    if spec.max_failed_indexes.is_some() && spec.backoff_limit_per_index.is_none() {
        causes.required(format!("{path}.backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = &spec.managed_by {
        for problem in rules::domain_prefixed_path(manager) {
            causes.invalid(format!("{path}.managedBy"), manager, &problem);
        }
    }
    validate_mode(path, spec, causes);
    validate_policies(path, spec, causes);
    template::validate(&format!("{path}.template"), &spec.template, causes);
    let policy = spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or_default();
    let restart = format!("{path}.template.spec.restartPolicy");
    if !matches!(policy, "OnFailure" | "Never") {
        causes.required(restart, "valid values: \"OnFailure\", \"Never\"");
    } else if spec.pod_failure_policy.is_some() && policy != "Never" {
        causes.invalid(restart, policy, "only \"Never\" is supported when podFailurePolicy is specified");
    }
}

fn validate_mode(path: &str, spec: &JobSpec, causes: &mut Causes) {
    match spec.completion_mode.as_deref().unwrap_or("NonIndexed") {
        INDEXED => {
            if spec.completions.is_none() {
                causes.required(format!("{path}.completions"), "when completion mode is Indexed");
            }
            if let Some(parallelism) = spec.parallelism.filter(|parallelism| *parallelism > PARALLEL_INDEXED_MAX) {
                let detail = "must be less than or equal to 100000 when completion mode is Indexed";
                causes.invalid(format!("{path}.parallelism"), parallelism, detail);
            }
        }
        "NonIndexed" => {
            let detail = "requires indexed completion mode";
            if let Some(limit) = spec.backoff_limit_per_index {
                causes.invalid(format!("{path}.backoffLimitPerIndex"), limit, detail);
            }
            if let Some(most) = spec.max_failed_indexes {
                causes.invalid(format!("{path}.maxFailedIndexes"), most, detail);
            }
            if let Some(policy) = &spec.success_policy {
                causes.invalid(format!("{path}.successPolicy"), policy, detail);
            }
        }
        other => causes.unsupported(format!("{path}.completionMode"), other, &["NonIndexed", INDEXED]),
    }
}

fn validate_policies(path: &str, spec: &JobSpec, causes: &mut Causes) {
    if let Some(policy) = &spec.pod_failure_policy {
        let path = format!("{path}.podFailurePolicy.rules");
        if policy.rules.len() > RULES_MAX {
            causes.too_many(&path, policy.rules.len(), RULES_MAX);
        }
        for (index, rule) in policy.rules.iter().enumerate() {
            validate_failure(&format!("{path}[{index}]"), rule, spec, causes);
        }
    }
    if let Some(policy) = &spec.success_policy {
        validate_success(&format!("{path}.successPolicy.rules"), policy, spec, causes);
    }
    let supported: &[&str] =
        if spec.pod_failure_policy.is_some() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    if let Some(policy) = spec.pod_replacement_policy.as_deref().filter(|policy| !supported.contains(policy)) {
        causes.unsupported(format!("{path}.podReplacementPolicy"), policy, supported);
    }
}

fn validate_failure(path: &str, rule: &PodFailurePolicyRule, spec: &JobSpec, causes: &mut Causes) {
    causes.one_of(format!("{path}.action"), &rule.action, ACTIONS);
    if rule.action == "FailIndex" && spec.backoff_limit_per_index.is_none() {
        causes.invalid(format!("{path}.action"), &rule.action, "requires the backoffLimitPerIndex to be set");
    }
    let conditions = rule.on_pod_conditions.as_deref().unwrap_or_default();
    match (&rule.on_exit_codes, conditions.is_empty()) {
        (Some(_), false) => {
            causes.invalid(path, rule, "specifying both OnExitCodes and OnPodConditions is not supported");
        }
        (None, true) => causes.invalid(path, rule, "specifying one of OnExitCodes and OnPodConditions is required"),
        _ => {}
    }
    if let Some(codes) = &rule.on_exit_codes {
        let path = format!("{path}.onExitCodes");
        causes.one_of(format!("{path}.operator"), &codes.operator, &["In", "NotIn"]);
        if let Some(name) = &codes.container_name {
            let pods = spec.template.spec.as_ref();
            let containers =
                pods.into_iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
            if !containers.into_iter().any(|container| container.name == *name) {
                causes.invalid(
                    format!("{path}.containerName"),
                    name,
                    "must be one of the container or initContainer names in the pod template",
                );
            }
        }
        let values = format!("{path}.values");
        if codes.values.is_empty() {
            causes.invalid(&values, &codes.values, "at least one value is required");
        } else if codes.values.len() > EXIT_CODES_MAX {
            causes.too_many(&values, codes.values.len(), EXIT_CODES_MAX);
        }
        for (index, code) in codes.values.iter().enumerate() {
            if codes.operator == "In" && *code == 0 {
                causes.invalid(format!("{values}[{index}]"), code, "must not be 0 for the In operator");
            }
            if codes.values[..index].contains(code) {
                causes.duplicate(format!("{values}[{index}]"), code);
            }
        }
        if !codes.values.is_sorted() {
            causes.invalid(&values, &codes.values, "must be ordered");
        }
    }
    for (index, condition) in conditions.iter().enumerate() {
        let path = format!("{path}.onPodConditions[{index}]");
        for problem in rules::qualified_name(&condition.type_) {
            causes.invalid(format!("{path}.type"), &condition.type_, &problem);
        }
        causes.one_of(format!("{path}.status"), &condition.status, &["False", "True", "Unknown"]);
    }
}

fn validate_success(path: &str, policy: &SuccessPolicy, spec: &JobSpec, causes: &mut Causes) {
    if policy.rules.is_empty() {
        causes.required(path, "at least one rules must be specified when the successPolicy is specified");
    }
    if policy.rules.len() > RULES_MAX {
        causes.too_many(path, policy.rules.len(), RULES_MAX);
    }
    for (index, rule) in policy.rules.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
            causes.required(&path, "at least one of succeededCount or succeededIndexes must be specified");
        }
        if let Some(count) = rule.succeeded_count {
            let path = format!("{path}.succeededCount");
            causes.not_negative(&path, count);
            if let Some(all) = spec.completions.filter(|all| count > *all) {
                let detail = format!("must be less than or equal to {all} (the number of specified completions)");
                causes.invalid(path, count, &detail);
            }
        }
    }
}
