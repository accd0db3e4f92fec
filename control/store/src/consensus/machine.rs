//! The state machine: entries in, worlds out.
//!
//! Applying is a fold of [`Snapshot::apply`](state::Snapshot::apply) over the log, the same on every member. What is applied
//! is published at once and handed to the image, which makes it durable behind the log.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;
use state::{Event, Snapshot, Txn};
use tokio::sync::watch;

use super::{Command, LogId, Outcome, SnapshotMeta, StoredMembership, Transfer, Types, Whole};
use crate::Committed;
use crate::fault::{Bug, planted};
use crate::image::{Image, Standing};
use crate::proposals::{Proposals, Sessions};
use crate::world::World;

/// Entries applied between two publications: they share one wake-up of every reader.
const APPLY_ENTRIES_MAX: usize = 256;

/// Applies the log to the world.
#[derive(Clone)]
pub(crate) struct Machine {
    world: Arc<World>,
    image: Image,
    proposals: Proposals,
    reached: Arc<Mutex<Reached>>,
    /// The index of the last entry that is applied and published.
    applied: Arc<watch::Sender<Option<u64>>>,
}

/// How far the log is applied, and what it added up to.
struct Reached {
    applied: Option<LogId>,
    membership: StoredMembership,
    world: Snapshot,
    sessions: Arc<Sessions>,
}

// === impl Machine ===

impl Machine {
    pub(crate) fn new(world: Arc<World>, image: Image, proposals: Proposals, standing: &Standing) -> Self {
        let Standing { applied, membership, sessions, .. } = standing.clone();
        let reached = Reached { applied, membership, world: world.now(), sessions };
        let applied = Arc::new(watch::Sender::new(applied.map(|id| id.index)));
        Self { world, image, proposals, reached: Arc::new(Mutex::new(reached)), applied }
    }

    /// How far the log is applied.
    pub(crate) fn applied(&self) -> watch::Receiver<Option<u64>> {
        self.applied.subscribe()
    }

    fn standing(&self, reached: &Reached) -> Standing {
        Standing {
            applied: reached.applied,
            membership: reached.membership.clone(),
            revision: reached.world.revision(),
            floor: self.world.history.floor(),
            sessions: reached.sessions.clone(),
        }
    }

    /// Makes what is reached durable and hands it out: Raft may then drop the log up to there.
    async fn transfer(&self) -> Result<Transfer, io::Error> {
        let (meta, snapshot) = {
            let reached = self.reached.lock();
            let meta = SnapshotMeta { last_log_id: reached.applied, last_membership: reached.membership.clone() };
            (meta, Whole { world: reached.world.clone(), sessions: reached.sessions.clone() })
        };
        self.image.flush(meta.last_log_id).await?;
        Ok(Transfer { meta, snapshot })
    }

    /// Applies what has gathered, publishes it once, and tells those who wait.
    fn apply_batch(&self, batch: Vec<Result<EntryResponder<Types>, io::Error>>) -> Result<(), io::Error> {
        let mut reached = self.reached.lock();
        let mut changes: Vec<Arc<Event>> = Vec::new();
        let mut answers = Vec::with_capacity(batch.len());
        for item in batch {
            let (entry, responder) = item?;
            reached.applied = Some(entry.log_id);
            let (mut outcome, mut proposal) = (Outcome::Nothing, None);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Membership(membership) => {
                    reached.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
                EntryPayload::Normal(command) => {
                    if reached.admits(&command, entry.log_id) {
                        outcome = happen(&mut reached.world, &command.txn, &mut changes);
                        proposal = command.proposal;
                    }
                }
            }
            answers.push((responder, proposal, outcome));
        }
        if !changes.is_empty() {
            self.world.publish(&reached.world, changes.iter().cloned());
        }
        self.image.record(changes, self.standing(&reached));
        self.applied.send_replace(reached.applied.map(|id| id.index));
        drop(reached);
        for (responder, proposal, outcome) in answers {
            if let Some(proposal) = proposal {
                self.proposals.settle(proposal, &outcome);
            }
            if let Some(responder) = responder {
                responder.send(outcome);
            }
        }
        Ok(())
    }
}

// === impl Reached ===

impl Reached {
    /// Whether what is commanded is to happen: not if it has happened before.
    fn admits(&mut self, command: &Command, at: LogId) -> bool {
        let Some(proposal) = command.proposal.filter(|_| !planted(Bug::AppliedTwice)) else { return true };
        Arc::make_mut(&mut self.sessions).admit(proposal, at.index)
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Whole;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let reached = self.reached.lock();
        Ok((reached.applied, reached.membership.clone()))
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batches = entries.ready_chunks(APPLY_ENTRIES_MAX);
        while let Some(batch) = batches.next().await {
            self.image.room().await?;
            self.apply_batch(batch)?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, whole: Whole) -> Result<(), io::Error> {
        let Whole { world, mut sessions } = whole;
        if planted(Bug::SessionsNotTransferred) {
            sessions = Arc::default();
        }
        let (applied, membership) = (meta.last_log_id, meta.last_membership.clone());
        let reached = Reached { applied, membership, world, sessions };
        let standing = Standing { floor: reached.world.revision(), ..self.standing(&reached) };
        self.image.replace(reached.world.clone(), standing).await?;
        self.world.replace(&reached.world);
        self.proposals.overtaken(&reached.sessions);
        *self.reached.lock() = reached;
        self.applied.send_replace(applied.map(|id| id.index));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Transfer>, io::Error> {
        if self.reached.lock().applied.is_none() {
            return Ok(None);
        }
        self.transfer().await.map(Some)
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = Whole;

    async fn build_snapshot(&mut self) -> Result<Transfer, io::Error> {
        self.transfer().await
    }
}

/// Lets a transaction happen to the world, if its guards hold there.
fn happen(world: &mut Snapshot, txn: &Txn, changes: &mut Vec<Arc<Event>>) -> Outcome {
    match world.apply_in_place(txn) {
        Ok(events) => {
            let events: Arc<[Arc<Event>]> = events.into_iter().map(Arc::new).collect();
            changes.extend(events.iter().cloned());
            Outcome::Committed(Committed { revision: world.revision(), events })
        }
        Err(conflict) => Outcome::Refused(conflict),
    }
}
