//! Objects as clients want them: whole, as a table for people, or their metadata alone.

use api::{Kind, Object, StatusError};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::list::Page;
use crate::negotiate::Form;
use crate::query::Include;

/// How objects are presented in one answer.
#[derive(Clone, Copy)]
pub(crate) struct Presenter {
    /// The kind of the objects.
    pub(crate) kind: &'static dyn Kind,
    /// The form asked for.
    pub(crate) form: Form,
    /// What a table's rows carry.
    pub(crate) include: Include,
    /// Now: ages are told, not times.
    pub(crate) now: Timestamp,
}

/// Whether a table tells what its columns are; in a watch only the first does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Headings {
    Told,
    Known,
}

// === impl Presenter ===

impl Presenter {
    /// One object.
    pub(crate) fn one(&self, object: &Object) -> Result<Vec<u8>, StatusError> {
        self.one_of(object, Headings::Told)
    }

    /// One object of several.
    pub(crate) fn one_of(&self, object: &Object, headings: Headings) -> Result<Vec<u8>, StatusError> {
        match self.form {
            Form::Json | Form::Discovery(_) => Ok(object.to_json()),
            Form::Partial => partial(object),
            Form::Table(version) => {
                let metadata = json!({"resourceVersion": object.revision().to_string()});
                self.table(version, metadata, std::slice::from_ref(object), headings)
            }
        }
    }

    /// A page of a list.
    pub(crate) fn list(&self, page: &Page) -> Result<Vec<u8>, StatusError> {
        let mut metadata = json!({"resourceVersion": page.revision.to_string()});
        if let Some(token) = &page.continuation {
            metadata["continue"] = token.as_str().into();
        }
        if let Some(remaining) = page.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        match self.form {
            Form::Json | Form::Discovery(_) => {
                let names = self.kind.names();
                let kind = format!("{}List", names.kind);
                items(&kind, &names.api_version(), &metadata, &page.objects, |object, out| {
                    object.write_json(out);
                    Ok(())
                })
            }
            Form::Partial => {
                items("PartialObjectMetadataList", "meta.k8s.io/v1", &metadata, &page.objects, |object, out| {
                    out.extend(partial(object)?);
                    Ok(())
                })
            }
            Form::Table(version) => self.table(version, metadata, &page.objects, Headings::Told),
        }
    }

    /// How far a watch is: an object that says nothing but its revision.
    pub(crate) fn bookmark(&self, revision: api::Revision, initial_end: bool) -> Value {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let names = self.kind.names();
        match self.form {
            Form::Json | Form::Discovery(_) => {
                json!({"kind": names.kind, "apiVersion": names.api_version(), "metadata": metadata})
            }
            Form::Partial => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            Form::Table(version) => {
                let object =
                    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata});
                json!({
                    "kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"),
                    "metadata": {"resourceVersion": revision.to_string()}, "columnDefinitions": null,
                    "rows": [{"cells": [], "object": object}],
                })
            }
        }
    }

    fn table(
        &self,
        version: &str,
        metadata: Value,
        objects: &[Object],
        headings: Headings,
    ) -> Result<Vec<u8>, StatusError> {
        let rows: Result<Vec<Value>, StatusError> = objects.iter().map(|object| self.row(object)).collect();
        let columns: Option<Vec<Value>> = (headings == Headings::Told).then(|| {
            let columns = self.kind.columns().iter();
            columns
                .map(|column| {
                    json!({
                        "name": column.name, "type": column.kind, "format": column.format,
                        "description": column.description, "priority": column.priority,
                    })
                })
                .collect()
        });
        let table = json!({
            "kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": metadata,
            "columnDefinitions": columns, "rows": rows?,
        });
        serde_json::to_vec(&table).map_err(StatusError::internal)
    }

    fn row(&self, object: &Object) -> Result<Value, StatusError> {
        let mut row = json!({"cells": self.kind.cells(object, self.now)});
        match self.include {
            Include::None => {}
            Include::Metadata => {
                row["object"] = serde_json::from_slice(&partial(object)?).map_err(StatusError::internal)?;
            }
            Include::Object => row["object"] = object.to_value().map_err(StatusError::internal)?,
        }
        Ok(row)
    }
}

fn partial(object: &Object) -> Result<Vec<u8>, StatusError> {
    #[derive(Deserialize)]
    struct Described<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
    }
    let bytes = object.to_json();
    let described: Described<'_> = serde_json::from_slice(&bytes).map_err(StatusError::internal)?;
    let mut out = br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#.to_vec();
    out.extend_from_slice(described.metadata.get().as_bytes());
    out.push(b'}');
    Ok(out)
}

fn items(
    kind: &str,
    api_version: &str,
    metadata: &Value,
    objects: &[Object],
    write: impl Fn(&Object, &mut Vec<u8>) -> Result<(), StatusError>,
) -> Result<Vec<u8>, StatusError> {
    let size: usize = objects.iter().map(|object| object.body().len() + 48).sum();
    let mut out = Vec::with_capacity(size + 256);
    out.extend_from_slice(
        format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{metadata},"items":["#).as_bytes(),
    );
    for (at, object) in objects.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(object, &mut out)?;
    }
    out.extend_from_slice(b"]}\n");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{Revision, kinds};

    fn presenter(form: Form) -> Presenter {
        let kind = api::catalog::by_kind(kinds::CONFIG_MAP).expect("in the catalog");
        Presenter { kind, form, include: Include::Metadata, now: Timestamp::UNIX_EPOCH }
    }

    fn page() -> Page {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}, "data": {"a": "b"}});
        let object = Object::from_value(kinds::CONFIG_MAP, &value).expect("an object").at(Revision(3));
        Page { objects: vec![object], revision: Revision(9), continuation: Some("next".into()), remaining: Some(2) }
    }

    fn list(form: Form) -> Value {
        serde_json::from_slice(&presenter(form).list(&page()).expect("presentable")).expect("JSON")
    }

    #[test]
    fn a_list_carries_its_revision_and_its_objects() {
        let list = list(Form::Json);
        assert_eq!(list["kind"], "ConfigMapList");
        assert_eq!(list["metadata"], json!({"resourceVersion": "9", "continue": "next", "remainingItemCount": 2}));
        assert_eq!(list["items"][0]["metadata"]["resourceVersion"], "3");
        assert_eq!(list["items"][0]["data"]["a"], "b");
    }

    #[test]
    fn metadata_alone_leaves_the_rest_out() {
        let list = list(Form::Partial);
        assert_eq!(list["items"][0]["metadata"]["name"], "c");
        assert_eq!(list["items"][0].get("data"), None);
    }

    #[test]
    fn a_table_has_a_cell_for_each_column() {
        let table = list(Form::Table("v1"));
        assert_eq!(table["apiVersion"], "meta.k8s.io/v1");
        let columns = table["columnDefinitions"].as_array().expect("columns").len();
        assert_eq!(table["rows"][0]["cells"].as_array().map(Vec::len), Some(columns));
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    }
}
