//! What happened lately: a bounded history that watches pull from.
//!
//! Every event is here once, shared by all who read it, and filed by kind, and by namespace and object where somebody listens, so
//! that a watch of what is quiet sleeps through the noise of the others. A [`Subscription`] is a cursor: it pulls, so a slow reader
//! costs a number and never a queue. Beside the events stand snapshots at intervals; with the events after them they give back
//! the exact world at any revision in reach.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::RwLock;
use state::{Event, Revision, Snapshot};

use crate::TooOld;
use crate::fault::{Bug, planted};

mod interest;
mod subscription;
mod topic;

pub use interest::Interest;
pub use subscription::Subscription;

use topic::Topics;

/// How much history is kept: whichever limit is met first.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Enough for every watch to survive a rolling restart of its client in a busy cluster.
    pub events_max: usize,
    /// What a laptop can spare: events share their bodies with the world, so most of this is not extra.
    pub bytes_max: usize,
}

/// Events between two kept snapshots: at most this many are replayed to give back an old world, a few milliseconds' work.
const CHECKPOINT_EVENTS_MAX: u64 = 1024;
/// However little is remembered, and however large events are: so many snapshots stand in what is remembered.
const CHECKPOINTS: usize = 16;

/// What an event costs beside the bytes of its object.
const EVENT_OVERHEAD_BYTES: usize = 256;

/// The recent past.
pub(crate) struct History {
    limits: Limits,
    ring: RwLock<Ring>,
}

struct Ring {
    topics: Topics,
    /// Whole worlds, oldest first, each at most [`CHECKPOINT_EVENTS_MAX`] after the one before it.
    checkpoints: VecDeque<Snapshot>,
    head: Revision,
    /// Where the history began when this process did: nothing is known of what was forgotten before.
    base: Revision,
    bytes: usize,
    /// What was pushed since the last checkpoint.
    bytes_since: usize,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self { events_max: 16_384, bytes_max: 64 << 20 }
    }
}

// === impl History ===

impl History {
    /// A history in which nothing after `base` is forgotten: `events` lead from there to `now`.
    pub(crate) fn new(limits: Limits, base: Revision, events: Vec<Arc<Event>>, now: &Snapshot) -> Self {
        let history = Self { limits, ring: RwLock::new(Ring::new(base)) };
        let mut ring = history.ring.write();
        for event in events {
            ring.push(event);
        }
        ring.head = now.revision();
        ring.checkpoints.push_back(now.clone());
        drop(ring);
        history
    }

    /// What the world became, and by which events.
    pub(crate) fn record(&self, now: &Snapshot, events: impl IntoIterator<Item = Arc<Event>>) {
        let mut ring = self.ring.write();
        let mut touched: Vec<Arc<Event>> = Vec::new();
        let count = if planted(Bug::EventLost) { 1 } else { usize::MAX };
        for event in events.into_iter().take(count) {
            touched.push(event.clone());
            ring.push(event);
        }
        ring.head = now.revision();
        ring.checkpoint(now, self.limits);
        ring.forget(self.limits);
        for event in &touched {
            ring.topics.ring(event.key());
        }
        ring.topics.all.grown.send_replace(());
    }

    /// The world was replaced by another, whose past is unknown.
    pub(crate) fn restart(&self, now: &Snapshot) {
        let mut ring = self.ring.write();
        let base = now.revision();
        ring.topics.restart(base);
        (ring.head, ring.base, ring.bytes, ring.bytes_since) = (base, base, 0, 0);
        ring.checkpoints = VecDeque::from([now.clone()]);
    }

    /// The oldest revision after which every event is here.
    pub(crate) fn floor(&self) -> Revision {
        self.ring.read().topics.all.forgotten
    }

    /// The world at exactly this revision, if the history reaches back that far.
    pub(crate) fn at(&self, revision: Revision) -> Option<Snapshot> {
        let ring = self.ring.read();
        if revision > ring.head {
            return None;
        }
        let start = ring.checkpoints.iter().rev().find(|world| world.revision() <= revision)?.clone();
        let events: Vec<_> =
            ring.topics.all.after(start.revision()).take_while(|event| event.revision <= revision).cloned().collect();
        drop(ring);
        Some(events.iter().fold(start, |world, event| world.follow(event)))
    }

    /// Every event that is remembered.
    pub(crate) fn events(&self) -> Vec<Arc<Event>> {
        self.ring.read().topics.all.events.iter().cloned().collect()
    }

    /// A cursor behind `after`, over what is of interest.
    pub(crate) fn subscribe(self: &Arc<Self>, interest: Interest, after: Revision) -> Result<Subscription, TooOld> {
        let mut ring = self.ring.write();
        let base = ring.base;
        let topic = ring.topics.open(&interest, base, after);
        let (forgotten, grown) = (topic.forgotten, topic.grown.subscribe());
        if after < forgotten && !planted(Bug::ResumedTooLate) {
            ring.topics.leave(&interest);
            drop(grown);
            return Err(TooOld { oldest: ring.topics.all.forgotten });
        }
        Ok(Subscription::new(self.clone(), interest, after, grown))
    }

    /// At most `max` events behind `after`, and how far that is: the head when there are no more.
    fn pull(&self, interest: &Interest, after: Revision, max: usize) -> Result<(Vec<Arc<Event>>, Revision), TooOld> {
        let ring = self.ring.read();
        let topic = ring.topics.get(interest);
        let forgotten = topic.map_or(ring.base, |topic| topic.forgotten);
        if after < forgotten && !planted(Bug::ResumedTooLate) {
            return Err(TooOld { oldest: ring.topics.all.forgotten });
        }
        let events: Vec<_> = topic.into_iter().flat_map(|topic| topic.after(after)).take(max).cloned().collect();
        let reached = match events.last() {
            Some(last) if events.len() == max => last.revision,
            _ => ring.head.max(after),
        };
        Ok((events, reached))
    }

    fn leave(&self, interest: &Interest) {
        self.ring.write().topics.leave(interest);
    }
}

// === impl Ring ===

impl Ring {
    fn new(base: Revision) -> Self {
        Self { topics: Topics::new(base), checkpoints: VecDeque::new(), head: base, base, bytes: 0, bytes_since: 0 }
    }

    fn push(&mut self, event: Arc<Event>) {
        debug_assert!(event.revision > self.head, "events come in order");
        self.head = event.revision;
        self.bytes += cost(&event);
        self.bytes_since += cost(&event);
        self.topics.push(event, self.base);
    }

    fn checkpoint(&mut self, now: &Snapshot, limits: Limits) {
        let last = self.checkpoints.back().map_or(Revision::ZERO, Snapshot::revision);
        let events = CHECKPOINT_EVENTS_MAX.min((limits.events_max / CHECKPOINTS) as u64);
        if now.revision().0 >= last.0 + events || self.bytes_since > limits.bytes_max / CHECKPOINTS {
            self.checkpoints.push_back(now.clone());
            self.bytes_since = 0;
        }
    }

    fn forget(&mut self, limits: Limits) {
        while self.topics.all.events.len() > limits.events_max
            || (self.bytes > limits.bytes_max && self.topics.all.events.len() > 1)
        {
            let Some(event) = self.topics.forget_first() else { break };
            self.bytes -= cost(&event);
        }
        // A world from before the floor cannot be led forward any more.
        while self.checkpoints.front().is_some_and(|world| world.revision() < self.topics.all.forgotten) {
            self.checkpoints.pop_front();
        }
    }
}

fn cost(event: &Event) -> usize {
    event.latest().body().len() + EVENT_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests;
