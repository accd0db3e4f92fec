//! A policy, compiled, and what it says of a request.

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicySpec;
use serde_json::Value as Json;

use super::compile::{compile_conditions, environment};
use super::matching::{Matcher, Verdict, question_of, told};
use super::request::{Asked, namespace_type, request_type};
use crate::Reason;
use crate::cel::{Authorizer, Budget, Program, Scope, Type, Value};

/// As Kubernetes has it: a longer message of an expression is not told.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;
/// As Kubernetes has it: so much of an annotation is kept.
const ANNOTATION_BYTES_MAX: usize = 10 * 1024;

/// A compiled `ValidatingAdmissionPolicy`.
#[derive(Debug)]
pub struct Policy {
    /// What requests it is about.
    pub matcher: Matcher,
    /// Whether a policy that cannot be computed refuses.
    pub fails_closed: bool,
    variables: Vec<Program>,
    validations: Vec<Validation>,
    annotations: Vec<(String, Program)>,
}

#[derive(Debug)]
struct Validation {
    program: Program,
    message: Option<String>,
    message_program: Option<Program>,
    reason: Reason,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// For people.
    pub message: String,
    /// For programs; it decides the HTTP code.
    pub reason: Reason,
    /// Which of the validations it is.
    pub place: usize,
}

/// What a policy says of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Everything against it.
    pub denials: Vec<Denial>,
    /// What the audit log is to keep, by key.
    pub annotations: Vec<(String, String)>,
}

// === impl Policy ===

impl Policy {
    /// Compiles a policy; what is wrong with it if that is not possible.
    pub fn compile(spec: &ValidatingAdmissionPolicySpec) -> Result<Self, String> {
        let has_params = spec.param_kind.is_some();
        let mut known = environment(has_params, true).with_variables();
        let mut quiet = environment(has_params, false).with_variables();
        let compiled = |source: &str, environment: &crate::cel::Environment, gives: &[Type]| {
            Program::compile(source, environment, gives).map_err(|error| error.to_string())
        };
        let conditions = compile_conditions(spec.match_conditions.as_deref().unwrap_or_default(), &known);
        let conditions =
            conditions.map_err(|wrong| wrong.into_iter().map(|one| one.why).collect::<Vec<_>>().join(", "))?;
        let mut variables = Vec::new();
        for variable in spec.variables.iter().flatten() {
            let program = compiled(&variable.expression, &known, &[Type::Dyn])?;
            known.declare(&variable.name, program.gives().clone());
            quiet.declare(&variable.name, program.gives().clone());
            variables.push(program);
        }
        let validations = spec.validations.iter().flatten().map(|validation| {
            let message_program = validation.message_expression.as_deref().filter(|source| !source.is_empty());
            let message_program =
                message_program.map(|source| compiled(source, &quiet, &[Type::String])).transpose()?;
            Ok(Validation {
                program: compiled(&validation.expression, &known, &[Type::Bool])?,
                message: validation.message.clone().filter(|message| !message.trim().is_empty()),
                message_program,
                reason: reason_of(validation.reason.as_deref()),
            })
        });
        let validations = validations.collect::<Result<Vec<_>, String>>()?;
        let annotations = spec.audit_annotations.iter().flatten().map(|annotation| {
            let program = compiled(&annotation.value_expression, &known, &[Type::String, Type::Null])?;
            Ok((annotation.key.clone(), program))
        });
        let annotations = annotations.collect::<Result<Vec<_>, String>>()?;
        let matcher = Matcher::of_policy(&spec.match_constraints.clone().unwrap_or_default(), conditions)?;
        let fails_closed = spec.failure_policy.as_deref() != Some("Ignore");
        Ok(Self { matcher, fails_closed, variables, validations, annotations })
    }

    /// Judges a request by the policy with one parameter object, or with none.
    pub fn judge(&self, asked: &Asked<'_>, params: Option<&Json>, authorizer: &dyn Authorizer) -> Judged {
        let request = asked.request();
        let scope = scope_of(asked, &request, params, authorizer).variables(&self.variables);
        let mut judged = Judged::default();
        match self.matcher.conditions(&scope) {
            Verdict::Holds => {}
            Verdict::Fails => return judged,
            Verdict::Faulty(why) => {
                judged.fault(self.fails_closed, why, 0);
                return judged;
            }
        }
        let mut budget = Budget::default();
        for (place, validation) in self.validations.iter().enumerate() {
            match validation.program.evaluate(&scope, &mut budget) {
                Ok(value) if value.as_bool() == Some(true) => {}
                Ok(_) => {
                    let message = validation.message(&scope, &mut budget);
                    judged.denials.push(Denial { message, reason: validation.reason, place });
                }
                Err(fault) => judged.fault(self.fails_closed, told(&validation.program, &fault), place),
            }
        }
        for (key, program) in &self.annotations {
            match program.evaluate(&scope, &mut budget) {
                Ok(value) => {
                    let text = value.as_str().map(str::trim).unwrap_or_default();
                    if !text.is_empty() {
                        judged.annotations.push((key.clone(), text.chars().take(ANNOTATION_BYTES_MAX).collect()));
                    }
                }
                Err(fault) => judged.fault(self.fails_closed, told(program, &fault), 0),
            }
        }
        judged
    }
}

/// What names stand for when a request is judged.
pub(super) fn scope_of<'a>(
    asked: &Asked<'a>,
    request: &'a Json,
    params: Option<&'a Json>,
    authorizer: &'a dyn Authorizer,
) -> Scope<'a> {
    Scope::default()
        .bind_json("object", asked.object, &Type::Dyn)
        .bind_json("oldObject", asked.old, &Type::Dyn)
        .bind_json("request", request, &request_type())
        .bind_json("namespaceObject", asked.namespace_object, &namespace_type())
        .bind("params", params.map_or(Value::Null, |params| Value::of(params, &Type::Dyn)))
        .bind_authorizer(authorizer, question_of(asked))
}

fn reason_of(reason: Option<&str>) -> Reason {
    match reason {
        Some("Unauthorized") => Reason::Unauthorized,
        Some("Forbidden") => Reason::Forbidden,
        Some("RequestEntityTooLarge") => Reason::RequestEntityTooLarge,
        _ => Reason::Invalid,
    }
}

// === impl Validation ===

impl Validation {
    fn message(&self, scope: &Scope<'_>, budget: &mut Budget) -> String {
        let computed = self.message_program.as_ref().and_then(|program| {
            let value = program.evaluate(scope, budget).ok()?;
            let text = value.as_str()?.trim().to_owned();
            let fits = !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n');
            fits.then_some(text)
        });
        let said = || self.message.as_deref().map(|message| message.trim().to_owned());
        computed.or_else(said).unwrap_or_else(|| format!("failed expression: {}", self.program.source().trim()))
    }
}

// === impl Judged ===

impl Judged {
    /// What cannot be computed refuses, or is as if it were not there.
    fn fault(&mut self, fails_closed: bool, message: String, place: usize) {
        if fails_closed {
            self.denials.push(Denial { message, reason: Reason::Invalid, place });
        }
    }
}
