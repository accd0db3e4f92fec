//! The keys to look at, each with the moment it is due.
//!
//! A key waits once, runs once at a time, and if it is added while it runs it runs again afterwards. Time is an argument.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use jiff::{SignedDuration, Timestamp};

/// The wait after the first failure; it doubles with each further one.
const BACKOFF_MS_MIN: i64 = 5;
/// The longest wait: a conflict that lasts is a world in motion, and its events bring the key back anyway.
const BACKOFF_MS_MAX: i64 = 5_000;

/// Keys with their due times.
#[derive(Clone, Debug)]
pub struct Queue<K> {
    due: BTreeSet<(Timestamp, K)>,
    entries: HashMap<K, Entry>,
}

/// How a look ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything wanted was done.
    Settled {
        /// When to look again even so.
        again: Option<Timestamp>,
    },
    /// Something was refused: look again soon, later each time.
    Refused,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// When it is due, if it waits. Kept while the key runs, too: that is the wish to run it again.
    due: Option<Timestamp>,
    running: bool,
    failures: u32,
    /// It rests until then, whoever wants it looked at.
    rests_until: Option<Timestamp>,
}

/// A rest that is shorter is not worth remembering.
const REST_MIN: SignedDuration = SignedDuration::from_millis(1);

// === impl Queue ===

impl<K: Clone + Ord + Hash> Queue<K> {
    /// A queue without keys.
    pub fn new() -> Self {
        Self { due: BTreeSet::new(), entries: HashMap::new() }
    }

    /// Wants `key` looked at by `due`, or earlier if that was wanted before; but not while it rests.
    pub fn add(&mut self, key: K, due: Timestamp) {
        let entry = self.entries.entry(key.clone()).or_default();
        let due = entry.rests_until.map_or(due, |rested| due.max(rested));
        if entry.due.is_some_and(|known| known <= due) {
            return;
        }
        let known = entry.due.replace(due);
        if !entry.running {
            if let Some(known) = known {
                self.due.remove(&(known, key.clone()));
            }
            self.due.insert((due, key));
        }
    }

    /// The next key that is due, which from now on counts as running.
    pub fn pop(&mut self, now: Timestamp) -> Option<K> {
        let (due, _) = self.due.first()?;
        if *due > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.due = None;
            entry.running = true;
        }
        Some(key)
    }

    /// The key has been looked at. It comes back after `rest` at the earliest: however much there is to see in one look, and however
    /// often something changes, it is not looked at all the time.
    pub fn done(&mut self, key: K, outcome: Outcome, rest: SignedDuration, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.running = false;
        let wanted = entry.due.take();
        entry.rests_until = (rest >= REST_MIN).then(|| now + rest);
        let next = match outcome {
            Outcome::Settled { again } => {
                entry.failures = 0;
                [wanted, again].into_iter().flatten().min()
            }
            Outcome::Refused => {
                let wait = BACKOFF_MS_MIN.saturating_mul(1 << entry.failures.min(16)).min(BACKOFF_MS_MAX);
                entry.failures = entry.failures.saturating_add(1);
                Some(now + SignedDuration::from_millis(wait))
            }
        };
        match next {
            Some(due) => self.add(key, due),
            None if entry.rests_until.is_some() => {}
            None => drop(self.entries.remove(&key)),
        }
    }

    /// When the next key is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }

    /// How many keys wait or run.
    pub fn len(&self) -> usize {
        self.entries.values().filter(|entry| entry.running || entry.due.is_some()).count()
    }

    /// Whether no key waits or runs.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty() && !self.entries.values().any(|entry| entry.running)
    }
}

impl<K: Clone + Ord + Hash> Default for Queue<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).expect("a time")
    }

    const SETTLED: Outcome = Outcome::Settled { again: None };

    #[test]
    fn a_key_waits_once_and_the_earliest_wish_counts() {
        let mut queue = Queue::new();
        queue.add("a", at(9));
        queue.add("a", at(5));
        queue.add("a", at(7));
        assert_eq!((queue.pop(at(4)), queue.next_due()), (None, Some(at(5))));
        assert_eq!((queue.pop(at(5)), queue.pop(at(50))), (Some("a"), None));
    }

    #[test]
    fn a_key_never_runs_twice_at_once_but_runs_again_if_wanted() {
        let mut queue = Queue::new();
        queue.add("a", at(0));
        assert_eq!(queue.pop(at(0)), Some("a"));
        queue.add("a", at(1));
        assert_eq!(queue.pop(at(2)), None);
        queue.done("a", SETTLED, SignedDuration::ZERO, at(3));
        assert_eq!(queue.pop(at(3)), Some("a"));
        queue.done("a", SETTLED, SignedDuration::ZERO, at(4));
        assert!(queue.is_empty());
    }

    #[test]
    fn what_took_long_to_look_at_rests() {
        let mut queue = Queue::new();
        queue.add("a", at(0));
        queue.pop(at(0));
        queue.add("a", at(1));
        queue.done("a", SETTLED, SignedDuration::from_millis(20), at(10));
        queue.add("a", at(11));
        assert_eq!((queue.pop(at(29)), queue.pop(at(30))), (None, Some("a")));
        queue.done("a", SETTLED, SignedDuration::from_millis(20), at(40));
        assert!(queue.is_empty());
        queue.add("a", at(41));
        assert_eq!((queue.pop(at(59)), queue.pop(at(60))), (None, Some("a")));
        queue.done("a", SETTLED, SignedDuration::ZERO, at(61));
        queue.add("a", at(61));
        assert_eq!(queue.pop(at(61)), Some("a"));
    }

    #[test]
    fn refusals_wait_longer_each_time_and_success_forgets_them() {
        let mut queue = Queue::new();
        queue.add("a", at(0));
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..12 {
            assert_eq!(queue.pop(now), Some("a"));
            queue.done("a", Outcome::Refused, SignedDuration::ZERO, now);
            let due = queue.next_due().expect("it waits");
            waits.push(due.duration_since(now).as_millis());
            now = due;
        }
        assert_eq!(waits[..4], [5, 10, 20, 40]);
        assert_eq!(waits[11], 5_000);
        queue.pop(now);
        queue.done("a", Outcome::Settled { again: Some(at(90_000)) }, SignedDuration::ZERO, now);
        assert_eq!(queue.next_due(), Some(at(90_000)));
    }
}
