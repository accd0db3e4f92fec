//! How a rule's path is compared with a request's.
//!
//! Byte by byte: nothing is decoded and no dots are resolved, so a rule means here what it means to whoever wrote it, and a
//! path arrives at the component as it was sent.

use std::cmp::Ordering;

/// A path as a rule has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum PathRule {
    /// This path and no other.
    Exact(String),
    /// This path and all below it; kept without the slash at its end.
    Prefix(String),
}

// === impl PathRule ===

impl PathRule {
    /// A rule of a path type; what is neither `Exact` nor `Prefix` is ours to choose, and is a prefix.
    pub(super) fn new(kind: &str, path: &str) -> Self {
        match kind {
            "Exact" => Self::Exact(path.to_owned()),
            _ => Self::Prefix(path.trim_end_matches('/').to_owned()),
        }
    }

    /// A rule as its author would name it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Exact(path) => format!("{path} (Exact)"),
            Self::Prefix(path) if path.is_empty() => "/ (Prefix)".to_owned(),
            Self::Prefix(path) => format!("{path} (Prefix)"),
        }
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == path,
            Self::Prefix(prefix) => {
                path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }

    /// Which of two rules is asked first.
    pub(super) fn precedence(&self, other: &Self) -> Ordering {
        let (ours, theirs) = (self.rank(), other.rank());
        theirs.cmp(&ours)
    }

    fn rank(&self) -> (usize, bool) {
        match self {
            Self::Exact(path) => (path.trim_end_matches('/').len(), true),
            Self::Prefix(path) => (path.len(), false),
        }
    }
}
