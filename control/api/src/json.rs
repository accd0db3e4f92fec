//! JSON text as a tree, with the paths of members that are there twice: a tree keeps only the last, and people who wrote both
//! want to know.

mod go;

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

pub use go::complaint;

/// Text, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The tree; the last of equal members counts.
    pub value: Value,
    /// The paths of members that are there more than once.
    pub duplicates: Vec<String>,
}

/// Reads JSON text; what is none is told of as Go tells it.
pub fn parse(text: &[u8]) -> Result<Parsed, String> {
    // Where the two disagree on what JSON is, the reader's own words have to do.
    read(text).map_err(|why| complaint(text).unwrap_or_else(|| why.to_string()))
}

fn read(text: &[u8]) -> Result<Parsed, serde_json::Error> {
    let mut duplicates = Vec::new();
    let mut path = String::new();
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Node { path: &mut path, duplicates: &mut duplicates }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(Parsed { value, duplicates })
}

/// Reads one value at a path.
struct Node<'a> {
    path: &'a mut String,
    duplicates: &'a mut Vec<String>,
}

// === impl Node ===

impl Node<'_> {
    /// The node one step down; its step is on the path already.
    fn child(&mut self) -> Node<'_> {
        Node { path: self.path, duplicates: self.duplicates }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        let here = self.path.len();
        loop {
            self.path.extend(["[", &read.len().to_string(), "]"]);
            let item = items.next_element_seed(self.child());
            self.path.truncate(here);
            match item? {
                Some(item) => read.push(item),
                None => return Ok(Value::Array(read)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        let here = self.path.len();
        while let Some(name) = members.next_key::<String>()? {
            if here > 0 {
                self.path.push('.');
            }
            self.path.push_str(&name);
            if read.contains_key(&name) {
                self.duplicates.push(self.path.clone());
            }
            let value = members.next_value_seed(self.child());
            self.path.truncate(here);
            read.insert(name, value?);
        }
        Ok(Value::Object(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_that_are_there_twice_are_found() {
        let parsed = parse(br#"{"spec": {"a": [1, {"b": 1, "b": 2.5}], "c": null, "c": "x"}}"#).expect("json");
        assert_eq!(parsed.value, json!({"spec": {"a": [1, {"b": 2.5}], "c": "x"}}));
        assert_eq!(parsed.duplicates, ["spec.a[1].b", "spec.c"]);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        assert!(parse(b"{} x").is_err() && parse(b"{").is_err());
    }
}
