//! What a container may use, and what it did use.
//!
//! One ledger is shared by every instance of a container, so that its limits hold for all of them together: memory is
//! booked before it is granted, and processor time is paid back before more is given. A ledger may be part of another one, which
//! counts the same once more: a container's of its pod's, a pod's of its node's.

mod account;

pub(crate) use account::{Account, OutOfMemory};

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::shares::Share;

/// What a container may use; nothing set means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory and tables of all instances together.
    pub memory_bytes: Option<u64>,
    /// Thousandths of a processor, on average over 100 ms.
    pub cpu_millis: Option<u32>,
    /// Thousandths of a processor it was promised: who was promised more keeps a thread for longer before giving way.
    pub cpu_request_millis: u32,
}

/// What a container uses now and has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time since the beginning.
    pub cpu: Duration,
    /// Linear memory and tables of the live instances.
    pub memory_bytes: u64,
    /// The most there has been at once.
    pub memory_bytes_peak: u64,
    /// Instances that live now.
    pub instances: u64,
    /// Requests taken since the beginning.
    pub requests: u64,
    /// How often more memory was refused because of the limit.
    pub memory_refusals: u64,
}

/// A container's limits and account; a clone is the same account.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
}

struct Shared {
    /// What this is a part of.
    whole: Option<Ledger>,
    /// No limit is the largest number.
    memory_bytes_max: AtomicU64,
    cpu_millis: AtomicU32,
    cpu_request_millis: AtomicU32,
    opened: Instant,
    cpu_nanos: AtomicU64,
    /// When all processor time taken so far is paid for at the rate of the quota, in nanoseconds since `opened`.
    cpu_paid_at_nanos: AtomicU64,
    memory_bytes: AtomicU64,
    memory_bytes_peak: AtomicU64,
    memory_refusals: AtomicU64,
    instances: AtomicU64,
    requests: AtomicU64,
    /// What its instances have of the node's places, and of its files.
    places: Share,
    files: Share,
}

/// A quota is measured over this long.
const PERIOD: Duration = Duration::from_millis(100);

/// A promise of this much is worth one more tick before giving way.
const MILLIS_PER_TICK: u32 = 500;

/// What stands for no limit.
const NO_BYTES: u64 = u64::MAX;
const NO_MILLIS: u32 = u32::MAX;

/// No promise keeps a thread for longer than this many ticks.
const TICKS_MAX: u32 = 4;

// === impl Ledger ===

impl Default for Ledger {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Ledger {
    /// An account on which nothing is booked.
    pub fn new(limits: Limits) -> Self {
        Self::open(limits, None)
    }

    /// An account on which nothing is booked, and whatever will be is booked on this one, too.
    pub fn part(&self, limits: Limits) -> Self {
        Self::open(limits, Some(self.clone()))
    }

    fn open(limits: Limits, whole: Option<Ledger>) -> Self {
        let ledger = Self {
            shared: Arc::new(Shared {
                whole,
                memory_bytes_max: AtomicU64::new(NO_BYTES),
                cpu_millis: AtomicU32::new(NO_MILLIS),
                cpu_request_millis: AtomicU32::new(0),
                opened: Instant::now(),
                cpu_nanos: AtomicU64::new(0),
                cpu_paid_at_nanos: AtomicU64::new(0),
                memory_bytes: AtomicU64::new(0),
                memory_bytes_peak: AtomicU64::new(0),
                memory_refusals: AtomicU64::new(0),
                instances: AtomicU64::new(0),
                requests: AtomicU64::new(0),
                places: Share::default(),
                files: Share::default(),
            }),
        };
        ledger.limit(limits);
        ledger
    }

    /// The limits as they are now.
    pub fn limits(&self) -> Limits {
        let shared = &self.shared;
        Limits {
            memory_bytes: Some(shared.memory_bytes_max.load(Ordering::Relaxed)).filter(|bytes| *bytes != NO_BYTES),
            cpu_millis: Some(shared.cpu_millis.load(Ordering::Relaxed)).filter(|millis| *millis != NO_MILLIS),
            cpu_request_millis: shared.cpu_request_millis.load(Ordering::Relaxed),
        }
    }

    /// Changes the limits; they hold from now on. What is booked stays, even if it is more than would be granted.
    pub fn limit(&self, limits: Limits) {
        let shared = &self.shared;
        shared.memory_bytes_max.store(limits.memory_bytes.unwrap_or(NO_BYTES), Ordering::Relaxed);
        shared.cpu_millis.store(limits.cpu_millis.unwrap_or(NO_MILLIS), Ordering::Relaxed);
        shared.cpu_request_millis.store(limits.cpu_request_millis, Ordering::Relaxed);
    }

    /// The figures as they are now.
    pub fn usage(&self) -> Usage {
        let shared = &self.shared;
        Usage {
            cpu: Duration::from_nanos(shared.cpu_nanos.load(Ordering::Relaxed)),
            memory_bytes: shared.memory_bytes.load(Ordering::Relaxed),
            memory_bytes_peak: shared.memory_bytes_peak.load(Ordering::Relaxed),
            instances: shared.instances.load(Ordering::Relaxed),
            requests: shared.requests.load(Ordering::Relaxed),
            memory_refusals: shared.memory_refusals.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn count_request(&self) {
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Ticks an instance may run before it gives way.
    pub(crate) fn ticks(&self) -> u64 {
        let promised = self.shared.cpu_request_millis.load(Ordering::Relaxed);
        u64::from((1 + promised / MILLIS_PER_TICK).min(TICKS_MAX))
    }

    /// The places of the node that its instances have.
    pub(crate) fn places(&self) -> &Share {
        &self.shared.places
    }

    /// The files that its instances have open.
    pub(crate) fn files(&self) -> &Share {
        &self.shared.files
    }

    /// This account and those it is part of.
    fn accounts(&self) -> impl Iterator<Item = &Shared> {
        std::iter::successors(Some(&*self.shared), |account| account.whole.as_ref().map(|whole| &*whole.shared))
    }

    /// Books processor time and says how long to wait before taking more.
    pub(crate) fn charge_cpu(&self, used: Duration) -> Duration {
        self.accounts().map(|account| account.charge_cpu(used)).max().unwrap_or_default()
    }

    /// Books memory on all accounts, or on none.
    fn book_memory(&self, bytes: u64) -> bool {
        let refused = self.accounts().position(|account| !account.book_memory(bytes));
        for account in self.accounts().take(refused.unwrap_or(0)) {
            account.memory_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        refused.is_none()
    }

    fn return_memory(&self, bytes: u64) {
        for account in self.accounts() {
            account.memory_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

// === impl Shared ===

impl Shared {
    fn charge_cpu(&self, used: Duration) -> Duration {
        let used_nanos = nanos(used);
        self.cpu_nanos.fetch_add(used_nanos, Ordering::Relaxed);
        let millis = self.cpu_millis.load(Ordering::Relaxed);
        if millis == NO_MILLIS {
            return Duration::ZERO;
        }
        let now = nanos(self.opened.elapsed());
        let mut wait = 0;
        let booked = self.cpu_paid_at_nanos.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid_at| {
            let (next, until) = charge(paid_at, now, used_nanos, millis);
            wait = until;
            Some(next)
        });
        debug_assert!(booked.is_ok(), "the closure never declines");
        Duration::from_nanos(wait)
    }

    fn book_memory(&self, bytes: u64) -> bool {
        let limit = self.memory_bytes_max.load(Ordering::Relaxed);
        let booked = self.memory_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |booked| {
            booked.checked_add(bytes).filter(|sum| *sum <= limit)
        });
        if let Ok(before) = booked {
            self.memory_bytes_peak.fetch_max(before + bytes, Ordering::Relaxed);
            true
        } else {
            self.memory_refusals.fetch_add(1, Ordering::Relaxed);
            false
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("limits", &self.limits()).field("usage", &self.usage()).finish()
    }
}

/// The account after `used` nanoseconds at `now`, and how long to wait until it is even.
///
/// Time not used is kept for one period, so that a short burst is not slowed by what went before.
fn charge(paid_at: u64, now: u64, used: u64, millis: u32) -> (u64, u64) {
    let price = used.saturating_mul(1_000) / u64::from(millis.max(1));
    let next = paid_at.max(now.saturating_sub(nanos(PERIOD))).saturating_add(price);
    (next, next.saturating_sub(now))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn half_a_processor_waits_as_long_as_it_worked() {
        // A first period's worth is free to take; after that every millisecond costs two.
        let (paid, wait) = charge(0, 1_000 * MS, 50 * MS, 500);
        assert_eq!(wait, 0);
        let (_, wait) = charge(paid, 1_000 * MS, 10 * MS, 500);
        assert_eq!(wait, 20 * MS);
    }

    #[test]
    fn idle_time_is_not_saved_up_beyond_a_period() {
        let (_, wait) = charge(0, 1_000_000 * MS, 100 * MS, 100);
        assert_eq!(wait, 900 * MS);
    }

    proptest! {
        #[test]
        fn who_waits_as_told_stays_within_the_quota(
            millis in 1..4_000_u32,
            slices in prop::collection::vec((0..20 * MS, 0..200 * MS), 1..100),
        ) {
            let start = 1_000 * MS;
            let (mut now, mut paid_at, mut used) = (start, 0, 0);
            for (slice, idle) in slices {
                now += slice;
                used += slice;
                let (next, wait) = charge(paid_at, now, slice, millis);
                paid_at = next;
                now += wait;
                let earned = (now - start + nanos(PERIOD)) * u64::from(millis) / 1_000;
                prop_assert!(used <= earned + u64::from(millis), "{used} used of {earned}");
                now += idle;
            }
        }
    }
}
