//! Which pods a quota is about.

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, PodSpec, ResourceQuota, ScopedResourceSelectorRequirement};

use crate::pod_spec::quality;

/// Whether the quota is about a pod, or about anything else: scopes are about pods alone.
pub(super) fn covers(quota: &ResourceQuota, pod: Option<&Pod>) -> bool {
    let spec = quota.spec.as_ref();
    let scopes = spec.and_then(|spec| spec.scopes.as_deref()).unwrap_or_default();
    let selector = spec.and_then(|spec| spec.scope_selector.as_ref());
    let wanted = selector.and_then(|selector| selector.match_expressions.as_deref()).unwrap_or_default();
    let Some(pod) = pod.and_then(|pod| pod.spec.as_ref()) else { return scopes.is_empty() && wanted.is_empty() };
    scopes.iter().all(|scope| is_in(pod, scope)) && wanted.iter().all(|wanted| fits(pod, wanted))
}

fn is_in(pod: &PodSpec, scope: &str) -> bool {
    match scope {
        "Terminating" => pod.active_deadline_seconds.is_some(),
        "NotTerminating" => pod.active_deadline_seconds.is_none(),
        "BestEffort" => quality(pod) == "BestEffort",
        "NotBestEffort" => quality(pod) != "BestEffort",
        "PriorityClass" => class(pod).is_some(),
        "CrossNamespacePodAffinity" => looks_elsewhere(pod),
        _ => false,
    }
}

fn fits(pod: &PodSpec, wanted: &ScopedResourceSelectorRequirement) -> bool {
    let is_named = || class(pod).is_some_and(|class| wanted.values.iter().flatten().any(|value| value == class));
    let is_class = wanted.scope_name == "PriorityClass";
    match wanted.operator.as_str() {
        "In" if is_class => is_named(),
        "NotIn" if is_class => !is_named(),
        "DoesNotExist" => !is_in(pod, &wanted.scope_name),
        _ => is_in(pod, &wanted.scope_name),
    }
}

fn class(pod: &PodSpec) -> Option<&str> {
    pod.priority_class_name.as_deref().filter(|class| !class.is_empty())
}

/// Whether it minds pods of other namespaces.
fn looks_elsewhere(pod: &PodSpec) -> bool {
    let affinity = pod.affinity.as_ref();
    let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
    let far = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    let required = [
        near.and_then(|near| near.required_during_scheduling_ignored_during_execution.as_ref()),
        far.and_then(|far| far.required_during_scheduling_ignored_during_execution.as_ref()),
    ];
    let preferred = [
        near.and_then(|near| near.preferred_during_scheduling_ignored_during_execution.as_ref()),
        far.and_then(|far| far.preferred_during_scheduling_ignored_during_execution.as_ref()),
    ];
    let preferred = preferred.into_iter().flatten().flatten().map(|weighted| &weighted.pod_affinity_term);
    let elsewhere = |term: &PodAffinityTerm| {
        term.namespace_selector.is_some() || term.namespaces.as_ref().is_some_and(|names| !names.is_empty())
    };
    required.into_iter().flatten().flatten().chain(preferred).any(elsewhere)
}
