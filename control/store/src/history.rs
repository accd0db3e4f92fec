//! What happened lately: a bounded history that watches pull from.
//!
//! Every event is here once, shared by all who read it, and filed by kind, so that a watch of a quiet kind sleeps through the
//! noise of the others. A [`Subscription`] is a cursor: it pulls, so a slow reader costs a number and never a queue. Beside the
//! events stand snapshots at intervals; with the events after them they give back the exact world at any revision in reach.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use api::GroupKind;
use parking_lot::RwLock;
use state::{Event, Revision, Snapshot};
use tokio::sync::watch;

use crate::TooOld;

mod subscription;

pub use subscription::Subscription;

/// How much history is kept: whichever limit is met first.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Enough for every watch to survive a rolling restart of its client in a busy cluster.
    pub events_max: usize,
    /// What a laptop can spare: events share their bodies with the world, so most of this is not extra.
    pub bytes_max: usize,
}

/// Events between two kept snapshots: at most this many are replayed to give back an old world, a few milliseconds' work.
const CHECKPOINT_EVENTS: u64 = 1024;

/// What an event costs beside the bytes of its object.
const EVENT_OVERHEAD_BYTES: usize = 256;

/// The recent past.
pub(crate) struct History {
    limits: Limits,
    ring: RwLock<Ring>,
}

struct Ring {
    all: Topic,
    kinds: HashMap<GroupKind, Topic>,
    /// Whole worlds, oldest first, each at most [`CHECKPOINT_EVENTS`] after the one before it.
    checkpoints: VecDeque<Snapshot>,
    head: Revision,
    /// Where the history began when this process did: nothing is known of what was forgotten before.
    base: Revision,
    bytes: usize,
}

/// The events of one kind, or of all.
struct Topic {
    events: VecDeque<Arc<Event>>,
    /// The last event of this topic that is no longer here, or where the history began.
    forgotten: Revision,
    grown: watch::Sender<()>,
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
        let mut touched: Vec<GroupKind> = Vec::new();
        for event in events {
            let kind = event.key().kind();
            if !touched.contains(&kind) {
                touched.push(kind);
            }
            ring.push(event);
        }
        ring.head = now.revision();
        ring.checkpoint(now);
        ring.forget(self.limits);
        for kind in touched {
            ring.topic(Some(kind)).grown.send_replace(());
        }
        ring.all.grown.send_replace(());
    }

    /// The world was replaced by another, whose past is unknown.
    pub(crate) fn restart(&self, now: &Snapshot) {
        let mut ring = self.ring.write();
        let fresh = Ring::new(now.revision());
        let old = std::mem::replace(&mut *ring, fresh);
        ring.checkpoints.push_back(now.clone());
        // Those who wait keep their bell: it now tells them that they are too late.
        ring.all.grown = old.all.grown;
        ring.kinds = old
            .kinds
            .into_iter()
            .map(|(kind, topic)| (kind, Topic { grown: topic.grown, ..Topic::new(now.revision()) }))
            .collect();
        ring.all.grown.send_replace(());
        for topic in ring.kinds.values() {
            topic.grown.send_replace(());
        }
    }

    /// The oldest revision after which every event is here.
    pub(crate) fn floor(&self) -> Revision {
        self.ring.read().all.forgotten
    }

    /// The world at exactly this revision, if the history reaches back that far.
    pub(crate) fn at(&self, revision: Revision) -> Option<Snapshot> {
        let ring = self.ring.read();
        if revision > ring.head {
            return None;
        }
        let start = ring.checkpoints.iter().rev().find(|world| world.revision() <= revision)?.clone();
        let events: Vec<_> =
            ring.all.after(start.revision()).take_while(|event| event.revision <= revision).cloned().collect();
        drop(ring);
        Some(events.iter().fold(start, |world, event| world.follow(event)))
    }

    /// A cursor behind `after`, over one kind or all.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        kind: Option<GroupKind>,
        after: Revision,
    ) -> Result<Subscription, TooOld> {
        let mut ring = self.ring.write();
        let topic = ring.topic(kind);
        if after < topic.forgotten {
            return Err(TooOld { oldest: ring.all.forgotten });
        }
        let grown = topic.grown.subscribe();
        Ok(Subscription::new(self.clone(), kind, after, grown))
    }

    /// At most `max` events behind `after`, and how far that is: the head when there are no more.
    fn pull(
        &self,
        kind: Option<GroupKind>,
        after: Revision,
        max: usize,
    ) -> Result<(Vec<Arc<Event>>, Revision), TooOld> {
        let ring = self.ring.read();
        let topic = match kind {
            None => Some(&ring.all),
            Some(kind) => ring.kinds.get(&kind),
        };
        let forgotten = topic.map_or(ring.base, |topic| topic.forgotten);
        if after < forgotten {
            return Err(TooOld { oldest: ring.all.forgotten });
        }
        let events: Vec<_> = topic.into_iter().flat_map(|topic| topic.after(after)).take(max).cloned().collect();
        let reached = match events.last() {
            Some(last) if events.len() == max => last.revision,
            _ => ring.head.max(after),
        };
        Ok((events, reached))
    }
}

// === impl Ring ===

impl Ring {
    fn new(base: Revision) -> Self {
        Self { all: Topic::new(base), kinds: HashMap::new(), checkpoints: VecDeque::new(), head: base, base, bytes: 0 }
    }

    fn topic(&mut self, kind: Option<GroupKind>) -> &mut Topic {
        match kind {
            None => &mut self.all,
            Some(kind) => self.kinds.entry(kind).or_insert_with(|| Topic::new(self.base)),
        }
    }

    fn push(&mut self, event: Arc<Event>) {
        debug_assert!(event.revision > self.head, "events come in order");
        self.head = event.revision;
        self.bytes += cost(&event);
        self.topic(Some(event.key().kind())).events.push_back(event.clone());
        self.all.events.push_back(event);
    }

    fn checkpoint(&mut self, now: &Snapshot) {
        let last = self.checkpoints.back().map_or(Revision::ZERO, Snapshot::revision);
        if now.revision().0 >= last.0 + CHECKPOINT_EVENTS {
            self.checkpoints.push_back(now.clone());
        }
    }

    fn forget(&mut self, limits: Limits) {
        while self.all.events.len() > limits.events_max || (self.bytes > limits.bytes_max && self.all.events.len() > 1)
        {
            let Some(event) = self.all.forget_first() else { break };
            self.bytes -= cost(&event);
            self.topic(Some(event.key().kind())).forget_first();
        }
        // A world from before the floor cannot be led forward any more.
        while self.checkpoints.front().is_some_and(|world| world.revision() < self.all.forgotten) {
            self.checkpoints.pop_front();
        }
    }
}

fn cost(event: &Event) -> usize {
    event.latest().body().len() + EVENT_OVERHEAD_BYTES
}

// === impl Topic ===

impl Topic {
    fn new(base: Revision) -> Self {
        Self { events: VecDeque::new(), forgotten: base, grown: watch::Sender::new(()) }
    }

    fn after(&self, revision: Revision) -> impl Iterator<Item = &Arc<Event>> {
        let start = self.events.partition_point(|event| event.revision <= revision);
        self.events.range(start..)
    }

    fn forget_first(&mut self) -> Option<Arc<Event>> {
        let event = self.events.pop_front()?;
        self.forgotten = event.revision;
        Some(event)
    }
}

#[cfg(test)]
mod tests;
