//! Pod templates: what a workload makes its pods of.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::instances;
use crate::rules::{self, Causes};
use crate::selector::LabelSelector as Selector;

const PATH: &str = "spec.template";

/// Fills in what a template leaves out, in the one form that equal templates share.
pub fn default(template: &mut PodTemplateSpec) {
    let metadata = template.metadata.get_or_insert_default();
    // The server sets these on objects; on a template they say nothing, but clients echo them.
    metadata.creation_timestamp = None;
    metadata.resource_version = None;
    metadata.uid = None;
    super::default(template.spec.get_or_insert_default());
}

/// Everything wrong with a template and the selector that must choose its pods.
pub fn validate_selected(selector: &LabelSelector, template: &PodTemplateSpec, causes: &mut Causes) {
    rules::selector("spec.selector", selector, causes);
    if is_empty(selector) {
        causes.required("spec.selector", "");
    }
    if Selector::try_from(selector).is_err() {
        causes.invalid_go("spec.selector", &go_selector(selector), "invalid label selector");
    }
    validate_labels_match(selector, template, causes);
    validate(PATH, template, causes);
    validate_restarting(template, "ReplicaSet", causes);
}

/// Whether a selector asks for nothing; workloads may not have such a one.
pub fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// The selector of a workload at `spec.selector` chooses what its template at `spec.template` makes.
pub fn validate_labels_match(selector: &LabelSelector, template: &PodTemplateSpec, causes: &mut Causes) {
    let none = BTreeMap::new();
    let labels = labels_of(template).unwrap_or(&none);
    // No selector selects nothing, so no labels match it either.
    if is_empty(selector) || Selector::try_from(selector).is_ok_and(|selector| !selector.matches(labels)) {
        let path = format!("{PATH}.metadata.labels");
        causes.invalid_go(path, &go_map(labels), "`selector` does not match template `labels`");
    }
}

/// Everything wrong with a template at `path`.
pub fn validate(path: &str, template: &PodTemplateSpec, causes: &mut Causes) {
    let no_metadata = ObjectMeta::default();
    let metadata = template.metadata.as_ref().unwrap_or(&no_metadata);
    if let Some(labels) = &metadata.labels {
        rules::labels(&format!("{path}.labels"), labels, causes);
    }
    if let Some(annotations) = &metadata.annotations {
        rules::annotations(&format!("{path}.annotations"), annotations, causes);
    }
    instances::validate(&format!("{path}.metadata.annotations"), metadata.annotations.as_ref(), causes);
    let no_spec = PodSpec::default();
    super::validate(&format!("{path}.spec"), template.spec.as_ref().unwrap_or(&no_spec), causes);
}

/// Pods of a template at `spec.template` are to run for ever; `kind` is who wants them.
pub fn validate_restarting(template: &PodTemplateSpec, kind: &str, causes: &mut Causes) {
    let Some(spec) = &template.spec else { return };
    if let Some(policy) = spec.restart_policy.as_deref().filter(|policy| matches!(*policy, "Never" | "OnFailure")) {
        causes.unsupported(format!("{PATH}.spec.restartPolicy"), policy, &["Always"]);
    }
    if spec.active_deadline_seconds.is_some() {
        causes.forbidden(
            format!("{PATH}.spec.activeDeadlineSeconds"),
            &format!("activeDeadlineSeconds in {kind} is not Supported"),
        );
    }
}

/// The labels that the pods of a template get.
pub fn labels_of(template: &PodTemplateSpec) -> Option<&BTreeMap<String, String>> {
    template.metadata.as_ref()?.labels.as_ref()
}

/// The selector of a workload never changes: pods that it chose before would be lost.
pub fn immutable_selector(new: &LabelSelector, old: &LabelSelector, causes: &mut Causes) {
    if new != old {
        causes.invalid_go("spec.selector", &go_selector(new), "field is immutable");
    }
}

/// What deserves a sentence although it is accepted, in a template at `spec.template`.
pub fn warnings(template: &PodTemplateSpec) -> Vec<String> {
    warnings_at(PATH, template)
}

/// What deserves a sentence although it is accepted, in a template at `path`.
pub fn warnings_at(path: &str, template: &PodTemplateSpec) -> Vec<String> {
    template.spec.as_ref().map(|spec| super::warnings(&format!("{path}.spec"), spec)).unwrap_or_default()
}

/// Labels as Go prints them.
pub fn go_map(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key:?}:{value:?}")).collect();
    if pairs.is_empty() {
        "map[string]string(nil)".into()
    } else {
        format!("map[string]string{{{}}}", pairs.join(", "))
    }
}

/// A selector as Go prints it.
pub fn go_selector(selector: &LabelSelector) -> String {
    let none = BTreeMap::new();
    let labels = go_map(selector.match_labels.as_ref().unwrap_or(&none));
    let expressions: Vec<String> = selector
        .match_expressions
        .iter()
        .flatten()
        .map(|one| {
            let values: Vec<String> = one.values.iter().flatten().map(|value| format!("{value:?}")).collect();
            let values = if values.is_empty() { "(nil)".into() } else { format!("{{{}}}", values.join(", ")) };
            format!(
                "v1.LabelSelectorRequirement{{Key:{:?}, Operator:{:?}, Values:[]string{values}}}",
                one.key, one.operator
            )
        })
        .collect();
    let expressions = if expressions.is_empty() { "(nil)".into() } else { format!("{{{}}}", expressions.join(", ")) };
    format!("v1.LabelSelector{{MatchLabels:{labels}, MatchExpressions:[]v1.LabelSelectorRequirement{expressions}}}")
}
