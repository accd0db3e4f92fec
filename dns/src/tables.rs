//! The zone, as each kind of asker sees it, published whole.

use state::Snapshot;

use crate::zone::wire::Wire;
use crate::zone::{View, Zone};
use crate::{Authority, Error};

/// The zones of one snapshot.
pub(crate) struct Tables {
    pods: Table,
    /// None: the node's own programs see what pods see.
    node: Option<Table>,
    world: Table,
}

/// A zone, and its answers ready for the wire.
pub(crate) struct Table {
    pub(crate) zone: Zone,
    pub(crate) wire: Wire,
}

// === impl Tables ===

impl Tables {
    pub(crate) fn new(authority: &Authority, snapshot: &Snapshot) -> Result<Self, Error> {
        let table = |view| Table::new(authority, snapshot, view);
        let node = authority.mirror.is_some().then(|| table(View::Node)).transpose()?;
        Ok(Self { pods: table(View::Pods)?, node, world: table(View::World)? })
    }

    pub(crate) fn seen_by(&self, view: View) -> &Table {
        match view {
            View::Pods => &self.pods,
            View::Node => self.node.as_ref().unwrap_or(&self.pods),
            View::World => &self.world,
        }
    }
}

// === impl Table ===

impl Table {
    fn new(authority: &Authority, snapshot: &Snapshot, view: View) -> Result<Self, Error> {
        let zone = Zone::seen_by(view, authority, snapshot)?;
        let wire = Wire::new(&zone);
        Ok(Self { zone, wire })
    }
}
