//! The verbs.

use api::{GroupKind, Key, Object, Revision};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::connection::full;
use crate::path::{self, query};
use crate::{Client, ClientError};

/// Which objects of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// A label selector, as in `kubectl -l`.
    pub labels: Option<String>,
    /// A field selector, as in `kubectl --field-selector`.
    pub fields: Option<String>,
}

/// How a patch is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7396.
    Merge,
    /// Kubernetes' own, which knows lists by their keys.
    Strategic,
}

/// How an object is to go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteOptions {
    /// How long it may take to stop; 0 is at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_period_seconds: Option<i64>,
    /// `Background`, `Foreground` or `Orphan`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagation_policy: Option<String>,
    /// What must be true for the object to go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preconditions: Option<Preconditions>,
}

/// What must be true of an object for it to be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Preconditions {
    /// The object's uid.
    pub uid: String,
}

// === impl PatchType ===

impl PatchType {
    const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

// === impl DeleteOptions ===

impl DeleteOptions {
    /// Only if the object still has this uid.
    pub fn only(mut self, uid: &str) -> Self {
        self.preconditions = Some(Preconditions { uid: uid.into() });
        self
    }

    /// With this grace.
    pub fn grace(mut self, seconds: i64) -> Self {
        self.grace_period_seconds = Some(seconds);
        self
    }
}

// === impl Client ===

impl Client {
    /// The object of this key.
    pub async fn get(&self, key: &Key) -> Result<Object, ClientError> {
        let bytes = self.send(Method::GET, &self.path(key, None).await?, None, Bytes::new()).await?;
        read(key.kind(), bytes)
    }

    /// The objects of a kind, in one namespace or in all, and the revision at which that was all.
    pub async fn list(
        &self,
        kind: GroupKind,
        namespace: Option<&str>,
        options: &ListOptions,
    ) -> Result<(Vec<Object>, Revision), ClientError> {
        #[derive(Deserialize)]
        struct List<'a> {
            metadata: ListMeta,
            #[serde(borrow)]
            items: Vec<&'a RawValue>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct ListMeta {
            resource_version: String,
        }
        let names = self.names(kind).await?;
        let selectors = [("labelSelector", options.labels.as_deref()), ("fieldSelector", options.fields.as_deref())];
        let path = format!("{}{}", path::collection(names, namespace), query(&selectors));
        let bytes = self.send(Method::GET, &path, None, Bytes::new()).await?;
        let list: List<'_> = serde_json::from_slice(&bytes).map_err(|error| ClientError::Answer(error.to_string()))?;
        let revision = list.metadata.resource_version.parse();
        let revision = revision.map_err(|_| ClientError::Answer("a list without a resourceVersion".into()))?;
        let items = list.items.into_iter().map(|item| item_of(kind, names, item));
        Ok((items.collect::<Result<_, _>>()?, revision))
    }

    /// Creates an object.
    pub async fn create(&self, object: &Object) -> Result<Object, ClientError> {
        let key = object.key();
        let path = path::collection(self.names(key.kind()).await?, Some(key.namespace()));
        read(key.kind(), self.send(Method::POST, &path, Some(JSON), object.to_json()).await?)
    }

    /// Replaces an object; if it carries a revision, only if that is still the latest.
    pub async fn replace(&self, object: &Object) -> Result<Object, ClientError> {
        let path = self.path(object.key(), None).await?;
        read(object.key().kind(), self.send(Method::PUT, &path, Some(JSON), object.to_json()).await?)
    }

    /// Replaces the status of an object; if it carries a revision, only if that is still the latest.
    pub async fn replace_status(&self, object: &Object) -> Result<Object, ClientError> {
        let path = self.path(object.key(), Some("status")).await?;
        read(object.key().kind(), self.send(Method::PUT, &path, Some(JSON), object.to_json()).await?)
    }

    /// Changes an object.
    pub async fn patch(&self, key: &Key, how: PatchType, patch: &Value) -> Result<Object, ClientError> {
        let path = self.path(key, None).await?;
        read(key.kind(), self.send(Method::PATCH, &path, Some(how.content_type()), patch.to_string()).await?)
    }

    /// Changes the status of an object.
    pub async fn patch_status(&self, key: &Key, how: PatchType, patch: &Value) -> Result<Object, ClientError> {
        let path = self.path(key, Some("status")).await?;
        read(key.kind(), self.send(Method::PATCH, &path, Some(how.content_type()), patch.to_string()).await?)
    }

    /// Asks for an object to go. The answer is the object while it goes, or a `Status` once it is gone.
    pub async fn delete(&self, key: &Key, options: &DeleteOptions) -> Result<Value, ClientError> {
        let mut options = serde_json::json!(options);
        options["kind"] = "DeleteOptions".into();
        options["apiVersion"] = "v1".into();
        let path = self.path(key, None).await?;
        parse(&self.send(Method::DELETE, &path, Some(JSON), options.to_string()).await?)
    }

    /// Gets any path as JSON.
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        parse(&self.send(Method::GET, path, None, Bytes::new()).await?)
    }

    /// Gets any path as one of the types in `accept`, and gives the body as it comes; an answer that is not a success is an error.
    pub async fn stream(&self, path: &str, accept: &str) -> Result<Incoming, ClientError> {
        let request = Request::get(path).header(ACCEPT, accept).body(full(""));
        let answer = self.request(request.map_err(|error| ClientError::Request(error.to_string()))?).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        let bytes = answer.into_body().collect().await;
        let bytes = bytes.map_err(|source| ClientError::Http { server: self.server(), source })?.to_bytes();
        Err(ClientError::refused(status.as_u16(), &bytes))
    }

    /// Sends a body to any path and gives the whole answer; an answer that is not a success is an error.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Result<Bytes, ClientError> {
        let mut request = Request::builder().method(method).uri(path).header(ACCEPT, JSON);
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let request = request.body(full(body)).map_err(|error| ClientError::Request(error.to_string()))?;
        // Nobody closes it.
        let _turn = self.turns.acquire().await;
        let answer = self.request(request).await?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await;
        let bytes = bytes.map_err(|source| ClientError::Http { server: self.server(), source })?.to_bytes();
        if status.is_success() { Ok(bytes) } else { Err(ClientError::refused(status.as_u16(), &bytes)) }
    }
}

const JSON: &str = "application/json";

fn read(kind: GroupKind, bytes: Bytes) -> Result<Object, ClientError> {
    Object::parse(kind, bytes).map_err(|error| ClientError::Answer(error.to_string()))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(bytes).map_err(|error| ClientError::Answer(error.to_string()))
}

/// Items of a list may leave out what the list already says.
fn item_of(kind: GroupKind, names: &api::Names, item: &RawValue) -> Result<Object, ClientError> {
    if let Ok(object) = Object::parse(kind, item.get().to_owned()) {
        return Ok(object);
    }
    let mut value: Value = parse(item.get().as_bytes())?;
    value["apiVersion"] = names.api_version().into();
    value["kind"] = names.kind.into();
    Object::from_value(kind, &value).map_err(|error| ClientError::Answer(error.to_string()))
}
