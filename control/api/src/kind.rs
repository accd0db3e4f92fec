//! What a kind is: its names, and the rules by which objects of it are read, completed, judged and shown.
//!
//! A kind is one file that implements [`Resource`](crate::Resource) on a unit type; the catalog lists them all behind [`Kind`], which is all
//! that the API server knows. Nothing here reads a clock or makes up a name: time and identity are arguments.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::managed::Shape;
use crate::{GroupKind, Key, Object, StatusError, schema};

/// What a kind is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Names {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The version served, such as `v1`.
    pub version: &'static str,
    /// The kind in CamelCase.
    pub kind: &'static str,
    /// The resource in URLs: lower case, plural.
    pub plural: &'static str,
    /// Lower case, singular.
    pub singular: &'static str,
    /// What `kubectl` accepts for short.
    pub short: &'static [&'static str],
    /// Such as `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in namespaces.
    pub scope: Scope,
}

/// Where objects of a kind live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// In the cluster itself.
    Cluster,
}

/// What may be asked of an object beside the object itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Kubernetes' own and say it")]
pub enum Subresource {
    Status,
    Scale,
    Log,
    Binding,
    Eviction,
    Finalize,
    PortForward,
    Proxy,
    Token,
    Exec,
    Attach,
    Approval,
    EphemeralContainers,
    Resize,
}

/// A column of the table that `kubectl get` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heading<'a> {
    /// The heading; clients print it in capitals.
    pub name: &'a str,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: &'a str,
    /// `name` for the object's name, else empty.
    pub format: &'a str,
    /// What the column means.
    pub description: &'a str,
    /// 0 is always shown, more only with `-o wide`.
    pub priority: i32,
}

/// A column that was known when the program was written.
pub type Column = Heading<'static>;

/// What a write asks for.
#[derive(Clone, Copy, Debug)]
pub struct Admission<'a> {
    /// Create, update, or update one part.
    pub operation: Operation<'a>,
    /// The namespace of the request's path; empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// What becomes of fields that the kind does not have, or that are there twice.
    pub validation: FieldValidation,
    /// The paths of fields that were there twice; a tree cannot hold them, so whoever parsed the text found them
    /// (see [`json::parse`](crate::json::parse)).
    pub duplicates: &'a [String],
    /// The time that goes into the object.
    pub now: Timestamp,
}

/// The kind of write.
#[derive(Clone, Copy, Debug)]
pub enum Operation<'a> {
    /// A new object.
    Create {
        /// The uid it gets.
        uid: &'a str,
        /// Completes a `generateName`.
        seed: u64,
    },
    /// All but the status.
    Update {
        /// What is stored now.
        old: &'a Object,
    },
    /// The status alone.
    UpdateStatus {
        /// What is stored now.
        old: &'a Object,
    },
    /// How much a pod's containers may have, and nothing else.
    Resize {
        /// What is stored now.
        old: &'a Object,
    },
}

/// How strictly fields are checked: the `fieldValidation` parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Unknown and duplicate fields are dropped in silence.
    Ignore,
    /// They are dropped, and each is answered with a warning.
    #[default]
    Warn,
    /// They refuse the request.
    Strict,
}

/// What a write becomes once it is complete and valid.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The object to store.
    pub object: Object,
    /// Sentences for `Warning:` headers.
    pub warnings: Vec<String>,
}

/// A kind, as the API server sees it.
pub trait Kind: Send + Sync + 'static {
    /// What it is called.
    fn names(&self) -> &'static Names;

    /// What else may be asked of its objects.
    fn subresources(&self) -> &'static [Subresource];

    /// Makes a stored object out of what a client sent, or says everything that is wrong with it.
    fn admit(&self, incoming: Value, admission: &Admission<'_>) -> Result<Admitted, StatusError>;

    /// Whether an update may leave out which version it was made for.
    fn updates_blindly(&self) -> bool {
        true
    }

    /// The columns of its table.
    fn columns(&self) -> Vec<Heading<'_>>;

    /// The cells of one row, one for each column.
    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value>;

    /// The fields a field selector may name, with their values; `metadata.name` and `metadata.namespace` are left out.
    fn fields(&self, object: &Object) -> Vec<(&str, String)>;

    /// The names of the fields a field selector may name.
    fn selectable(&self) -> Vec<&str>;

    /// The object's `autoscaling/v1` `Scale`, where the kind has one.
    fn scale(&self, object: &Object) -> Option<Value>;

    /// What a client would send to give `object` the number of replicas that `scale` asks for; admit it as an update.
    fn with_scale(&self, object: &Object, scale: &Value) -> Result<Value, StatusError>;

    /// The OpenAPI schema of the kind; what it refers to is left with the generator.
    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema;

    /// Group and kind by which its objects are stored. Kinds that are versions of one another share their objects.
    fn group_kind(&self) -> GroupKind {
        GroupKind::new(self.names().group, self.names().kind)
    }

    /// A stored object as the kind's own version says it; the same object wherever that is how it is stored.
    fn shown<'a>(&self, stored: &'a Object) -> Cow<'a, Object> {
        Cow::Borrowed(stored)
    }

    /// How its objects are divided among those who manage their fields.
    fn shape(&self) -> Shape<'_> {
        Shape::of(self.names())
    }

    /// Whether lists of its objects can be patched by keys: custom resources know only patches that replace them.
    fn patches_strategically(&self) -> bool {
        true
    }

    /// The kind of a list of its objects.
    fn list_kind(&self) -> Cow<'_, str> {
        format!("{}List", self.names().kind).into()
    }

    /// What its schema is called in OpenAPI.
    fn definition(&self) -> String {
        format!("io.k8s.{}", schema::of_kind(self.names()))
    }

    /// Its schema in OpenAPI as somebody wrote it, where it does not follow from a type.
    fn published(&self) -> Option<Value> {
        None
    }

    /// Where an object says how many replicas it wants, if its kind has a scale.
    fn replicas_path(&self) -> String {
        ".spec.replicas".into()
    }

    /// The definition that the cluster learned it from, which must stay for new objects to come.
    fn taught_by(&self) -> Option<&Key> {
        None
    }

    /// A sentence for everybody who still uses this version.
    fn deprecation(&self) -> Option<&str> {
        None
    }
}

/// A kind that is shared: one of the program's own, or one that the cluster was taught.
#[derive(Clone)]
pub enum SharedKind {
    /// Known when the program was written.
    Known(&'static dyn Kind),
    /// Learned while running.
    Learned(Arc<dyn Kind>),
}

// === impl SharedKind ===

impl Deref for SharedKind {
    type Target = dyn Kind;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Known(kind) => *kind,
            Self::Learned(kind) => &**kind,
        }
    }
}

impl From<&'static dyn Kind> for SharedKind {
    fn from(kind: &'static dyn Kind) -> Self {
        Self::Known(kind)
    }
}

// === impl Names ===

impl Names {
    /// The plural with its group, such as `deployments.apps`.
    pub fn resource(&self) -> String {
        match self.group {
            "" => self.plural.into(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// The kind with its group, such as `Deployment.apps`.
    pub fn qualified_kind(&self) -> String {
        match self.group {
            "" => self.kind.into(),
            group => format!("{}.{group}", self.kind),
        }
    }

    /// Group and version as in `apiVersion`.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.into(),
            group => format!("{group}/{}", self.version),
        }
    }
}
