//! Which object: its group and kind, its namespace, its name.
//!
//! A key outlives the object it names; two objects that follow each other under one key differ in their uid.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex};

/// An API group and a kind in it, such as `apps` and `Deployment`; the version is a matter of encoding, not of identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupKind {
    /// The API group; the core group is the empty string.
    pub group: &'static str,
    /// The kind in CamelCase, singular.
    pub kind: &'static str,
}

/// The name of one object in the cluster. Cluster-scoped objects have an empty namespace.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    kind: GroupKind,
    namespace: Arc<str>,
    name: Arc<str>,
}

// === impl GroupKind ===

impl GroupKind {
    /// A kind known when the program was written.
    pub const fn new(group: &'static str, kind: &'static str) -> Self {
        Self { group, kind }
    }

    /// A kind learned while running. Each distinct word is kept for the life of the process, so callers bound how many
    /// they bring in: kinds come from the catalog and from custom resource definitions, never from request paths.
    pub fn interned(group: &str, kind: &str) -> Self {
        Self { group: intern(group), kind: intern(kind) }
    }

    /// The same for a kind that somebody else defines; nothing once there have been too many words.
    pub fn learned(group: &str, kind: &str) -> Option<Self> {
        let group = intern_below(group, LEARNED_WORDS_MAX)?;
        Some(Self { group, kind: intern_below(kind, LEARNED_WORDS_MAX)? })
    }

    /// The key of the object `name` of this kind in `namespace`.
    pub fn key(self, namespace: &str, name: &str) -> Key {
        Key::new(self, namespace, name)
    }

    /// The key of the cluster-scoped object `name` of this kind.
    pub fn cluster_key(self, name: &str) -> Key {
        Key::new(self, "", name)
    }
}

/// As many words as may be learned from definitions; with the longest that are valid, they take some megabytes.
const LEARNED_WORDS_MAX: usize = 50_000;

fn intern(word: &str) -> &'static str {
    // Who is not limited is never refused.
    intern_below(word, usize::MAX).unwrap_or_default()
}

fn intern_below(word: &str, words_max: usize) -> Option<&'static str> {
    static WORDS: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut words = WORDS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(known) = words.get(word) {
        return Some(known);
    }
    if words.len() >= words_max {
        return None;
    }
    let kept: &'static str = Box::leak(word.into());
    words.insert(kept);
    Some(kept)
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group {
            "" => f.write_str(self.kind),
            group => write!(f, "{}.{group}", self.kind),
        }
    }
}

impl fmt::Debug for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl Key ===

impl Key {
    /// The object `name` of `kind` in `namespace`; the namespace is empty for cluster-scoped kinds.
    pub fn new(kind: GroupKind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }

    /// The group and kind.
    pub fn kind(&self) -> GroupKind {
        self.kind
    }

    /// The namespace, or the empty string for cluster-scoped objects.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name within kind and namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same as `new`, of words that are shared with whoever else has them.
    pub(crate) fn shared(kind: GroupKind, namespace: Arc<str>, name: Arc<str>) -> Self {
        Self { kind, namespace, name }
    }

    /// Namespace and name, shared with the key: where the object stands among its kind.
    pub fn place(&self) -> (Arc<str>, Arc<str>) {
        (self.namespace.clone(), self.name.clone())
    }

    /// The key of another kind of object beside this one, in the same namespace.
    pub fn sibling(&self, kind: GroupKind, name: &str) -> Self {
        Self { kind, namespace: self.namespace.clone(), name: name.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => write!(f, "{}/{}", self.kind, self.name),
            namespace => write!(f, "{}/{namespace}/{}", self.kind, self.name),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_as_kind_namespace_name() {
        assert_eq!(GroupKind::new("apps", "Deployment").key("shop", "web").to_string(), "Deployment.apps/shop/web");
        assert_eq!(GroupKind::new("", "Node").cluster_key("n1").to_string(), "Node/n1");
    }

    #[test]
    fn interned_kinds_equal_constant_ones() {
        assert_eq!(GroupKind::interned("apps", "Deployment"), GroupKind::new("apps", "Deployment"));
    }
}
