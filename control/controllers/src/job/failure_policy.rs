//! What a pod's failure means to the job that it belongs to.

use k8s_openapi::api::batch::v1::PodFailurePolicyOnExitCodesRequirement;
pub(super) use k8s_openapi::api::batch::v1::PodFailurePolicyRule as Rule;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// What is made of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It counts towards the limit.
    Counted,
    /// It is as if it had not been.
    Ignored,
    /// The pod's index is lost.
    IndexLost,
    /// The whole job is, for this reason.
    JobLost(String),
}

/// What the first rule that fits says; where none does, failures count.
pub(super) fn judge(rules: &[Rule], pod: &Pod) -> Judgement {
    let fit = rules.iter().enumerate().find_map(|(at, rule)| Some((at, rule, fits(rule, pod)?)));
    let Some((at, rule, what)) = fit else { return Judgement::Counted };
    match rule.action.as_str() {
        "Ignore" => Judgement::Ignored,
        "FailIndex" => Judgement::IndexLost,
        "FailJob" => Judgement::JobLost(format!("{what} matching FailJob rule at index {at}")),
        _ => Judgement::Counted,
    }
}

/// What of the pod fits the rule, in words.
fn fits(rule: &Rule, pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let metadata = &pod.metadata;
    let name = [metadata.namespace.as_deref(), metadata.name.as_deref()].map(Option::unwrap_or_default).join("/");
    if let Some(wanted) = &rule.on_exit_codes {
        let statuses = [&status.container_statuses, &status.init_container_statuses].into_iter().flatten().flatten();
        let (container, code) =
            statuses.into_iter().find_map(|container| Some((&container.name, exit_code(wanted, container)?)))?;
        return Some(format!("Container {container} for pod {name} failed with exit code {code}"));
    }
    let wanted = rule.on_pod_conditions.as_deref().unwrap_or_default();
    let has = status.conditions.as_deref().unwrap_or_default();
    let found = has.iter().find(|has| wanted.iter().any(|it| it.type_ == has.type_ && it.status == has.status))?;
    Some(format!("Pod {name} has condition {}", found.type_))
}

/// The code with which the container failed, if it is one of those meant.
fn exit_code(wanted: &PodFailurePolicyOnExitCodesRequirement, container: &ContainerStatus) -> Option<i32> {
    let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
    let is_meant = wanted.container_name.as_ref().is_none_or(|name| *name == container.name);
    let is_among = wanted.values.contains(&code);
    let is_wanted = if wanted.operator == "In" { is_among } else { !is_among };
    Some(code).filter(|code| *code != 0 && is_meant && is_wanted)
}
