//! What is known of a value before it is there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::parser::RESERVED;

/// The type of a value, as far as it is declared; what is not is [`Type::Dyn`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the language's own and say it")]
pub enum Type {
    /// Anything.
    #[default]
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    /// A type itself.
    Type,
    List(Arc<Type>),
    Map(Arc<Type>, Arc<Type>),
    Object(Arc<ObjectType>),
    Optional(Arc<Type>),
    /// One of the types of Kubernetes' libraries.
    Opaque(&'static str),
}

/// An object whose fields are declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectType {
    /// What messages call it.
    pub name: String,
    /// By the names that expressions use; [`escaped`] makes them.
    pub fields: BTreeMap<String, Field>,
}

/// A declared field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// As the JSON has it.
    pub name: String,
    /// What it holds.
    pub holds: Type,
}

/// Words that mean something in an expression; beside those that the parser keeps, no field can be called by them.
const MEANING: [&str; 4] = ["true", "false", "null", "in"];

/// The name by which expressions know the field `name`: Kubernetes escapes what the language would not read as a name. Nothing
/// if there is no such name.
pub fn escaped(name: &str) -> Option<String> {
    if MEANING.contains(&name) || RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !name.starts_with(is_first) {
        return None;
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(next) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("__") {
            out.push_str("__underscores__");
            rest = after;
            continue;
        }
        match next {
            '.' => out.push_str("__dot__"),
            '-' => out.push_str("__dash__"),
            '/' => out.push_str("__slash__"),
            c if c.is_ascii_alphanumeric() || c == '_' => out.push(c),
            _ => return None,
        }
        rest = &rest[next.len_utf8()..];
    }
    Some(out)
}

// === impl Type ===

impl Type {
    /// A list of these.
    pub fn list(element: Self) -> Self {
        Self::List(Arc::new(element))
    }

    /// A map from names to these.
    pub fn map(value: Self) -> Self {
        Self::Map(Arc::new(Self::String), Arc::new(value))
    }

    /// An object with these fields, by their names in JSON; what cannot be named is left out.
    pub fn object(name: &str, fields: impl IntoIterator<Item = (String, Self)>) -> Self {
        let fields = fields.into_iter().filter_map(|(name, holds)| Some((escaped(&name)?, Field { name, holds })));
        Self::Object(Arc::new(ObjectType { name: name.into(), fields: fields.collect() }))
    }

    /// `authorizer`.
    pub const AUTHORIZER: Self = Self::Opaque(super::access::AUTHORIZER);

    /// An object whose field has another name in expressions than its escaped one: the objects that Kubernetes itself declares
    /// escape nothing.
    pub fn unescaped(self, escaped: &str, name: &str) -> Self {
        match self {
            Self::Object(object) => {
                let mut object = ObjectType::clone(&object);
                if let Some(field) = object.fields.remove(escaped) {
                    object.fields.insert(name.into(), field);
                }
                Self::Object(Arc::new(object))
            }
            other => other,
        }
    }

    /// The type that both have, as far as they have one; nothing if they never agree.
    pub(super) fn joined(&self, other: &Self) -> Option<Self> {
        Some(match (self, other) {
            (one, two) if one == two => one.clone(),
            (Self::Dyn, _) | (_, Self::Dyn) => Self::Dyn,
            (Self::List(one), Self::List(two)) => Self::List(one.joined(two)?.into()),
            (Self::Map(key, one), Self::Map(other, two)) => {
                Self::Map(key.joined(other)?.into(), one.joined(two)?.into())
            }
            (Self::Optional(one), Self::Optional(two)) => Self::Optional(one.joined(two)?.into()),
            (Self::Null, some) | (some, Self::Null) if some.may_be_null() => some.clone(),
            _ => return None,
        })
    }

    const fn may_be_null(&self) -> bool {
        matches!(self, Self::Object(_) | Self::Timestamp | Self::Duration | Self::Opaque(_) | Self::Optional(_))
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::Type => f.write_str("type"),
            Self::List(element) => write!(f, "list({element})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Object(object) => f.write_str(&object.name),
            Self::Optional(inner) => write!(f, "optional_type({inner})"),
            Self::Opaque(name) => f.write_str(name),
        }
    }
}
