//! What depends on what is written: rights that are given away, and nodes that speak for others.

use api::{Key, Object, StatusError, authority, catalog, level};
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
        for object in [old, new].into_iter().flatten() {
            if let Some(why) = reserved(object.key()) {
                let names = catalog::by_kind(object.key().kind()).expect("both are in the catalog").names();
                return Err(StatusError::forbidden(names, object.key().name(), why));
            }
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

/// Why only servers write an object. Who writes one has everybody believe whom he likes, or nobody; who writes the other has servers
/// speak what some of them do not understand.
fn reserved(key: &Key) -> Option<&'static str> {
    if *key == authority::key() {
        Some("it is what the servers agreed on; `coracle certificate` changes it")
    } else if *key == level::key() {
        Some("it is what the servers speak; it is raised when all of them speak the next level")
    } else {
        None
    }
}
