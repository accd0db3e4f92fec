//! What the names of an expression stand for in one evaluation.

use std::cell::RefCell;

use super::access::{Access, Authorizer, Question};
use super::compile::Program;
use super::signature::Answer;
use super::types::Type;
use super::value::{Text, Value};

/// The values of names; expressions about one object share it, and with it the variables that were computed once.
#[derive(Default)]
pub struct Scope<'a> {
    names: Vec<(&'a str, Value<'a>)>,
    programs: &'a [Program],
    pub(super) computed: RefCell<Vec<Option<Answer<'a>>>>,
}

// === impl Scope ===

impl<'a> Scope<'a> {
    /// A name stands for a value.
    pub fn bind(mut self, name: &'a str, value: Value<'a>) -> Self {
        self.names.push((name, value));
        self
    }

    /// A name stands for JSON of a type.
    pub fn bind_json(self, name: &'a str, json: &'a serde_json::Value, declared: &Type) -> Self {
        self.bind(name, Value::of(json, declared))
    }

    /// `authorizer` asks this one. `request` is what `authorizer.requestResource` asks about.
    pub fn bind_authorizer(self, authorizer: &'a dyn Authorizer, request: Question) -> Self {
        self.bind("authorizer", Value::Access(Access::root(authorizer, request).into()))
    }

    /// What `variables` are computed by, in the order in which they were declared; each is computed when it is first used.
    pub fn variables(mut self, programs: &'a [Program]) -> Self {
        self.programs = programs;
        self.computed = RefCell::new(vec![None; programs.len()]);
        self
    }

    pub(super) fn name(&self, name: &str) -> Option<&Value<'a>> {
        self.names.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    pub(super) fn program(&self, place: usize) -> Option<&'a Program> {
        self.programs.get(place)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(Text::Borrowed(text))
    }
}
