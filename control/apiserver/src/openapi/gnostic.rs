//! A document of OpenAPI v2 as protobuf: the only form in which kubectl reads one.
//!
//! The messages are `openapi.v2.Document` and what it holds, as the gnostic project numbers their fields. What Kubernetes' own
//! clients do not read of a document is not in ours either.

use serde_json::{Map, Value};

/// A message under way.
#[derive(Default)]
struct Message(Vec<u8>);

/// Fields whose values are length-prefixed: text and messages.
const LENGTH_PREFIXED: u64 = 2;

/// The document as bytes.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let info = Message::default().text(1, &document["info"]["title"]).text(2, &document["info"]["version"]);
    let paths = named(&document["paths"], 2, path_item);
    let definitions = named(&document["definitions"], 1, schema);
    Message::default().text(1, &document["swagger"]).message(2, &info).message(8, &paths).message(9, &definitions).0
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A map, as protobuf has them here: pairs of a name and a value, all in the field `tag`.
fn named(map: &Value, tag: u64, encode: fn(&Value) -> Message) -> Message {
    members(map).fold(Message::default(), |told, (name, value)| {
        told.message(tag, &Message::default().string(1, name).message(2, &encode(value)))
    })
}

fn path_item(item: &Value) -> Message {
    let operations = [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("patch", 8)];
    operations.into_iter().fold(Message::default(), |told, (method, tag)| match item.get(method) {
        Some(of) => told.message(tag, &operation(of)),
        None => told,
    })
}

fn operation(of: &Value) -> Message {
    let told = items(&of["produces"]).fold(Message::default(), |told, media| told.text(6, media));
    let told = items(&of["consumes"]).fold(told, |told, media| told.text(7, media));
    let told =
        items(&of["parameters"]).fold(told, |told, of| told.message(8, &Message::default().message(1, &parameter(of))));
    extended(told.message(9, &named(&of["responses"], 1, response)), of, 13)
}

fn parameter(of: &Value) -> Message {
    if of["in"] == "body" {
        let body = Message::default().text(2, &of["name"]).text(3, &of["in"]).flag(4, &of["required"]);
        return Message::default().message(1, &body.message(5, &schema(&of["schema"])));
    }
    let query = Message::default().text(2, &of["in"]).text(4, &of["name"]).text(6, &of["type"]);
    Message::default().message(2, &Message::default().message(3, &query.flag(18, &of["uniqueItems"])))
}

fn response(of: &Value) -> Message {
    let item = Message::default().message(1, &schema(&of["schema"]));
    Message::default().message(1, &Message::default().text(1, &of["description"]).message(2, &item))
}

fn schema(of: &Value) -> Message {
    let told = Message::default().text(1, &of["$ref"]).text(2, &of["format"]).text(4, &of["description"]);
    let told = items(&of["required"]).fold(told, |told, name| told.text(19, name));
    let told = items(&of["enum"]).fold(told, |told, value| told.message(20, &yaml(value)));
    let told = match &of["additionalProperties"] {
        Value::Bool(_) => told.message(21, &Message::default().flag(2, &of["additionalProperties"])),
        Value::Object(_) => told.message(21, &Message::default().message(1, &schema(&of["additionalProperties"]))),
        _ => told,
    };
    let told = match &of["type"] {
        Value::Null => told,
        of => told.message(22, &Message::default().text(1, of)),
    };
    let told = match &of["items"] {
        Value::Null => told,
        of => told.message(23, &Message::default().message(1, &schema(of))),
    };
    let told = match &of["properties"] {
        Value::Null => told,
        of => told.message(25, &named(of, 1, schema)),
    };
    extended(told, of, 31)
}

/// What Kubernetes adds to OpenAPI.
fn extended(told: Message, of: &Value, tag: u64) -> Message {
    let none = Map::new();
    let extensions = of.as_object().unwrap_or(&none).iter().filter(|(name, _)| name.starts_with("x-"));
    extensions.fold(told, |told, (name, value)| {
        told.message(tag, &Message::default().string(1, name).message(2, &yaml(value)))
    })
}

/// Any value: written as YAML, of which JSON is a part.
fn yaml(value: &Value) -> Message {
    Message::default().string(2, &value.to_string())
}

// === impl Message ===

impl Message {
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn bytes(mut self, tag: u64, bytes: &[u8]) -> Self {
        self.number(tag << 3 | LENGTH_PREFIXED);
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn message(self, tag: u64, message: &Self) -> Self {
        self.bytes(tag, &message.0)
    }

    fn string(self, tag: u64, text: &str) -> Self {
        self.bytes(tag, text.as_bytes())
    }

    /// A text that may be missing.
    fn text(self, tag: u64, text: &Value) -> Self {
        match text.as_str() {
            Some(text) => self.string(tag, text),
            None => self,
        }
    }

    /// A truth that may be missing; what is false is left out.
    fn flag(mut self, tag: u64, flag: &Value) -> Self {
        if flag.as_bool() == Some(true) {
            self.number(tag << 3);
            self.number(1);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(message: Message, expect: &[u8]) {
        assert_eq!(message.0, expect);
    }

    #[test]
    fn text_messages_and_truths_are_numbered_fields() {
        check(schema(&json!({"$ref": "#/d"})), b"\x0a\x03#/d");
        check(schema(&json!({"type": "string"})), b"\xb2\x01\x08\x0a\x06string");
        check(schema(&json!({"additionalProperties": true})), b"\xaa\x01\x02\x10\x01");
        check(schema(&json!({"x-a": ["b"]})), b"\xfa\x01\x0e\x0a\x03x-a\x12\x07\x12\x05[\"b\"]");
    }

    #[test]
    fn long_texts_have_long_lengths() {
        let told = Message::default().string(1, &"a".repeat(300)).0;
        assert_eq!((told.len(), &told[..3]), (303, &b"\x0a\xac\x02"[..]));
    }

    #[test]
    fn a_query_parameter_is_told_as_one() {
        let query = parameter(&json!({"name": "n", "in": "query", "type": "string"}));
        check(query, b"\x12\x14\x1a\x12\x12\x05query\x22\x01n\x32\x06string");
    }
}
