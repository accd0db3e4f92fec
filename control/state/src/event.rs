//! What did change.

use api::{Key, Object, Revision};

/// One change of one object, at a revision of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When.
    pub revision: Revision,
    /// What.
    pub change: Change,
}

/// The object before and after. A deleted object's last state carries the revision of its deletion.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It was not there before.
    Added(Object),
    /// It was there and says something else now.
    Modified {
        /// What it said.
        before: Object,
        /// What it says.
        after: Object,
    },
    /// It is gone.
    Deleted {
        /// What it said, at the revision at which it said so.
        before: Object,
        /// The same words at the revision of the deletion: what a watch tells.
        last: Object,
    },
}

// === impl Event ===

impl Event {
    /// The object's key.
    pub fn key(&self) -> &Key {
        self.latest().key()
    }

    /// The object before the change.
    pub fn before(&self) -> Option<&Object> {
        match &self.change {
            Change::Added(_) => None,
            Change::Modified { before, .. } | Change::Deleted { before, .. } => Some(before),
        }
    }

    /// The object after the change.
    pub fn after(&self) -> Option<&Object> {
        match &self.change {
            Change::Added(after) | Change::Modified { after, .. } => Some(after),
            Change::Deleted { .. } => None,
        }
    }

    /// The objects that it holds.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.before().into_iter().chain([self.latest()])
    }

    /// The last that is known of the object, at the event's revision.
    pub fn latest(&self) -> &Object {
        match &self.change {
            Change::Added(latest) | Change::Modified { after: latest, .. } | Change::Deleted { last: latest, .. } => {
                latest
            }
        }
    }
}
