//! Which nodes a pod's selector and its node affinity speak of.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

/// Whether a pod of this spec is meant for the node: its selector and its required node affinity speak of it.
pub fn selects(spec: &PodSpec, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref());
    let required = required.map(|selector| selector.node_selector_terms.as_slice());
    spec.node_selector.as_ref().is_none_or(|selector| has_all(labels, selector)) && is_required(required, name, labels)
}

/// Whether one of the terms describes the node; where there are none, nothing is required.
pub(crate) fn is_required(terms: Option<&[NodeSelectorTerm]>, name: &str, labels: &BTreeMap<String, String>) -> bool {
    terms.is_none_or(|terms| terms.iter().any(|term| describes(term, name, labels)))
}

/// Whether every label is there with its value.
pub(crate) fn has_all(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// Whether a term describes the node. A term that says nothing describes no node.
pub(crate) fn describes(term: &NodeSelectorTerm, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(|expression| holds(expression, labels.get(&expression.key).map(String::as_str)))
        && fields.iter().all(|field| holds(field, (field.key == "metadata.name").then_some(name)))
}

fn holds(requirement: &NodeSelectorRequirement, found: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = |value: &str| values.iter().any(|one| one == value);
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let bound = number(values.first().map(String::as_str));
    match requirement.operator.as_str() {
        "In" => found.is_some_and(listed),
        "NotIn" => !found.is_some_and(listed),
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => number(found).zip(bound).is_some_and(|(found, bound)| found > bound),
        "Lt" => number(found).zip(bound).is_some_and(|(found, bound)| found < bound),
        _ => false,
    }
}
