//! A structural schema, compiled: what objects of a custom kind look like.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::rules::Rule;

/// What a value is to be like.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// What it is; nothing where it may be anything.
    pub of: Option<Of>,
    /// Whether it may be null.
    pub is_nullable: bool,
    /// What it is where nobody says.
    pub default: Option<Value>,
    /// The members of an object that are told apart.
    pub properties: BTreeMap<String, Schema>,
    /// What all other members of an object are like; without it there are none.
    pub additional: Option<Box<Schema>>,
    /// What the items of a list are like.
    pub items: Option<Box<Schema>>,
    /// Whether members that are not here are kept.
    pub keeps_unknown: bool,
    /// Whether it is a whole object with a kind and metadata.
    pub is_embedded: bool,
    /// Whether it is a whole number or text.
    pub is_int_or_string: bool,
    /// How it is divided among those who manage its parts.
    pub merging: Merging,
    /// What else holds of it, if anything does; most values have no limits.
    pub(super) limits: Option<Box<Limits>>,
    /// What holds of it in words of CEL.
    pub rules: Vec<Rule>,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of JSON and say it")]
pub enum Of {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

/// How a value merges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Merging {
    /// As its type says: objects member by member, lists as a whole.
    #[default]
    Granular,
    /// As a whole.
    Atomic,
    /// A list of scalars, each of which is there or not.
    Set,
    /// A list whose items are told apart by these members.
    Map(Vec<String>),
}

/// Rules about a value that hold beside its type.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the names are those of JSON Schema and say it")]
pub struct Limits {
    pub format: Option<String>,
    pub pattern: Option<Regex>,
    pub one_of_values: Option<Vec<Value>>,
    pub minimum: Option<Bound>,
    pub maximum: Option<Bound>,
    pub multiple_of: Option<f64>,
    pub length_min: Option<usize>,
    pub length_max: Option<usize>,
    pub items_min: Option<usize>,
    pub items_max: Option<usize>,
    pub items_differ: bool,
    pub properties_min: Option<usize>,
    pub properties_max: Option<usize>,
    pub required: Vec<String>,
    pub all_of: Vec<Schema>,
    pub any_of: Vec<Schema>,
    pub one_of: Vec<Schema>,
    pub not: Option<Box<Schema>>,
}

/// A smallest or greatest number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// The number.
    pub at: f64,
    /// Whether it is itself too small or too great.
    pub is_excluded: bool,
}

// === impl Schema ===

impl Schema {
    /// What the member of an object of this schema is like.
    pub fn member(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(self.additional.as_deref())
    }

    /// Whether there are rules anywhere in it.
    pub(super) fn has_rules(&self) -> bool {
        let parts = self.properties.values().chain(self.additional.as_deref()).chain(self.items.as_deref());
        !self.rules.is_empty() || parts.into_iter().any(Self::has_rules)
    }

    /// Whether objects of it have any members rather than certain ones.
    pub fn is_map(&self) -> bool {
        self.additional.is_some() && self.properties.is_empty()
    }

    /// What else holds of it.
    pub fn limits(&self) -> &Limits {
        static NONE: LazyLock<Limits> = LazyLock::new(Limits::default);
        self.limits.as_deref().unwrap_or(&NONE)
    }

    /// What the value is to be, in the words of refusals; nothing where it may be anything.
    pub(super) fn wanted(&self) -> Option<&'static str> {
        if self.is_int_or_string { Some("integer,string") } else { self.of.map(Of::name) }
    }
}

// === impl Of ===

impl Of {
    /// As schemas write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }

    /// The type of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Object, Self::Array, Self::String, Self::Integer, Self::Number, Self::Boolean]
            .into_iter()
            .find(|of| of.name() == name)
    }
}
