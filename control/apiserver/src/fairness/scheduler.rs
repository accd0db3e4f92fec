//! Whose turn it is: seats, and the queues of those who want one.
//!
//! Every request of a level belongs to a flow and takes some seats until it is over. While there are seats nobody waits. When
//! there are none, each flow has a queue of its own, first come, first served; the next turn goes to the flow that has been
//! served least since it began to wait, so that a flow with a thousand requests takes its turns with one that has a single one.
//! A flow never takes all that others leave: whoever comes next finds a seat. Pure: it decides, and others wait.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// How much a level takes at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Seats that may be taken at the same time.
    pub(super) seats: u32,
    /// Requests of one flow that may wait; more are refused.
    pub(super) flow_queue_max: usize,
    /// Requests of all flows that may wait.
    pub(super) queue_max: usize,
}

/// A request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// What becomes of a request that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It has its seats.
    Seated,
    /// It waits for its turn.
    Waits(Ticket),
    /// Too many wait already.
    Refused,
}

/// The seats of a level, who has them, and who waits.
pub(super) struct Scheduler {
    limits: Limits,
    taken: u32,
    waiting: usize,
    flows: HashMap<Arc<str>, Flow>,
    /// The flows that wait, in the order of their turns: thousands of nodes may, and every request asks who is next.
    turns: BTreeSet<(Turn, Arc<str>)>,
    /// How much the flow that had the last turn had been served: whoever begins to wait begins there.
    served: u64,
    next: u64,
}

/// The requests of one client.
#[derive(Default)]
struct Flow {
    taken: u32,
    queue: VecDeque<(Ticket, u32)>,
    served: u64,
}

/// How much a flow was served that waits, and the first of its requests: the least has the next turn.
type Turn = (u64, Ticket);

/// Of the seats that others leave, a flow takes at most this part: some are left for whoever comes next.
const SHARE: (u32, u32) = (3, 4);

// === impl Scheduler ===

impl Scheduler {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, taken: 0, waiting: 0, flows: HashMap::new(), turns: BTreeSet::new(), served: 0, next: 0 }
    }

    /// As many seats as one request can take: half, so that two are never in each other's way for being large.
    pub(super) fn cost(&self, wanted: u32) -> u32 {
        wanted.clamp(1, (self.limits.seats / 2).max(1))
    }

    /// A request of a flow comes and wants seats; at most [`cost`](Self::cost) of them are given.
    pub(super) fn arrive(&mut self, flow: &Arc<str>, wanted: u32) -> Arrival {
        let cost = self.cost(wanted);
        let is_first = self.flows.get(flow).is_none_or(|flow| flow.queue.is_empty());
        if is_first && self.has_room(flow, cost) && !self.is_anyone_due() {
            self.seat(flow, cost);
            return Arrival::Seated;
        }
        let in_queue = self.flows.get(flow).map_or(0, |flow| flow.queue.len());
        if in_queue >= self.limits.flow_queue_max || self.waiting >= self.limits.queue_max {
            return Arrival::Refused;
        }
        let (ticket, served) = (Ticket(self.next), self.served);
        self.next += 1;
        self.waiting += 1;
        self.change(flow, |flow| {
            flow.served = flow.served.max(served);
            flow.queue.push_back((ticket, cost));
        });
        Arrival::Waits(ticket)
    }

    /// A request of a flow gives back seats: those whose turn has come.
    pub(super) fn finish(&mut self, flow: &Arc<str>, cost: u32) -> Vec<Ticket> {
        self.taken -= cost;
        self.change(flow, |flow| flow.taken -= cost);
        self.turns()
    }

    /// A request of a flow waits no longer: those whose turn has come.
    pub(super) fn leave(&mut self, flow: &Arc<str>, ticket: Ticket) -> Vec<Ticket> {
        let left = self.change(flow, |flow| {
            let before = flow.queue.len();
            flow.queue.retain(|(waiting, _)| *waiting != ticket);
            before - flow.queue.len()
        });
        self.waiting -= left;
        self.turns()
    }

    /// Seats go to those who wait, least served first, until the next in turn does not find enough of them.
    fn turns(&mut self) -> Vec<Ticket> {
        let mut turns = Vec::new();
        while let Some(flow) = self.next_in_turn() {
            let Some((ticket, cost)) = self.flows[&flow].queue.front().copied() else { break };
            if self.taken + cost > self.limits.seats {
                // Smaller requests do not overtake it for ever: what becomes free is its own.
                break;
            }
            self.waiting -= 1;
            self.taken += cost;
            let served = self.served;
            self.served = self.change(&flow, |flow| {
                flow.queue.pop_front();
                flow.take(cost, served)
            });
            turns.push(ticket);
        }
        turns
    }

    /// The flow that was served least of those that may take a turn. Only flows that have seats are passed over.
    fn next_in_turn(&self) -> Option<Arc<str>> {
        let cost = |flow: &str| self.flows.get(flow)?.queue.front().map(|(_, cost)| *cost);
        let may = |flow: &&Arc<str>| cost(flow).is_some_and(|cost| self.is_within_share(flow, cost));
        self.turns.iter().map(|(_, flow)| flow).find(may).cloned()
    }

    /// Whether somebody waits for nothing but free seats.
    fn is_anyone_due(&self) -> bool {
        self.waiting > 0 && self.next_in_turn().is_some()
    }

    fn has_room(&self, flow: &str, cost: u32) -> bool {
        self.taken + cost <= self.limits.seats && self.is_within_share(flow, cost)
    }

    /// Whether a flow leaves enough for others. One that has nothing may always have something.
    fn is_within_share(&self, flow: &str, cost: u32) -> bool {
        let own = self.flows.get(flow).map_or(0, |flow| flow.taken);
        let left_by_others = self.limits.seats - (self.taken - own);
        own == 0 || own + cost <= left_by_others * SHARE.0 / SHARE.1
    }

    fn seat(&mut self, flow: &Arc<str>, cost: u32) {
        self.taken += cost;
        let served = self.served;
        self.served = self.change(flow, |flow| flow.take(cost, served));
    }

    /// Changes a flow and its place among those that wait. Who has nothing and wants nothing is forgotten.
    fn change<T>(&mut self, name: &Arc<str>, change: impl FnOnce(&mut Flow) -> T) -> T {
        let flow = self.flows.entry(name.clone()).or_default();
        let before = flow.turn();
        let told = change(flow);
        let after = flow.turn();
        if flow.taken == 0 && flow.queue.is_empty() {
            self.flows.remove(name);
        }
        if before != after {
            if let Some(before) = before {
                self.turns.remove(&(before, name.clone()));
            }
            self.turns.extend(after.map(|after| (after, name.clone())));
        }
        told
    }
}

// === impl Flow ===

impl Flow {
    /// Takes seats, counted from `served` on at least; how much it had been served before.
    fn take(&mut self, cost: u32, served: u64) -> u64 {
        let before = self.served.max(served);
        self.taken += cost;
        self.served = before + u64::from(cost);
        before
    }

    fn turn(&self) -> Option<Turn> {
        self.queue.front().map(|(ticket, _)| (self.served, *ticket))
    }
}

#[cfg(test)]
mod tests;
