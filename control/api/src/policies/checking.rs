//! What can be said of a policy's expressions before any request comes: whether they fit the kinds that the policy names.
//!
//! What does not fit is doubted and never refused: a policy may be about several kinds, and ask which one it sees. Parameters are of
//! kinds too; what is read of them is believed.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{MatchResources, ValidatingAdmissionPolicySpec};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json};

use super::environment;
use crate::cel::{CompileError, Environment, Program, Type};
use crate::{Kind, Kinds, SharedKind};

/// An expression that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Where it is.
    pub path: String,
    /// What is wrong with it, for each kind that it does not fit.
    pub why: String,
}

/// As Kubernetes has it: no more kinds than these are looked at.
const KINDS_MAX: usize = 10;
/// Whatever a rule has in this place, it does not say.
const ANYTHING: &str = "*";

/// What is doubtful about a policy.
pub fn doubts(spec: &ValidatingAdmissionPolicySpec, kinds: &Kinds) -> Vec<Doubt> {
    let of = spec.match_constraints.as_ref().map(|resources| named(resources, kinds)).unwrap_or_default();
    let known: Vec<(String, Environment, Environment)> = of
        .iter()
        .map(|kind| {
            let object = type_of_kind(&**kind);
            let (known, quiet) = environments(spec, &object);
            (format!("{}, Kind={}", kind.names().api_version(), kind.names().kind), known, quiet)
        })
        .collect();
    let mut doubts = Vec::new();
    for (place, validation) in spec.validations.iter().flatten().enumerate() {
        let expressions = [
            ("expression", Some(&validation.expression), &[Type::Bool][..]),
            ("messageExpression", validation.message_expression.as_ref(), &[Type::String][..]),
        ];
        for (name, source, gives) in expressions {
            let Some(source) = source.filter(|source| !source.trim().is_empty()) else { continue };
            let why: Vec<String> = known
                .iter()
                .filter_map(|(kind, known, quiet)| {
                    let environment = if name == "expression" { known } else { quiet };
                    match Program::compile(source, environment, gives) {
                        Err(CompileError::Issues(issues)) => Some(format!("{kind}: {issues}\n")),
                        Err(other) => Some(format!("{kind}: {other}\n")),
                        Ok(_) => None,
                    }
                })
                .collect();
            if !why.is_empty() {
                doubts.push(Doubt { path: format!("spec.validations[{place}].{name}"), why: why.join("\n") });
            }
        }
    }
    doubts
}

/// The names that expressions may use of an object of this type, with and without who may do what.
fn environments(spec: &ValidatingAdmissionPolicySpec, object: &Type) -> (Environment, Environment) {
    let typed = |has_authorizer| {
        let environment = environment(spec.param_kind.is_some(), has_authorizer);
        environment.with("object", object.clone()).with("oldObject", object.clone()).with_variables()
    };
    let (mut known, mut quiet) = (typed(true), typed(false));
    for variable in spec.variables.iter().flatten() {
        // One that does not fit could be anything; where it is used is doubted for itself.
        let gives = Program::compile(&variable.expression, &known, &[Type::Dyn]);
        let gives = gives.map_or(Type::Dyn, |program| program.gives().clone());
        known.declare(&variable.name, gives.clone());
        quiet.declare(&variable.name, gives);
    }
    (known, quiet)
}

/// The kinds that rules name, each by a group, a version and a resource of its own.
fn named(resources: &MatchResources, kinds: &Kinds) -> Vec<SharedKind> {
    let mut names = BTreeSet::new();
    for rule in resources.resource_rules.iter().flatten() {
        let literal = |words: &Option<Vec<String>>| {
            let words = words.clone().unwrap_or_default();
            if words.iter().any(|word| word == ANYTHING) { Vec::new() } else { words }
        };
        for group in literal(&rule.api_groups) {
            for version in literal(&rule.api_versions) {
                let resources = literal(&rule.resources).into_iter().filter(|resource| !resource.contains('/'));
                names.extend(resources.map(|resource| (group.clone(), version.clone(), resource)));
            }
        }
    }
    let found = names.iter().filter_map(|(group, version, resource)| kinds.by_resource(group, version, resource));
    found.take(KINDS_MAX).cloned().collect()
}

/// What is known of every object of a kind.
fn type_of_kind(kind: &dyn Kind) -> Type {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let reference = Json::from(kind.schema(&mut generator));
    let schema = kind.published().unwrap_or(reference);
    type_of(&schema, &generator.take_definitions(true), &mut Vec::new())
}

/// What is known of a value of a schema; `within` are the definitions that it is inside of, for some hold themselves.
fn type_of(schema: &Json, definitions: &Map<String, Json>, within: &mut Vec<String>) -> Type {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        let Some(definition) = definitions.get(name).filter(|_| within.iter().all(|known| known != name)) else {
            return Type::Dyn;
        };
        within.push(name.into());
        let found = type_of(definition, definitions, within);
        within.pop();
        return found;
    }
    if let [only] = schema["allOf"].as_array().map(Vec::as_slice).unwrap_or_default() {
        return type_of(only, definitions, within);
    }
    let is_open =
        schema["x-kubernetes-int-or-string"] == true || schema["x-kubernetes-preserve-unknown-fields"] == true;
    if is_open || schema["nullable"] == true {
        return Type::Dyn;
    }
    match schema["type"].as_str() {
        Some("object") => match (schema["properties"].as_object(), &schema["additionalProperties"]) {
            (Some(properties), _) => {
                let fields: Vec<(String, Type)> = properties
                    .iter()
                    .map(|(name, member)| (name.clone(), type_of(member, definitions, within)))
                    .collect();
                Type::object("object", fields)
            }
            (None, values @ Json::Object(_)) => Type::map(type_of(values, definitions, within)),
            (None, _) => Type::Dyn,
        },
        Some("array") => Type::list(type_of(&schema["items"], definitions, within)),
        Some("string") => match schema["format"].as_str() {
            Some("byte") => Type::Bytes,
            Some("date" | "date-time") => Type::Timestamp,
            Some("duration") => Type::Duration,
            _ => Type::String,
        },
        Some("integer") => Type::Int,
        Some("number") => Type::Double,
        Some("boolean") => Type::Bool,
        _ => Type::Dyn,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is doubted of validations of a policy about deployments; each as its place and the first line of its words.
    fn check(rule: Json, validations: Json, expect: &[&str]) {
        let mut constraints = json!({"resourceRules": [
            {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]},
        ]});
        let members = constraints["resourceRules"][0].as_object_mut().expect("an object");
        members.extend(rule.as_object().expect("an object").clone());
        let variables = json!([{"name": "wanted", "expression": "object.spec.replicas"}]);
        let spec = json!({"matchConstraints": constraints, "variables": variables, "validations": validations});
        let spec: ValidatingAdmissionPolicySpec = serde_json::from_value(spec).expect("a policy");
        let kinds = Kinds::default().after(std::iter::empty());
        let told: Vec<String> = doubts(&spec, &kinds)
            .iter()
            .map(|doubt| format!("{} {}", doubt.path, doubt.why.lines().next().unwrap_or_default()))
            .collect();
        assert_eq!(told, expect);
    }

    #[test]
    fn a_field_that_no_object_has_is_doubted() {
        let one = |expression: &str| json!([{"expression": expression}]);
        check(json!({}), one("object.spec.replicas <= 5"), &[]);
        check(json!({}), one("has(object.metadata.labels) && object.metadata.labels.app == 'web'"), &[]);
        check(json!({}), one("object.spec.template.spec.containers.all(c, c.image.startsWith('ours/'))"), &[]);
        check(json!({}), one("object.metadata.creationTimestamp.getFullYear() > 2000"), &[]);
        check(
            json!({}),
            one("object.replicas > 1"),
            &[
                "spec.validations[0].expression apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'",
            ],
        );
        check(json!({}), one("variables.wanted < 5"), &[]);
    }

    #[test]
    fn every_kind_is_asked_and_what_is_not_named_is_believed() {
        let words = json!([{"expression": "true", "messageExpression": "'at most ' + object.spec.colour"}]);
        let place = "spec.validations[0].messageExpression";
        let doubt = |kind: &str| format!("{place} {kind}: ERROR: <input>:1:25: undefined field 'colour'");
        check(json!({}), words.clone(), &[&doubt("apps/v1, Kind=Deployment")]);
        check(
            json!({"resources": ["statefulsets", "deployments"]}),
            words.clone(),
            &[&doubt("apps/v1, Kind=Deployment")],
        );
        check(json!({"resources": ["*"]}), words.clone(), &[]);
        check(json!({"resources": ["deployments/scale"]}), words, &[]);
    }
}
