//! What depends on what is written: rights that are given away, and nodes that speak for others.

use api::{Object, StatusError, authority, catalog};
use state::Snapshot;

use super::Ask;
use crate::authorization::{escalation, restriction};

// === impl Ask ===

impl Ask {
    /// Whether the one who asks may have `new` where `old` is; none where there is nothing.
    pub(super) fn permit(
        &self,
        world: &Snapshot,
        old: Option<&Object>,
        new: Option<&Object>,
    ) -> Result<(), StatusError> {
        let is_agreed = |object: &Object| *object.key() == authority::key();
        if let Some(object) = [old, new].into_iter().flatten().find(|object| is_agreed(object)) {
            return Err(reserved(object));
        }
        if let Some(node) = self.identity.node().filter(|_| !self.identity.is_master()) {
            restriction::check(node, self.verb, old, new)?;
        }
        match new {
            Some(new) => escalation::check(&self.door.authorizer, world, &self.identity, old, new),
            None => Ok(()),
        }
    }
}

/// Who writes it has everybody believe whom he likes, or nobody: only servers do, by what is asked of them at its own path.
fn reserved(object: &Object) -> StatusError {
    let names = catalog::by_kind(object.key().kind()).expect("secrets are in the catalog").names();
    let why = "it is what the servers agreed on; `coracle certificate` changes it";
    StatusError::forbidden(names, object.key().name(), why)
}
