//! A cursor over the history.

use std::fmt;
use std::sync::Arc;

use state::{Event, Revision};
use tokio::sync::watch;

use super::{History, Interest};
use crate::TooOld;
use crate::fault::{Bug, planted};

/// Events handed over at once: enough to share the cost of a wake-up, few enough that a reader far behind holds no lock for long.
const PULL_EVENTS_MAX: usize = 128;

/// The events of interest, from some revision on, each once and in order.
///
/// Dropping [`next`](Self::next) half-way loses nothing. Once the store is shut down there is nothing more to wait for, and
/// `next` waits for ever: whoever reads has a shutdown of its own.
pub struct Subscription {
    history: Arc<History>,
    interest: Interest,
    reached: Revision,
    grown: watch::Receiver<()>,
}

// === impl Subscription ===

impl Subscription {
    pub(super) fn new(history: Arc<History>, interest: Interest, after: Revision, grown: watch::Receiver<()>) -> Self {
        Self { history, interest, reached: after, grown }
    }

    /// The next events, at least one; or the news that the history has moved on without this reader.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, TooOld> {
        loop {
            // Marked before looking: what comes after the look wakes us again.
            self.grown.mark_unchanged();
            let events = self.ready()?;
            if !events.is_empty() {
                return Ok(events);
            }
            if self.grown.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What can be told without waiting; empty when the reader is up to date.
    pub fn ready(&mut self) -> Result<Vec<Arc<Event>>, TooOld> {
        let (events, reached) = self.history.pull(&self.interest, self.reached, PULL_EVENTS_MAX)?;
        self.reached = match events.last() {
            Some(last) if planted(Bug::EventTwice) => Revision(last.revision.0 - 1),
            Some(_) if planted(Bug::BookmarkAhead) => reached.next(),
            _ => reached,
        };
        Ok(events)
    }

    /// Everything up to here has been handed over, or does not concern this reader: the revision for a bookmark.
    pub fn reached(&self) -> Revision {
        self.reached
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // The wide topics stay, and their readers are many: no lock for them.
        if matches!(self.interest, Interest::Namespace(..) | Interest::Object(_)) {
            self.history.leave(&self.interest);
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("interest", &self.interest)
            .field("reached", &self.reached)
            .finish_non_exhaustive()
    }
}
