//! What fields every Kubernetes type has: one table, read once.
//!
//! The table (`schema/fields.json`, see `schema/NOTICE`) maps each message to its fields by protobuf number:
//! `"1": "volumes|api.core.v1.Volume|r"` is the JSON name, the type, and flags: `r` a list, `m` a map from strings, `i` inlined
//! into its parent's JSON, `p` a scalar whose zero differs from absence. Strict decoding, protobuf, strategic merge patch and
//! OpenAPI all read it, so that they cannot disagree about what a field is.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use serde_json::Value;

use crate::kind::Names;

/// A type with fields.
#[derive(Debug)]
pub struct Message {
    /// Its full name, such as `api.core.v1.PodSpec`.
    pub name: &'static str,
    /// What it holds, by protobuf number.
    pub tags: HashMap<u32, Field>,
    members: BTreeMap<&'static str, Field>,
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in JSON.
    pub name: &'static str,
    /// What its values are.
    pub of: Type,
    /// How many values it has.
    pub shape: Shape,
    /// Whether a zero value says something else than no value.
    pub pointer: bool,
    /// Whether the members of its value are members of the parent in JSON.
    pub inline: bool,
}

/// How many values a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One, or none.
    One,
    /// Any number, in order.
    List,
    /// Any number, by a name each.
    Map,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Text.
    String,
    /// True or false.
    Bool,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// Bytes, in base64.
    Bytes,
    /// An amount such as `100m` or `2Gi`.
    Quantity,
    /// An instant, to the second.
    Time,
    /// An instant, to the microsecond.
    MicroTime,
    /// A whole number or text.
    IntOrString,
    /// Any JSON.
    Any,
    /// A list of texts that protobuf wraps in a message.
    Texts,
    /// A number that need not be whole.
    Double,
    /// A schema, or what may stand where one is expected: a list of them, a truth, texts.
    SchemaOr,
    /// Another message, by its full name.
    Message(&'static str),
}

/// The message of this full name.
pub fn message(name: &str) -> Option<&'static Message> {
    TABLE.get(name)
}

/// The full name of the message that objects of a kind are, such as `api.apps.v1.Deployment`.
pub fn of_kind(names: &Names) -> String {
    message_name(names.group, names.version, names.kind)
}

/// The full name of the message of a kind. The kinds of one group come from a repository of their own, which their names tell.
pub fn message_name(group: &str, version: &str, kind: &str) -> String {
    match group.split('.').next() {
        None | Some("") => format!("api.core.{version}.{kind}"),
        Some(package @ "apiextensions") => format!("{package}-apiserver.pkg.apis.{package}.{version}.{kind}"),
        Some(package) => format!("api.{package}.{version}.{kind}"),
    }
}

/// The message that a schema of a custom resource is.
pub const SCHEMA: &str = "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

static TABLE: LazyLock<HashMap<&'static str, Message>> = LazyLock::new(|| {
    type Raw = HashMap<&'static str, HashMap<&'static str, &'static str>>;
    let raw: Raw = serde_json::from_str(include_str!("schema/fields.json")).expect("the table is part of the program");
    let mut table: HashMap<_, _> = raw.iter().map(|(name, fields)| (*name, Message::read(name, fields))).collect();
    let flat: Vec<_> = table.keys().map(|name| (*name, members(&table, name))).collect();
    for (name, members) in flat {
        table.get_mut(name).expect("listed above").members = members;
    }
    table
});

fn members(table: &HashMap<&'static str, Message>, name: &str) -> BTreeMap<&'static str, Field> {
    let mut found = BTreeMap::new();
    for field in table.get(name).iter().flat_map(|message| message.tags.values()) {
        match field.of {
            Type::Message(inner) if field.inline => found.extend(members(table, inner)),
            _ => drop(found.insert(field.name, *field)),
        }
    }
    found
}

// === impl Message ===

impl Message {
    fn read(name: &'static str, fields: &HashMap<&'static str, &'static str>) -> Self {
        let tags = fields.iter().filter_map(|(tag, field)| Some((tag.parse().ok()?, Field::read(field)))).collect();
        Self { name, tags, members: BTreeMap::new() }
    }

    /// The field of this name in JSON, inlined ones included.
    pub fn member(&self, name: &str) -> Option<&Field> {
        self.members.get(name)
    }

    /// All fields as JSON has them, by name.
    pub fn members(&self) -> impl Iterator<Item = &Field> {
        self.members.values()
    }

    /// The name of the Go struct, such as `PodSpec`.
    pub fn short(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// The name as Go qualifies it, such as `v1.PodSpec`.
    pub fn qualified(&self) -> &'static str {
        let dot = self.name.rmatch_indices('.').nth(1).map_or(0, |(at, _)| at + 1);
        &self.name[dot..]
    }

    /// The name in OpenAPI, such as `io.k8s.api.core.v1.PodSpec`.
    pub fn definition(&self) -> String {
        format!("io.k8s.{}", self.name)
    }
}

// === impl Field ===

impl Field {
    fn read(text: &'static str) -> Self {
        let mut parts = text.split('|');
        let name = parts.next().unwrap_or_default();
        let of = Type::read(parts.next().unwrap_or_default());
        let flags = parts.next().unwrap_or_default();
        let shape = if flags.contains('r') {
            Shape::List
        } else if flags.contains('m') {
            Shape::Map
        } else {
            Shape::One
        };
        Self { name, of, shape, pointer: flags.contains('p'), inline: flags.contains('i') }
    }

    /// Whether the value says more than its absence: Go leaves out empty lists and maps, and zero scalars that are not behind
    /// a pointer.
    pub fn is_told(&self, value: &Value) -> bool {
        match value {
            Value::Null => false,
            Value::Array(items) => !items.is_empty(),
            Value::Object(members) => self.shape != Shape::Map || !members.is_empty(),
            _ if self.pointer => true,
            Value::String(text) => !text.is_empty(),
            Value::Bool(set) => *set,
            Value::Number(number) => self.of == Type::IntOrString || number.as_i64() != Some(0),
        }
    }
}

// === impl Type ===

impl Type {
    fn read(name: &'static str) -> Self {
        match name {
            "string" => Self::String,
            "bool" => Self::Bool,
            "double" => Self::Double,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "bytes" => Self::Bytes,
            "apimachinery.pkg.api.resource.Quantity" => Self::Quantity,
            "apimachinery.pkg.apis.meta.v1.Time" => Self::Time,
            "apimachinery.pkg.apis.meta.v1.MicroTime" => Self::MicroTime,
            "apimachinery.pkg.util.intstr.IntOrString" => Self::IntOrString,
            "apimachinery.pkg.runtime.RawExtension" | "apimachinery.pkg.apis.meta.v1.FieldsV1" => Self::Any,
            "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON" => Self::Any,
            "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray"
            | "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool"
            | "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray" => Self::SchemaOr,
            "api.authentication.v1.ExtraValue"
            | "api.authorization.v1.ExtraValue"
            | "api.certificates.v1.ExtraValue" => Self::Texts,
            message => Self::Message(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inlined_fields_are_members_of_their_parent() {
        let volume = message("api.core.v1.Volume").expect("listed");
        assert!(volume.member("emptyDir").is_some() && volume.member("volumeSource").is_none());
        assert_eq!(volume.qualified(), "v1.Volume");
        assert_eq!(volume.short(), "Volume");
    }

    #[test]
    fn every_type_a_field_names_is_in_the_table() {
        for field in TABLE.values().flat_map(Message::members) {
            if let Type::Message(name) = field.of {
                assert!(message(name).is_some(), "{name}");
            }
        }
    }
}
