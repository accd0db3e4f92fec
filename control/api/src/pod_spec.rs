//! What pods and pod templates have in common: defaults, rules, and what means nothing to wasm.

pub mod account;
mod affinity;
mod container;
mod defaults;
pub mod ephemeral;
mod limits;
mod names;
pub mod outages;
mod priority;
mod probe;
pub mod resize;
mod runtime;
mod security;
pub mod template;
mod total;
mod volume;
mod warnings;

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{Container, PodSpec, Toleration};

use crate::quantity::Quantity;
use crate::rules::{self, Causes};

pub use defaults::default;
pub use limits::{limit_claim, limit_pod, limit_resized};
pub use outages::Outages;
pub use priority::prioritize;
pub use runtime::{run_as, runtime_class_of};
pub use total::total;
pub use warnings::warnings;

const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];

/// Everything wrong with a pod's spec, at `path`.
pub fn validate(path: &str, spec: &PodSpec, causes: &mut Causes) {
    let volumes = volume::validate_all(&format!("{path}.volumes"), spec.volumes.as_deref().unwrap_or_default(), causes);
    container::validate_all(path, spec, &volumes, causes);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    causes.one_of(format!("{path}.restartPolicy"), &text(&spec.restart_policy), RESTART_POLICIES);
    causes.one_of(format!("{path}.dnsPolicy"), &text(&spec.dns_policy), DNS_POLICIES);
    if let Some(selector) = &spec.node_selector {
        rules::labels(&format!("{path}.nodeSelector"), selector, causes);
    }
    for (field, name) in [
        ("serviceAccountName", &spec.service_account_name),
        ("nodeName", &spec.node_name),
        ("schedulerName", &spec.scheduler_name),
    ] {
        if let Some(name) = name {
            rules::NameRule::Subdomain.check(&format!("{path}.{field}"), name, causes);
        }
    }
    for (field, name) in [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)] {
        if let Some(name) = name {
            rules::NameRule::Label.check(&format!("{path}.{field}"), name, causes);
        }
    }
    if let Some(seconds) = spec.active_deadline_seconds.filter(|seconds| *seconds < 1) {
        causes.invalid(format!("{path}.activeDeadlineSeconds"), seconds, "must be between 1 and 2147483647, inclusive");
    }
    if let Some(seconds) = spec.termination_grace_period_seconds {
        causes.not_negative(format!("{path}.terminationGracePeriodSeconds"), seconds);
    }
    for (index, secret) in spec.image_pull_secrets.iter().flatten().enumerate() {
        if secret.name.is_empty() {
            causes.required(format!("{path}.imagePullSecrets[{index}].name"), "");
        }
    }
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        rules::ip(&format!("{path}.hostAliases[{index}].ip"), &alias.ip, causes);
    }
    if let Some(context) = &spec.security_context {
        security::validate_pod(&format!("{path}.securityContext"), context, causes);
    }
    names::validate(&format!("{path}.dnsConfig"), spec.dns_config.as_ref(), spec.dns_policy.as_deref(), causes);
    if let Some(affinity) = &spec.affinity {
        affinity::validate(&format!("{path}.affinity"), affinity, causes);
    }
    for (index, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        for problem in rules::qualified_name(&gate.condition_type) {
            causes.invalid(format!("{path}.readinessGates[{index}].conditionType"), &gate.condition_type, &problem);
        }
    }
    let mut gates = HashSet::new();
    for (index, gate) in spec.scheduling_gates.iter().flatten().enumerate() {
        let path = format!("{path}.schedulingGates[{index}]");
        for problem in rules::qualified_name(&gate.name) {
            causes.invalid(&path, &gate.name, &problem);
        }
        if !gates.insert(&gate.name) {
            causes.duplicate(path, &gate.name);
        }
    }
    validate_tolerations(&format!("{path}.tolerations"), spec.tolerations.as_deref(), causes);
    validate_spreading(path, spec, causes);
}

/// Everything wrong with tolerations at `path`.
pub fn validate_tolerations(path: &str, tolerations: Option<&[Toleration]>, causes: &mut Causes) {
    for (index, toleration) in tolerations.into_iter().flatten().enumerate() {
        validate_toleration(&format!("{path}[{index}]"), toleration, causes);
    }
}

fn validate_toleration(path: &str, toleration: &Toleration, causes: &mut Causes) {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (key, operator, value, effect) =
        (text(&toleration.key), text(&toleration.operator), text(&toleration.value), text(&toleration.effect));
    if key.is_empty() {
        if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            causes.invalid(format!("{path}.operator"), &operator, detail);
        }
    } else {
        for problem in rules::qualified_name(&key) {
            causes.invalid(format!("{path}.key"), &key, &problem);
        }
    }
    match operator.as_str() {
        "Equal" | "" => {
            for problem in rules::label_value(&value) {
                causes.invalid(format!("{path}.operator"), &value, &problem);
            }
        }
        "Exists" if value.is_empty() => {}
        "Exists" => {
            causes.invalid(format!("{path}.operator"), &value, "value must be empty when `operator` is 'Exists'");
        }
        other => causes.unsupported(format!("{path}.operator"), other, &["Equal", "Exists"]),
    }
    if !effect.is_empty() {
        causes.one_of(format!("{path}.effect"), &effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
    }
    if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
        causes.invalid(format!("{path}.effect"), &effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
    }
}

fn validate_spreading(path: &str, spec: &PodSpec, causes: &mut Causes) {
    let mut seen = HashSet::new();
    for (index, spread) in spec.topology_spread_constraints.iter().flatten().enumerate() {
        let path = format!("{path}.topologySpreadConstraints[{index}]");
        if spread.max_skew <= 0 {
            causes.invalid(format!("{path}.maxSkew"), spread.max_skew, "must be greater than zero");
        }
        match spread.min_domains {
            Some(least) if least <= 0 => {
                causes.invalid(format!("{path}.minDomains"), least, "must be greater than zero");
            }
            Some(least) if spread.when_unsatisfiable != "DoNotSchedule" => {
                let policy = &spread.when_unsatisfiable;
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {policy}");
                causes.invalid(format!("{path}.minDomains"), least, &detail);
            }
            _ => {}
        }
        if spread.topology_key.is_empty() {
            causes.required(format!("{path}.topologyKey"), "can not be empty");
        }
        causes.one_of(
            format!("{path}.whenUnsatisfiable"),
            &spread.when_unsatisfiable,
            &["DoNotSchedule", "ScheduleAnyway"],
        );
        if let Some(selector) = &spread.label_selector {
            rules::selector(&format!("{path}.labelSelector"), selector, causes);
        }
        if !seen.insert((&spread.topology_key, &spread.when_unsatisfiable)) {
            let pair = format!("{{{}, {}}}", spread.topology_key, spread.when_unsatisfiable);
            causes.duplicate(format!("{path}.{{topologyKey, whenUnsatisfiable}}"), pair);
        }
    }
}

/// The quality of service that follows from requests and limits.
pub fn quality(spec: &PodSpec) -> &'static str {
    let containers = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let amounts = |container: &Container, limit: bool, name: &str| {
        let resources = container.resources.as_ref()?;
        let amounts = if limit { &resources.limits } else { &resources.requests };
        amounts.as_ref()?.get(name).map(Quantity::of).filter(|amount| !amount.is_zero())
    };
    let resources = ["cpu", "memory"];
    let asks = |one: &Container, limit: bool| resources.iter().any(|name| amounts(one, limit, name).is_some());
    if !containers().any(|one| asks(one, true) || asks(one, false)) {
        return "BestEffort";
    }
    let exact = |one: &Container, name: &str| {
        let limit = amounts(one, true, name);
        limit.is_some() && amounts(one, false, name).is_none_or(|request| Some(request) == limit)
    };
    if containers().all(|one| resources.iter().all(|name| exact(one, name))) { "Guaranteed" } else { "Burstable" }
}
