//! What someone wants: guards and writes, all or nothing.
//!
//! A transaction is the only thing that changes the world. It is dumb on purpose: rules live with whoever proposes it, so that
//! members of different versions apply the same transaction alike.

use api::{Key, Object, Revision};

use crate::Claim;

/// Guards that must hold, and writes that then all happen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Txn {
    /// What must be true for the writes to happen.
    pub guards: Vec<Guard>,
    /// What changes, in order; each write that changes something takes one revision.
    pub writes: Vec<Write>,
}

/// Something that must be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The object is there, last written at this revision.
    Unchanged(Key, Revision),
    /// No object has this key.
    Absent(Key),
    /// The object is there, whatever it says, and not on its way out. New content of a namespace asks this of the namespace.
    Alive(Key),
    /// Nobody but the object of this key holds the claim.
    Free(Claim, Key),
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// The object is now this. A put that changes no byte is no change and takes no revision.
    Put(Object),
    /// There is no such object any more. Deleting what is absent is no change.
    Delete(Key),
}

/// Why nothing of a transaction happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The object was written since.
    #[error("{key} has changed: it is at revision {found}")]
    Changed {
        /// The object.
        key: Key,
        /// Where it is now.
        found: Revision,
    },
    /// The object is not there.
    #[error("{0} does not exist")]
    Missing(Key),
    /// The name is taken.
    #[error("{0} already exists")]
    Exists(Key),
    /// The object is being deleted.
    #[error("{0} is being deleted")]
    Terminating(Key),
    /// Somebody else holds the claim.
    #[error("{claim} is held by {holder}")]
    Taken {
        /// What was asked for.
        claim: Claim,
        /// Who has it.
        holder: Key,
    },
}

// === impl Txn ===

impl Txn {
    /// Creates an object, if its name is free.
    pub fn create(object: Object) -> Self {
        Self::default().guard(Guard::Absent(object.key().clone())).put(object)
    }

    /// Replaces what was read: `object` instead of `old`, if `old` is still what is there.
    pub fn replace(old: &Object, object: Object) -> Self {
        Self::default().guard(Guard::Unchanged(old.key().clone(), old.revision())).put(object)
    }

    /// Deletes what was read, if it is still what is there.
    pub fn delete(old: &Object) -> Self {
        Self::default().guard(Guard::Unchanged(old.key().clone(), old.revision())).remove(old.key().clone())
    }

    /// Also demands `guard`.
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guards.push(guard);
        self
    }

    /// Also puts `object`.
    pub fn put(mut self, object: Object) -> Self {
        self.writes.push(Write::Put(object.settled()));
        self
    }

    /// Also deletes `key`.
    pub fn remove(mut self, key: Key) -> Self {
        self.writes.push(Write::Delete(key));
        self
    }

    /// Both, or neither.
    pub fn and(mut self, other: Self) -> Self {
        self.guards.extend(other.guards);
        self.writes.extend(other.writes);
        self
    }

    /// What it creates: the objects that it puts where it demands that there is none.
    pub fn creations(&self) -> impl Iterator<Item = &Object> {
        let is_new =
            |key: &Key| self.guards.iter().any(|guard| matches!(guard, Guard::Absent(absent) if absent == key));
        self.writes.iter().filter_map(move |write| match write {
            Write::Put(object) if is_new(object.key()) => Some(object),
            _ => None,
        })
    }

    /// Whether it wants nothing.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}
