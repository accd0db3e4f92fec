//! Schemas that say what everything is: structural ones.
//!
//! Every member and item has a type outside of all combinations, so that what a schema does not have can be found without trying
//! alternatives. What makes objects slow to judge is forbidden.

use serde_json::Value;

use crate::custom::{self, Past};
use crate::rules::Causes;

/// Where in an object a schema stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

/// Schemas within schemas: deeper than anything people write, not deep enough to exhaust the stack.
const DEPTH_MAX: usize = 100;

const COMBINATIONS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
const NOT_SUPPORTED: [&str; 7] =
    ["id", "$schema", "$ref", "definitions", "dependencies", "additionalItems", "patternProperties"];

/// Adds everything wrong with the schema of a version.
pub(super) fn validate(schema: &Value, path: &str, causes: &mut Causes) {
    let mut judge = Judge { causes, depth: 0, is_broken: false };
    judge.schema(schema, path, Level::Root);
    judge.complete(schema, schema, path);
    // Only whoever knows what everything is can say whether a default is.
    if !judge.is_broken {
        defaults(&mut *judge.causes, schema, path, Level::Root);
        rules(&mut *judge.causes, schema, path, Level::Root, Past::Known);
    }
}

struct Judge<'a> {
    causes: &'a mut Causes,
    depth: usize,
    is_broken: bool,
}

fn text<'a>(schema: &'a Value, name: &str) -> &'a str {
    schema.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool).unwrap_or(false)
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

// === impl Judge ===

impl Judge<'_> {
    fn forbidden(&mut self, path: String, detail: &str) {
        self.is_broken = true;
        self.causes.forbidden(path, detail);
    }

    fn required(&mut self, path: String, detail: &str) {
        self.is_broken = true;
        self.causes.required(path, detail);
    }

    fn invalid(&mut self, path: String, value: &Value, detail: &str) {
        self.is_broken = true;
        self.causes.invalid(path, value, detail);
    }

    fn schema(&mut self, schema: &Value, path: &str, level: Level) {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            self.forbidden(path.into(), "the schema is nested too deeply");
        } else {
            self.members(schema, path);
            self.kind(schema, path, level);
            self.lists(schema, path);
            self.combinations(schema, path);
            for (name, member) in properties(schema) {
                let path = format!("{path}.properties[{name}]");
                let is_meta =
                    name == "metadata" && (level == Level::Root || flag(schema, "x-kubernetes-embedded-resource"));
                if is_meta {
                    self.metadata(member, &path);
                } else {
                    self.schema(member, &path, Level::Field);
                }
            }
            if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
                self.schema(items, &format!("{path}.items"), Level::Item);
            }
            if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
                self.schema(values, &format!("{path}.additionalProperties"), Level::Field);
            }
        }
        self.depth -= 1;
    }

    /// What may be said at all.
    fn members(&mut self, schema: &Value, path: &str) {
        for name in NOT_SUPPORTED {
            if schema.get(name).is_some() {
                self.forbidden(format!("{path}.{name}"), &format!("{name} is not supported"));
            }
        }
        if flag(schema, "uniqueItems") {
            let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.forbidden(format!("{path}.uniqueItems"), detail);
        }
        if schema.get("items").is_some_and(Value::is_array) {
            self.forbidden(format!("{path}.items"), "items must be a schema object and not an array");
        }
        match schema.get("additionalProperties") {
            None => {}
            Some(Value::Bool(false)) => {
                self.forbidden(format!("{path}.additionalProperties"), "additionalProperties cannot be set to false");
            }
            Some(_) if properties(schema).next().is_some() => {
                let detail = "additionalProperties and properties are mutual exclusive";
                self.forbidden(format!("{path}.additionalProperties"), detail);
            }
            Some(_) => {}
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
            && let Err(why) = custom::pattern(pattern)
        {
            let why = why.to_string().lines().last().unwrap_or_default().trim().to_owned();
            self.invalid(
                format!("{path}.pattern"),
                &pattern.into(),
                &format!("must be a valid regular expression, but isn't: {why}"),
            );
        }
        let unknown = "x-kubernetes-preserve-unknown-fields";
        if schema.get(unknown) == Some(&Value::Bool(false)) {
            self.invalid(format!("{path}.{unknown}"), &false.into(), "must be true or undefined");
        }
        let required = schema.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for (index, name) in required.iter().enumerate() {
            if required[..index].contains(name) {
                self.causes.duplicate(format!("{path}.required[{index}]"), name);
            }
        }
    }

    /// What a value is.
    fn kind(&mut self, schema: &Value, path: &str, level: Level) {
        let of = text(schema, "type");
        let type_path = format!("{path}.type");
        let is_embedded = flag(schema, "x-kubernetes-embedded-resource");
        let is_int_or_string = flag(schema, "x-kubernetes-int-or-string");
        let keeps_unknown = flag(schema, "x-kubernetes-preserve-unknown-fields");
        if of == "null" {
            self.forbidden(type_path, "type cannot be set to null, use nullable as an alternative");
        } else if !of.is_empty() && custom::Of::named(of).is_none() {
            self.is_broken = true;
            self.causes.unsupported(type_path, of, &["array", "boolean", "integer", "number", "object", "string"]);
        } else if is_embedded && of != "object" {
            let detail = "must be object if x-kubernetes-embedded-resource is true";
            if of.is_empty() { self.required(type_path, detail) } else { self.invalid(type_path, &of.into(), detail) }
        } else if of.is_empty() && !is_int_or_string && !keeps_unknown {
            let detail = match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            };
            self.required(type_path, detail);
        } else if level == Level::Root && of != "object" {
            if of.is_empty() {
                self.required(type_path, "must not be empty at the root");
            } else {
                self.invalid(type_path, &of.into(), "must be object at the root");
            }
        } else if is_int_or_string && !of.is_empty() {
            self.invalid(type_path, &of.into(), "must be empty if x-kubernetes-int-or-string is true");
        }
        if is_int_or_string && is_embedded {
            let detail = "must be false if x-kubernetes-embedded-resource is true";
            self.invalid(format!("{path}.x-kubernetes-int-or-string"), &true.into(), detail);
        }
        if is_int_or_string && keeps_unknown {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            self.invalid(format!("{path}.x-kubernetes-preserve-unknown-fields"), &true.into(), detail);
        }
        let has_additional = schema.get("additionalProperties").is_some_and(|additional| *additional != false);
        if level == Level::Root && has_additional {
            self.forbidden(format!("{path}.additionalProperties"), "must not be used at the root");
        } else if is_embedded && has_additional {
            let detail = "must not be used if x-kubernetes-embedded-resource is set";
            self.forbidden(format!("{path}.additionalProperties"), detail);
        }
        if is_embedded && !keeps_unknown && properties(schema).next().is_none() {
            let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
            self.required(format!("{path}.properties"), detail);
        }
        if level == Level::Root || is_embedded {
            for (name, member) in properties(schema).filter(|(name, _)| matches!(name.as_str(), "apiVersion" | "kind"))
            {
                if text(member, "type") != "string" {
                    let path = format!("{path}.properties[{name}].type");
                    self.invalid(path, &text(member, "type").into(), "must be string");
                }
            }
        }
    }

    /// Of metadata a schema may restrict the name, and nothing else.
    fn metadata(&mut self, schema: &Value, path: &str) {
        if text(schema, "type") != "object" {
            self.invalid(format!("{path}.type"), &text(schema, "type").into(), "must be object");
        }
        let known = ["type", "description", "properties"];
        let other = schema.as_object().into_iter().flatten().any(|(name, _)| !known.contains(&name.as_str()));
        let others = properties(schema).any(|(name, _)| !matches!(name.as_str(), "name" | "generateName"));
        if other || others {
            let detail =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            self.forbidden(path.into(), detail);
        }
    }

    fn lists(&mut self, schema: &Value, path: &str) {
        let of = text(schema, "type");
        let type_path = || format!("{path}.type");
        if let Some(map) = schema.get("x-kubernetes-map-type").and_then(Value::as_str) {
            let detail = "must be object if x-kubernetes-map-type is specified";
            match of {
                "object" => {}
                "" => self.required(type_path(), detail),
                of => self.invalid(type_path(), &of.into(), detail),
            }
            if !matches!(map, "atomic" | "granular") {
                self.causes.unsupported(format!("{path}.x-kubernetes-map-type"), map, &["atomic", "granular"]);
            }
        }
        let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let list_path = format!("{path}.x-kubernetes-list-type");
        let Some(list) = schema.get("x-kubernetes-list-type").and_then(Value::as_str) else {
            if !keys.is_empty() {
                self.required(list_path, "must be map if x-kubernetes-list-map-keys is non-empty");
            }
            return;
        };
        let detail = "must be array if x-kubernetes-list-type is specified";
        match of {
            "array" => {}
            "" => self.required(type_path(), detail),
            of => self.invalid(type_path(), &of.into(), detail),
        }
        match list {
            "atomic" | "set" | "map" => {}
            other => {
                self.is_broken = true;
                self.causes.unsupported(list_path.clone(), other, &["atomic", "map", "set"]);
            }
        }
        if list != "map" && !keys.is_empty() {
            self.invalid(list_path, &list.into(), "must be map if x-kubernetes-list-map-keys is non-empty");
        }
        match list {
            "map" => self.map_keys(schema, keys, path),
            "set" => self.set_items(schema, path),
            _ => {}
        }
    }

    fn map_keys(&mut self, schema: &Value, keys: &[Value], path: &str) {
        let keys_path = format!("{path}.x-kubernetes-list-map-keys");
        if keys.is_empty() {
            self.required(keys_path.clone(), "must not be empty if x-kubernetes-list-type is map");
        }
        let Some(items) = schema.get("items") else {
            return self.required(format!("{path}.items"), "must have a schema if x-kubernetes-list-type is map");
        };
        if text(items, "type") != "object" {
            let detail = "must be object if parent array's x-kubernetes-list-type is map";
            return self.invalid(format!("{path}.items.type"), &text(items, "type").into(), detail);
        }
        let required = items.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for (index, key) in keys.iter().enumerate() {
            let name = key.as_str().unwrap_or_default();
            if keys[..index].contains(key) {
                self.is_broken = true;
                self.causes.duplicate(format!("{keys_path}[{index}]"), key);
            }
            let Some(member) = items.get("properties").and_then(|properties| properties.get(name)) else {
                self.invalid(format!("{keys_path}[{index}]"), key, "entries must all be names of item properties");
                continue;
            };
            let member_path = format!("{path}.items.properties[{name}]");
            if matches!(text(member, "type"), "array" | "object") {
                let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                self.invalid(format!("{member_path}.type"), &text(member, "type").into(), detail);
            }
            if member.get("default").is_none() && !required.contains(key) {
                let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                self.required(format!("{member_path}.default"), detail);
            }
            if flag(member, "nullable") {
                let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                self.forbidden(format!("{member_path}.nullable"), detail);
            }
        }
    }

    /// Whether two items are the same must be plain.
    fn set_items(&mut self, schema: &Value, path: &str) {
        let Some(items) = schema.get("items") else {
            return self.required(format!("{path}.items"), "must have a schema if x-kubernetes-list-type is set");
        };
        if flag(items, "nullable") {
            self.forbidden(format!("{path}.items.nullable"), "cannot be nullable when x-kubernetes-list-type is set");
        }
        let (name, given) = match text(items, "type") {
            "object" => ("x-kubernetes-map-type", text(items, "x-kubernetes-map-type")),
            "array" => ("x-kubernetes-list-type", text(items, "x-kubernetes-list-type")),
            _ => return,
        };
        let is_atomic = given == "atomic" || (name == "x-kubernetes-list-type" && given.is_empty());
        if !is_atomic {
            let of = text(items, "type");
            let detail = format!("must be atomic as item of a list with x-kubernetes-list-type=set ({of})");
            self.invalid(format!("{path}.items.{name}"), &given.into(), &detail);
        }
    }

    /// Combinations restrict values; what values are is said outside of them.
    fn combinations(&mut self, schema: &Value, path: &str) {
        let is_int_or_string = flag(schema, "x-kubernetes-int-or-string");
        for name in COMBINATIONS {
            let parts = schema.get(name).and_then(Value::as_array).into_iter().flatten();
            for (index, part) in parts.enumerate() {
                let path = format!("{path}.{name}[{index}]");
                self.restriction(part, &path, is_int_or_string);
            }
        }
        if let Some(part) = schema.get("not") {
            self.restriction(part, &format!("{path}.not"), false);
        }
    }

    fn restriction(&mut self, schema: &Value, path: &str, may_have_type: bool) {
        const EMPTY: [&str; 4] = ["title", "description", "x-kubernetes-list-type", "x-kubernetes-map-type"];
        const UNDEFINED: [&str; 2] = ["additionalProperties", "default"];
        const FALSE: [&str; 4] = [
            "nullable",
            "x-kubernetes-preserve-unknown-fields",
            "x-kubernetes-embedded-resource",
            "x-kubernetes-int-or-string",
        ];
        // Both halves of a number or text may be told apart: that is how it was written before there was a word for it.
        let is_half = may_have_type && matches!(text(schema, "type"), "integer" | "string");
        if !text(schema, "type").is_empty() && !is_half {
            self.forbidden(format!("{path}.type"), "must be empty to be structural");
        }
        for (names, detail) in [
            (&EMPTY[..], "must be empty to be structural"),
            (&UNDEFINED[..], "must be undefined to be structural"),
            (&FALSE[..], "must be false to be structural"),
        ] {
            for name in names {
                if schema.get(name).is_some_and(|value| *value != false || *name == "default") {
                    self.forbidden(format!("{path}.{name}"), detail);
                }
            }
        }
        for (name, member) in properties(schema) {
            self.restriction(member, &format!("{path}.properties[{name}]"), false);
        }
        if let Some(items) = schema.get("items") {
            self.restriction(items, &format!("{path}.items"), false);
        }
        for name in COMBINATIONS {
            let parts = schema.get(name).and_then(Value::as_array).into_iter().flatten();
            for (index, part) in parts.enumerate() {
                self.restriction(part, &format!("{path}.{name}[{index}]"), may_have_type);
            }
        }
        if let Some(part) = schema.get("not") {
            self.restriction(part, &format!("{path}.not"), false);
        }
    }

    /// Whatever a combination speaks of is there outside of it.
    fn complete(&mut self, schema: &Value, outside: &Value, path: &str) {
        for name in COMBINATIONS {
            let parts = schema.get(name).and_then(Value::as_array).into_iter().flatten();
            for (index, part) in parts.enumerate() {
                self.covered(part, outside, path, &format!("{path}.{name}[{index}]"));
            }
        }
        if let Some(part) = schema.get("not") {
            self.covered(part, outside, path, &format!("{path}.not"));
        }
        for (name, member) in properties(schema) {
            self.complete(member, member, &format!("{path}.properties[{name}]"));
        }
        for name in ["items", "additionalProperties"] {
            if let Some(member) = schema.get(name).filter(|member| member.is_object()) {
                self.complete(member, member, &format!("{path}.{name}"));
            }
        }
    }

    fn covered(&mut self, part: &Value, outside: &Value, path: &str, defined: &str) {
        for (name, member) in properties(part) {
            let inside = format!("{defined}.properties[{name}]");
            match outside.get("properties").and_then(|properties| properties.get(name)) {
                Some(known) => self.covered(member, known, &format!("{path}.properties[{name}]"), &inside),
                None => {
                    self.required(format!("{path}.properties[{name}]"), &format!("because it is defined in {inside}"));
                }
            }
        }
        if let Some(items) = part.get("items") {
            match outside.get("items") {
                Some(known) => self.covered(items, known, &format!("{path}.items"), &format!("{defined}.items")),
                None => self.required(format!("{path}.items"), &format!("because it is defined in {defined}.items")),
            }
        }
        for name in COMBINATIONS {
            let parts = part.get(name).and_then(Value::as_array).into_iter().flatten();
            for (index, part) in parts.enumerate() {
                self.covered(part, outside, path, &format!("{defined}.{name}[{index}]"));
            }
        }
    }
}

/// A default is itself what the schema asks for, and has nothing that the schema does not have.
fn defaults(causes: &mut Causes, schema: &Value, path: &str, level: Level) {
    if let Some(default) = schema.get("default") {
        let path = format!("{path}.default");
        let compiled = custom::compile_part(schema);
        let (mut pruned, mut unknown) = (default.clone(), Vec::new());
        custom::prune_part(&compiled, &mut pruned, &mut unknown);
        if level == Level::Root {
            causes.forbidden(&path, "must not be set");
        } else if !unknown.is_empty() {
            causes.invalid(&path, default, &format!("must not have unknown fields, found {}", unknown.join(", ")));
        } else {
            let mut completed = default.clone();
            custom::complete(&compiled, &mut completed);
            for cause in custom::validate(&compiled, &completed, None) {
                // As Kubernetes has it: the path of what is wrong goes on where that of the default ends.
                let field = match cause.field.as_str() {
                    "<nil>" => path.clone(),
                    field => format!("{path}.{field}"),
                };
                causes.extend([crate::Cause { field, ..cause }]);
            }
        }
    }
    for (name, member) in properties(schema) {
        defaults(causes, member, &format!("{path}.properties[{name}]"), Level::Field);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(member) = schema.get(name).filter(|member| member.is_object()) {
            defaults(causes, member, &format!("{path}.{name}"), Level::Field);
        }
    }
}

/// What a schema demands in words of CEL can be understood.
fn rules(causes: &mut Causes, schema: &Value, path: &str, level: Level, past: Past) {
    let written = custom::rules_of(schema);
    let is_root = level == Level::Root;
    if !written.is_empty() {
        let compiled = if is_root { custom::compile(schema) } else { custom::compile_part(schema) };
        custom::judge_rules(written, &compiled, is_root, past, path, causes);
    }
    for (name, member) in properties(schema) {
        rules(causes, member, &format!("{path}.properties[{name}]"), Level::Field, past);
    }
    if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
        rules(causes, values, &format!("{path}.additionalProperties"), Level::Field, past);
    }
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        let past = if text(schema, "x-kubernetes-list-type") == "map" { past } else { Past::Unknown };
        rules(causes, items, &format!("{path}.items"), Level::Item, past);
    }
}

/// Everything wrong with a schema, a line each.
#[cfg(test)]
pub(super) fn problems(schema: &Value) -> Vec<String> {
    let mut causes = Causes::default();
    validate(schema, "schema", &mut causes);
    causes.into_inner().into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}
