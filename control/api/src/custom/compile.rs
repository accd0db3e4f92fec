//! From the schema that a definition holds to the compact one.
//!
//! Whether the schema is allowed at all is judged when the definition is written; what cannot be understood here says nothing.

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::rules;
use super::schema::{Bound, Limits, Merging, Of, Schema};

/// So much memory a pattern may take once it is compiled; the text of a definition is limited, what it expands to is not.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// The schema that `written` says of a whole object.
pub(crate) fn compile(written: &Value) -> Schema {
    compile_at(written, true)
}

/// The schema that `written` says of a part of an object.
pub(crate) fn compile_part(written: &Value) -> Schema {
    compile_at(written, false)
}

fn compile_at(written: &Value, is_root: bool) -> Schema {
    let flag = |name: &str| written.get(name).and_then(Value::as_bool).unwrap_or(false);
    let additional = match written.get("additionalProperties") {
        Some(Value::Object(_)) => Some(Box::new(compile_part(&written["additionalProperties"]))),
        // Any value: members of such a value are unknown.
        Some(Value::Bool(true)) => Some(Box::default()),
        _ => None,
    };
    let properties = written.get("properties").and_then(Value::as_object).into_iter().flatten();
    let mut schema = Schema {
        of: written.get("type").and_then(Value::as_str).and_then(Of::named),
        is_nullable: flag("nullable"),
        default: written.get("default").cloned(),
        properties: properties.map(|(name, written)| (name.clone(), compile_part(written))).collect(),
        additional,
        items: written.get("items").filter(|items| items.is_object()).map(|items| Box::new(compile_part(items))),
        keeps_unknown: flag("x-kubernetes-preserve-unknown-fields"),
        is_embedded: flag("x-kubernetes-embedded-resource"),
        is_int_or_string: flag("x-kubernetes-int-or-string"),
        merging: merging(written),
        limits: limits(written).map(Box::new),
        rules: Vec::new(),
    };
    schema.rules = rules::compile(rules_of(written), &schema, is_root);
    schema
}

/// The rules that stand at a schema, as they are written.
pub(crate) fn rules_of(written: &Value) -> &[Value] {
    written.get("x-kubernetes-validations").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The pattern, as Go and we both understand it.
pub(crate) fn pattern(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build()
}

fn merging(written: &Value) -> Merging {
    let text = |name: &str| written.get(name).and_then(Value::as_str);
    match (text("x-kubernetes-list-type"), text("x-kubernetes-map-type")) {
        (Some("set"), _) => Merging::Set,
        (Some("map"), _) => {
            let keys = written.get("x-kubernetes-list-map-keys").and_then(Value::as_array).into_iter().flatten();
            Merging::Map(keys.filter_map(Value::as_str).map(Into::into).collect())
        }
        (_, Some("atomic")) => Merging::Atomic,
        _ => Merging::Granular,
    }
}

/// The words that limit a value.
const LIMITS: [&str; 18] = [
    "allOf",
    "anyOf",
    "enum",
    "format",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "required",
    "uniqueItems",
];

fn limits(written: &Value) -> Option<Limits> {
    if !LIMITS.iter().any(|word| written.get(*word).is_some()) {
        return None;
    }
    let count = |name: &str| written.get(name).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
    let bound = |name: &str, exclusive: &str| {
        let at = written.get(name)?.as_f64()?;
        Some(Bound { at, is_excluded: written.get(exclusive).and_then(Value::as_bool).unwrap_or(false) })
    };
    let schemas = |name: &str| -> Vec<Schema> {
        written.get(name).and_then(Value::as_array).into_iter().flatten().map(compile_part).collect()
    };
    let text = |name: &str| written.get(name).and_then(Value::as_str);
    let required = written.get("required").and_then(Value::as_array).into_iter().flatten();
    Some(Limits {
        format: text("format").map(Into::into),
        pattern: text("pattern").and_then(|text| pattern(text).ok()),
        one_of_values: written.get("enum").and_then(Value::as_array).cloned(),
        minimum: bound("minimum", "exclusiveMinimum"),
        maximum: bound("maximum", "exclusiveMaximum"),
        multiple_of: written.get("multipleOf").and_then(Value::as_f64),
        length_min: count("minLength"),
        length_max: count("maxLength"),
        items_min: count("minItems"),
        items_max: count("maxItems"),
        items_differ: written.get("uniqueItems").and_then(Value::as_bool).unwrap_or(false),
        properties_min: count("minProperties"),
        properties_max: count("maxProperties"),
        required: required.filter_map(Value::as_str).map(Into::into).collect(),
        all_of: schemas("allOf"),
        any_of: schemas("anyOf"),
        one_of: schemas("oneOf"),
        not: written.get("not").map(|not| Box::new(compile_part(not))),
    })
}
