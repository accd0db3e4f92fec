//! Members that a schema does not have go, and are named.

use serde_json::{Map, Value};

use super::schema::Schema;

/// What whole objects have beside what their schema says.
const OF_OBJECTS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Removes from a whole object what its schema does not have. The paths of what was removed are added to `unknown`.
pub(crate) fn prune(schema: &Schema, object: &mut Value, unknown: &mut Vec<String>) {
    let mut pruner = Pruner { path: String::new(), unknown };
    if let Value::Object(members) = object {
        pruner.members(schema, members, true);
    }
}

/// The same for a part of an object.
pub(crate) fn prune_part(schema: &Schema, value: &mut Value, unknown: &mut Vec<String>) {
    Pruner { path: String::new(), unknown }.value(schema, value);
}

struct Pruner<'a> {
    path: String,
    unknown: &'a mut Vec<String>,
}

// === impl Pruner ===

impl Pruner<'_> {
    fn value(&mut self, schema: &Schema, value: &mut Value) {
        match value {
            Value::Object(members) => self.members(schema, members, schema.is_embedded),
            Value::Array(items) => {
                let none = Schema { keeps_unknown: schema.keeps_unknown, ..Schema::default() };
                let of = schema.items.as_deref().unwrap_or(&none);
                for (index, item) in items.iter_mut().enumerate() {
                    let here = self.path.len();
                    self.path.extend(["[", &index.to_string(), "]"]);
                    self.value(of, item);
                    self.path.truncate(here);
                }
            }
            _ => {}
        }
    }

    fn members(&mut self, schema: &Schema, members: &mut Map<String, Value>, is_object: bool) {
        members.retain(|name, value| {
            let here = self.path.len();
            if here > 0 {
                self.path.push('.');
            }
            self.path.push_str(name);
            let is_known = if is_object && OF_OBJECTS.contains(&name.as_str()) {
                true
            } else if let Some(member) = schema.member(name) {
                self.value(member, value);
                true
            } else {
                schema.keeps_unknown
            };
            if !is_known {
                self.unknown.push(self.path.clone());
            }
            self.path.truncate(here);
            is_known
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::custom::compile;

    fn check(schema: Value, value: Value, expect: Value, gone: &[&str]) {
        let (mut value, mut unknown) = (value, Vec::new());
        prune(&compile(&schema), &mut value, &mut unknown);
        assert_eq!((value, unknown), (expect, gone.iter().map(ToString::to_string).collect::<Vec<_>>()));
    }

    #[test]
    fn what_the_schema_does_not_have_goes() {
        let item = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        check(
            json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"list": {"type": "array", "items": item}}}}}),
            json!({"apiVersion": "v1", "kind": "K", "metadata": {"x": 1}, "top": 1, "spec": {"b": 1, "list": [{"a": "1"}, {"c": 2}]}}),
            json!({"apiVersion": "v1", "kind": "K", "metadata": {"x": 1}, "spec": {"list": [{"a": "1"}, {}]}}),
            &["spec.b", "spec.list[1].c", "top"],
        );
    }

    #[test]
    fn unknown_members_stay_where_the_schema_keeps_them() {
        let known = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        check(
            json!({"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"known": known}}}}),
            json!({"spec": {"any": {"thing": [1]}, "known": {"a": "1", "b": 2}}}),
            json!({"spec": {"any": {"thing": [1]}, "known": {"a": "1"}}}),
            &["spec.known.b"],
        );
        let embedded = json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": known}});
        check(
            json!({"type": "object", "properties": {"template": embedded, "labels": {"type": "object", "additionalProperties": {"type": "string"}}}}),
            json!({"template": {"kind": "K", "metadata": {"name": "n"}, "more": 1}, "labels": {"a": "b"}}),
            json!({"template": {"kind": "K", "metadata": {"name": "n"}}, "labels": {"a": "b"}}),
            &["template.more"],
        );
    }
}
