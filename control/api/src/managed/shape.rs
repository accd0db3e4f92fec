//! What the parts of a value are to owners: which have owners of their own, and by what their steps are named.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Element;
use crate::custom::{Merging, Of, Schema};
use crate::patch::facts;
use crate::schema::{self, Field, Message, Type};
use crate::{Names, schema::Shape as Count};

/// How a value is divided among owners.
#[derive(Clone, Copy, Debug)]
pub enum Shape<'a> {
    /// A whole object; nothing is known of it but its metadata where there is no message.
    Root(Option<&'static Message>),
    /// An object's metadata.
    Metadata(&'static Message),
    /// An object with these fields.
    Struct(&'static Message),
    /// An object with any members.
    Map(Type),
    /// A list whose items are told apart by these members.
    Keyed(&'static [&'static str], Type),
    /// A whole object of a kind that the cluster was taught.
    CustomRoot(&'a Schema),
    /// A part of one.
    Custom(&'a Schema),
    /// A list of them whose items are told apart by these members.
    CustomKeyed(&'a [String], &'a Schema),
    /// A list of scalars, each of which is there or not.
    Set,
    /// Whatever it is, objects are divided and lists are not.
    Any,
    /// Owned as a whole.
    Leaf,
}

/// A value that is not what the schema has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where, such as `.spec.replicas`.
    pub path: String,
    /// What is wrong with it.
    pub why: String,
}

/// A part of a value that may have an owner of its own.
pub(super) struct Part<'a> {
    pub(super) element: Element,
    pub(super) value: &'a Value,
    pub(super) shape: Shape<'a>,
    /// Whether it is there whatever anybody wants, so that nobody owns that it is.
    pub(super) is_given: bool,
    /// Whether that it is there is somebody's, even where what is in it has owners.
    pub(super) is_item: bool,
}

/// What the server alone decides; nobody owns it.
const UNOWNED: [&str; 8] =
    ["name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"];

/// Members that Kubernetes' types have even when nobody set them.
const GIVEN: [&str; 8] =
    ["metadata", "spec", "status", "template", "strategy", "updateStrategy", "containers", "loadBalancer"];

/// What a list key is where an item does not say it.
const KEY_DEFAULTS: [(&str, &str); 1] = [("protocol", "TCP")];

const METADATA: &str = "apimachinery.pkg.apis.meta.v1.ObjectMeta";

// === impl Shape ===

impl<'a> Shape<'a> {
    /// The shape of a kind's objects.
    pub fn of(names: &Names) -> Self {
        Self::Root(schema::message(&schema::of_kind(names)))
    }

    /// The shape of the objects of a kind with this schema.
    pub fn of_custom(schema: &'a Schema) -> Self {
        Self::CustomRoot(schema)
    }

    /// The shape of a member of an object of this shape; nothing where the schema has no such member.
    pub(super) fn member(self, name: &str) -> Option<Self> {
        match self {
            Self::Root(_) | Self::CustomRoot(_) if name == "metadata" => schema::message(METADATA).map(Self::Metadata),
            Self::Root(Some(message)) | Self::Metadata(message) | Self::Struct(message) => {
                message.member(name).map(|field| Self::of_field(message, field))
            }
            Self::Root(None) | Self::Any => Some(Self::Any),
            Self::Map(items) => Some(Self::of_type(items)),
            Self::CustomRoot(_) if matches!(name, "apiVersion" | "kind") => Some(Self::Leaf),
            Self::Custom(schema) if schema.is_embedded && name == "metadata" => {
                schema::message(METADATA).map(Self::Struct)
            }
            Self::CustomRoot(schema) | Self::Custom(schema) => match schema.member(name) {
                Some(member) => Some(Self::of_schema(member)),
                None if schema.keeps_unknown => Some(Self::Any),
                None => None,
            },
            Self::Keyed(..) | Self::CustomKeyed(..) | Self::Set | Self::Leaf => None,
        }
    }

    fn of_field(message: &Message, field: &Field) -> Self {
        match field.shape {
            Count::One => Self::of_type(field.of),
            Count::Map if facts::is_atomic_map(message, field) => Self::Leaf,
            Count::Map => Self::Map(field.of),
            Count::List => match facts::of(message, field) {
                Some(facts) if facts.list_type == "map" => Self::Keyed(facts.list_keys, field.of),
                Some(facts) if facts.list_type == "set" => Self::Set,
                _ => Self::Leaf,
            },
        }
    }

    fn of_type(of: Type) -> Self {
        match of {
            Type::Message(name) => match schema::message(name) {
                Some(message) if !facts::is_atomic(message) => Self::Struct(message),
                _ => Self::Leaf,
            },
            _ => Self::Leaf,
        }
    }

    fn of_schema(schema: &'a Schema) -> Self {
        match (&schema.merging, &schema.items) {
            (Merging::Atomic, _) => Self::Leaf,
            (Merging::Set, _) => Self::Set,
            (Merging::Map(keys), Some(items)) => Self::CustomKeyed(keys, items),
            (Merging::Map(_), None) => Self::Leaf,
            // Lists are owned as a whole unless their schema says otherwise; so is what may be anything.
            (Merging::Granular, _) => match schema.of {
                Some(Of::Object) => Self::Custom(schema),
                None if schema.keeps_unknown => Self::Any,
                _ => Self::Leaf,
            },
        }
    }

    /// The shape of the list's items.
    pub(super) fn item(self) -> Self {
        match self {
            Self::Keyed(_, items) => Self::of_type(items),
            Self::CustomKeyed(_, items) => Self::of_schema(items),
            _ => Self::Leaf,
        }
    }

    /// Whether it is a list whose items may have owners of their own.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::Keyed(..) | Self::CustomKeyed(..) | Self::Set)
    }

    /// By what members the items of a list are told apart.
    pub(super) fn keys(self) -> Vec<&'a str> {
        match self {
            Self::Keyed(keys, _) => keys.to_vec(),
            Self::CustomKeyed(keys, _) => keys.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// The parts of a value; nothing where it has no parts, or is owned as a whole.
    pub(super) fn parts(self, value: &'a Value) -> Result<Option<Vec<Part<'a>>>, Mismatch> {
        match (self, value) {
            (Self::Leaf, _) | (_, Value::Null) => Ok(None),
            (Self::Any, value) if !value.is_object() => Ok(None),
            (list, Value::Array(items)) if list.is_list() => self.items(items).map(Some),
            (list, other) if list.is_list() => Err(Mismatch::here(format!("expected list, got {}", kind(other)))),
            (_, Value::Object(members)) => self.members(members).map(Some),
            (_, other) => Err(Mismatch::here(format!("expected map, got {}", kind(other)))),
        }
    }

    fn members(self, members: &'a Map<String, Value>) -> Result<Vec<Part<'a>>, Mismatch> {
        let is_owned = |name: &str| match self {
            Self::Root(_) | Self::CustomRoot(_) => !matches!(name, "apiVersion" | "kind"),
            Self::Metadata(_) => !UNOWNED.contains(&name),
            _ => true,
        };
        let is_item = match self {
            Self::Map(_) | Self::Any => true,
            // Everything that is there is somebody's: no type of these has members that nobody set.
            Self::CustomRoot(_) => false,
            Self::Custom(schema) => schema.is_map(),
            _ => false,
        };
        let is_custom = matches!(self, Self::Custom(_) | Self::CustomRoot(_));
        let owned = members.iter().filter(|(name, _)| is_owned(name));
        let parts = owned.map(|(name, value)| {
            let element = Element::Field(name.clone());
            let Some(shape) = self.member(name) else {
                return Err(Mismatch { path: element.to_string(), why: "field not declared in schema".into() });
            };
            let given = if is_custom { name == "metadata" } else { GIVEN.contains(&name.as_str()) };
            Ok(Part { element, value, shape, is_given: !is_item && given, is_item })
        });
        parts.collect()
    }

    fn items(self, items: &'a [Value]) -> Result<Vec<Part<'a>>, Mismatch> {
        let mut seen = BTreeSet::new();
        let mut parts = Vec::with_capacity(items.len());
        for (index, value) in items.iter().enumerate() {
            let element = self.element(value).map_err(|why| Mismatch { path: format!("[{index}]"), why })?;
            if !seen.insert(element.clone()) {
                return Err(Mismatch::here(format!("duplicate entries for key {element}")));
            }
            parts.push(Part { element, value, shape: self.item(), is_given: false, is_item: true });
        }
        Ok(parts)
    }

    /// How the step to an item of the list is named, if it can be.
    pub(super) fn step(self, item: &Value) -> Option<Element> {
        self.element(item).ok()
    }

    fn element(self, item: &Value) -> Result<Element, String> {
        if !matches!(self, Self::Keyed(..) | Self::CustomKeyed(..)) {
            return match item {
                Value::Object(_) | Value::Array(_) => {
                    Err(format!("associative list without keys has an element that's a {} type", kind(item)))
                }
                scalar => Ok(Element::Value(scalar.to_string())),
            };
        }
        let item = item
            .as_object()
            .ok_or_else(|| format!("associative list with keys may not have non-map elements, got {}", kind(item)))?;
        let named = self.keys().into_iter().map(|key| {
            let value = item.get(key).filter(|value| !value.is_null()).cloned().or_else(|| self.key_default(key));
            value.map(|value| (key.to_owned(), value)).ok_or_else(|| {
                format!("associative list with keys has an element that omits key field {key:?} (and doesn't have default value)")
            })
        });
        let named: Map<String, Value> = named.collect::<Result<_, _>>()?;
        Ok(Element::Key(Value::Object(named).to_string()))
    }

    fn key_default(self, key: &str) -> Option<Value> {
        match self {
            Self::CustomKeyed(_, items) => items.member(key)?.default.clone(),
            _ => KEY_DEFAULTS.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).into()),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "map",
    }
}

// === impl Mismatch ===

impl Mismatch {
    fn here(why: String) -> Self {
        Self { path: String::new(), why }
    }

    /// The same, seen from one step above.
    pub(super) fn below(mut self, element: &Element) -> Self {
        self.path.insert_str(0, &element.to_string());
        self
    }
}
