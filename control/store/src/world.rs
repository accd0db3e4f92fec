//! What the store tells its readers: the world now, and how it came to be.

use std::sync::Arc;

use state::{Event, Revision, Snapshot};
use tokio::sync::watch;
use tracing::trace;

use crate::history::{History, Limits};

/// The published world and its recent past.
pub(crate) struct World {
    view: watch::Sender<Snapshot>,
    pub(crate) history: Arc<History>,
}

// === impl World ===

impl World {
    /// A world at `now`, with the events that led there from `base`.
    pub(crate) fn new(limits: Limits, base: Revision, events: Vec<Arc<Event>>, now: Snapshot) -> Self {
        let history = Arc::new(History::new(limits, base, events, &now));
        Self { view: watch::Sender::new(now), history }
    }

    pub(crate) fn now(&self) -> Snapshot {
        self.view.borrow().clone()
    }

    pub(crate) fn view(&self) -> watch::Receiver<Snapshot> {
        self.view.subscribe()
    }

    /// The world at exactly this revision.
    pub(crate) fn at(&self, revision: Revision) -> Option<Snapshot> {
        let now = self.now();
        if now.revision() == revision { Some(now) } else { self.history.at(revision) }
    }

    /// Publishes the next world. The snapshot comes first: whoever is told of an event finds it in the snapshot.
    pub(crate) fn publish(&self, next: &Snapshot, events: impl IntoIterator<Item = Arc<Event>>) {
        // Benches hear by it when a change is there for all to see.
        trace!(revision = next.revision().0, "published");
        self.view.send_replace(next.clone());
        self.history.record(next, events);
    }

    /// Publishes a world that does not follow from the last one.
    pub(crate) fn replace(&self, next: &Snapshot) {
        self.view.send_replace(next.clone());
        self.history.restart(next);
    }
}
