//! Whole objects within custom resources: they say what they are.

use serde_json::Value;

use super::schema::Schema;
use super::validate::below;
use crate::rules::Causes;

/// Adds every embedded object that does not say its version and kind.
pub(super) fn validate(schema: &Schema, path: &str, value: &Value, causes: &mut Causes) {
    match value {
        Value::Object(members) => {
            if schema.is_embedded {
                for name in ["apiVersion", "kind"] {
                    match members.get(name) {
                        Some(Value::String(text)) if !text.is_empty() => {}
                        None | Some(Value::String(_)) => causes.required(below(path, name), "must not be empty"),
                        Some(other) => causes.invalid(below(path, name), other, "must be a string"),
                    }
                }
            }
            for (name, value) in members {
                if let Some(member) = schema.member(name) {
                    validate(member, &below(path, name), value, causes);
                }
            }
        }
        Value::Array(items) => {
            let Some(of) = &schema.items else { return };
            for (index, item) in items.iter().enumerate() {
                validate(of, &format!("{path}[{index}]"), item, causes);
            }
        }
        _ => {}
    }
}
