//! What the store tells its readers: the world now, and how it came to be.

use std::sync::Arc;
use std::time::Duration;

use state::{Event, Revision, Snapshot};
use tokio::sync::watch;
use tracing::trace;

use crate::fault::{Bug, planted};
use crate::history::{History, Limits};
use crate::runtime;

/// What was decoded is kept for so long after somebody asked for it, and at most twice as long.
const REST_EVERY: Duration = Duration::from_secs(15);

/// So many objects are looked at before others have their turn: well under a millisecond's work.
const RESTS_AT_ONCE: usize = 1024;

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
        if !planted(Bug::HistoryNotRestarted) {
            self.history.restart(next);
        }
    }
}

/// Lets go of what was decoded and is not asked for any more, now and in the past, again and again.
pub(crate) async fn rest(world: Arc<World>) {
    loop {
        runtime::sleep(REST_EVERY).await;
        let (now, past) = (world.now(), world.history.events());
        let past = past.iter().flat_map(|event| event.objects());
        for (at, object) in now.objects().chain(past).enumerate() {
            object.rest();
            if at % RESTS_AT_ONCE == 0 {
                runtime::yield_now().await;
            }
        }
    }
}
