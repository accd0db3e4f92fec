//! What a kind is: its names, and the rules by which objects of it are read, completed, judged and shown.
//!
//! A kind is one file that implements [`Resource`](crate::Resource) on a unit type; the catalog lists them all behind [`Kind`], which is all
//! that the API server knows. Nothing here reads a clock or makes up a name: time and identity are arguments.

use jiff::Timestamp;
use serde_json::Value;

use crate::{GroupKind, Object, StatusError};

/// What a kind is called.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// A column of the table that `kubectl get` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The heading; clients print it in capitals.
    pub name: &'static str,
    /// `string`, `integer`, `boolean` or `date`.
    pub kind: &'static str,
    /// `name` for the object's name, else empty.
    pub format: &'static str,
    /// What the column means.
    pub description: &'static str,
    /// 0 is always shown, 1 only with `-o wide`.
    pub priority: u8,
}

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

    /// The columns of its table.
    fn columns(&self) -> &'static [Column];

    /// The cells of one row, one for each column.
    fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value>;

    /// The fields a field selector may name, with their values; `metadata.name` and `metadata.namespace` are left out.
    fn fields(&self, object: &Object) -> Vec<(&'static str, String)>;

    /// The names of the fields a field selector may name.
    fn selectable(&self) -> &'static [&'static str];

    /// The object's `autoscaling/v1` `Scale`, where the kind has one.
    fn scale(&self, object: &Object) -> Option<Value>;

    /// What a client would send to give `object` the number of replicas that `scale` asks for; admit it as an update.
    fn with_scale(&self, object: &Object, scale: &Value) -> Result<Value, StatusError>;

    /// The OpenAPI schema of the kind; what it refers to is left with the generator.
    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema;

    /// Group and kind.
    fn group_kind(&self) -> GroupKind {
        GroupKind::new(self.names().group, self.names().kind)
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
