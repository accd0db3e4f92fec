//! Who may come in: so many at a time, so many in line, nobody after closing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::{Instant, timeout_at};

use crate::fault::Fault;
use crate::spec::RequestPolicy;

pub(super) struct Admission {
    places: Arc<Semaphore>,
    concurrent_max: usize,
    queued: AtomicUsize,
    queued_max: usize,
}

/// The right to hold an instance, given back on drop.
pub(super) struct Place(#[expect(dead_code, reason = "its drop is its use")] OwnedSemaphorePermit);

/// One more in line, until dropped.
struct Queued<'a>(&'a AtomicUsize);

// === impl Admission ===

impl Admission {
    pub(super) fn new(policy: &RequestPolicy) -> Self {
        let concurrent_max = policy.concurrent_max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(concurrent_max)),
            concurrent_max,
            queued: AtomicUsize::new(0),
            queued_max: policy.queued_max,
        }
    }

    pub(super) async fn enter(&self, deadline: Instant) -> Result<Place, Fault> {
        match self.places.clone().try_acquire_owned() {
            Ok(permit) => return Ok(Place(permit)),
            Err(TryAcquireError::Closed) => return Err(Fault::Stopping),
            Err(TryAcquireError::NoPermits) => {}
        }
        let _queued = self.queue()?;
        match timeout_at(deadline, self.places.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Place(permit)),
            Ok(Err(_)) => Err(Fault::Stopping),
            Err(_) => Err(Fault::TimedOut),
        }
    }

    pub(super) fn close(&self) {
        self.places.close();
    }

    fn queue(&self) -> Result<Queued<'_>, Fault> {
        let queued = Queued(&self.queued);
        if self.queued.fetch_add(1, Ordering::Relaxed) < self.queued_max {
            return Ok(queued);
        }
        let (concurrent, waiting) = (self.concurrent_max, self.queued_max);
        Err(Fault::Overloaded { message: format!("{concurrent} are being answered and {waiting} are waiting") })
    }
}

// === impl Queued ===

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn admission(concurrent_max: usize, queued_max: usize) -> Admission {
        Admission::new(&RequestPolicy { concurrent_max, queued_max, ..RequestPolicy::default() })
    }

    #[tokio::test]
    async fn one_more_than_the_line_holds_is_refused() {
        let admission = admission(1, 1);
        let deadline = Instant::now() + Duration::from_millis(20);
        let first = admission.enter(deadline).await.expect("there is a place");
        let (second, third) = tokio::join!(admission.enter(deadline), admission.enter(deadline));
        assert_eq!(second.err(), Some(Fault::TimedOut));
        assert!(matches!(third.err(), Some(Fault::Overloaded { .. })));
        drop(first);
        assert!(admission.enter(deadline).await.is_ok(), "the line is empty again");
    }

    #[tokio::test]
    async fn nobody_comes_in_after_closing() {
        let admission = admission(1, 1);
        let deadline = Instant::now() + Duration::from_mins(1);
        let _first = admission.enter(deadline).await.expect("there is a place");
        let (waiting, ()) = tokio::join!(admission.enter(deadline), async { admission.close() });
        assert_eq!(waiting.err(), Some(Fault::Stopping));
        assert_eq!(admission.enter(deadline).await.err(), Some(Fault::Stopping));
    }
}
