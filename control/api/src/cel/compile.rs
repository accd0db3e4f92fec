//! A compiled expression, and why there may be none.

use std::sync::Arc;

use super::budget::{Budget, EXPRESSION_COST_MAX, Fault};
use super::check::check;
use super::environment::Environment;
use super::evaluate::Machine;
use super::issue::{Issue, told};
use super::node::Node;
use super::parser;
use super::scope::Scope;
use super::types::Type;
use super::value::Value;

/// No longer than a policy of Kubernetes needs; reading one so long takes no time that matters.
const SOURCE_BYTES_MAX: usize = 32 * 1024;

/// An expression that can be computed.
#[derive(Clone, Debug)]
pub struct Program(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    source: String,
    node: Node,
    gives: Type,
}

/// Why there is no program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// It cannot be understood; every thing that is wrong, and where.
    #[error("compilation failed: {0}")]
    Issues(String),
    /// It gives something else than it is to give.
    #[error("must evaluate to {}", wanted(.0))]
    Gives(Vec<Type>),
}

fn wanted(types: &[Type]) -> String {
    match types {
        [one] => one.to_string(),
        many => format!("one of [{}]", many.iter().map(Type::to_string).collect::<Vec<_>>().join(" ")),
    }
}

// === impl Program ===

impl Program {
    /// Reads an expression. What it gives is one of `wanted`; [`Type::Dyn`] there means anything.
    pub fn compile(source: &str, environment: &Environment, wanted: &[Type]) -> Result<Self, CompileError> {
        let failed = |mut issues: Vec<Issue>| CompileError::Issues(told(&mut issues, source));
        if source.len() > SOURCE_BYTES_MAX {
            let words =
                format!("expression code point size exceeds limit: size: {}, limit {SOURCE_BYTES_MAX}", source.len());
            return Err(CompileError::Issues(words));
        }
        let parsed = parser::parse(source).map_err(|issue| failed(vec![issue]))?;
        let (node, gives) = check(&parsed, environment).map_err(failed)?;
        if !wanted.iter().any(|wanted| *wanted == Type::Dyn || *wanted == gives) {
            return Err(CompileError::Gives(wanted.to_vec()));
        }
        Ok(Self(Arc::new(Compiled { source: source.into(), node, gives })))
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// What it gives, as far as that is known before.
    pub fn gives(&self) -> &Type {
        &self.0.gives
    }

    /// Computes it, and takes what that costs from the budget.
    pub fn evaluate<'a>(&self, scope: &Scope<'a>, budget: &mut Budget) -> Result<Value<'a>, Fault> {
        let limit = budget.left().min(EXPRESSION_COST_MAX);
        let mut machine = Machine::new(scope, limit);
        let value = machine.run(self.node());
        budget.spend(machine.spent());
        match value {
            Err(Fault::ExpressionCost) if limit < EXPRESSION_COST_MAX => Err(Fault::ObjectCost),
            value => value,
        }
    }

    pub(super) fn node(&self) -> &Node {
        &self.0.node
    }
}
