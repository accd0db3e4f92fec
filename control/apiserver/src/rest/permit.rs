//! What depends on what is written: rights that are given away, and nodes that speak for others.

use api::{Object, StatusError};
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
        if let Some(node) = self.identity.node().filter(|_| !self.identity.is_master()) {
            restriction::check(node, self.verb, old, new)?;
        }
        match new {
            Some(new) => escalation::check(&self.door.authorizer, world, &self.identity, old, new),
            None => Ok(()),
        }
    }
}
