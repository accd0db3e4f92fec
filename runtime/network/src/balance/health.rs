//! Which endpoints are left out for a while because they failed again and again.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So many failures in a row are no accident.
const FAILURES_MAX: u32 = 3;
/// How long an endpoint is left out the first time; each further time doubles it.
const OUT_FIRST: Duration = Duration::from_secs(1);
/// How long an endpoint is left out at most: a pod that comes back is soon found again.
const OUT_MAX: Duration = Duration::from_secs(30);

/// How an endpoint has fared of late.
#[derive(Debug)]
pub struct Health {
    since: Instant,
    /// Failures since the last success.
    failures: AtomicU32,
    /// How often it was left out since the last success.
    times_out: AtomicU32,
    /// Until when it is left out, in milliseconds from `since` on.
    out_until_ms: AtomicU64,
}

// === impl Health ===

impl Health {
    /// It took what was given to it.
    pub fn succeeded(&self) {
        // Written only where it changes something: many threads share a healthy endpoint.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.times_out.store(0, Ordering::Relaxed);
        }
    }

    /// It did not take what was given to it at `now`, or failed with it.
    pub fn failed(&self, now: Instant) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 < FAILURES_MAX || self.is_out(now) {
            return;
        }
        let times = self.times_out.fetch_add(1, Ordering::Relaxed).min(8);
        let until = now.duration_since(self.since) + (OUT_FIRST * (1 << times)).min(OUT_MAX);
        self.out_until_ms.store(until.as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether it is left out at `now`.
    pub fn is_out(&self, now: Instant) -> bool {
        self.failures.load(Ordering::Relaxed) >= FAILURES_MAX
            && (now.duration_since(self.since).as_millis() as u64) < self.out_until_ms.load(Ordering::Relaxed)
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            failures: AtomicU32::default(),
            times_out: AtomicU32::default(),
            out_until_ms: AtomicU64::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_again_and_again_is_left_out_longer_and_longer() {
        let health = Health::default();
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds) + Duration::from_millis(10);
        health.failed(start);
        health.failed(start);
        assert!(!health.is_out(start), "twice may be an accident");
        health.failed(start);
        assert!(health.is_out(start) && !health.is_out(after(1)));
        health.failed(after(1));
        assert!(health.is_out(after(2)) && !health.is_out(after(3)), "the second time it is two seconds");
        for _ in 0..20 {
            health.failed(after(1000));
        }
        assert!(health.is_out(after(1000)) && !health.is_out(after(1031)));
        health.succeeded();
        assert!(!health.is_out(after(1000)));
        health.failed(after(1001));
        assert!(!health.is_out(after(1001)), "what was is forgotten");
    }
}
