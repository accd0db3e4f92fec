//! What a pod may say about where it wants to be.

use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, WeightedPodAffinityTerm,
};

use crate::rules::{self, Causes};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const OPERATORS: [&str; 6] = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];

/// Everything wrong with an affinity, at `path`.
pub(super) fn validate(path: &str, affinity: &Affinity, causes: &mut Causes) {
    if let Some(nodes) = &affinity.node_affinity {
        validate_nodes(&format!("{path}.nodeAffinity"), nodes, causes);
    }
    let near = affinity.pod_affinity.as_ref().map(|near| {
        (
            "podAffinity",
            &near.required_during_scheduling_ignored_during_execution,
            &near.preferred_during_scheduling_ignored_during_execution,
        )
    });
    let far = affinity.pod_anti_affinity.as_ref().map(|far| {
        (
            "podAntiAffinity",
            &far.required_during_scheduling_ignored_during_execution,
            &far.preferred_during_scheduling_ignored_during_execution,
        )
    });
    for (field, required, preferred) in near.into_iter().chain(far) {
        for (index, term) in required.iter().flatten().enumerate() {
            validate_pods(&format!("{path}.{field}.{REQUIRED}[{index}]"), term, causes);
        }
        for (index, term) in preferred.iter().flatten().enumerate() {
            validate_weighted(&format!("{path}.{field}.{PREFERRED}[{index}]"), term, causes);
        }
    }
}

fn validate_weighted(path: &str, weighted: &WeightedPodAffinityTerm, causes: &mut Causes) {
    weight(path, weighted.weight, causes);
    validate_pods(&format!("{path}.podAffinityTerm"), &weighted.pod_affinity_term, causes);
}

fn weight(path: &str, weight: i32, causes: &mut Causes) {
    if !(1..=100).contains(&weight) {
        causes.invalid(format!("{path}.weight"), weight, "must be in the range 1-100");
    }
}

fn validate_nodes(path: &str, nodes: &NodeAffinity, causes: &mut Causes) {
    if let Some(required) = &nodes.required_during_scheduling_ignored_during_execution {
        let path = format!("{path}.{REQUIRED}.nodeSelectorTerms");
        if required.node_selector_terms.is_empty() {
            causes.required(&path, "must have at least one node selector term");
        }
        for (index, term) in required.node_selector_terms.iter().enumerate() {
            validate_term(&format!("{path}[{index}]"), term, causes);
        }
    }
    for (index, wish) in nodes.preferred_during_scheduling_ignored_during_execution.iter().flatten().enumerate() {
        let path = format!("{path}.{PREFERRED}[{index}]");
        weight(&path, wish.weight, causes);
        validate_term(&format!("{path}.preference"), &wish.preference, causes);
    }
}

fn validate_term(path: &str, term: &NodeSelectorTerm, causes: &mut Causes) {
    for (index, wanted) in term.match_expressions.iter().flatten().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        validate_expression(&path, wanted, causes);
        for problem in rules::qualified_name(&wanted.key) {
            causes.invalid(format!("{path}.key"), &wanted.key, &problem);
        }
    }
    for (index, wanted) in term.match_fields.iter().flatten().enumerate() {
        validate_field(&format!("{path}.matchFields[{index}]"), wanted, causes);
    }
}

fn validate_expression(path: &str, wanted: &NodeSelectorRequirement, causes: &mut Causes) {
    let values = format!("{path}.values");
    let count = wanted.values.as_ref().map_or(0, Vec::len);
    match wanted.operator.as_str() {
        "In" | "NotIn" if count == 0 => {
            causes.required(values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if count > 0 => {
            causes.forbidden(values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if count != 1 => {
            causes.required(values, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        known if OPERATORS.contains(&known) => {}
        other => causes.invalid(format!("{path}.operator"), other, "not a valid selector operator"),
    }
}

/// A field of the node itself; its name is the only one.
fn validate_field(path: &str, wanted: &NodeSelectorRequirement, causes: &mut Causes) {
    let values = wanted.values.as_deref().unwrap_or_default();
    match wanted.operator.as_str() {
        "In" | "NotIn" if values.len() != 1 => {
            let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            causes.required(format!("{path}.values"), detail);
        }
        "In" | "NotIn" => {}
        other => causes.invalid(format!("{path}.operator"), other, "not a valid selector operator"),
    }
    if wanted.key == "metadata.name" {
        for (index, name) in values.iter().enumerate() {
            rules::NameRule::Subdomain.check(&format!("{path}.values[{index}]"), name, causes);
        }
    } else {
        causes.invalid(format!("{path}.key"), &wanted.key, "not a valid field selector key");
    }
}

fn validate_pods(path: &str, term: &PodAffinityTerm, causes: &mut Causes) {
    for (field, selector) in [("labelSelector", &term.label_selector), ("namespaceSelector", &term.namespace_selector)]
    {
        if let Some(selector) = selector {
            rules::selector(&format!("{path}.{field}"), selector, causes);
        }
    }
    for name in term.namespaces.iter().flatten() {
        for problem in rules::NameRule::Label.problems(name) {
            causes.invalid(format!("{path}.namespace"), name, &problem);
        }
    }
    let key = format!("{path}.topologyKey");
    if term.topology_key.is_empty() {
        causes.required(&key, "can not be empty");
    }
    for problem in rules::qualified_name(&term.topology_key) {
        causes.invalid(&key, &term.topology_key, &problem);
    }
}
