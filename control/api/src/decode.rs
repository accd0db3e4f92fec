//! Reading a JSON tree as a type, the way Kubernetes reads it: unknown fields are found and dropped, zero values that mean
//! nothing are dropped, amounts and times take their canonical form, and a wrong type is told as Go's decoder tells it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::quantity::Quantity;
use crate::schema::{self, Field, Message, Shape, Type};

/// A tree that has the shape of its type.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The tree, without what its type does not have.
    pub value: Value,
    /// The paths of what was dropped for being unknown.
    pub unknown: Vec<String>,
}

/// What stands where a schema may stand.
const SCHEMA: Type = Type::Message(schema::SCHEMA);
/// The one kind that is part of another: a StatefulSet holds whole claims, which say what they are.
const WHOLE: &str = "api.core.v1.PersistentVolumeClaim";

/// Reads `value` as the message `name`; the error is worded like Go's. The root may also have `apiVersion` and `kind`.
pub fn decode(name: &str, value: Value) -> Result<Decoded, String> {
    let message = schema::message(name).ok_or_else(|| format!("no kind is registered for the type {name}"))?;
    let Value::Object(mut members) = value else {
        return Err(format!(
            "json: cannot unmarshal {} into Go value of type {}",
            described(&value),
            message.qualified()
        ));
    };
    let mut reader = Reader { exact: String::new(), plain: String::new(), unknown: Vec::new() };
    let identity: Vec<(String, Value)> = ["apiVersion", "kind"]
        .into_iter()
        .filter(|name| message.member(name).is_none())
        .filter_map(|name| members.remove_entry(name))
        .collect();
    let mut value = reader.members(message, members)?;
    value.extend(identity);
    Ok(Decoded { value: Value::Object(value), unknown: reader.unknown })
}

/// Where the reader is: with indices for unknown fields, without for Go's struct fields.
struct Reader {
    exact: String,
    plain: String,
    unknown: Vec<String>,
}

// === impl Reader ===

impl Reader {
    fn members(&mut self, message: &Message, members: Map<String, Value>) -> Result<Map<String, Value>, String> {
        let mut read = Map::new();
        for (name, value) in members {
            let Some(field) = message.member(&name) else {
                if message.name == WHOLE && matches!(name.as_str(), "apiVersion" | "kind") {
                    read.insert(name, value);
                    continue;
                }
                let path = if self.exact.is_empty() { name } else { format!("{}.{name}", self.exact) };
                self.unknown.push(path);
                continue;
            };
            if value.is_null() {
                continue;
            }
            let (exact, plain) = (self.exact.len(), self.plain.len());
            self.step(&name);
            let value = self.field(message, field, value)?;
            self.exact.truncate(exact);
            self.plain.truncate(plain);
            if field.is_told(&value) {
                read.insert(name, value);
            }
        }
        Ok(read)
    }

    fn step(&mut self, name: &str) {
        for path in [&mut self.exact, &mut self.plain] {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
        }
    }

    fn field(&mut self, parent: &Message, field: &Field, value: Value) -> Result<Value, String> {
        match (field.shape, value) {
            (Shape::One, value) => self.value(parent, field.of, value),
            (Shape::List, Value::Array(items)) => {
                let mut read = Vec::with_capacity(items.len());
                for (index, item) in items.into_iter().enumerate() {
                    let exact = self.exact.len();
                    self.exact.extend(["[", &index.to_string(), "]"]);
                    read.push(self.item(parent, field.of, item)?);
                    self.exact.truncate(exact);
                }
                Ok(Value::Array(read))
            }
            (Shape::Map, Value::Object(entries)) => {
                let mut read = Map::new();
                for (key, entry) in entries {
                    let exact = self.exact.len();
                    self.exact.push('.');
                    self.exact.push_str(&key);
                    let entry = self.item(parent, field.of, entry)?;
                    self.exact.truncate(exact);
                    read.insert(key, entry);
                }
                Ok(Value::Object(read))
            }
            (Shape::List, other) => Err(self.mismatch(parent, &other, &format!("[]{}", go_type(field.of)))),
            (Shape::Map, other) => Err(self.mismatch(parent, &other, &format!("map[string]{}", go_type(field.of)))),
        }
    }

    /// An element of a list or map, where null is the zero value.
    fn item(&mut self, parent: &Message, of: Type, value: Value) -> Result<Value, String> {
        match (value, of) {
            (Value::Null, Type::Message(_)) => Ok(Value::Object(Map::new())),
            (Value::Null, Type::String | Type::Bytes) => Ok("".into()),
            (Value::Null, Type::Int32 | Type::Int64) => Ok(0.into()),
            (Value::Null, Type::Bool) => Ok(false.into()),
            (Value::Null, Type::Quantity) => Ok("0".into()),
            (value, of) => self.value(parent, of, value),
        }
    }

    fn value(&mut self, parent: &Message, of: Type, value: Value) -> Result<Value, String> {
        match (of, value) {
            (Type::String | Type::IntOrString, value @ Value::String(_))
            | (Type::Bool, value @ Value::Bool(_))
            | (Type::Texts, value @ Value::Array(_))
            | (Type::Double, value @ Value::Number(_))
            | (Type::Any, value) => Ok(value),
            (Type::Int32 | Type::IntOrString, Value::Number(number)) => {
                let fits = number.as_i64().is_some_and(|number| i32::try_from(number).is_ok());
                if fits { Ok(number.into()) } else { Err(self.mismatch(parent, &Value::Number(number), "int32")) }
            }
            (Type::Int64, Value::Number(number)) => {
                let fits = number.is_i64();
                if fits { Ok(number.into()) } else { Err(self.mismatch(parent, &Value::Number(number), "int64")) }
            }
            (Type::Bytes, Value::String(text)) => canonical_base64(&text).map(Value::String),
            (Type::Quantity, Value::String(text)) => canonical_quantity(&text),
            (Type::Quantity, Value::Number(number)) => canonical_quantity(&number.to_string()),
            (Type::Quantity, _) => Err(NOT_A_QUANTITY.into()),
            (Type::Time, Value::String(text)) => {
                let time = parse_time(&text, "2006-01-02T15:04:05Z07:00")?;
                Ok(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into())
            }
            (Type::MicroTime, Value::String(text)) => {
                let time = parse_time(&text, "2006-01-02T15:04:05.000000Z07:00")?;
                Ok(time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string().into())
            }
            (Type::Message(name), Value::Object(members)) => {
                let message = schema::message(name).ok_or_else(|| format!("unknown type {name}"))?;
                self.members(message, members).map(Value::Object)
            }
            (Type::SchemaOr, Value::Object(members)) => self.value(parent, SCHEMA, Value::Object(members)),
            (Type::SchemaOr, Value::Array(items)) => {
                let mut read = Vec::with_capacity(items.len());
                for (index, item) in items.into_iter().enumerate() {
                    let exact = self.exact.len();
                    self.exact.extend(["[", &index.to_string(), "]"]);
                    read.push(if item.is_string() { item } else { self.value(parent, SCHEMA, item)? });
                    self.exact.truncate(exact);
                }
                Ok(Value::Array(read))
            }
            (Type::SchemaOr, value @ Value::Bool(_)) => Ok(value),
            (of, value) => Err(self.mismatch(parent, &value, &go_type(of))),
        }
    }

    fn mismatch(&self, parent: &Message, value: &Value, wanted: &str) -> String {
        let what = match (value, wanted) {
            (Value::Number(number), "int32" | "int64") => format!("number {number}"),
            _ => described(value).into(),
        };
        format!("json: cannot unmarshal {what} into Go struct field {}.{} of type {wanted}", parent.short(), self.plain)
    }
}

/// What Go calls a value.
pub fn described(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn go_type(of: Type) -> String {
    match of {
        Type::String => "string".into(),
        Type::Bool => "bool".into(),
        Type::Int32 => "int32".into(),
        Type::Int64 => "int64".into(),
        Type::Bytes => "[]uint8".into(),
        Type::Quantity => "resource.Quantity".into(),
        Type::Time => "v1.Time".into(),
        Type::MicroTime => "v1.MicroTime".into(),
        Type::IntOrString => "intstr.IntOrString".into(),
        Type::Any => "runtime.RawExtension".into(),
        Type::Texts => "[]string".into(),
        Type::Double => "float64".into(),
        Type::SchemaOr => "v1.JSONSchemaProps".into(),
        Type::Message(name) => schema::message(name).map_or(name, Message::qualified).into(),
    }
}

const NOT_A_QUANTITY: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

fn canonical_quantity(text: &str) -> Result<Value, String> {
    let quantity: Quantity = text.parse().map_err(|_| NOT_A_QUANTITY.to_owned())?;
    Ok(quantity.to_string().into())
}

fn canonical_base64(text: &str) -> Result<String, String> {
    // Go's decoder skips line ends.
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match BASE64.decode(&text) {
        Ok(_) => Ok(text),
        Err(base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol { offset: at, .. }) => {
            Err(format!("illegal base64 data at input byte {at}"))
        }
        Err(_) => Err(format!("illegal base64 data at input byte {}", text.len() / 4 * 4)),
    }
}

fn parse_time(text: &str, layout: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| format!(r#"parsing time "{text}" as "{layout}": cannot parse "{text}" as "2006""#))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(name: &str, value: Value, expect: Result<(Value, &[&str]), &str>) {
        let found = decode(name, value).map(|decoded| (decoded.value, decoded.unknown));
        let expect = expect
            .map(|(value, unknown)| (value, unknown.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>()))
            .map_err(str::to_owned);
        assert_eq!(found, expect);
    }

    #[test]
    fn unknown_fields_are_dropped_and_named() {
        check(
            "api.apps.v1.Deployment",
            json!({"kind": "Deployment", "spec": {"replicaz": 2, "template": {"spec": {"containers": [{"name": "a"}, {"nme": "b"}]}}}}),
            Ok((
                json!({"kind": "Deployment", "spec": {"template": {"spec": {"containers": [{"name": "a"}, {}]}}}}),
                &["spec.replicaz", "spec.template.spec.containers[1].nme"],
            )),
        );
    }

    #[test]
    fn zero_values_that_mean_nothing_are_dropped() {
        check(
            "api.apps.v1.Deployment",
            json!({"metadata": {"creationTimestamp": null, "labels": {}}, "spec": {"replicas": 0, "minReadySeconds": 0, "paused": false,
                "template": {"spec": {"volumes": [{"name": "v", "emptyDir": {}}], "containers": []}}}}),
            Ok((
                json!({"metadata": {}, "spec": {"replicas": 0, "template": {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}}}),
                &[],
            )),
        );
    }

    #[test]
    fn amounts_and_times_become_canonical() {
        check(
            "api.core.v1.Container",
            json!({"resources": {"limits": {"cpu": 1, "memory": "1024Mi"}, "requests": {"cpu": "0.5"}}}),
            Ok((json!({"resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}}), &[])),
        );
        check(
            "api.coordination.v1.LeaseSpec",
            json!({"renewTime": "2026-11-21T07:00:00.5+02:00"}),
            Ok((json!({"renewTime": "2026-11-21T05:00:00.500000Z"}), &[])),
        );
    }

    #[test]
    fn a_wrong_type_is_told_as_go_tells_it() {
        check(
            "api.apps.v1.Deployment",
            json!({"spec": {"replicas": "two"}}),
            Err("json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"),
        );
        check(
            "api.core.v1.Pod",
            json!({"spec": {"containers": [{"env": [{"value": 1}]}]}}),
            Err("json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string"),
        );
        check(
            "api.core.v1.Pod",
            json!({"spec": {"containers": {}}}),
            Err("json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container"),
        );
        check("api.core.v1.Secret", json!({"data": {"a": "%%"}}), Err("illegal base64 data at input byte 0"));
        check("api.core.v1.Container", json!({"resources": {"limits": {"cpu": "x"}}}), Err(NOT_A_QUANTITY));
    }
}
