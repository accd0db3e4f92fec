//! Expressions of policies: which names they may use, and what is wrong with them.

use k8s_openapi::api::admissionregistration::v1::MatchCondition;

use super::request::{namespace_type, request_type};
use crate::cel::{Environment, Program, Type};

/// An expression that does not compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Which of a list.
    pub place: usize,
    /// In Kubernetes' words.
    pub why: String,
}

/// The names that expressions about a request may use.
pub fn environment(has_params: bool, has_authorizer: bool) -> Environment {
    let mut environment = Environment::default()
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .with("request", request_type())
        .with("namespaceObject", namespace_type());
    if has_params {
        environment = environment.with("params", Type::Dyn);
    }
    if has_authorizer {
        environment = environment.with("authorizer", Type::AUTHORIZER);
    }
    environment
}

/// The conditions as programs, or everything wrong with them.
pub fn compile_conditions(
    conditions: &[MatchCondition],
    environment: &Environment,
) -> Result<Vec<Program>, Vec<Wrong>> {
    let mut programs = Vec::with_capacity(conditions.len());
    let mut wrong = Vec::new();
    for (place, condition) in conditions.iter().enumerate() {
        match Program::compile(&condition.expression, environment, &[Type::Bool]) {
            Ok(program) => programs.push(program),
            Err(error) => wrong.push(Wrong { place, why: error.to_string() }),
        }
    }
    if wrong.is_empty() { Ok(programs) } else { Err(wrong) }
}
