//! Which names an expression may use.

use super::types::Type;

/// The names that are declared, and what they are.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    names: Vec<(String, Type)>,
    variables: Vec<(String, Type)>,
    has_variables: bool,
}

// === impl Environment ===

impl Environment {
    /// Also declares a name.
    pub fn with(mut self, name: &str, declared: Type) -> Self {
        self.names.push((name.into(), declared));
        self
    }

    /// Also declares `variables`, with nothing in it yet.
    pub fn with_variables(mut self) -> Self {
        self.has_variables = true;
        self
    }

    /// Declares the next of `variables`: those that follow may use it. Its program goes into [`Scope::variables`](super::Scope::variables) in the
    /// same order.
    pub fn declare(&mut self, name: &str, declared: Type) {
        self.has_variables = true;
        self.variables.push((name.into(), declared));
    }

    pub(super) fn name(&self, name: &str) -> Option<&Type> {
        self.names.iter().rev().find(|(known, _)| known == name).map(|(_, declared)| declared)
    }

    /// Of a variable its place and type.
    pub(super) fn variable(&self, name: &str) -> Option<(usize, &Type)> {
        let place = self.variables.iter().rposition(|(known, _)| known == name)?;
        Some((place, &self.variables[place].1))
    }

    pub(super) const fn has_variables(&self) -> bool {
        self.has_variables
    }
}
