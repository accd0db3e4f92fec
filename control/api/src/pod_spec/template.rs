//! Pod templates: what a workload makes its pods of.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

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
    let is_empty = selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    let none = BTreeMap::new();
    let no_metadata = ObjectMeta::default();
    let metadata = template.metadata.as_ref().unwrap_or(&no_metadata);
    let labels = metadata.labels.as_ref().unwrap_or(&none);
    if is_empty {
        causes.required("spec.selector", "");
    }
    // No selector selects nothing, so no labels match it either.
    if is_empty || Selector::try_from(selector).is_ok_and(|selector| !selector.matches(labels)) {
        let path = format!("{PATH}.metadata.labels");
        causes.invalid_go(path, &go_map(labels), "`selector` does not match template `labels`");
    }
    rules::labels(&format!("{PATH}.labels"), labels, causes);
    if let Some(annotations) = &metadata.annotations {
        rules::annotations(&format!("{PATH}.annotations"), annotations, causes);
    }
    let no_spec = PodSpec::default();
    let spec = template.spec.as_ref().unwrap_or(&no_spec);
    super::validate(&format!("{PATH}.spec"), spec, causes);
    if let Some(policy) = spec.restart_policy.as_deref().filter(|policy| matches!(*policy, "Never" | "OnFailure")) {
        causes.unsupported(format!("{PATH}.spec.restartPolicy"), policy, &["Always"]);
    }
    if spec.active_deadline_seconds.is_some() {
        causes.forbidden(
            format!("{PATH}.spec.activeDeadlineSeconds"),
            "activeDeadlineSeconds in ReplicaSet is not Supported",
        );
    }
}

/// The selector of a workload never changes: pods that it chose before would be lost.
pub fn immutable_selector(new: &LabelSelector, old: &LabelSelector, causes: &mut Causes) {
    if new != old {
        causes.invalid_go("spec.selector", &go_selector(new), "field is immutable");
    }
}

/// What deserves a sentence although it is accepted.
pub fn warnings(template: &PodTemplateSpec) -> Vec<String> {
    template.spec.as_ref().map(|spec| super::warnings(&format!("{PATH}.spec"), spec)).unwrap_or_default()
}

fn go_map(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key:?}:{value:?}")).collect();
    if pairs.is_empty() {
        "map[string]string(nil)".into()
    } else {
        format!("map[string]string{{{}}}", pairs.join(", "))
    }
}

fn go_selector(selector: &LabelSelector) -> String {
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
