//! What a schema fills in, and the nulls that mean nothing.

use serde_json::Value;

use super::schema::Schema;

/// Fills in what the schema has defaults for. A null where none may be counts as nothing said.
pub(crate) fn complete(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in &schema.properties {
                let Some(default) = &member.default else { continue };
                if members.get(name).is_none_or(|value| value.is_null() && !member.is_nullable) {
                    members.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in members.iter_mut() {
                let Some(member) = schema.member(name) else { continue };
                fill(member, value);
            }
        }
        Value::Array(items) => {
            let Some(of) = &schema.items else { return };
            for item in items {
                fill(of, item);
            }
        }
        _ => {}
    }
}

fn fill(schema: &Schema, value: &mut Value) {
    if value.is_null()
        && !schema.is_nullable
        && let Some(default) = &schema.default
    {
        *value = default.clone();
    }
    complete(schema, value);
}

/// Removes members that are null, may not be, and have no default.
pub(crate) fn without_nulls(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(members) => members.retain(|name, value| match schema.member(name) {
            Some(member) if value.is_null() && !member.is_nullable && member.default.is_none() => false,
            Some(member) => {
                without_nulls(member, value);
                true
            }
            None => true,
        }),
        Value::Array(items) => {
            if let Some(of) = &schema.items {
                for item in items {
                    without_nulls(of, item);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::custom::compile;

    fn check(schema: Value, mut value: Value, expect: Value) {
        let schema = compile(&schema);
        without_nulls(&schema, &mut value);
        complete(&schema, &mut value);
        assert_eq!(value, expect);
    }

    #[test]
    fn defaults_fill_in_and_nulls_are_nothing_said() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "foo": {"type": "string", "nullable": false, "default": "default"},
            "bar": {"type": "string", "nullable": true},
            "baz": {"type": "string"},
            "qux": {"type": "object", "default": {}, "properties": {"deep": {"type": "integer", "default": 7}}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
        }}}});
        check(
            schema.clone(),
            json!({"spec": {"foo": null, "bar": null, "baz": null, "list": [{}, {"p": "UDP"}]}}),
            json!({"spec": {"foo": "default", "bar": null, "qux": {"deep": 7}, "list": [{"p": "TCP"}, {"p": "UDP"}]}}),
        );
        check(schema, json!({}), json!({}));
    }
}
