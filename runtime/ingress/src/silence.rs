//! How long nothing happens.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// A clock that runs while somebody is waited for. What never waits never has a timer.
pub(crate) struct Silence {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    is_running: bool,
}

// === impl Silence ===

impl Silence {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, sleep: None, is_running: false }
    }

    /// Something happened.
    pub(crate) fn broken(&mut self) {
        self.is_running = false;
    }

    /// Nothing happens; ready once that has lasted too long.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        if !self.is_running {
            sleep.as_mut().reset(Instant::now() + self.limit);
            self.is_running = true;
        }
        sleep.as_mut().poll(cx)
    }
}
