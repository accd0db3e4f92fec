//! A Kubernetes object as the cluster keeps it: its JSON bytes, with the metadata everybody asks for parsed beside them.
//!
//! The bytes are canonical (`{"apiVersion":…,"kind":…,"metadata":{…},…}`) and hold no `resourceVersion`: that is the
//! revision at which the object was written, known only then, and spliced in when the object is written out. Types are
//! decoded on demand and remembered, because a parsed tree is many times larger than its bytes. An object that was made of a
//! tree keeps it until it is stored, and is written only then: most steps of a request want the tree again.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{GroupKind, Key};

mod memo;
mod meta;

use memo::Memo;
pub use meta::{Meta, Owner};

/// The position in the cluster's history at which something became true: Kubernetes' `resourceVersion`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Revision(pub u64);

/// One immutable version of an object. Cloning shares it.
#[derive(Clone)]
pub struct Object(Arc<Parts>);

struct Parts {
    key: Key,
    revision: Revision,
    meta: Arc<Meta>,
    /// There from the start, or made of the tree when it is first asked for.
    written: OnceLock<Written>,
    /// What the object was made of, without `resourceVersion`; an object at its place in the world has none.
    tree: Option<Value>,
    decoded: Memo,
}

#[derive(Clone)]
struct Written {
    body: Bytes,
    /// Where the members of `metadata` begin in `body`.
    splice: usize,
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
                Self::from_tree(kind, value).map(|object| object.at(revision))
            }
        }
    }

    /// Reads an object from the bytes that [`Self::body`] gave: they are canonical, and tell of no `resourceVersion`.
    pub fn of_body(kind: GroupKind, body: impl Into<Bytes>) -> Result<Self, NotAnObject> {
        Self::from_body(kind, body.into(), Revision::ZERO)
    }

    /// The object that `value` describes; whatever `resourceVersion` it carries becomes the object's revision.
    pub fn from_value(kind: GroupKind, value: &Value) -> Result<Self, NotAnObject> {
        Self::from_tree(kind, value.clone())
    }

    /// The same, of a tree that nobody else needs.
    pub fn from_tree(kind: GroupKind, mut tree: Value) -> Result<Self, NotAnObject> {
        let members = tree.as_object_mut().ok_or_else(|| NotAnObject::because("not a JSON object"))?;
        for name in ["apiVersion", "kind"] {
            if !members.contains_key(name) {
                return Err(NotAnObject::because(format!("{name} is missing")));
            }
        }
        let metadata = members.get_mut("metadata").ok_or_else(|| NotAnObject::because("metadata is missing"))?;
        let version = metadata.as_object_mut().and_then(|members| members.remove("resourceVersion"));
        let revision = match version {
            None | Some(Value::Null) => Revision::ZERO,
            Some(version) => {
                let version = version.as_str().and_then(|version| version.parse().ok());
                version.ok_or_else(|| NotAnObject::because("resourceVersion is not a number"))?
            }
        };
        let meta = Meta::deserialize(&*metadata).map_err(NotAnObject::because)?;
        Ok(Self(Arc::new(Parts {
            key: Key::shared(kind, meta.namespace.clone(), meta.name.clone()),
            revision,
            meta: Arc::new(meta),
            written: OnceLock::new(),
            tree: Some(tree),
            decoded: Memo::default(),
        })))
    }

    /// The object that a typed value describes, at no revision yet. Its bytes are those that the same words have from
    /// anywhere else: types write their fields in an order of their own, trees in that of the alphabet.
    pub fn from_typed<T: Serialize>(kind: GroupKind, typed: &T) -> Result<Self, NotAnObject> {
        Self::from_tree(kind, serde_json::to_value(typed).map_err(NotAnObject::because)?)
    }

    /// An object that was just made of a type, which need not be decoded again: `typed` says what the tree says.
    #[must_use]
    pub(crate) fn known_as<T: Send + Sync + 'static>(self, typed: T) -> Self {
        self.0.decoded.set(Arc::new(typed));
        self
    }

    /// The same bytes, written at `revision`. Only a snapshot's `apply` and a mirror of one give revisions.
    pub fn at(&self, revision: Revision) -> Self {
        self.with(revision, self.written().clone())
    }

    /// The same object as bytes alone. Whoever hands an object on to be stored gives back its tree first: another thread would
    /// take it apart, on the path that all writes share.
    pub fn settled(self) -> Self {
        if self.0.tree.is_some() { self.at(self.0.revision) } else { self }
    }

    /// The same object, as another version of its kind says it that has the same fields; it stays at its revision.
    pub fn in_version(&self, api_version: &str) -> Result<Self, NotAnObject> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Versioned {
            api_version: String,
        }
        let Written { body, splice } = self.written();
        let Versioned { api_version: own } = serde_json::from_slice(body).map_err(NotAnObject::because)?;
        if own == api_version {
            return Ok(self.clone());
        }
        // Canonical bytes begin with the version, whose characters are never escaped.
        let rest = body.strip_prefix(BEGINNING).and_then(|rest| rest.strip_prefix(own.as_bytes()));
        let rest = rest.ok_or_else(|| NotAnObject::because("the bytes are not canonical"))?;
        let body = [BEGINNING, api_version.as_bytes(), rest].concat();
        let splice = splice + api_version.len() - own.len();
        Ok(self.with(self.0.revision, Written { body: body.into(), splice }))
    }

    /// Whether it is stored as this version of its kind says it.
    pub fn is_in_version(&self, api_version: &str) -> bool {
        let rest = self.body().strip_prefix(BEGINNING).and_then(|rest| rest.strip_prefix(api_version.as_bytes()));
        rest.is_some_and(|rest| rest.first() == Some(&b'"'))
    }

    fn with(&self, revision: Revision, written: Written) -> Self {
        Self(Arc::new(Parts {
            key: self.0.key.clone(),
            revision,
            meta: self.0.meta.clone(),
            written: OnceLock::from(written),
            tree: None,
            decoded: Memo::default(),
        }))
    }

    fn from_body(kind: GroupKind, body: Bytes, revision: Revision) -> Result<Self, NotAnObject> {
        #[derive(Deserialize)]
        struct Identified {
            metadata: Meta,
        }
        let Identified { metadata } = serde_json::from_slice(&body).map_err(NotAnObject::because)?;
        // Canonical bytes begin with apiVersion and kind, whose values hold no quotes, so the first match is the member itself.
        let Some(found) = body.windows(METADATA.len()).position(|window| window == METADATA) else {
            let value: Value = serde_json::from_slice(&body).map_err(NotAnObject::because)?;
            return Self::from_tree(kind, value).map(|object| object.at(revision));
        };
        Ok(Self(Arc::new(Parts {
            key: Key::shared(kind, metadata.namespace.clone(), metadata.name.clone()),
            revision,
            meta: Arc::new(metadata),
            written: OnceLock::from(Written { body, splice: found + METADATA.len() }),
            tree: None,
            decoded: Memo::default(),
        })))
    }

    fn written(&self) -> &Written {
        self.0.written.get_or_init(|| Written::of(self.0.tree.as_ref().expect("an object without bytes has a tree")))
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
        &self.written().body
    }

    /// Appends the object as clients see it, with its `resourceVersion`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let Written { body, splice } = self.written();
        let (head, tail) = body.split_at(*splice);
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
        let mut out = Vec::with_capacity(self.body().len() + 40);
        self.write_json(&mut out);
        out
    }

    /// The object as a tree, with its `resourceVersion`.
    pub fn tree(&self) -> Result<Cow<'_, Value>, DecodeError> {
        match &self.0.tree {
            Some(tree) if self.0.revision == Revision::ZERO => Ok(Cow::Borrowed(tree)),
            _ => self.to_value().map(Cow::Owned),
        }
    }

    /// The same, to be changed.
    pub fn to_value(&self) -> Result<Value, DecodeError> {
        match &self.0.tree {
            Some(tree) => Ok(versioned(tree.clone(), self.0.revision)),
            None => serde_json::from_slice(&self.to_json()).map_err(|source| self.unreadable(source)),
        }
    }

    /// The same, of an object that nobody else needs.
    pub fn into_value(self) -> Result<Value, DecodeError> {
        let shared = match Arc::try_unwrap(self.0) {
            Ok(Parts { tree: Some(tree), revision, .. }) => return Ok(versioned(tree, revision)),
            Ok(parts) => Arc::new(parts),
            Err(shared) => shared,
        };
        Self(shared).to_value()
    }

    /// What a type knows of the object, without its `resourceVersion`; it is not remembered.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        let read = match &self.0.tree {
            Some(tree) => T::deserialize(tree),
            None => serde_json::from_slice(self.body()),
        };
        read.map_err(|source| self.unreadable(source))
    }

    /// The object as a type, with its `resourceVersion`. The first type asked for is remembered while somebody asks for it.
    pub fn decode<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<T>, DecodeError> {
        if let Some(known) = self.0.decoded.get() {
            return Ok(known);
        }
        let typed: T = match self.0.revision {
            Revision::ZERO => self.read()?,
            _ => serde_json::from_slice(&self.to_json()).map_err(|source| self.unreadable(source))?,
        };
        let typed = Arc::new(typed);
        // Another reader may have been first, or asked for another type: theirs stays, ours is as good.
        self.0.decoded.set(typed.clone());
        Ok(typed)
    }

    /// Lets go of what was decoded, unless somebody asked for it since the last call; whether there was something to let go.
    pub fn rest(&self) -> bool {
        self.0.decoded.rest()
    }

    /// Lets go of what was decoded, whoever asked for it.
    pub fn let_go(&self) {
        self.0.decoded.let_go();
    }

    fn unreadable(&self, source: serde_json::Error) -> DecodeError {
        DecodeError { key: self.0.key.clone(), source }
    }
}

/// How canonical bytes begin.
const BEGINNING: &[u8] = b"{\"apiVersion\":\"";
/// How the metadata begin in them.
const METADATA: &[u8] = b"\"metadata\":{";

fn versioned(mut tree: Value, revision: Revision) -> Value {
    if let Some(metadata) = tree.get_mut("metadata").and_then(Value::as_object_mut)
        && revision != Revision::ZERO
    {
        metadata.insert("resourceVersion".into(), revision.to_string().into());
    }
    tree
}

// === impl Written ===

impl Written {
    /// The canonical bytes of a tree: what it is and its metadata come first.
    fn of(tree: &Value) -> Self {
        const FIRST: [&str; 3] = ["apiVersion", "kind", "metadata"];
        let mut body = Vec::with_capacity(1024);
        let mut splice = 0;
        let members = tree.as_object().expect("objects are made of trees with members");
        let first = FIRST.iter().filter_map(|name| Some((*name, members.get(*name)?)));
        let rest = members.iter().map(|(name, value)| (name.as_str(), value)).filter(|(name, _)| !FIRST.contains(name));
        for (name, value) in first.chain(rest) {
            body.push(if body.is_empty() { b'{' } else { b',' });
            write(&mut body, name);
            body.push(b':');
            if name == "metadata" {
                splice = body.len() + 1;
            }
            write(&mut body, value);
        }
        body.push(b'}');
        // It is kept for long.
        body.shrink_to_fit();
        Self { body: body.into(), splice }
    }
}

fn write(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(out, value).expect("trees have text for names, and memory takes what is written");
}

/// Objects are equal when they say the same at the same revision.
impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.key == other.0.key && self.0.revision == other.0.revision && self.body() == other.body())
    }
}

impl Eq for Object {}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.0.key, self.0.revision)
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

    /// A tree and the bytes that are made of it tell the same.
    #[test]
    fn a_tree_says_what_its_bytes_say() {
        let value = json!({"apiVersion": "v1", "data": {"k": "v"}, "kind": "ConfigMap", "metadata": {"name": "c", "resourceVersion": "7"}});
        let tree = Object::from_tree(CONFIG_MAP, value.clone()).expect("an object");
        let read = Object::parse(CONFIG_MAP, tree.to_json()).expect("an object");
        assert_eq!((&tree, tree.meta(), tree.revision()), (&read, read.meta(), Revision(7)));
        assert_eq!(tree.decode::<ConfigMap>().expect("a map"), read.decode::<ConfigMap>().expect("a map"));
        let shared = tree.clone();
        assert_eq!((tree.to_value().ok(), shared.into_value().ok()), (Some(value.clone()), Some(value.clone())));
        assert_eq!((tree.into_value().ok(), read.into_value().ok()), (Some(value.clone()), Some(value)));
    }
}
