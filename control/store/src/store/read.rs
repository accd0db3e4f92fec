//! Linearizable reads, on every member.
//!
//! By ReadIndex: the leader says how far the log is committed, after a quorum has confirmed that it still leads; whoever has
//! applied that much has everything that was acknowledged before the question. No clock is trusted, so a leader that slept while
//! another was elected cannot answer. Readers share rounds: all who come while one is under way are served by the next.
//!
//! A sole member is its own quorum and reads by its lease, which costs nothing.

use std::sync::Weak;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use parking_lot::Mutex;
use state::Snapshot;
use tokio::sync::{Notify, oneshot};

use super::Parts;
use super::ask::CALL_PATIENCE;
use crate::ReadError;
use crate::fault::{Bug, planted};
use crate::runtime::{self, Instant};
use crate::wire::{Answer, Call};

/// A few elections: a client that waits longer rather asks another server.
const PATIENCE: Duration = Duration::from_secs(3);

/// Those who wait for the next round.
#[derive(Default)]
pub(super) struct Rounds {
    waiting: Mutex<Vec<oneshot::Sender<Result<u64, ReadError>>>>,
    somebody: Notify,
}

// === impl Parts ===

impl Parts {
    pub(super) async fn read(&self) -> Result<Snapshot, ReadError> {
        if self.is_alone() {
            return match self.raft.ensure_linearizable(ReadPolicy::LeaseRead).await {
                Ok(_) => Ok(self.world.now()),
                Err(RaftError::APIError(_)) => Err(self.unled()),
                Err(RaftError::Fatal(_)) => Err(ReadError::Closed),
            };
        }
        let (tell, told) = oneshot::channel();
        self.rounds.waiting.lock().push(tell);
        self.rounds.somebody.notify_one();
        let mut index = told.await.map_err(|_| ReadError::Closed)??;
        if planted(Bug::ReadTooEarly) {
            index = 0;
        }
        let mut applied = self.applied.clone();
        let reached = applied.wait_for(|applied| *applied >= Some(index));
        match runtime::timeout(PATIENCE, reached).await {
            Ok(Ok(_)) => Ok(self.world.now()),
            Ok(Err(_)) => Err(ReadError::Closed),
            Err(_) => Err(self.unled()),
        }
    }

    pub(super) async fn leads(&self) -> Result<bool, ReadError> {
        let policy = if self.is_alone() { ReadPolicy::LeaseRead } else { ReadPolicy::ReadIndex };
        match self.raft.ensure_linearizable(policy).await {
            Ok(_) => Ok(true),
            Err(RaftError::APIError(_)) => Ok(false),
            Err(RaftError::Fatal(_)) => Err(ReadError::Closed),
        }
    }

    /// How far the log is committed, if this member leads. No answer where it is going down.
    pub(crate) async fn committed(&self) -> Option<Answer> {
        if planted(Bug::StaleRead) {
            return self.applied.borrow().map(Answer::ReadIndex);
        }
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Some(Answer::ReadIndex(linearizer.read_log_id().log_id().index)),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Some(Answer::NotLeader(forward.leader_id.filter(|leader| *leader != self.member())))
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Some(Answer::NotLeader(None)),
            Err(RaftError::Fatal(_)) => None,
        }
    }

    async fn round(&self) -> Result<u64, ReadError> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let news = self.news();
            match self.at_the_leader(Call::ReadIndex, CALL_PATIENCE).await {
                Some(Answer::ReadIndex(index)) => return Ok(index),
                None if self.is_closed() => return Err(ReadError::Closed),
                _ => news.pause().await,
            }
        }
        Err(self.unled())
    }

    fn unled(&self) -> ReadError {
        ReadError::NotLeader { leader: self.leader_elsewhere() }
    }
}

/// Asks for all who wait, round after round.
pub(super) async fn run(parts: Weak<Parts>) {
    while let Some(parts) = parts.upgrade() {
        let waiting = std::mem::take(&mut *parts.rounds.waiting.lock());
        if waiting.is_empty() {
            // Looks up now and then whether the store is still there.
            let _ = runtime::timeout(PATIENCE, parts.rounds.somebody.notified()).await;
            continue;
        }
        let index = parts.round().await;
        for tell in waiting {
            // Some have gone.
            let _ = tell.send(index.clone());
        }
    }
}
