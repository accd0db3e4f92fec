//! Values: what expressions are computed over. Objects and lists that came as JSON stay where they are and are borrowed.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value as Json};

use super::access::Access;
use super::budget::Fault;
use super::functions::formats::Format;
use super::functions::urls::Url;
use super::functions::versions::Version;
use super::text;
use super::types::Type;
use crate::quantity::Quantity;

/// A value.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are the language's own and say it")]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Arc<[u8]>),
    Timestamp(Timestamp),
    Duration(SignedDuration),
    List(Arc<[Value<'a>]>),
    Map(Arc<BTreeMap<Key, Value<'a>>>),
    /// A list of JSON, and what its elements are.
    Array(&'a [Json], Type),
    /// An object of JSON, and what it is: an object, a map, or anything.
    Members(&'a Map<String, Json>, Type),
    Optional(Option<Arc<Value<'a>>>),
    /// A type, by its name.
    Type(Text<'a>),
    #[doc(hidden)]
    Url(Arc<Url>),
    Ip(IpAddr),
    Cidr(IpNet),
    Quantity(Quantity),
    #[doc(hidden)]
    Version(Arc<Version>),
    #[doc(hidden)]
    Format(Format),
    #[doc(hidden)]
    Access(Arc<Access<'a>>),
}

/// Text that is borrowed or shared, never copied.
#[derive(Clone)]
pub enum Text<'a> {
    /// From the JSON.
    Borrowed(&'a str),
    /// From the expression, or made by it.
    Shared(Arc<str>),
}

/// What a map is looked up by. Numbers are equal whatever their type.
#[derive(Clone, Debug)]
pub enum Key {
    #[doc(hidden)]
    Bool(bool),
    #[doc(hidden)]
    Int(i64),
    #[doc(hidden)]
    Uint(u64),
    #[doc(hidden)]
    String(Arc<str>),
}

/// Values inside values; JSON is read no deeper than this, and expressions nest no deeper either.
const DEPTH_MAX: usize = 400;

// === impl Value ===

impl<'a> Value<'a> {
    /// The JSON as a value of a type. What does not fit its declaration is what it is.
    pub fn of(json: &'a Json, declared: &Type) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i64(), declared) {
                (Some(value), Type::Double) => Self::Double(value as f64),
                (Some(value), _) => Self::Int(value),
                (None, _) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(said) => {
                let special = match declared {
                    Type::Timestamp => time(said).map(Self::Timestamp),
                    Type::Duration => text::duration(said).map(Self::Duration),
                    Type::Bytes => STANDARD.decode(said).ok().map(|bytes| Self::Bytes(bytes.into())),
                    _ => None,
                };
                special.unwrap_or(Self::String(Text::Borrowed(said)))
            }
            Json::Array(elements) => match declared {
                Type::List(element) => Self::Array(elements, Type::clone(element)),
                _ => Self::Array(elements, Type::Dyn),
            },
            Json::Object(members) => match declared {
                Type::Object(_) | Type::Map(..) => Self::Members(members, declared.clone()),
                _ => Self::Members(members, Type::Dyn),
            },
        }
    }

    /// Text.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::String(Text::Shared(text.into()))
    }

    pub(super) fn list(elements: Vec<Self>) -> Self {
        Self::List(elements.into())
    }

    pub(super) fn some(value: Self) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    pub(super) const NONE: Self = Self::Optional(None);

    /// What it says, if it says yes or no.
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// What it says, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is nothing.
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The name of its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::List(_) | Self::Array(..) => "list",
            Self::Map(_) | Self::Members(..) => "map",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Url(_) => "kubernetes.URL",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Version(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Access(access) => access.type_name(),
        }
    }

    /// How many parts it has, where that is a question.
    pub(super) fn size(&self) -> Option<usize> {
        Some(match self {
            Self::String(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(elements) => elements.len(),
            Self::Array(elements, _) => elements.len(),
            Self::Map(entries) => entries.len(),
            Self::Members(members, _) => members.len(),
            _ => return None,
        })
    }

    /// The elements of a list, one after the other.
    pub(super) fn elements(&self) -> Option<Elements<'_, 'a>> {
        match self {
            Self::List(elements) => Some(Elements::Values(elements.iter())),
            Self::Array(elements, declared) => Some(Elements::Json(elements.iter(), declared)),
            _ => None,
        }
    }

    /// The element of a list at a place.
    pub(super) fn element(&self, at: usize) -> Option<Self> {
        match self {
            Self::List(elements) => elements.get(at).cloned(),
            Self::Array(elements, declared) => elements.get(at).map(|json| Self::of(json, declared)),
            _ => None,
        }
    }

    /// The keys of a map.
    pub(super) fn keys(&self) -> Option<Vec<Self>> {
        match self {
            Self::Map(entries) => Some(entries.keys().map(Key::value).collect()),
            Self::Members(members, _) => Some(members.keys().map(|key| Self::String(Text::Borrowed(key))).collect()),
            _ => None,
        }
    }

    const fn is_map(&self) -> bool {
        matches!(self, Self::Map(_) | Self::Members(..))
    }

    /// What a map holds under a key.
    pub(super) fn entry(&self, key: &Self) -> Option<Self> {
        match self {
            Self::Map(entries) => entries.get(&Key::of(key)?).cloned(),
            Self::Members(members, declared) => match declared {
                Type::Object(_) => self.field(key.as_str()?),
                Type::Map(_, holds) => members.get(key.as_str()?).map(|json| Self::of(json, holds)),
                _ => members.get(key.as_str()?).map(|json| Self::of(json, &Type::Dyn)),
            },
            _ => None,
        }
    }

    /// What an object or a map holds under a name.
    pub(super) fn field(&self, name: &str) -> Option<Self> {
        match self {
            Self::Members(members, Type::Object(object)) => {
                let field = object.fields.get(name)?;
                members.get(&field.name).map(|json| Self::of(json, &field.holds))
            }
            Self::Members(members, Type::Map(_, holds)) => members.get(name).map(|json| Self::of(json, holds)),
            Self::Members(members, _) => members.get(name).map(|json| Self::of(json, &Type::Dyn)),
            Self::Map(entries) => entries.get(&Key::String(name.into())).cloned(),
            _ => None,
        }
    }

    /// Whether both say the same. Values of different types do not, but for numbers.
    pub(super) fn equals(&self, other: &Self, spend: &mut dyn FnMut(u64) -> Result<(), Fault>) -> Result<bool, Fault> {
        self.equal(other, spend, 0)
    }

    fn equal(
        &self,
        other: &Self,
        spend: &mut dyn FnMut(u64) -> Result<(), Fault>,
        depth: usize,
    ) -> Result<bool, Fault> {
        if depth > DEPTH_MAX {
            return Err(Fault::error("values are nested too deeply to be compared"));
        }
        spend(1)?;
        if let (Some(one), Some(two)) = (self.elements(), other.elements()) {
            if self.size() != other.size() {
                return Ok(false);
            }
            for (one, two) in one.zip(two) {
                if !one.equal(&two, spend, depth + 1)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        if self.is_map() && other.is_map() {
            if self.size() != other.size() {
                return Ok(false);
            }
            for key in self.keys().into_iter().flatten() {
                match (self.entry(&key), other.entry(&key)) {
                    (Some(one), Some(two)) if one.equal(&two, spend, depth + 1)? => {}
                    _ => return Ok(false),
                }
            }
            return Ok(true);
        }
        Ok(match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(one), Self::Bool(two)) => one == two,
            (Self::String(one), Self::String(two)) | (Self::Type(one), Self::Type(two)) => {
                spend(one.len().min(two.len()) as u64 / 10)?;
                **one == **two
            }
            (Self::Bytes(one), Self::Bytes(two)) => {
                spend(one.len().min(two.len()) as u64 / 10)?;
                one == two
            }
            (Self::Timestamp(one), Self::Timestamp(two)) => one == two,
            (Self::Duration(one), Self::Duration(two)) => one == two,
            (Self::Optional(one), Self::Optional(two)) => match (one, two) {
                (Some(one), Some(two)) => one.equal(two, spend, depth + 1)?,
                (one, two) => one.is_none() && two.is_none(),
            },
            (Self::Url(one), Self::Url(two)) => one == two,
            (Self::Ip(one), Self::Ip(two)) => one == two,
            (Self::Cidr(one), Self::Cidr(two)) => one == two,
            (Self::Quantity(one), Self::Quantity(two)) => one == two,
            (Self::Version(one), Self::Version(two)) => one == two,
            (Self::Format(one), Self::Format(two)) => one == two,
            (one, two) => numeric(one, two) == Some(Ordering::Equal),
        })
    }

    /// Which is less; nothing if that is no question.
    pub(super) fn compared(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(one), Self::Bool(two)) => Some(one.cmp(two)),
            (Self::String(one), Self::String(two)) => Some(one.cmp(two)),
            (Self::Bytes(one), Self::Bytes(two)) => Some(one.cmp(two)),
            (Self::Timestamp(one), Self::Timestamp(two)) => Some(one.cmp(two)),
            (Self::Duration(one), Self::Duration(two)) => Some(one.cmp(two)),
            (one, two) => numeric(one, two),
        }
    }

    /// Whether both are things that can be put in order, though these two may have none: one is not a number.
    pub(super) const fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Uint(_) | Self::Double(_))
    }
}

/// How numbers of any types stand to each other.
fn numeric(one: &Value<'_>, two: &Value<'_>) -> Option<Ordering> {
    let whole = |value: &Value<'_>| match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    };
    match (whole(one), whole(two)) {
        (Some(one), Some(two)) => Some(one.cmp(&two)),
        (Some(one), None) => match two {
            Value::Double(two) => beside(*two, one).map(Ordering::reverse),
            _ => None,
        },
        (None, Some(two)) => match one {
            Value::Double(one) => beside(*one, two),
            _ => None,
        },
        (None, None) => match (one, two) {
            (Value::Double(one), Value::Double(two)) => one.partial_cmp(two),
            _ => None,
        },
    }
}

/// How a double stands to a whole number, without losing digits of either.
fn beside(double: f64, whole: i128) -> Option<Ordering> {
    const BEYOND: f64 = 1e19;
    match double {
        double if double.is_nan() => None,
        double if double > BEYOND => Some(Ordering::Greater),
        double if double < -BEYOND => Some(Ordering::Less),
        double => {
            let floor = double.floor();
            let order = (floor as i128).cmp(&whole);
            Some(if order == Ordering::Equal && double > floor { Ordering::Greater } else { order })
        }
    }
}

/// A time of RFC 3339, between the years 1 and 9999.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    // The form first: the library also reads others.
    let bytes = text.as_bytes();
    let is_digits =
        |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    let shape = is_digits(0..4)
        && bytes.get(4) == Some(&b'-')
        && is_digits(5..7)
        && bytes.get(7) == Some(&b'-')
        && is_digits(8..10)
        && bytes.get(10) == Some(&b'T')
        && is_digits(11..13)
        && bytes.get(13) == Some(&b':')
        && is_digits(14..16)
        && bytes.get(16) == Some(&b':')
        && is_digits(17..19);
    let zoned = text.ends_with('Z')
        || text.len() > 24 && text.is_ascii() && {
            let offset = &bytes[text.len() - 6..];
            matches!(offset[0], b'+' | b'-') && offset[3] == b':'
        };
    if !shape || !zoned {
        return None;
    }
    within(text.parse().ok()?)
}

/// The time, if the language has it: the library ends two days before the language does.
pub(super) fn within(time: Timestamp) -> Option<Timestamp> {
    const FIRST_SECOND: i64 = -62_135_596_800;
    (time.as_second() >= FIRST_SECOND).then_some(time)
}

/// The elements of a list.
pub(super) enum Elements<'s, 'a> {
    Values(std::slice::Iter<'s, Value<'a>>),
    Json(std::slice::Iter<'a, Json>, &'s Type),
}

impl<'a> Iterator for Elements<'_, 'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        match self {
            Self::Values(values) => values.next().cloned(),
            Self::Json(elements, declared) => elements.next().map(|json| Value::of(json, declared)),
        }
    }
}

// === impl Text ===

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

// === impl Key ===

impl Key {
    pub(super) fn of(value: &Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::Int(*value),
            Value::Uint(value) => Self::Uint(*value),
            // A whole double finds the whole number that it is.
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 9e15 => Self::Int(*value as i64),
            Value::String(Text::Shared(text)) => Self::String(text.clone()),
            Value::String(text) => Self::String((**text).into()),
            _ => return None,
        })
    }

    pub(super) fn value(&self) -> Value<'static> {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Uint(value) => Value::Uint(*value),
            Self::String(text) => Value::String(Text::Shared(text.clone())),
        }
    }

    fn number(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(i128::from(*value)),
            Self::Uint(value) => Some(i128::from(*value)),
            _ => None,
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |key: &Self| match key {
            Self::Bool(_) => 0,
            Self::Int(_) | Self::Uint(_) => 1,
            Self::String(_) => 2,
        };
        match (self, other) {
            (Self::Bool(one), Self::Bool(two)) => one.cmp(two),
            (Self::String(one), Self::String(two)) => one.cmp(two),
            (one, two) => rank(one).cmp(&rank(two)).then_with(|| one.number().cmp(&two.number())),
        }
    }
}
