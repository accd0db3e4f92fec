//! A Kubernetes object as the cluster keeps it: its JSON bytes, with the metadata everybody asks for parsed beside them.
//!
//! The bytes are canonical (`{"apiVersion":…,"kind":…,"metadata":{…},…}`) and hold no `resourceVersion`: that is the
//! revision at which the object was written, known only then, and spliced in when the object is written out. Types are
//! decoded on demand and remembered, because a parsed tree is many times larger than its bytes.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{GroupKind, Key};

/// The position in the cluster's history at which something became true: Kubernetes' `resourceVersion`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Revision(pub u64);

/// One immutable version of an object. Cloning shares it.
#[derive(Clone)]
pub struct Object(Arc<Parts>);

struct Parts {
    key: Key,
    revision: Revision,
    meta: Meta,
    body: Bytes,
    /// Where the members of `metadata` begin in `body`.
    splice: usize,
    decoded: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// The metadata that selectors, the garbage collector and the controllers ask for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    name: Arc<str>,
    namespace: Arc<str>,
    /// Unique in space and time.
    pub uid: Arc<str>,
    /// Changes with every change of what is wanted (`spec`).
    pub generation: i64,
    /// What selectors match.
    pub labels: BTreeMap<String, String>,
    /// What people and tools note.
    pub annotations: BTreeMap<String, String>,
    /// Who owns this object.
    pub owner_references: Vec<Owner>,
    /// Who must act before the object may go.
    pub finalizers: Vec<String>,
    /// When the object came to be.
    pub creation_timestamp: Option<Timestamp>,
    /// Set once deletion is asked for: the moment the object should be gone.
    pub deletion_timestamp: Option<Timestamp>,
}

/// An owner reference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    /// Group and version of the owner, such as `apps/v1`.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner, in the same namespace or cluster-scoped.
    pub name: String,
    /// The uid that must match for the owner to be the one meant.
    pub uid: Arc<str>,
    /// The one owner that manages this object.
    pub controller: bool,
    /// Whether foreground deletion of the owner waits for this object.
    pub block_owner_deletion: bool,
}

/// Bytes that are not an object.
#[derive(Debug, thiserror::Error)]
#[error("not a Kubernetes object: {reason}")]
pub struct NotAnObject {
    reason: String,
}

/// An object whose bytes do not have the shape asked for.
#[derive(Debug, thiserror::Error)]
#[error("{key} cannot be read")]
pub struct DecodeError {
    key: Key,
    #[source]
    source: serde_json::Error,
}

// === impl Revision ===

impl Revision {
    /// Before anything was written.
    pub const ZERO: Self = Self(0);

    /// The revision of the next write.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Revision {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

// === impl Object ===

impl Object {
    /// Reads an object whose group and kind are known from its JSON bytes; whatever `resourceVersion` they carry becomes the
    /// object's revision, and the bytes are made canonical when they are not.
    pub fn parse(kind: GroupKind, bytes: impl Into<Bytes>) -> Result<Self, NotAnObject> {
        #[derive(Deserialize)]
        struct Versioned {
            metadata: Version,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            resource_version: Option<String>,
        }
        let bytes = bytes.into();
        let version: Versioned = serde_json::from_slice(&bytes).map_err(NotAnObject::because)?;
        match version.metadata.resource_version {
            None => Self::from_body(kind, bytes, Revision::ZERO),
            Some(revision) => {
                let revision = revision.parse().map_err(|_| NotAnObject::because("resourceVersion is not a number"))?;
                let mut value: Value = serde_json::from_slice(&bytes).map_err(NotAnObject::because)?;
                if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.remove("resourceVersion");
                }
                Self::from_body(kind, canonical(&value)?.into(), revision)
            }
        }
    }

    /// The object that `value` describes, at no revision yet.
    pub fn from_value(kind: GroupKind, value: &Value) -> Result<Self, NotAnObject> {
        Self::parse(kind, canonical(value)?)
    }

    /// The object that a typed value describes, at no revision yet. Its bytes are those that the same words have from
    /// anywhere else: types write their fields in an order of their own, trees in that of the alphabet.
    pub fn from_typed<T: Serialize>(kind: GroupKind, typed: &T) -> Result<Self, NotAnObject> {
        Self::from_value(kind, &serde_json::to_value(typed).map_err(NotAnObject::because)?)
    }

    /// The same bytes, written at `revision`. Only a snapshot's `apply` and a mirror of one give revisions.
    pub fn at(&self, revision: Revision) -> Self {
        Self(Arc::new(Parts {
            key: self.0.key.clone(),
            revision,
            meta: self.0.meta.clone(),
            body: self.0.body.clone(),
            splice: self.0.splice,
            decoded: OnceLock::new(),
        }))
    }

    /// The same object, as another version of its kind says it that has the same fields; it stays at its revision.
    pub fn in_version(&self, api_version: &str) -> Result<Self, NotAnObject> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Versioned {
            api_version: String,
        }
        const BEGINNING: &[u8] = b"{\"apiVersion\":\"";
        let Versioned { api_version: own } = serde_json::from_slice(&self.0.body).map_err(NotAnObject::because)?;
        if own == api_version {
            return Ok(self.clone());
        }
        // Canonical bytes begin with the version, whose characters are never escaped.
        let rest = self.0.body.strip_prefix(BEGINNING).and_then(|rest| rest.strip_prefix(own.as_bytes()));
        let rest = rest.ok_or_else(|| NotAnObject::because("the bytes are not canonical"))?;
        let body = [BEGINNING, api_version.as_bytes(), rest].concat();
        Ok(Self(Arc::new(Parts {
            key: self.0.key.clone(),
            revision: self.0.revision,
            meta: self.0.meta.clone(),
            splice: self.0.splice + api_version.len() - own.len(),
            body: body.into(),
            decoded: OnceLock::new(),
        })))
    }

    /// Whether it is stored as this version of its kind says it.
    pub fn is_in_version(&self, api_version: &str) -> bool {
        const BEGINNING: &[u8] = b"{\"apiVersion\":\"";
        let rest = self.0.body.strip_prefix(BEGINNING).and_then(|rest| rest.strip_prefix(api_version.as_bytes()));
        rest.is_some_and(|rest| rest.first() == Some(&b'"'))
    }

    fn from_body(kind: GroupKind, body: Bytes, revision: Revision) -> Result<Self, NotAnObject> {
        #[derive(Deserialize)]
        struct Identified {
            metadata: Meta,
        }
        const METADATA: &[u8] = b"\"metadata\":{";
        let Identified { metadata } = serde_json::from_slice(&body).map_err(NotAnObject::because)?;
        // Canonical bytes begin with apiVersion and kind, whose values hold no quotes, so the first match is the member itself.
        let Some(found) = body.windows(METADATA.len()).position(|window| window == METADATA) else {
            let value: Value = serde_json::from_slice(&body).map_err(NotAnObject::because)?;
            return Self::from_body(kind, canonical(&value)?.into(), revision);
        };
        let key = Key::new(kind, &metadata.namespace, &metadata.name);
        Ok(Self(Arc::new(Parts {
            key,
            revision,
            meta: metadata,
            body,
            splice: found + METADATA.len(),
            decoded: OnceLock::new(),
        })))
    }

    /// What the object is called.
    pub fn key(&self) -> &Key {
        &self.0.key
    }

    /// When this version was written.
    pub fn revision(&self) -> Revision {
        self.0.revision
    }

    /// The parsed metadata.
    pub fn meta(&self) -> &Meta {
        &self.0.meta
    }

    /// The canonical bytes, without a `resourceVersion`.
    pub fn body(&self) -> &Bytes {
        &self.0.body
    }

    /// Appends the object as clients see it, with its `resourceVersion`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let (head, tail) = self.0.body.split_at(self.0.splice);
        out.extend_from_slice(head);
        if self.0.revision != Revision::ZERO {
            out.extend_from_slice(format!("\"resourceVersion\":\"{}\"", self.0.revision).as_bytes());
            if tail.first() != Some(&b'}') {
                out.push(b',');
            }
        }
        out.extend_from_slice(tail);
    }

    /// The object as clients see it, with its `resourceVersion`.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.body.len() + 40);
        self.write_json(&mut out);
        out
    }

    /// The object as a tree, with its `resourceVersion`.
    pub fn to_value(&self) -> Result<Value, DecodeError> {
        serde_json::from_slice(&self.to_json()).map_err(|source| DecodeError { key: self.0.key.clone(), source })
    }

    /// The object as a type, with its `resourceVersion`. The first type asked for is remembered.
    pub fn decode<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<T>, DecodeError> {
        if let Some(known) = self.0.decoded.get().and_then(|known| known.clone().downcast::<T>().ok()) {
            return Ok(known);
        }
        let typed: T = serde_json::from_slice(&self.to_json())
            .map_err(|source| DecodeError { key: self.0.key.clone(), source })?;
        let typed = Arc::new(typed);
        // Another reader may have been first, or asked for another type: theirs stays, ours is as good.
        let _ = self.0.decoded.set(typed.clone());
        Ok(typed)
    }
}

fn canonical(value: &Value) -> Result<Vec<u8>, NotAnObject> {
    #[derive(Serialize)]
    struct Ordered<'a> {
        #[serde(rename = "apiVersion")]
        api_version: &'a Value,
        kind: &'a Value,
        metadata: &'a Value,
        #[serde(flatten)]
        rest: BTreeMap<&'a String, &'a Value>,
    }
    let members = value.as_object().ok_or_else(|| NotAnObject::because("not a JSON object"))?;
    let member = |name: &str| members.get(name).ok_or_else(|| NotAnObject::because(format!("{name} is missing")));
    let ordered = Ordered {
        api_version: member("apiVersion")?,
        kind: member("kind")?,
        metadata: member("metadata")?,
        rest: members.iter().filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind" | "metadata")).collect(),
    };
    serde_json::to_vec(&ordered).map_err(NotAnObject::because)
}

/// Objects are equal when they say the same at the same revision.
impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.key == other.0.key && self.0.revision == other.0.revision && self.0.body == other.0.body)
    }
}

impl Eq for Object {}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.0.key, self.0.revision)
    }
}

// === impl Meta ===

impl Meta {
    /// The owner that manages the object.
    pub fn controller(&self) -> Option<&Owner> {
        self.owner_references.iter().find(|owner| owner.controller)
    }

    /// Whether deletion has been asked for.
    pub fn is_terminating(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}

// === impl Owner ===

impl Owner {
    /// The API group of the owner.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// Whether the owner is of `kind`.
    pub fn is(&self, kind: GroupKind) -> bool {
        self.group() == kind.group && self.kind == kind.kind
    }
}

// === impl NotAnObject ===

impl NotAnObject {
    fn because(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    const CONFIG_MAP: GroupKind = GroupKind::new("", "ConfigMap");

    fn object() -> Object {
        let value = json!({"data": {"k": "v"}, "metadata": {"name": "c", "namespace": "n", "uid": "u"}, "kind": "ConfigMap", "apiVersion": "v1"});
        Object::from_value(CONFIG_MAP, &value).expect("a well-formed object")
    }

    #[test]
    fn bytes_are_canonical_and_carry_no_version() {
        assert_eq!(
            object().body(),
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"n","uid":"u"},"data":{"k":"v"}}"#
        );
        assert_eq!(object().key().to_string(), "ConfigMap/n/c");
    }

    #[test]
    fn the_version_is_spliced_in_and_read_back() {
        let at = object().at(Revision(7));
        let text = at.to_json();
        assert!(String::from_utf8_lossy(&text).contains(r#""metadata":{"resourceVersion":"7","name""#));
        assert_eq!(Object::parse(CONFIG_MAP, text).expect("readable"), at);
        let typed = at.decode::<ConfigMap>().expect("a config map");
        assert_eq!(typed.metadata.resource_version.as_deref(), Some("7"));
    }

    #[test]
    fn the_same_words_are_the_same_bytes_from_types_and_from_text() {
        let service = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"s","annotations":{"b":"2","a":"1"}},"spec":{"type":"ClusterIP","ports":[{"port":80,"name":"http"}],"clusterIP":"10.43.0.1"}}"#;
        let value: Value = serde_json::from_str(service).expect("json");
        let typed: k8s_openapi::api::core::v1::Service = serde_json::from_str(service).expect("a service");
        let kind = GroupKind::new("", "Service");
        let (text, typed) = (Object::from_value(kind, &value), Object::from_typed(kind, &typed));
        assert_eq!(text.expect("an object").body(), typed.expect("an object").body());
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        assert!(Object::parse(CONFIG_MAP, "[]").is_err());
        assert!(Object::from_value(CONFIG_MAP, &json!({"metadata": {}})).is_err());
    }
}
