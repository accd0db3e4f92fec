//! What must be true of what is stored, in CEL.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicySpec, Validation,
};
use serde_json::Value;

use super::{AGE, NAME, integer, text};
use crate::cel::{Environment, Program, Type};
use crate::policies::{compile_conditions, environment};
use crate::rules::{Causes, qualified_name, webhooks};
use crate::{Column, Names, Resource, Scope, Subresource, cells};

/// The kind.
#[derive(Debug)]
pub struct ValidatingAdmissionPolicies;

/// As Kubernetes has it.
const ANNOTATIONS_MAX: usize = 20;

impl Resource for ValidatingAdmissionPolicies {
    type Object = ValidatingAdmissionPolicy;

    const NAMES: &'static Names = &Names {
        group: "admissionregistration.k8s.io",
        version: "v1",
        kind: "ValidatingAdmissionPolicy",
        plural: "validatingadmissionpolicies",
        singular: "validatingadmissionpolicy",
        short: &[],
        categories: &["api-extensions"],
        scope: Scope::Cluster,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = &[
        NAME,
        integer("Validations", "How many things must be true."),
        text("ParamKind", "Of which kind its parameters are."),
        AGE,
    ];

    fn default(policy: &mut ValidatingAdmissionPolicy) {
        let Some(spec) = &mut policy.spec else { return };
        spec.failure_policy.get_or_insert_with(|| "Fail".into());
        if let Some(resources) = &mut spec.match_constraints {
            webhooks::default_resources(resources);
        }
    }

    fn validate(policy: &ValidatingAdmissionPolicy, causes: &mut Causes) {
        let none = ValidatingAdmissionPolicySpec::default();
        let spec = policy.spec.as_ref().unwrap_or(&none);
        causes.one_of("spec.failurePolicy", spec.failure_policy.as_deref().unwrap_or("Fail"), &["Fail", "Ignore"]);
        if let Some(kind) = &spec.param_kind {
            if kind.api_version.as_deref().unwrap_or_default().is_empty() {
                causes.required("spec.paramKind.apiVersion", "");
            }
            if kind.kind.as_deref().unwrap_or_default().is_empty() {
                causes.required("spec.paramKind.kind", "");
            }
        }
        match &spec.match_constraints {
            None => causes.required("spec.matchConstraints", ""),
            Some(resources) => {
                webhooks::validate_resources("spec.matchConstraints", resources, causes);
                if resources.resource_rules.as_ref().is_none_or(Vec::is_empty) {
                    causes.required("spec.matchConstraints.resourceRules", "");
                }
            }
        }
        validate_expressions(spec, causes);
    }

    fn cells(policy: &ValidatingAdmissionPolicy, now: Timestamp) -> Vec<Value> {
        let spec = policy.spec.as_ref();
        let count = spec.and_then(|spec| spec.validations.as_ref()).map_or(0, Vec::len);
        let kind = spec.and_then(|spec| spec.param_kind.as_ref()).map(|kind| {
            format!("{}/{}", kind.api_version.as_deref().unwrap_or_default(), kind.kind.as_deref().unwrap_or_default())
        });
        vec![
            cells::name(&policy.metadata),
            count.into(),
            kind.unwrap_or_else(|| "<unset>".into()).into(),
            cells::age(&policy.metadata, now),
        ]
    }
}

fn validate_expressions(spec: &ValidatingAdmissionPolicySpec, causes: &mut Causes) {
    let has_params = spec.param_kind.is_some();
    let mut known = environment(has_params, true).with_variables();
    let mut quiet = environment(has_params, false).with_variables();
    let conditions = spec.match_conditions.as_deref().unwrap_or_default();
    webhooks::validate_condition_names("spec.matchConditions", conditions, causes);
    let mut names = BTreeSet::new();
    for (place, variable) in spec.variables.iter().flatten().enumerate() {
        let path = format!("spec.variables[{place}]");
        match variable.name.as_str() {
            "" => causes.required(format!("{path}.name"), "name is not specified"),
            name if !is_identifier(name) => {
                causes.invalid(format!("{path}.name"), name, "name is not a valid CEL identifier");
            }
            name if !names.insert(name) => causes.duplicate(format!("{path}.name"), name),
            _ => {}
        }
        let gives = compiled(&format!("{path}.expression"), &variable.expression, &known, &[Type::Dyn], causes);
        known.declare(&variable.name, gives.clone());
        quiet.declare(&variable.name, gives);
    }
    for wrong in compile_conditions(conditions, &known).err().into_iter().flatten() {
        let expression = &conditions[wrong.place].expression;
        causes.invalid(format!("spec.matchConditions[{}].expression", wrong.place), expression, &wrong.why);
    }
    for (place, validation) in spec.validations.iter().flatten().enumerate() {
        validate_validation(&format!("spec.validations[{place}]"), validation, (&known, &quiet), causes);
    }
    let annotations = spec.audit_annotations.as_deref().unwrap_or_default();
    if annotations.len() > ANNOTATIONS_MAX {
        causes.too_many("spec.auditAnnotations", annotations.len(), ANNOTATIONS_MAX);
    }
    let mut keys = BTreeSet::new();
    for (place, annotation) in annotations.iter().enumerate() {
        let path = format!("spec.auditAnnotations[{place}]");
        match annotation.key.as_str() {
            "" => causes.required(format!("{path}.key"), ""),
            key => {
                for problem in qualified_name(key) {
                    causes.invalid(format!("{path}.key"), key, &problem);
                }
                if !keys.insert(key) {
                    causes.duplicate(format!("{path}.key"), key);
                }
            }
        }
        let gives = [Type::String, Type::Null];
        compiled(&format!("{path}.valueExpression"), &annotation.value_expression, &known, &gives, causes);
    }
    if spec.validations.as_ref().is_none_or(Vec::is_empty) && annotations.is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        causes.required("spec.validations", detail);
        causes.required("spec.auditAnnotations", detail);
    }
}

fn validate_validation(
    path: &str,
    validation: &Validation,
    (known, quiet): (&Environment, &Environment),
    causes: &mut Causes,
) {
    compiled(&format!("{path}.expression"), &validation.expression, known, &[Type::Bool], causes);
    if let Some(source) = validation.message_expression.as_deref().filter(|source| !source.is_empty()) {
        if source.trim().is_empty() {
            causes.invalid(format!("{path}.messageExpression"), source, "must be non-empty if specified");
        } else {
            compiled(&format!("{path}.messageExpression"), source, quiet, &[Type::String], causes);
        }
    }
    if let Some(message) = validation.message.as_deref().filter(|message| !message.is_empty()) {
        if message.trim().is_empty() {
            causes.invalid(format!("{path}.message"), message, "message must be non-empty if specified");
        } else if message.trim().contains('\n') {
            causes.invalid(format!("{path}.message"), message, "message must not contain line breaks");
        }
    } else if validation.expression.contains('\n') && validation.message_expression.is_none() {
        causes.required(format!("{path}.message"), "message must be specified if expression contains line breaks");
    }
    if let Some(reason) = validation.reason.as_deref() {
        let known = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
        causes.one_of(format!("{path}.reason"), reason, &known);
    }
}

/// What the expression gives; a wrong one could give anything.
fn compiled(path: &str, source: &str, environment: &Environment, gives: &[Type], causes: &mut Causes) -> Type {
    if source.trim().is_empty() {
        let what = path.rsplit('.').next().unwrap_or_default();
        causes.required(path, &format!("{what} is not specified"));
        return Type::Dyn;
    }
    match Program::compile(source, environment, gives) {
        Ok(program) => program.gives().clone(),
        Err(error) => {
            causes.invalid(path, source, &error.to_string());
            Type::Dyn
        }
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::VALIDATING_POLICY as POLICY;

    fn policy() -> Value {
        let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]});
        json!({"metadata": {"name": "replicas.example.com"}, "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "object.spec.replicas <= 5"}],
        }})
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let stored = completed(POLICY, policy());
        assert_eq!(stored["spec"]["failurePolicy"], "Fail");
        assert_eq!(stored["spec"]["matchConstraints"]["matchPolicy"], "Equivalent");
        assert_eq!(stored["spec"]["matchConstraints"]["resourceRules"][0]["scope"], "*");
        assert_eq!(row(POLICY, &stored), json!(["replicas.example.com", 1, "<unset>", "5m3s"]));
        let params = plus(stored, "/spec/paramKind", json!({"apiVersion": "v1", "kind": "ConfigMap"}));
        assert_eq!(row(POLICY, &params), json!(["replicas.example.com", 1, "v1/ConfigMap", "5m3s"]));
    }

    #[test]
    fn what_breaks_a_rule_is_told() {
        let check = |path: &str, wrong: Value, expect: &str| {
            assert_eq!(refusal(POLICY, policy(), &format!("/spec/{path}"), wrong), expect);
        };
        check(
            "validations/0/expression",
            json!("object.spec.replicas <= params.max"),
            "spec.validations[0].expression: Invalid value: \"object.spec.replicas <= params.max\": compilation failed: ERROR: <input>:1:25: undeclared reference to 'params' (in container '')\n | object.spec.replicas <= params.max\n | ........................^",
        );
        check(
            "validations/0/expression",
            json!("object.spec.replicas"),
            "spec.validations[0].expression: Invalid value: \"object.spec.replicas\": must evaluate to bool",
        );
        check(
            "validations/0/expression",
            json!(""),
            "spec.validations[0].expression: Required value: expression is not specified",
        );
        check(
            "validations/0",
            json!({"expression": "true", "messageExpression": "1"}),
            "spec.validations[0].messageExpression: Invalid value: \"1\": must evaluate to string",
        );
        check(
            "validations/0",
            json!({"expression": "true", "reason": "Sad"}),
            "spec.validations[0].reason: Unsupported value: \"Sad\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\", \"Unauthorized\"",
        );
        check("matchConstraints", json!({}), "spec.matchConstraints.resourceRules: Required value");
        check(
            "failurePolicy",
            json!("Maybe"),
            "spec.failurePolicy: Unsupported value: \"Maybe\": supported values: \"Fail\", \"Ignore\"",
        );
        check(
            "validations",
            json!([]),
            "[spec.validations: Required value: validations or auditAnnotations must contain at least one item, spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item]",
        );
        check(
            "variables",
            json!([{"name": "a-b", "expression": "1"}]),
            "spec.variables[0].name: Invalid value: \"a-b\": name is not a valid CEL identifier",
        );
        check(
            "auditAnnotations",
            json!([{"key": "k", "valueExpression": "1"}]),
            "spec.auditAnnotations[0].valueExpression: Invalid value: \"1\": must evaluate to one of [string null]",
        );
    }
}
