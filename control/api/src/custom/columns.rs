//! The columns that a definition wants to be printed.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::json_path::JsonPath;
use crate::{Heading, duration};

/// A column, ready to be filled.
#[derive(Clone, Debug)]
pub(super) struct PrinterColumn {
    written: Written,
    path: Option<JsonPath>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Written {
    name: String,
    r#type: String,
    format: String,
    description: String,
    priority: i32,
    json_path: String,
}

const NAME: Heading<'static> = Heading {
    name: "Name",
    kind: "string",
    format: "name",
    description: "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names",
    priority: 0,
};
const CREATED: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// The columns that are written, or the one that there is where none are.
pub(super) fn compile(written: &[Value]) -> Vec<PrinterColumn> {
    if written.is_empty() {
        return vec![PrinterColumn::new(Written {
            name: "Age".into(),
            r#type: "date".into(),
            description: CREATED.into(),
            json_path: ".metadata.creationTimestamp".into(),
            ..Written::default()
        })];
    }
    written.iter().filter_map(|column| Written::deserialize(column).ok()).map(PrinterColumn::new).collect()
}

/// The headings of a table with these columns; the name comes first.
pub(super) fn headings(columns: &[PrinterColumn]) -> Vec<Heading<'_>> {
    let told = columns.iter().map(|PrinterColumn { written, .. }| Heading {
        name: &written.name,
        kind: &written.r#type,
        format: &written.format,
        description: &written.description,
        priority: written.priority,
    });
    std::iter::once(NAME).chain(told).collect()
}

/// The cells of one row.
pub(super) fn cells(columns: &[PrinterColumn], name: &str, object: &Value, now: Timestamp) -> Vec<Value> {
    std::iter::once(name.into()).chain(columns.iter().map(|column| column.cell(object, now))).collect()
}

// === impl PrinterColumn ===

impl PrinterColumn {
    fn new(written: Written) -> Self {
        let path = JsonPath::parse(&written.json_path).ok();
        Self { written, path }
    }

    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let found = self.path.as_ref().and_then(|path| path.find(object).first().copied());
        match (self.written.r#type.as_str(), found) {
            (_, None | Some(Value::Null)) => Value::Null,
            ("string", Some(Value::String(text))) => text.as_str().into(),
            ("string", Some(other)) => other.to_string().into(),
            ("integer", Some(Value::Number(number))) => {
                number.as_i64().or_else(|| number.as_f64().map(|number| number as i64)).into()
            }
            ("number", Some(number @ Value::Number(_))) => number.clone(),
            ("boolean", Some(truth @ Value::Bool(_))) => truth.clone(),
            ("date", Some(Value::String(text))) => match text.parse::<Timestamp>() {
                Ok(time) => duration::age(Some(time), now).into(),
                Err(_) => "<invalid>".into(),
            },
            _ => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_of_the_type_that_is_asked_for() {
        let column = |of: &str, path: &str| json!({"name": path, "type": of, "jsonPath": path});
        let columns = compile(&[
            column("string", ".a"),
            column("string", ".list"),
            column("integer", ".b"),
            column("integer", ".a"),
            column("boolean", ".c"),
            column("date", ".at"),
            column("date", ".a"),
            column("string", ".missing"),
        ]);
        let object = json!({"a": "x", "b": 2.7, "c": true, "at": "2026-11-21T05:13:14Z", "list": ["p", 1]});
        let now = "2026-11-21T05:18:17Z".parse().expect("a time");
        assert_eq!(
            json!(cells(&columns, "n", &object, now)),
            json!(["n", "x", "[\"p\",1]", 2, null, true, "5m3s", "<invalid>", null])
        );
        assert_eq!(headings(&columns).len(), 9);
        assert_eq!(headings(&compile(&[])).last().map(|heading| heading.name), Some("Age"));
    }
}
