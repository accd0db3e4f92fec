//! The zone, as each kind of asker sees it, published whole.

use state::Snapshot;

use crate::zone::wire::Wire;
use crate::zone::{Pods, View, Zone};
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
    /// The zones of a snapshot whose pods are known.
    pub(crate) fn new(authority: &Authority, snapshot: &Snapshot, pods: &Pods) -> Result<Self, Error> {
        let table = |view| Table::new(authority, snapshot, view, pods.clone());
        let node = authority.mirror.is_some().then(|| table(View::Node)).transpose()?;
        Ok(Self { pods: table(View::Pods)?, node, world: table(View::World)? })
    }

    /// The same zones, where nothing has changed but the pods.
    pub(crate) fn when_pods_are(&self, pods: &Pods) -> Self {
        let table = |table: &Table| table.when_pods_are(pods);
        Self { pods: table(&self.pods), node: self.node.as_ref().map(table), world: table(&self.world) }
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
    fn when_pods_are(&self, pods: &Pods) -> Self {
        Self { zone: self.zone.when_pods_are(pods.clone()), wire: self.wire.when_pods_are(pods.clone()) }
    }

    fn new(authority: &Authority, snapshot: &Snapshot, view: View, pods: Pods) -> Result<Self, Error> {
        let zone = Zone::with_pods(view, authority, snapshot, pods)?;
        let wire = Wire::new(&zone);
        Ok(Self { zone, wire })
    }
}
