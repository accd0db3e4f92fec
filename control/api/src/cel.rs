//! CEL, the language in which policies and custom resources say what they demand, as Kubernetes 1.33 has it.
//!
//! An expression is compiled once: [`Program::compile`] reads it, resolves every name against an [`Environment`] and every call
//! against the functions there are, and tells all that is wrong in the words of Kubernetes. [`Program::evaluate`] then computes
//! it over JSON that it borrows, as often as wanted.
//!
//! Whoever writes an expression is not trusted: its length and its depth are limited when it is compiled; each step, and each
//! byte that a step makes, is charged to a [`Budget`]; regular expressions run in linear time and are limited in size; arithmetic
//! that overflows is a [`Fault`]. Recursion is counted, so no input exhausts the stack. There is no loop but over a list or a
//! map, so every evaluation ends.
//!
//! It is an evaluator of its own, and not the crate `cel`, because that one has no budget and no declared types: two nested
//! macros over a long list would hold the API server for minutes, and a misspelt field would be found by the first object.
//!
//! What differs from Kubernetes: a step costs about what it costs there, not exactly; the cost of an expression is not estimated
//! when it is compiled; message literals (`Object{…}`) are refused; maps are gone through in the order of their keys.

mod access;
mod budget;
mod check;
mod compile;
mod environment;
mod evaluate;
mod functions;
mod issue;
mod lexer;
mod node;
mod parser;
mod scope;
mod signature;
pub(crate) mod text;
mod types;
mod value;

#[cfg(test)]
mod tests;

pub use access::{Authorizer, Decision, Question};
pub use budget::{Budget, EXPRESSION_COST_MAX, Fault, OBJECT_COST_MAX};
pub use compile::{CompileError, Program};
pub use environment::Environment;
pub use scope::Scope;
pub use types::{Field, ObjectType, Type, escaped};
pub use value::{Text, Value};
