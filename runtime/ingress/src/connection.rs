//! What the requests of one connection share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::headers::Origin;

/// One connection, as its requests see it.
pub(crate) struct Connection {
    pub(crate) origin: Origin,
    counts: Arc<Counts>,
    /// What becomes of the connection once it no longer speaks HTTP.
    after: Mutex<Option<BoxFuture<'static, ()>>>,
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
        Self { origin, counts: Arc::default(), after: Mutex::default() }
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
