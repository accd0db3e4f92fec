//! Objects as clients want them: whole, as a table for people, or their metadata alone.

mod listing;

use api::{Object, SharedKind, StatusError};
use axum::body::Body;
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use listing::Listing;

use crate::answer::{self, Answer, Long};
use crate::list::Page;
use crate::negotiate::Form;
use crate::query::Include;

/// How objects are presented in one answer.
#[derive(Clone)]
pub(crate) struct Presenter {
    /// The kind of the objects.
    pub(crate) kind: SharedKind,
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

/// A list whose objects are larger together is written as its client reads it. It is the limit from which answers are compressed.
const WHOLE_BYTES_MAX: usize = 128 * 1024;

/// What a list ends with; where it is all of an answer, a line ends there too.
const CLOSING: &[u8] = b"]}";

// === impl Presenter ===

impl Presenter {
    /// One object.
    pub(crate) fn one(&self, object: &Object) -> Result<Vec<u8>, StatusError> {
        self.one_of(object, Headings::Told)
    }

    /// One object of several.
    pub(crate) fn one_of(&self, object: &Object, headings: Headings) -> Result<Vec<u8>, StatusError> {
        match self.form {
            Form::Json | Form::Discovery(_) => Ok(self.kind.shown(object).to_json()),
            Form::Partial => {
                let mut out = Vec::new();
                partial(object, &mut out)?;
                Ok(out)
            }
            Form::Table(_) => {
                let metadata = json!({"resourceVersion": object.revision().to_string()});
                let mut out = self.opening(&metadata, headings);
                self.item(object, &mut out)?;
                out.extend_from_slice(CLOSING);
                Ok(out)
            }
        }
    }

    /// A page of a list: at once if it is short, else piece by piece as the client takes it.
    pub(crate) fn answer(self, page: Page) -> Result<Answer, StatusError> {
        let mut read = 0;
        let is_long = page.objects.iter().any(|object| {
            read += object.body().len();
            read > WHOLE_BYTES_MAX
        });
        if is_long {
            let mut answer = answer::typed(StatusCode::OK, answer::JSON, Body::new(Listing::new(self, page)));
            answer.extensions_mut().insert(Long);
            return Ok(answer);
        }
        let mut out = self.opening(&metadata(&page), Headings::Told);
        for (at, object) in page.objects.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            self.item(object, &mut out)?;
        }
        out.extend_from_slice(CLOSING);
        out.push(b'\n');
        Ok(answer::json(StatusCode::OK, out))
    }

    /// A list up to its first object.
    fn opening(&self, metadata: &Value, headings: Headings) -> Vec<u8> {
        let (kind, api_version, items) = match self.form {
            Form::Json | Form::Discovery(_) => {
                (self.kind.list_kind(), self.kind.names().api_version(), "\"items\"".to_owned())
            }
            Form::Partial => ("PartialObjectMetadataList".into(), "meta.k8s.io/v1".into(), "\"items\"".to_owned()),
            Form::Table(version) => {
                let columns = (headings == Headings::Told).then(|| self.columns());
                let items = format!("\"columnDefinitions\":{},\"rows\"", json!(columns));
                ("Table".into(), format!("meta.k8s.io/{version}"), items)
            }
        };
        format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{metadata},{items}:["#).into_bytes()
    }

    /// One object as an item of a list.
    fn item(&self, object: &Object, out: &mut Vec<u8>) -> Result<(), StatusError> {
        match (self.form, self.include) {
            (Form::Json | Form::Discovery(_), _) => self.kind.shown(object).write_json(out),
            (Form::Partial, _) => partial(object, out)?,
            (Form::Table(_), include) => {
                out.extend_from_slice(b"{\"cells\":");
                let cells = self.kind.cells(object, self.now);
                serde_json::to_writer(&mut *out, &cells).map_err(StatusError::internal)?;
                match include {
                    Include::None => {}
                    Include::Metadata => {
                        out.extend_from_slice(b",\"object\":");
                        partial(object, out)?;
                    }
                    Include::Object => {
                        out.extend_from_slice(b",\"object\":");
                        self.kind.shown(object).write_json(out);
                    }
                }
                out.push(b'}');
            }
        }
        Ok(())
    }

    fn columns(&self) -> Vec<Value> {
        let columns = self.kind.columns();
        columns
            .iter()
            .map(|column| {
                json!({
                    "name": column.name, "type": column.kind, "format": column.format,
                    "description": column.description, "priority": column.priority,
                })
            })
            .collect()
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
}

/// What is true of a whole list.
fn metadata(page: &Page) -> Value {
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if let Some(token) = &page.continuation {
        metadata["continue"] = token.as_str().into();
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    metadata
}

fn partial(object: &Object, out: &mut Vec<u8>) -> Result<(), StatusError> {
    #[derive(Deserialize)]
    struct Described<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
    }
    let bytes = object.to_json();
    let described: Described<'_> = serde_json::from_slice(&bytes).map_err(StatusError::internal)?;
    out.extend_from_slice(br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#);
    out.extend_from_slice(described.metadata.get().as_bytes());
    out.push(b'}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{Revision, kinds};
    use axum::body::HttpBody;
    use futures::FutureExt;
    use http_body_util::BodyExt;

    fn presenter(form: Form) -> Presenter {
        let kind = api::catalog::by_kind(kinds::CONFIG_MAP).expect("in the catalog");
        Presenter { kind: kind.into(), form, include: Include::Metadata, now: Timestamp::UNIX_EPOCH }
    }

    fn page() -> Page {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}, "data": {"a": "b"}});
        let object = Object::from_value(kinds::CONFIG_MAP, &value).expect("an object").at(Revision(3));
        Page { objects: vec![object], revision: Revision(9), continuation: Some("next".into()), remaining: Some(2) }
    }

    fn read(answer: Answer) -> Value {
        let collected = answer.into_body().collect().now_or_never().expect("nothing to wait for").expect("presentable");
        serde_json::from_slice(&collected.to_bytes()).expect("JSON")
    }

    fn list(form: Form) -> Value {
        read(presenter(form).answer(page()).expect("presentable"))
    }

    #[test]
    fn a_large_list_says_the_same_in_pieces() {
        let large = Page { objects: vec![page().objects[0].clone(); 3_000], ..page() };
        for form in [Form::Json, Form::Partial, Form::Table("v1")] {
            let small = list(form);
            let large = Page { objects: large.objects.clone(), ..page() };
            let answer = presenter(form).answer(large).expect("presentable");
            assert_eq!(answer.body().size_hint().exact(), None);
            let mut large = read(answer);
            let items = if form == Form::Table("v1") { "rows" } else { "items" };
            let all = large[items].as_array_mut().expect("items");
            assert_eq!(all.len(), 3_000);
            all.truncate(1);
            assert_eq!(large, small);
        }
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
