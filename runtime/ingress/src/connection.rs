//! What the requests of one connection share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::headers::Origin;

/// One connection, as its requests see it.
pub(crate) struct Connection {
    pub(crate) origin: Origin,
    counts: Arc<Counts>,
    /// What becomes of the connection once it no longer speaks HTTP.
    after: Mutex<Option<BoxFuture<'static, ()>>>,
    /// What goes on in streams of the connection that no longer speak HTTP; it ends with the connection.
    beside: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct Counts {
    begun: AtomicUsize,
    under_way: AtomicUsize,
}

/// A request under way; it ends when this is dropped.
pub(crate) struct Busy(Arc<Counts>);

// === impl Connection ===

impl Connection {
    pub(crate) fn new(origin: Origin) -> Self {
        Self { origin, counts: Arc::default(), after: Mutex::default(), beside: Mutex::default() }
    }

    /// A request begins.
    pub(crate) fn enter(&self) -> Busy {
        self.counts.begun.fetch_add(1, Ordering::Relaxed);
        self.counts.under_way.fetch_add(1, Ordering::Relaxed);
        Busy(self.counts.clone())
    }

    /// How many requests have come so far.
    pub(crate) fn begun(&self) -> usize {
        self.counts.begun.load(Ordering::Relaxed)
    }

    /// Whether a request is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.counts.under_way.load(Ordering::Relaxed) > 0
    }

    /// Leaves what is to be done once the connection no longer speaks HTTP.
    pub(crate) fn go_on_with(&self, after: BoxFuture<'static, ()>) {
        *self.after.lock() = Some(after);
    }

    /// Begins what is to be done in one stream while others go on speaking HTTP; it counts as a request under way.
    pub(crate) fn go_on_beside(&self, stream: BoxFuture<'static, ()>) {
        let busy = self.enter();
        let mut beside = self.beside.lock();
        while beside.try_join_next().is_some() {}
        beside.spawn(async move {
            stream.await;
            drop(busy);
        });
    }

    /// Ends what goes on beside HTTP.
    pub(crate) fn cut(&self) {
        self.beside.lock().abort_all();
    }

    /// Takes what is to be done after HTTP.
    pub(crate) fn after(&self) -> Option<BoxFuture<'static, ()>> {
        self.after.lock().take()
    }
}

// === impl Busy ===

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
