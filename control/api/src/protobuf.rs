//! Protobuf request bodies, which kubectl and other Go clients send for everything they build themselves.
//!
//! A body is an envelope (`k8s\0`, then what the object is and its bytes); the bytes are read by the same table of fields as
//! JSON and become the JSON the client meant. Answers are always JSON, so nothing here writes protobuf.

mod wire;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::StatusError;
use crate::schema::{self, Field, Message, Shape, Type};
use wire::{Payload, Reader};

/// What an envelope begins with.
const MAGIC: &[u8] = b"k8s\0";

/// Deeper than any type goes, but not deep enough to exhaust the stack.
const DEPTH_MAX: u32 = 64;

/// Bytes that are not what they should be.
#[derive(Debug, thiserror::Error)]
enum Malformed {
    /// The bytes end early, or a length or tag makes no sense.
    #[error("proto: cannot parse invalid wire-format data")]
    Wire,
    /// A field holds another kind of value.
    #[error("proto: wrong wireType for field {0}")]
    WireType(&'static str),
    /// Text is not UTF-8.
    #[error("proto: field {0} contains invalid UTF-8")]
    Text(&'static str),
    /// Embedded JSON is not JSON.
    #[error("field {0} holds invalid JSON")]
    Json(&'static str),
    /// A time outside the calendar.
    #[error("field {0} holds no time")]
    Time(&'static str),
    /// Messages within messages without end.
    #[error("messages are nested too deeply")]
    Depth,
}

/// Whether a body is an envelope.
pub fn is_envelope(body: &[u8]) -> bool {
    body.starts_with(MAGIC)
}

/// The object in an envelope, as JSON with its `apiVersion` and `kind`.
pub fn decode(body: &[u8]) -> Result<Value, StatusError> {
    let Some(body) = body.strip_prefix(MAGIC) else {
        return Err(StatusError::bad_request(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]",
        ));
    };
    let refuse = |why: Malformed| StatusError::bad_request(why.to_string());
    let envelope = Envelope::read(body).map_err(refuse)?;
    let Some(message) = message_of(&envelope.api_version, &envelope.kind) else {
        let what = format!("no kind {:?} is registered for version {:?}", envelope.kind, envelope.api_version);
        return Err(StatusError::bad_request(what));
    };
    let mut members = members(message, envelope.raw, 0).map_err(refuse)?;
    members.insert("apiVersion".into(), envelope.api_version.into());
    members.insert("kind".into(), envelope.kind.into());
    Ok(Value::Object(members))
}

/// The message of a kind; options and statuses are the same in every group.
fn message_of(api_version: &str, kind: &str) -> Option<&'static Message> {
    if matches!(kind, "DeleteOptions" | "Status") {
        return schema::message(&format!("apimachinery.pkg.apis.meta.v1.{kind}"));
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    schema::message(&schema::message_name(group, version, kind))
}

struct Envelope<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
}

// === impl Envelope ===

impl<'a> Envelope<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut found = Self { api_version: String::new(), kind: String::new(), raw: &[] };
        for field in Reader::new(body) {
            match field? {
                (1, Payload::Bytes(identity)) => {
                    for field in Reader::new(identity) {
                        match field? {
                            (1, Payload::Bytes(text)) => found.api_version = string("apiVersion", text)?,
                            (2, Payload::Bytes(text)) => found.kind = string("kind", text)?,
                            _ => {}
                        }
                    }
                }
                (2, Payload::Bytes(raw)) => found.raw = raw,
                _ => {}
            }
        }
        Ok(found)
    }
}

fn members(message: &Message, body: &[u8], depth: u32) -> Result<Map<String, Value>, Malformed> {
    if depth > DEPTH_MAX {
        return Err(Malformed::Depth);
    }
    let mut found = Map::new();
    for field in Reader::new(body) {
        let (tag, payload) = field?;
        // Fields of newer clients are skipped, as in JSON.
        let Some(field) = message.tags.get(&tag) else { continue };
        read_field(field, payload, depth, &mut found)?;
    }
    Ok(found)
}

fn read_field(
    field: &Field,
    payload: Payload<'_>,
    depth: u32,
    found: &mut Map<String, Value>,
) -> Result<(), Malformed> {
    match field.shape {
        Shape::One if field.inline => {
            let Value::Object(inner) = value(field, payload, depth)? else { return Ok(()) };
            found.extend(inner);
        }
        Shape::One => {
            let value = value(field, payload, depth)?;
            // Go writes zero values of fields that are not pointers.
            if field.is_told(&value) {
                found.insert(field.name.into(), value);
            }
        }
        Shape::List => {
            let list = found.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(items) = list else { return Ok(()) };
            match (field.of, payload) {
                (Type::Int32 | Type::Int64, Payload::Bytes(packed)) => {
                    let numbers = wire::varints(packed).map(|number| number.map(|it| Value::from(it as i64)));
                    items.extend(numbers.collect::<Result<Vec<_>, _>>()?);
                }
                (_, payload) => items.push(value(field, payload, depth)?),
            }
        }
        Shape::Map => {
            let Payload::Bytes(entry) = payload else { return Err(Malformed::WireType(field.name)) };
            let mut key = String::new();
            let mut held = None;
            for part in Reader::new(entry) {
                match part? {
                    (1, Payload::Bytes(text)) => key = string(field.name, text)?,
                    (2, payload) => held = Some(value(field, payload, depth)?),
                    _ => {}
                }
            }
            let entries = found.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(entries) = entries {
                entries.insert(key, held.unwrap_or_else(|| "".into()));
            }
        }
    }
    Ok(())
}

fn value(field: &Field, payload: Payload<'_>, depth: u32) -> Result<Value, Malformed> {
    let name = field.name;
    match (field.of, payload) {
        (Type::Bool, Payload::Number(number)) => Ok((number != 0).into()),
        // Negative numbers of 32 bits are written with all 64.
        (Type::Int32 | Type::Int64, Payload::Number(number)) => Ok((number as i64).into()),
        (Type::String, Payload::Bytes(text)) => string(name, text).map(Value::String),
        (Type::Bytes, Payload::Bytes(bytes)) => Ok(BASE64.encode(bytes).into()),
        (Type::Quantity, Payload::Bytes(body)) => {
            let mut text = "0".to_owned();
            for part in Reader::new(body) {
                if let (1, Payload::Bytes(written)) = part? {
                    text = string(name, written)?;
                }
            }
            Ok(text.into())
        }
        (Type::Time | Type::MicroTime, Payload::Bytes(body)) => time(field, body),
        (Type::IntOrString, Payload::Bytes(body)) => int_or_string(name, body),
        (Type::Any, Payload::Bytes(body)) => {
            let mut found = Value::Null;
            for part in Reader::new(body) {
                if let (1, Payload::Bytes(text)) = part? {
                    found = serde_json::from_slice(text).map_err(|_| Malformed::Json(name))?;
                }
            }
            Ok(found)
        }
        (Type::Texts, Payload::Bytes(body)) => {
            let mut texts = Vec::new();
            for part in Reader::new(body) {
                if let (1, Payload::Bytes(text)) = part? {
                    texts.push(Value::String(string(name, text)?));
                }
            }
            Ok(Value::Array(texts))
        }
        (Type::Double, Payload::Number(bits)) => {
            let number = f64::from_bits(bits);
            // Whole numbers are written as such, as they are in JSON.
            let is_whole = number.fract() == 0.0 && number.abs() < 2_f64.powi(63);
            Ok(if is_whole { (number as i64).into() } else { number.into() })
        }
        (Type::SchemaOr, Payload::Bytes(body)) => {
            let mut found = Value::Null;
            for part in Reader::new(body) {
                match part? {
                    (1, Payload::Number(allows)) if found.is_null() => found = (allows != 0).into(),
                    (1 | 2, Payload::Bytes(body)) => {
                        let message = schema::message(schema::SCHEMA).ok_or(Malformed::Wire)?;
                        found = Value::Object(members(message, body, depth + 1)?);
                    }
                    _ => {}
                }
            }
            Ok(found)
        }
        (Type::Message(inner), Payload::Bytes(body)) => {
            let message = schema::message(inner).ok_or(Malformed::Wire)?;
            members(message, body, depth + 1).map(Value::Object)
        }
        _ => Err(Malformed::WireType(name)),
    }
}

fn string(field: &'static str, text: &[u8]) -> Result<String, Malformed> {
    String::from_utf8(text.to_vec()).map_err(|_| Malformed::Text(field))
}

/// An empty message is no time.
fn time(field: &Field, body: &[u8]) -> Result<Value, Malformed> {
    let (mut seconds, mut nanos) = (None, 0);
    for part in Reader::new(body) {
        match part? {
            (1, Payload::Number(number)) => seconds = Some(number as i64),
            (2, Payload::Number(number)) => nanos = number as i32,
            _ => {}
        }
    }
    let Some(seconds) = seconds else { return Ok(Value::Null) };
    let time = Timestamp::new(seconds, nanos).map_err(|_| Malformed::Time(field.name))?;
    let format = if field.of == Type::Time { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S.%6fZ" };
    Ok(time.strftime(format).to_string().into())
}

fn int_or_string(field: &'static str, body: &[u8]) -> Result<Value, Malformed> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    for part in Reader::new(body) {
        match part? {
            (1, Payload::Number(kind)) => is_text = kind == 1,
            (2, Payload::Number(value)) => number = value as i64,
            (3, Payload::Bytes(value)) => text = string(field, value)?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

#[cfg(test)]
mod tests;
