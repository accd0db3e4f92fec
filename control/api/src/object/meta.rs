//! The metadata of an object that everybody asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use crate::GroupKind;

/// The metadata that selectors, the garbage collector and the controllers ask for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    pub(super) name: Arc<str>,
    pub(super) namespace: Arc<str>,
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
