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

use super::{LogId, Outcome, SnapshotMeta, StoredMembership, Transfer, Types};
use crate::Committed;
use crate::image::{Image, Standing};
use crate::world::World;

/// Entries applied between two publications: they share one wake-up of every reader.
const APPLY_ENTRIES_MAX: usize = 256;

/// Applies the log to the world.
#[derive(Clone)]
pub(crate) struct Machine {
    world: Arc<World>,
    image: Image,
    reached: Arc<Mutex<Reached>>,
}

/// How far the log is applied, and what it added up to.
#[derive(Clone)]
struct Reached {
    applied: Option<LogId>,
    membership: StoredMembership,
    world: Snapshot,
}

// === impl Machine ===

impl Machine {
    pub(crate) fn new(world: Arc<World>, image: Image, standing: &Standing) -> Self {
        let reached =
            Reached { applied: standing.applied, membership: standing.membership.clone(), world: world.now() };
        Self { world, image, reached: Arc::new(Mutex::new(reached)) }
    }

    fn reached(&self) -> Reached {
        self.reached.lock().clone()
    }

    fn standing(&self, reached: &Reached) -> Standing {
        Standing {
            applied: reached.applied,
            membership: reached.membership.clone(),
            revision: reached.world.revision(),
            floor: self.world.history.floor(),
        }
    }

    /// Makes what is reached durable and hands it out: Raft may then drop the log up to there.
    async fn transfer(&self) -> Result<Transfer, io::Error> {
        let reached = self.reached();
        self.image.flush(reached.applied).await?;
        let meta = SnapshotMeta { last_log_id: reached.applied, last_membership: reached.membership };
        Ok(Transfer { meta, snapshot: reached.world })
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Snapshot;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let reached = self.reached();
        Ok((reached.applied, reached.membership))
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batches = entries.ready_chunks(APPLY_ENTRIES_MAX);
        while let Some(batch) = batches.next().await {
            self.image.room().await?;
            let mut reached = self.reached();
            let mut changes: Vec<Arc<Event>> = Vec::new();
            let mut answers = Vec::with_capacity(batch.len());
            for item in batch {
                let (entry, responder) = item?;
                reached.applied = Some(entry.log_id);
                let outcome = match entry.payload {
                    EntryPayload::Blank => Outcome::Nothing,
                    EntryPayload::Membership(membership) => {
                        reached.membership = StoredMembership::new(Some(entry.log_id), membership);
                        Outcome::Nothing
                    }
                    EntryPayload::Normal(command) => happen(&mut reached.world, &command.0, &mut changes),
                };
                answers.extend(responder.map(|responder| (responder, outcome)));
            }
            if !changes.is_empty() {
                self.world.publish(&reached.world, changes.iter().cloned());
            }
            self.image.record(changes, self.standing(&reached));
            *self.reached.lock() = reached;
            for (responder, outcome) in answers {
                responder.send(outcome);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, world: Snapshot) -> Result<(), io::Error> {
        let reached = Reached { applied: meta.last_log_id, membership: meta.last_membership.clone(), world };
        let standing = Standing { floor: reached.world.revision(), ..self.standing(&reached) };
        self.image.replace(reached.world.clone(), standing).await?;
        self.world.replace(&reached.world);
        *self.reached.lock() = reached;
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
    type SnapshotData = Snapshot;

    async fn build_snapshot(&mut self) -> Result<Transfer, io::Error> {
        self.transfer().await
    }
}

/// Lets a transaction happen to the world, if its guards hold there.
fn happen(world: &mut Snapshot, txn: &Txn, changes: &mut Vec<Arc<Event>>) -> Outcome {
    match world.apply(txn) {
        Ok((next, events)) => {
            changes.extend(events.iter().cloned().map(Arc::new));
            *world = next.clone();
            Outcome::Committed(Committed { snapshot: next, events: events.into() })
        }
        Err(conflict) => Outcome::Refused(conflict),
    }
}
