//! Instances that wait for their next request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::instance::Instance;

/// The last one back is the first one taken, so that those not needed grow old.
#[derive(Clone)]
pub(super) struct Warm {
    shared: Arc<Mutex<Shelf>>,
    ended: CancellationToken,
}

#[derive(Default)]
struct Shelf {
    instances: Vec<(Instant, Instance)>,
    /// Whether a task looks after those that grow old.
    watched: bool,
    /// How many are being started for it.
    starting: usize,
}

// === impl Warm ===

impl Warm {
    pub(super) fn new(ended: CancellationToken) -> Self {
        Self { shared: Arc::default(), ended }
    }

    pub(super) fn take(&self) -> Option<Instance> {
        self.shelf().instances.pop().map(|(_, instance)| instance)
    }

    /// Keeps an instance for `idle`; called on the guests' threads.
    pub(super) fn put(&self, instance: Instance, idle: Duration) {
        let mut shelf = self.shelf();
        shelf.instances.push((Instant::now(), instance));
        if !std::mem::replace(&mut shelf.watched, true) {
            let warm = self.clone();
            tokio::spawn(async move {
                let ended = warm.ended.clone();
                ended.run_until_cancelled(warm.watch(idle)).await;
                drop(std::mem::take(&mut *warm.shelf()));
            });
        }
    }

    /// Takes it on to start one more, unless `most` are there or on their way.
    pub(super) fn reserve(&self, most: usize) -> bool {
        let mut shelf = self.shelf();
        let is_due = shelf.instances.len() + shelf.starting < most;
        shelf.starting += usize::from(is_due);
        is_due
    }

    /// What became of a reservation: an instance that has answered nothing yet, or none.
    pub(super) fn fulfil(&self, started: Option<Instance>) {
        let mut shelf = self.shelf();
        shelf.starting -= 1;
        if !self.ended.is_cancelled() {
            shelf.instances.extend(started.map(|instance| (Instant::now(), instance)));
        }
    }

    /// Lets go of all.
    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut self.shelf().instances);
        drop(all);
    }

    /// Lets go of what has waited too long, until nothing is left.
    async fn watch(&self, idle: Duration) {
        while let Some(oldest) = self.oldest_or_leave() {
            tokio::time::sleep_until(oldest + idle).await;
            let old = self.take_older_than(Instant::now() - idle);
            drop(old);
        }
    }

    fn oldest_or_leave(&self) -> Option<Instant> {
        let mut shelf = self.shelf();
        let oldest = shelf.instances.first().map(|(since, _)| *since);
        shelf.watched = oldest.is_some();
        oldest
    }

    fn take_older_than(&self, limit: Instant) -> Vec<(Instant, Instance)> {
        let mut shelf = self.shelf();
        let young = shelf.instances.partition_point(|(since, _)| *since <= limit);
        shelf.instances.drain(..young).collect()
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
