//! How long to wait before trying again: longer each time, forgotten after a good while.

use jiff::{SignedDuration, Timestamp};

/// The first wait.
const FIRST: SignedDuration = SignedDuration::from_secs(10);

/// No wait is longer.
const LONGEST: SignedDuration = SignedDuration::from_mins(5);

/// A run at least so long makes what was before it forgotten.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// The next wait of a container that keeps failing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    next: Option<SignedDuration>,
}

// === impl Backoff ===

impl Backoff {
    /// When to restart what ran from `began` to `ended`. The first restart is at once, as Kubernetes has it.
    pub(crate) fn after_run(&mut self, began: Timestamp, ended: Timestamp) -> Timestamp {
        if ended.duration_since(began) >= FORGOTTEN_AFTER {
            self.next = None;
        }
        let wait = self.next.unwrap_or(SignedDuration::ZERO);
        self.next = Some(self.next.map_or(FIRST, doubled));
        later(ended, wait)
    }

    /// When to try again what failed at `now`; the first wait is not zero.
    pub(crate) fn after_failure(&mut self, now: Timestamp) -> Timestamp {
        let wait = self.next.unwrap_or(FIRST);
        self.next = Some(doubled(wait));
        later(now, wait)
    }

    /// What succeeded starts anew.
    pub(crate) fn forget(&mut self) {
        self.next = None;
    }
}

fn doubled(wait: SignedDuration) -> SignedDuration {
    wait.saturating_mul(2).min(LONGEST)
}

/// `at` plus `wait`, or `at` where time ends before that.
pub(crate) fn later(at: Timestamp, wait: SignedDuration) -> Timestamp {
    at.checked_add(wait).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_wait_longer_each_time_up_to_five_minutes() {
        let mut backoff = Backoff::default();
        let at = Timestamp::UNIX_EPOCH;
        let waits: Vec<i64> = (0..8).map(|_| backoff.after_run(at, at).duration_since(at).as_secs()).collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_long_run_makes_the_past_forgotten() {
        let mut backoff = Backoff::default();
        let at = Timestamp::UNIX_EPOCH;
        backoff.after_run(at, at);
        backoff.after_run(at, at);
        let ended = later(at, FORGOTTEN_AFTER);
        assert_eq!(backoff.after_run(at, ended), ended);
    }

    #[test]
    fn pulls_wait_from_the_first_failure_on() {
        let mut backoff = Backoff::default();
        let at = Timestamp::UNIX_EPOCH;
        let waits: Vec<i64> = (0..3).map(|_| backoff.after_failure(at).duration_since(at).as_secs()).collect();
        assert_eq!(waits, [10, 20, 40]);
    }
}
