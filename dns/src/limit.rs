//! How often somebody far away is answered over UDP.
//!
//! Anybody can write another's address on a question; answers are longer than questions, and so a name server is a way to
//! throw bytes at a stranger. Each network of the world therefore has a budget of answers a second. Beyond it, every other
//! question is answered with "ask over TCP", which costs the stranger nothing and tells a real client what to do.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Answers a second for one network: far more than a resolver with a cache needs.
const RATE_PER_SECOND: f64 = 200.0;
/// Answers at once.
const BURST: f64 = 400.0;
/// Networks that are told apart; the table has a fixed size, so that nobody can fill the memory. Those that fall on one
/// place share a budget.
const PLACES: usize = 4096;

/// The budgets of all networks.
pub(crate) struct Limit {
    places: Vec<Budget>,
    hasher: RandomState,
    start: Instant,
}

/// What is done with a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Answer,
    /// Told to come over TCP.
    Defer,
    Drop,
}

#[derive(Clone)]
struct Budget {
    answers: f64,
    at: Duration,
    is_deferred: bool,
}

// === impl Limit ===

impl Limit {
    pub(crate) fn new(now: Instant) -> Self {
        let full = Budget { answers: BURST, at: Duration::ZERO, is_deferred: false };
        Self { places: vec![full; PLACES], hasher: RandomState::new(), start: now }
    }

    pub(crate) fn judge(&mut self, source: IpAddr, now: Instant) -> Verdict {
        let place = self.hasher.hash_one(network(source)) as usize % PLACES;
        let now = now.saturating_duration_since(self.start);
        self.places[place].spend(now)
    }
}

// === impl Budget ===

impl Budget {
    fn spend(&mut self, now: Duration) -> Verdict {
        let earned = now.saturating_sub(self.at).as_secs_f64() * RATE_PER_SECOND;
        self.answers = (self.answers + earned).min(BURST);
        self.at = now;
        if self.answers >= 1.0 {
            self.answers -= 1.0;
            return Verdict::Answer;
        }
        self.is_deferred = !self.is_deferred;
        if self.is_deferred { Verdict::Defer } else { Verdict::Drop }
    }
}

/// The network that somebody has to himself: 24 bits of version 4, 56 of version 6.
fn network(source: IpAddr) -> u64 {
    match source.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits() >> 8),
        IpAddr::V6(v6) => (v6.to_bits() >> 72) as u64 | 1 << 63,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_a_budget_of_answers() {
        let start = Instant::now();
        let mut limit = Limit::new(start);
        let source = |last: u8| IpAddr::from([192, 0, 2, last]);
        let verdicts: Vec<Verdict> = (0..=255).chain(0..=255).map(|last| limit.judge(source(last), start)).collect();
        let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
        assert_eq!((count(Verdict::Answer), count(Verdict::Defer), count(Verdict::Drop)), (400, 56, 56));
        let later = start + Duration::from_millis(10);
        assert_eq!(limit.judge(source(1), later), Verdict::Answer);
        assert_eq!(limit.judge(source(1), later), Verdict::Answer);
        assert_ne!(limit.judge(source(1), later), Verdict::Answer);
    }

    #[test]
    fn networks_are_told_apart() {
        let network = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(network("192.0.2.1"), network("192.0.2.200"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.3.1"));
        assert_eq!(network("2001:db8::1"), network("2001:db8:0:ff::1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:100::1"));
    }
}
