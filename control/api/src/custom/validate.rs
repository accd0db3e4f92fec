//! Whether a value is what its schema asks for, in Kubernetes' words.
//!
//! What did not change in an update is not judged again: a schema that became stricter must not keep people from changing the
//! rest of an object that is older.

use std::collections::HashSet;

use serde_json::Value;

use super::formats;
use super::lists::Before;
use super::schema::{Of, Schema};
use crate::Cause;

/// What was found about a value.
#[derive(Default)]
struct Found {
    causes: Vec<Cause>,
    /// How much was right: of several schemas none of which fits, the refusal tells of the one that fits best.
    right: usize,
}

/// The field of a cause that is about no one field.
const NOWHERE: &str = "<nil>";

/// Everything wrong with `value`; `old` is what it was before, if anything.
pub(crate) fn validate(schema: &Schema, value: &Value, old: Option<&Value>) -> Vec<Cause> {
    Found::of(schema, "", value, old).causes
}

/// The path of a member.
pub(super) fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

// === impl Found ===

impl Found {
    fn of(schema: &Schema, path: &str, value: &Value, old: Option<&Value>) -> Self {
        let mut found = Self::default();
        if old == Some(value) {
            return found;
        }
        found.of_type(schema, path, value);
        if !value.is_null() {
            found.combined(schema, path, value, old);
            match value {
                Value::String(text) => found.text(schema, path, text),
                Value::Number(_) => found.number(schema, path, value),
                Value::Array(items) => found.list(schema, path, items, old),
                _ => {}
            }
        }
        found.one_of_values(schema, path, value);
        if let Value::Object(_) = value {
            found.object(schema, path, value, old);
        }
        found
    }

    fn merge(&mut self, other: Self) {
        self.causes.extend(other.causes);
        self.right += other.right;
    }

    fn demand(&mut self, holds: bool, cause: impl FnOnce() -> Cause) {
        if holds {
            self.right += 1;
        } else {
            self.causes.push(cause());
        }
    }

    fn of_type(&mut self, schema: &Schema, path: &str, value: &Value) {
        let Some(wanted) = schema.wanted() else { return };
        let found = type_of(value);
        let fits = match value {
            Value::Null => schema.is_nullable,
            _ if schema.is_int_or_string => matches!(found, "integer" | "string"),
            _ => schema.of.is_some_and(|of| of.name() == found || (of, found) == (Of::Number, "integer")),
        };
        self.demand(fits, || wrong_type(path, found, wanted, found));
    }

    fn combined(&mut self, schema: &Schema, path: &str, value: &Value, old: Option<&Value>) {
        let limits = schema.limits();
        let best_of = |schemas: &[Schema]| {
            let mut best: Option<Self> = None;
            let mut fitting = 0;
            for schema in schemas {
                let found = Self::of(schema, path, value, old);
                if found.causes.is_empty() {
                    fitting += 1;
                } else if best.as_ref().is_none_or(|best| found.right > best.right) {
                    best = Some(found);
                }
            }
            (fitting, best)
        };
        if !limits.any_of.is_empty() {
            let (fitting, best) = best_of(&limits.any_of);
            self.demand(fitting > 0, || nowhere(&format!("\"{path}\" must validate at least one schema (anyOf)")));
            best.filter(|_| fitting == 0).into_iter().for_each(|best| self.merge(best));
        }
        if !limits.one_of.is_empty() {
            let (fitting, best) = best_of(&limits.one_of);
            let told = match fitting {
                0 => "Found none valid".into(),
                many => format!("Found {many} valid alternatives"),
            };
            self.demand(fitting == 1, || {
                nowhere(&format!("\"{path}\" must validate one and only one schema (oneOf). {told}"))
            });
            best.filter(|_| fitting == 0).into_iter().for_each(|best| self.merge(best));
        }
        if !limits.all_of.is_empty() {
            let mut fitting = 0;
            for schema in &limits.all_of {
                let found = Self::of(schema, path, value, old);
                fitting += usize::from(found.causes.is_empty());
                self.merge(found);
            }
            let told = if fitting == 0 { ". None validated" } else { "" };
            self.demand(fitting == limits.all_of.len(), || {
                nowhere(&format!("\"{path}\" must validate all the schemas (allOf){told}"))
            });
        }
        if let Some(not) = &limits.not {
            let fits = Self::of(not, path, value, None).causes.is_empty();
            self.demand(!fits, || nowhere(&format!("\"{path}\" must not validate the schema (not)")));
        }
    }

    fn text(&mut self, schema: &Schema, path: &str, text: &str) {
        let limits = schema.limits();
        if limits.length_max.is_some() || limits.length_min.is_some() {
            let length = text.chars().count();
            if let Some(max) = limits.length_max {
                self.demand(length <= max, || Cause {
                    reason: "FieldValueTooLong",
                    message: format!("Too long: may not be more than {max} bytes"),
                    field: path.into(),
                });
            }
            if let Some(min) = limits.length_min {
                self.demand(length >= min, || invalid(path, text, &format!("should be at least {min} chars long")));
            }
        }
        if let Some(pattern) = &limits.pattern {
            let told = || invalid(path, text, &format!("should match '{}'", pattern.as_str()));
            self.demand(pattern.is_match(text), told);
        }
        if let Some(format) = &limits.format {
            self.demand(formats::fits(format, text), || wrong_type(path, text, format, text));
        }
    }

    fn number(&mut self, schema: &Schema, path: &str, value: &Value) {
        let limits = schema.limits();
        let Some(number) = value.as_f64() else { return };
        if let Some(factor) = limits.multiple_of.filter(|factor| *factor != 0.0) {
            let is_multiple = (number / factor).fract() == 0.0;
            self.demand(is_multiple, || invalid(path, value, &format!("should be a multiple of {factor}")));
        }
        if let Some(max) = limits.maximum {
            let (fits, or_equal) =
                if max.is_excluded { (number < max.at, "") } else { (number <= max.at, " or equal to") };
            self.demand(fits, || invalid(path, value, &format!("should be less than{or_equal} {}", max.at)));
        }
        if let Some(min) = limits.minimum {
            let (fits, or_equal) =
                if min.is_excluded { (number > min.at, "") } else { (number >= min.at, " or equal to") };
            self.demand(fits, || invalid(path, value, &format!("should be greater than{or_equal} {}", min.at)));
        }
        let wide = match limits.format.as_deref() {
            Some("int32") => value.as_i64().is_none_or(|number| i32::try_from(number).is_ok()),
            Some("int64") => value.is_i64() || value.is_f64(),
            _ => true,
        };
        let of = schema.of.map_or("number", Of::name);
        let format = limits.format.as_deref().unwrap_or_default();
        self.demand(wide, || nowhere(&format!("Checked value must be of type {of} with format {format}")));
    }

    fn list(&mut self, schema: &Schema, path: &str, items: &[Value], old: Option<&Value>) {
        let limits = schema.limits();
        if let Some(of) = &schema.items {
            let was = Before::of(&schema.merging, old);
            for (index, item) in items.iter().enumerate() {
                let before = was.item(&schema.merging, item);
                self.merge(Self::of(of, &format!("{path}[{index}]"), item, before));
            }
        }
        if let Some(min) = limits.items_min {
            self.demand(items.len() >= min, || {
                invalid(path, items.len(), &format!("should have at least {min} items"))
            });
        }
        if let Some(max) = limits.items_max {
            self.demand(items.len() <= max, || too_many(path, items.len(), max));
        }
        if limits.items_differ {
            let mut seen = HashSet::with_capacity(items.len());
            let differ = items.iter().all(|item| seen.insert(item.to_string()));
            self.demand(differ, || invalid(path, "", "shouldn't contain duplicates"));
        }
    }

    fn one_of_values(&mut self, schema: &Schema, path: &str, value: &Value) {
        let Some(values) = &schema.limits().one_of_values else { return };
        self.demand(values.contains(value), || {
            let told: Vec<String> =
                values.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), Into::into)).collect();
            let told: Vec<&str> = told.iter().map(String::as_str).collect();
            Cause::unsupported(path, value, &told)
        });
    }

    fn object(&mut self, schema: &Schema, path: &str, value: &Value, old: Option<&Value>) {
        let Value::Object(members) = value else { return };
        let limits = schema.limits();
        if let Some(min) = limits.properties_min {
            let told = || invalid(path, members.len(), &format!("should have at least {min} properties"));
            self.demand(members.len() >= min, told);
        }
        if let Some(max) = limits.properties_max {
            self.demand(members.len() <= max, || too_many(path, members.len(), max));
        }
        for name in &limits.required {
            self.demand(members.contains_key(name), || Cause::required(below(path, name), ""));
        }
        for (name, value) in members {
            let Some(member) = schema.member(name) else { continue };
            let path = below(path, name);
            self.merge(Self::of(member, &path, value, old.and_then(|old| old.get(name))));
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        // As JSON Schema has it: 1.0 is whole.
        Value::Number(number) if number.as_f64().is_none_or(|number| number.fract() == 0.0) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn invalid(path: &str, value: impl serde::Serialize, detail: &str) -> Cause {
    Cause::invalid(field(path), value, &format!("{path} in body {detail}"))
}

fn wrong_type(path: &str, value: &str, wanted: &str, found: &str) -> Cause {
    let message = format!("Invalid value: {value:?}: {path} in body must be of type {wanted}: {found:?}");
    Cause { reason: "FieldValueTypeInvalid", message, field: field(path) }
}

fn too_many(path: &str, found: usize, max: usize) -> Cause {
    let message = format!("Too many: {found}: must have at most {max} items");
    Cause { reason: "FieldValueTooMany", message, field: field(path) }
}

fn nowhere(detail: &str) -> Cause {
    Cause::invalid(NOWHERE, "", detail)
}

/// The whole object has no path.
pub(super) fn field(path: &str) -> String {
    if path.is_empty() { NOWHERE.into() } else { path.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::custom::compile;

    fn told(schema: Value, value: Value, old: Option<Value>) -> Vec<String> {
        let spec = json!({"type": "object", "properties": {"spec": schema}});
        let old = old.map(|old| json!({"spec": old}));
        let causes = validate(&compile(&spec), &json!({"spec": value}), old.as_ref());
        causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    fn check(schema: Value, value: Value, expect: &[&str]) {
        assert_eq!(told(schema, value, None), expect);
    }

    #[test]
    fn types_are_told_as_kubernetes_tells_them() {
        check(
            json!({"type": "integer"}),
            json!("x"),
            &[r#"spec: Invalid value: "string": spec in body must be of type integer: "string""#],
        );
        check(
            json!({"type": "string"}),
            Value::Null,
            &[r#"spec: Invalid value: "null": spec in body must be of type string: "null""#],
        );
        check(json!({"type": "string", "nullable": true}), Value::Null, &[]);
        check(json!({"type": "number"}), json!(1), &[]);
        check(
            json!({"type": "integer"}),
            json!(1.5),
            &[r#"spec: Invalid value: "number": spec in body must be of type integer: "number""#],
        );
        check(json!({"x-kubernetes-int-or-string": true}), json!("50%"), &[]);
        check(
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            &[r#"spec: Invalid value: "boolean": spec in body must be of type integer,string: "boolean""#],
        );
    }

    #[test]
    fn numbers_and_texts_have_limits() {
        check(
            json!({"type": "integer", "minimum": 1, "maximum": 10}),
            json!(15),
            &["spec: Invalid value: 15: spec in body should be less than or equal to 10"],
        );
        check(
            json!({"type": "number", "minimum": 0.5, "exclusiveMinimum": true, "multipleOf": 0.5}),
            json!(0.25),
            &[
                "spec: Invalid value: 0.25: spec in body should be a multiple of 0.5",
                "spec: Invalid value: 0.25: spec in body should be greater than 0.5",
            ],
        );
        check(
            json!({"type": "string", "pattern": "^a+$", "minLength": 3, "maxLength": 4}),
            json!("ab"),
            &[
                r#"spec: Invalid value: "ab": spec in body should be at least 3 chars long"#,
                r#"spec: Invalid value: "ab": spec in body should match '^a+$'"#,
            ],
        );
        check(
            json!({"type": "string", "maxLength": 1}),
            json!("ab"),
            &["spec: Too long: may not be more than 1 bytes"],
        );
        check(
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            &[r#"spec: Unsupported value: "c": supported values: "a", "b""#],
        );
        check(
            json!({"type": "string", "format": "date-time"}),
            json!("now"),
            &[r#"spec: Invalid value: "now": spec in body must be of type date-time: "now""#],
        );
        check(
            json!({"type": "integer", "format": "int32"}),
            json!(3_000_000_000_i64),
            &[r#"<nil>: Invalid value: "": Checked value must be of type integer with format int32"#],
        );
    }

    #[test]
    fn lists_and_objects_have_limits() {
        check(
            json!({"type": "array", "minItems": 2, "items": {"type": "string"}}),
            json!([1]),
            &[
                r#"spec[0]: Invalid value: "integer": spec[0] in body must be of type string: "integer""#,
                "spec: Invalid value: 1: spec in body should have at least 2 items",
            ],
        );
        check(
            json!({"type": "array", "maxItems": 1}),
            json!([1, 2]),
            &["spec: Too many: 2: must have at most 1 items"],
        );
        check(
            json!({"type": "object", "required": ["a"], "maxProperties": 1, "additionalProperties": {"type": "string"}}),
            json!({"b": 1, "c": "x"}),
            &[
                "spec: Too many: 2: must have at most 1 items",
                "spec.a: Required value",
                r#"spec.b: Invalid value: "integer": spec.b in body must be of type string: "integer""#,
            ],
        );
    }

    #[test]
    fn schemas_combine() {
        let a_or_b = json!([{"required": ["a"]}, {"required": ["b"]}]);
        let object = |rule: &str| json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, rule: a_or_b});
        check(
            object("oneOf"),
            json!({}),
            &[
                r#"<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid"#,
                "spec.a: Required value",
            ],
        );
        check(
            object("oneOf"),
            json!({"a": 1, "b": 2}),
            &[
                r#"<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
            ],
        );
        check(object("anyOf"), json!({"b": 1}), &[]);
        check(
            object("allOf"),
            json!({"b": 1}),
            &["spec.a: Required value", r#"<nil>: Invalid value: "": "spec" must validate all the schemas (allOf)"#],
        );
        check(
            json!({"type": "string", "not": {"enum": ["x"]}}),
            json!("x"),
            &[r#"<nil>: Invalid value: "": "spec" must not validate the schema (not)"#],
        );
    }

    #[test]
    fn what_stays_as_it_was_is_not_judged_again() {
        let schema =
            json!({"type": "object", "properties": {"a": {"type": "integer", "maximum": 1}, "b": {"type": "string"}}});
        assert_eq!(
            told(schema.clone(), json!({"a": 5, "b": "new"}), Some(json!({"a": 5, "b": "old"}))),
            Vec::<String>::new()
        );
        assert_eq!(told(schema, json!({"a": 6}), Some(json!({"a": 5}))).len(), 1);
    }
}
