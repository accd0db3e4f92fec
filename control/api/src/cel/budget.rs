//! What an evaluation may cost, and how it fails.

/// As Kubernetes has it: what one expression may cost in one evaluation, in steps.
pub const EXPRESSION_COST_MAX: u64 = 1_000_000;

/// As Kubernetes has it: what all expressions about one object may cost together, in steps.
pub const OBJECT_COST_MAX: u64 = 10_000_000;

/// What is left to spend on one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    left: u64,
}

/// Why an evaluation has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The expression says something that cannot be of these values.
    #[error("{0}")]
    Error(Box<str>),
    /// An operation or function that is not there for values of these types.
    #[error("no such overload{0}")]
    NoSuchOverload(Box<str>),
    /// It costs more than one expression may.
    #[error("operation cancelled: actual cost limit exceeded")]
    ExpressionCost,
    /// What was left for the object is spent.
    #[error("validation failed due to running out of cost budget, no further validation rules will be run")]
    ObjectCost,
}

// === impl Budget ===

impl Budget {
    /// So many steps.
    pub const fn of(left: u64) -> Self {
        Self { left }
    }

    /// What is left.
    pub const fn left(self) -> u64 {
        self.left
    }

    pub(super) const fn spend(&mut self, cost: u64) {
        self.left = self.left.saturating_sub(cost);
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::of(OBJECT_COST_MAX)
    }
}

// === impl Fault ===

impl Fault {
    pub(super) fn error(words: impl Into<String>) -> Self {
        Self::Error(words.into().into())
    }

    pub(super) fn no_overload() -> Self {
        Self::NoSuchOverload("".into())
    }

    pub(super) fn no_such_key(key: impl std::fmt::Display) -> Self {
        Self::Error(format!("no such key: {key}").into())
    }

    /// Whether other parts of an expression may still decide it; a spent budget ends everything.
    pub(super) const fn is_final(&self) -> bool {
        matches!(self, Self::ExpressionCost | Self::ObjectCost)
    }
}
