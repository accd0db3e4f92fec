//! Lists whose items must differ: sets, and maps written as lists.

use serde_json::{Map, Value};

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
    let identities: Vec<Value> = match merging {
        Merging::Set => items.to_vec(),
        Merging::Map(keys) => items.iter().map(|item| Value::Object(identity(item, keys))).collect(),
        Merging::Granular | Merging::Atomic => return,
    };
    for (index, identity) in identities.iter().enumerate() {
        if identities[..index].contains(identity) {
            causes.duplicate(format!("{path}[{index}]"), identity);
        }
    }
}

fn identity(item: &Value, keys: &[String]) -> Map<String, Value> {
    keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone()))).collect()
}
