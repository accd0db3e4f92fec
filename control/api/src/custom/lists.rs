//! Lists whose items must differ: sets, and maps written as lists.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::schema::{Merging, Schema};
use crate::rules::Causes;

/// Adds every item that says again what one before it said.
pub(super) fn validate(schema: &Schema, path: &str, value: &Value, causes: &mut Causes) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let Some(member) = schema.member(name) else { continue };
                let path = super::validate::below(path, name);
                validate(member, &path, value, causes);
            }
        }
        Value::Array(items) => {
            differ(&schema.merging, path, items, causes);
            let Some(of) = &schema.items else { return };
            for (index, item) in items.iter().enumerate() {
                validate(of, &format!("{path}[{index}]"), item, causes);
            }
        }
        _ => {}
    }
}

fn differ(merging: &Merging, path: &str, items: &[Value], causes: &mut Causes) {
    let mut seen = HashSet::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let Some(identity) = identity(merging, item) else { return };
        // Text is cheaper to keep apart than trees are; equal trees are equal texts.
        if !seen.insert(identity.to_string()) {
            causes.duplicate(format!("{path}[{index}]"), identity);
        }
    }
}

/// What tells an item from the others; nothing where items are not told apart.
fn identity(merging: &Merging, item: &Value) -> Option<Value> {
    match merging {
        Merging::Set => Some(item.clone()),
        Merging::Map(keys) => {
            let named = keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
            Some(Value::Object(named.collect()))
        }
        Merging::Granular | Merging::Atomic => None,
    }
}

/// The items of a list as they were before, to be found by what tells them apart.
#[derive(Default)]
pub(super) struct Before<'a>(HashMap<String, &'a Value>);

// === impl Before ===

impl<'a> Before<'a> {
    /// Of a list that may not have been there, or may not be one whose items are told apart.
    pub(super) fn of(merging: &Merging, old: Option<&'a Value>) -> Self {
        let items = old.filter(|_| matches!(merging, Merging::Map(_))).and_then(Value::as_array);
        let named = items.into_iter().flatten().filter_map(|item| Some((identity(merging, item)?.to_string(), item)));
        Self(named.collect())
    }

    /// What an item was.
    pub(super) fn item(&self, merging: &Merging, item: &Value) -> Option<&'a Value> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&identity(merging, item)?.to_string()).copied()
    }
}
