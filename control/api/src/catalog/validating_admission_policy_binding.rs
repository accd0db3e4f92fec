//! Where a policy applies, with which parameters, and what comes of a refusal.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec,
};
use serde_json::Value;

use super::{AGE, NAME, text};
use crate::rules::{self, Causes, webhooks};
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct ValidatingAdmissionPolicyBindings;

impl Resource for ValidatingAdmissionPolicyBindings {
    type Object = ValidatingAdmissionPolicyBinding;

    const NAMES: &'static Names = &Names {
        group: "admissionregistration.k8s.io",
        version: "v1",
        kind: "ValidatingAdmissionPolicyBinding",
        plural: "validatingadmissionpolicybindings",
        singular: "validatingadmissionpolicybinding",
        short: &[],
        categories: &["api-extensions"],
        scope: Scope::Cluster,
    };
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] =
        &[NAME, text("PolicyName", "The policy."), text("ParamRef", "The parameters that it gets."), AGE];

    fn default(binding: &mut ValidatingAdmissionPolicyBinding) {
        if let Some(resources) = binding.spec.as_mut().and_then(|spec| spec.match_resources.as_mut()) {
            webhooks::default_resources(resources);
        }
    }

    fn validate(binding: &ValidatingAdmissionPolicyBinding, causes: &mut Causes) {
        let none = ValidatingAdmissionPolicyBindingSpec::default();
        let spec = binding.spec.as_ref().unwrap_or(&none);
        rules::dns_name("spec.policyName", spec.policy_name.as_deref().unwrap_or_default(), causes);
        validate_params(spec, causes);
        if let Some(resources) = &spec.match_resources {
            webhooks::validate_resources("spec.matchResources", resources, causes);
        }
        validate_actions(spec.validation_actions.as_deref().unwrap_or_default(), causes);
    }

    fn cells(binding: &ValidatingAdmissionPolicyBinding, now: Timestamp) -> Vec<Value> {
        let spec = binding.spec.as_ref();
        let params = spec.and_then(|spec| spec.param_ref.as_ref()).map(|params| {
            let name = params.name.as_deref().unwrap_or_default();
            match params.namespace.as_deref().unwrap_or_default() {
                "" => name.to_owned(),
                namespace => format!("{namespace}/{name}"),
            }
        });
        vec![
            cells::name(&binding.metadata),
            spec.and_then(|spec| spec.policy_name.as_deref()).unwrap_or_default().into(),
            params.unwrap_or_else(|| "<unset>".into()).into(),
            cells::age(&binding.metadata, now),
        ]
    }
}

fn validate_params(spec: &ValidatingAdmissionPolicyBindingSpec, causes: &mut Causes) {
    let Some(params) = &spec.param_ref else { return };
    let path = "spec.paramRef";
    let name = params.name.as_deref().unwrap_or_default();
    match (name, &params.selector) {
        ("", None) => causes.required(path, "one of name or selector must be specified"),
        ("", Some(selector)) => rules::selector(&format!("{path}.selector"), selector, causes),
        (_, Some(_)) => {
            causes.forbidden(format!("{path}.name"), "name and selector are mutually exclusive");
            causes.forbidden(format!("{path}.selector"), "name and selector are mutually exclusive");
        }
        (name, None) => {
            for problem in rules::NameRule::PathSegment.problems(name) {
                causes.invalid(format!("{path}.name"), name, &problem);
            }
        }
    }
    let action = params.parameter_not_found_action.as_deref().unwrap_or_default();
    causes.one_of(format!("{path}.parameterNotFoundAction"), action, &["Allow", "Deny"]);
}

fn validate_actions(actions: &[String], causes: &mut Causes) {
    let path = "spec.validationActions";
    if actions.is_empty() {
        causes.required(path, "");
    }
    let mut seen = BTreeSet::new();
    for (place, action) in actions.iter().enumerate() {
        let at = format!("{path}[{place}]");
        if !["Audit", "Deny", "Warn"].contains(&action.as_str()) {
            causes.unsupported(at, action, &["Audit", "Deny", "Warn"]);
        } else if !seen.insert(action.as_str()) {
            causes.duplicate(at, action);
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        causes.invalid(path, actions, detail);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::VALIDATING_POLICY_BINDING as BINDING;

    fn binding() -> Value {
        json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"],
            "paramRef": {"name": "limit", "namespace": "team", "parameterNotFoundAction": "Deny"}}})
    }

    #[test]
    fn a_row_tells_policy_and_parameters() {
        assert_eq!(row(BINDING, &completed(BINDING, binding())), json!(["b", "p", "team/limit", "5m3s"]));
        let plain = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Warn"]}});
        assert_eq!(row(BINDING, &completed(BINDING, plain)), json!(["b", "p", "<unset>", "5m3s"]));
    }

    #[test]
    fn what_breaks_a_rule_is_told() {
        let check = |path: &str, wrong: Value, expect: &str| {
            assert_eq!(refusal(BINDING, binding(), &format!("/spec/{path}"), wrong), format!("spec.{expect}"));
        };
        check("policyName", json!(""), "policyName: Required value");
        check("validationActions", json!([]), "validationActions: Required value");
        check(
            "validationActions",
            json!(["Shout"]),
            "validationActions[0]: Unsupported value: \"Shout\": supported values: \"Audit\", \"Deny\", \"Warn\"",
        );
        check(
            "validationActions",
            json!(["Deny", "Warn"]),
            "validationActions: Invalid value: []string{\"Deny\", \"Warn\"}: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
        );
        check("paramRef/parameterNotFoundAction", json!(null), "paramRef.parameterNotFoundAction: Required value");
        check(
            "paramRef",
            json!({"parameterNotFoundAction": "Allow"}),
            "paramRef: Required value: one of name or selector must be specified",
        );
    }
}
