//! Which proposal is which, so that one that is proposed again does not happen again.
//!
//! A member that does not lead hands its proposals to the one that does, and may lose it before it hears anything. It then hands
//! the same proposal to the next leader: whether the first one still put it into the log or not, it happens once. Each run of a
//! process is a session, and numbers its proposals; what the log has applied of a session is part of what the log adds up to, so
//! that every member refuses the same repetitions.
//!
//! A member learns what became of its proposals from its own log, when it applies them. So it is answered the moment it has the
//! world to show for it, whoever put the proposal there and whoever told of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::consensus::Outcome;

/// Sessions remembered: five members, each restarted a dozen times within the seconds in which a proposal may still be repeated.
const SESSIONS_MAX: usize = 64;

/// Which proposal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    /// A random number: the run of the process that proposes.
    pub(crate) session: u64,
    /// Counts the proposals of the session.
    pub(crate) number: u64,
    /// No number below this is proposed any more: each has been answered or given up.
    pub(crate) settled: u64,
}

/// What has happened of every session, as far as it may still be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sessions(BTreeMap<u64, Session>);

/// What has happened of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Session {
    /// The index of the last entry that was of this session.
    pub(crate) last: u64,
    /// Everything below is of the past.
    pub(crate) settled: u64,
    /// What has happened from there on.
    pub(crate) done: BTreeSet<u64>,
}

/// The proposals of this process that wait to hear what became of them. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Proposals(Arc<Mutex<Waiting>>);

struct Waiting {
    session: u64,
    next: u64,
    outstanding: BTreeMap<u64, oneshot::Sender<Outcome>>,
}

/// A proposal that waits. Dropped, it is given up.
pub(crate) struct Ticket {
    proposals: Proposals,
    number: u64,
}

// === impl Sessions ===

impl Sessions {
    /// Whether this proposal may happen now, at this index of the log: it has not before, and it is not given up.
    pub(crate) fn admit(&mut self, proposal: Proposal, index: u64) -> bool {
        let Proposal { session, number, settled } = proposal;
        let known = self.0.entry(session).or_default();
        known.last = index;
        if settled > known.settled {
            known.settled = settled;
            known.done = known.done.split_off(&settled);
        }
        let is_first = number >= known.settled && known.done.insert(number);
        if self.0.len() > SESSIONS_MAX {
            let quietest = self.0.iter().min_by_key(|(_, session)| session.last).map(|(number, _)| *number);
            quietest.map(|number| self.0.remove(&number));
        }
        is_first
    }

    pub(crate) fn all(&self) -> &BTreeMap<u64, Session> {
        &self.0
    }

    fn has(&self, session: u64, number: u64) -> bool {
        self.0.get(&session).is_some_and(|known| number < known.settled || known.done.contains(&number))
    }
}

impl From<BTreeMap<u64, Session>> for Sessions {
    fn from(sessions: BTreeMap<u64, Session>) -> Self {
        Self(sessions)
    }
}

// === impl Proposals ===

impl Proposals {
    /// A new session of this random number.
    pub(crate) fn new(session: u64) -> Self {
        Self(Arc::new(Mutex::new(Waiting { session, next: 0, outstanding: BTreeMap::new() })))
    }

    /// A number for a proposal, and where its outcome will be told.
    pub(crate) fn enter(&self) -> (Ticket, oneshot::Receiver<Outcome>) {
        let (tell, outcome) = oneshot::channel();
        let mut waiting = self.0.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.outstanding.insert(number, tell);
        (Ticket { proposals: self.clone(), number }, outcome)
    }

    /// Tells whoever waits for this proposal, if that is here, what became of it.
    pub(crate) fn settle(&self, proposal: Proposal, outcome: &Outcome) {
        let mut waiting = self.0.lock();
        if waiting.session == proposal.session
            && let Some(tell) = waiting.outstanding.remove(&proposal.number)
        {
            // Whoever gave up does not listen.
            let _ = tell.send(outcome.clone());
        }
    }

    /// The log went on without this member: of proposals that happened meanwhile nobody here will be told.
    pub(crate) fn overtaken(&self, sessions: &Sessions) {
        let mut waiting = self.0.lock();
        let session = waiting.session;
        waiting.outstanding.retain(|number, _| !sessions.has(session, *number));
    }
}

// === impl Ticket ===

impl Ticket {
    /// Which proposal it is.
    pub(crate) fn proposal(&self) -> Proposal {
        let waiting = self.proposals.0.lock();
        // One that is answered but not yet dropped is still this ticket's.
        let settled = waiting.outstanding.keys().next().copied().unwrap_or(self.number).min(self.number);
        Proposal { session: waiting.session, number: self.number, settled }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.proposals.0.lock().outstanding.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(proposals: &[(u64, u64, u64)], admitted: &[bool]) -> Sessions {
        let mut sessions = Sessions::default();
        let found: Vec<bool> = proposals
            .iter()
            .zip(1..)
            .map(|(&(session, number, settled), index)| sessions.admit(Proposal { session, number, settled }, index))
            .collect();
        assert_eq!(found, admitted);
        sessions
    }

    #[test]
    fn what_is_proposed_twice_happens_once() {
        check(&[(1, 0, 0), (1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 0)], &[true, false, true, true, false]);
    }

    #[test]
    fn what_was_given_up_does_not_happen_later() {
        check(&[(1, 3, 3), (1, 2, 2), (1, 4, 3), (1, 3, 3)], &[true, false, true, false]);
    }

    #[test]
    fn only_what_may_be_asked_again_is_remembered() {
        let sessions = check(&[(1, 0, 0), (1, 1, 0), (1, 2, 2)], &[true; 3]);
        assert_eq!(sessions.all()[&1].done, BTreeSet::from([2]));
        let many: Vec<(u64, u64, u64)> = (0..100).map(|session| (session, 0, 0)).collect();
        let sessions = check(&many, &[true; 100]);
        assert_eq!(sessions.all().len(), SESSIONS_MAX);
        assert!(sessions.all().contains_key(&99) && !sessions.all().contains_key(&0));
    }

    #[tokio::test]
    async fn whoever_waits_is_told_and_whoever_gives_up_is_forgotten() {
        let proposals = Proposals::new(7);
        let (first, outcome) = proposals.enter();
        let (second, lost) = proposals.enter();
        assert_eq!(second.proposal(), Proposal { session: 7, number: 1, settled: 0 });
        proposals.settle(first.proposal(), &Outcome::Nothing);
        assert!(matches!(outcome.await, Ok(Outcome::Nothing)));
        drop(first);
        assert_eq!(second.proposal().settled, 1);
        let mut sessions = Sessions::default();
        sessions.admit(second.proposal(), 1);
        proposals.overtaken(&sessions);
        assert!(lost.await.is_err());
    }
}
