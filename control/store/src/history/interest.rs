//! What a reader wants to hear of.

use std::sync::Arc;

use api::{GroupKind, Key};

/// The events a subscription is about: of everything, of a kind, of a kind in one namespace, or of one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    /// Every event.
    All,
    /// Those of one kind.
    Kind(GroupKind),
    /// Those of one kind in one namespace.
    Namespace(GroupKind, Arc<str>),
    /// Those of one object.
    Object(Key),
}

// === impl Interest ===

impl Interest {
    /// Whether what happens to this object is of interest.
    pub fn covers(&self, key: &Key) -> bool {
        match self {
            Self::All => true,
            Self::Kind(kind) => *kind == key.kind(),
            Self::Namespace(kind, namespace) => *kind == key.kind() && **namespace == *key.namespace(),
            Self::Object(object) => object == key,
        }
    }
}

impl From<GroupKind> for Interest {
    fn from(kind: GroupKind) -> Self {
        Self::Kind(kind)
    }
}
