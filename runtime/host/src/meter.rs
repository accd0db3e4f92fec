//! A future whose processor time is booked, and slowed to its quota.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Sleep;

use crate::ledger::Ledger;

/// Drives a guest: every poll is charged to the ledger, and after one that overdrew it the guest rests.
///
/// A guest gives way at every tick, so a poll overdraws by a few ticks at most.
pub(crate) struct Metered<F> {
    guest: Pin<Box<F>>,
    ledger: Ledger,
    rest: Option<Pin<Box<Sleep>>>,
}

// === impl Metered ===

impl<F: Future> Metered<F> {
    pub(crate) fn new(guest: F, ledger: Ledger) -> Self {
        Self { guest: Box::pin(guest), ledger, rest: None }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if let Some(rest) = &mut self.rest {
            if rest.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.rest = None;
        }
        let before = thread_time();
        let polled = self.guest.as_mut().poll(cx);
        let wait = self.ledger.charge_cpu(thread_time().saturating_sub(before));
        if polled.is_pending() && !wait.is_zero() {
            let mut rest = Box::pin(tokio::time::sleep(wait));
            if rest.as_mut().poll(cx).is_pending() {
                self.rest = Some(rest);
            } else {
                cx.waker().wake_by_ref();
            }
        }
        polled
    }
}

/// What this thread has used; time in which the system ran another thread is not the guest's.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
