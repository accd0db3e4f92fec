//! A watch: a list's future, event by event.

use api::{GroupKind, Object, Revision};
use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::path::{self, query};
use crate::{Client, ClientError, ListOptions};

/// What a watch tells.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent {
    /// The object is there and like this, newly or still.
    Applied(Object),
    /// The object is gone; this is the last of it.
    Deleted(Object),
    /// Nothing that was asked for changed up to this revision.
    Bookmark(Revision),
}

/// The events of a watch that is under way.
pub struct WatchStream {
    kind: GroupKind,
    server: String,
    body: Incoming,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line end.
    searched: usize,
}

// === impl Client ===

impl Client {
    /// Watches what is listed by the same arguments, from after a revision on. The stream ends when the server is done with it;
    /// one goes on from the last revision seen, and lists anew after an error that [is expired](ClientError::is_expired).
    pub async fn watch(
        &self,
        kind: GroupKind,
        namespace: Option<&str>,
        options: &ListOptions,
        after: Revision,
    ) -> Result<WatchStream, ClientError> {
        let after = after.to_string();
        let parameters = [
            ("watch", Some("true")),
            ("allowWatchBookmarks", Some("true")),
            ("resourceVersion", Some(after.as_str())),
            ("labelSelector", options.labels.as_deref()),
            ("fieldSelector", options.fields.as_deref()),
        ];
        let path = format!("{}{}", path::collection(self.names(kind).await?, namespace), query(&parameters));
        let body = self.stream(&path, "application/json").await?;
        Ok(WatchStream { kind, server: self.server(), body, buffer: BytesMut::new(), searched: 0 })
    }
}

// === impl WatchStream ===

impl WatchStream {
    /// The next event, or `None` when the server has ended the watch.
    pub async fn next(&mut self) -> Result<Option<WatchEvent>, ClientError> {
        loop {
            if let Some(line) = self.line() {
                return event(self.kind, &line).map(Some);
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(source)) => return Err(ClientError::Http { server: self.server.clone(), source }),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
            }
        }
    }

    fn line(&mut self) -> Option<BytesMut> {
        match self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
            Some(found) => {
                let line = self.buffer.split_to(self.searched + found + 1);
                self.searched = 0;
                Some(line)
            }
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }
}

fn event(kind: GroupKind, line: &[u8]) -> Result<WatchEvent, ClientError> {
    #[derive(Deserialize)]
    struct Told<'a> {
        r#type: &'a str,
        #[serde(borrow)]
        object: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Refusal {
        code: u16,
    }
    #[derive(Deserialize)]
    struct Mark {
        metadata: MarkMeta,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct MarkMeta {
        resource_version: String,
    }
    let answer =
        |error: &dyn std::fmt::Display| ClientError::Answer(format!("a watch event that cannot be read: {error}"));
    let told: Told<'_> = serde_json::from_slice(line).map_err(|error| answer(&error))?;
    let object = |told: &RawValue| Object::parse(kind, told.get().to_owned()).map_err(|error| answer(&error));
    match told.r#type {
        "ADDED" | "MODIFIED" => object(told.object).map(WatchEvent::Applied),
        "DELETED" => object(told.object).map(WatchEvent::Deleted),
        "BOOKMARK" => {
            let mark: Mark = serde_json::from_str(told.object.get()).map_err(|error| answer(&error))?;
            mark.metadata.resource_version.parse().map(WatchEvent::Bookmark).map_err(|error| answer(&error))
        }
        "ERROR" => {
            let code = serde_json::from_str(told.object.get()).map_or(500, |refusal: Refusal| refusal.code);
            Err(ClientError::refused(code, told.object.get().as_bytes()))
        }
        other => Err(answer(&format!("its type is {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kinds;

    #[test]
    fn events_are_read_by_their_type() {
        let told = |line: &str| event(kinds::NODE, line.as_bytes());
        let node = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n","resourceVersion":"7"}}"#;
        assert!(
            matches!(told(&format!(r#"{{"type":"ADDED","object":{node}}}"#)), Ok(WatchEvent::Applied(object)) if object.revision() == Revision(7))
        );
        assert!(matches!(told(&format!(r#"{{"type":"DELETED","object":{node}}}"#)), Ok(WatchEvent::Deleted(_))));
        assert!(matches!(
            told(&format!(r#"{{"type":"BOOKMARK","object":{node}}}"#)),
            Ok(WatchEvent::Bookmark(Revision(7)))
        ));
        let gone =
            told(r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#);
        assert!(gone.is_err_and(|error| error.is_expired()));
    }
}
