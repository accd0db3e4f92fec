//! Kinds that the cluster was taught: custom resources.
//!
//! A `CustomResourceDefinition` names a kind and says, version by version, what its objects look like. Here its schema becomes a
//! compact value of our own, and the kind one more [`Kind`](crate::Kind) that everything else treats like any: [`Kinds`] is the
//! catalog together with all of them. It is a function of the definitions alone, made anew only when one of them changes.

mod admit;
mod columns;
mod compile;
mod defaults;
mod definition;
mod embedded;
mod formats;
mod json_path;
mod kind;
mod kinds;
mod lists;
mod names;
mod open_api;
mod prune;
mod rules;
mod scale;
mod schema;
mod validate;
mod versions;

pub use definition::{
    CONDITION_ESTABLISHED, CONDITION_NAMES_ACCEPTED, CONDITION_TERMINATING, Condition, Conversion,
    CustomResourceDefinition, DefinitionNames, DefinitionSpec, DefinitionStatus, DefinitionVersion, ScalePaths,
    Written,
};
pub use json_path::JsonPath;
pub use kind::CustomKind;
pub use kinds::Kinds;
pub use rules::Rule;
pub use schema::{Limits, Merging, Of, Schema};
pub use versions::by_preference;

pub(crate) use compile::{compile, compile_part, pattern, rules_of};
pub(crate) use defaults::{complete, without_nulls};
pub(crate) use prune::{prune, prune_part};
pub(crate) use rules::{Past, judge as judge_rules};
pub(crate) use validate::validate;

#[cfg(test)]
mod tests;
