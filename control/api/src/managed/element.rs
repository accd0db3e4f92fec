//! One step of a path through an object.

use std::fmt;

use serde_json::Value;

/// One step down: to a field, or to an item of a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// The member of this name.
    Field(String),
    /// The item of a list whose keys have these values: a JSON object, as text with sorted members.
    Key(String),
    /// The item of a set that is this value, as JSON text.
    Value(String),
    /// The item at this place.
    Index(u64),
}

// === impl Element ===

impl Element {
    /// Reads a step as `fieldsV1` writes it: `f:spec`, `k:{"name":"main"}`, `v:"a"`, `i:0`.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        // Read and written again: members are sorted then, and equal items are equal texts.
        let json = || serde_json::from_str::<Value>(rest).ok();
        match kind {
            "f" => Some(Self::Field(rest.into())),
            "k" => json().filter(Value::is_object).map(|keys| Self::Key(keys.to_string())),
            "v" => json().map(|value| Self::Value(value.to_string())),
            "i" => rest.parse().ok().map(Self::Index),
            _ => None,
        }
    }

    /// The step as `fieldsV1` writes it.
    pub fn to_text(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => format!("k:{keys}"),
            Self::Value(value) => format!("v:{value}"),
            Self::Index(index) => format!("i:{index}"),
        }
    }
}

/// The step as paths in messages have it: `.spec`, `[name="main"]`, `[="a"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(index) => write!(f, "[{index}]"),
            Self::Key(keys) => {
                let keys: serde_json::Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let told: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "[{}]", told.join(","))
            }
        }
    }
}
