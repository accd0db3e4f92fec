//! What only the leader can do, wherever it is asked for.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use state::Txn;
use tokio::sync::{oneshot, watch};

use super::{Committed, Parts};
use crate::consensus::{Command, Outcome};
use crate::runtime::{self, Instant};
use crate::wire::{Answer, Call};
use crate::{Change, ChangeError, Cluster, MemberId, ProposeError};

/// Many elections: who hears nothing for so long is cut off, and must be told.
const PATIENCE: Duration = Duration::from_secs(10);

/// Half a heartbeat: between two attempts to find who leads, unless that is told sooner.
const PAUSE: Duration = Duration::from_millis(20);

/// A member that is asked to commit something answers when that is on the disks of a quorum.
pub(super) const CALL_PATIENCE: Duration = Duration::from_secs(2);

/// A change of members may wait for others, and a handover for an election.
const CHANGE_CALL_PATIENCE: Duration = Duration::from_secs(10);
const CHANGE_PATIENCE: Duration = Duration::from_secs(30);

/// What is told of the members and of who leads them, since a moment.
pub(super) struct News(watch::Receiver<Cluster>);

// === impl News ===

impl News {
    /// Waits a moment for another to lead.
    pub(super) async fn pause(mut self) {
        // Changed or not, it is tried again; where nothing is told any more, not at once.
        if let Ok(Err(_)) = runtime::timeout(PAUSE, self.0.changed()).await {
            runtime::sleep(PAUSE).await;
        }
    }
}

// === impl Parts ===

impl Parts {
    pub(super) async fn propose(&self, txn: Txn) -> Result<Committed, ProposeError> {
        let txn = Arc::new(txn);
        if self.is_alone() {
            return self.propose_alone(txn).await;
        }
        let (ticket, mut outcome) = self.proposals.enter();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let command = Command { txn: txn.clone(), proposal: Some(ticket.proposal()) };
            let news = self.news();
            let handed = async {
                let answer = self.at_the_leader(Call::Propose(command), CALL_PATIENCE).await;
                match answer {
                    // The log will tell the rest.
                    Some(Answer::Done) => runtime::sleep_until(deadline).await,
                    _ => news.pause().await,
                }
                self.is_closed()
            };
            tokio::select! {
                biased;
                told = &mut outcome => return self.told(told),
                is_closed = handed => if is_closed {
                    return Err(ProposeError::Closed);
                },
                // A leader that is cut off takes it and cannot commit it.
                () = runtime::sleep_until(deadline) => break,
            }
        }
        Err(self.leaderless())
    }

    /// Nobody else can have a say in it, nor ever be asked again.
    async fn propose_alone(&self, txn: Arc<Txn>) -> Result<Committed, ProposeError> {
        match self.raft.client_write(Command { txn, proposal: None }).await {
            Ok(written) => match written.data {
                Outcome::Committed(committed) => Ok(committed),
                Outcome::Refused(conflict) => Err(conflict.into()),
                Outcome::Nothing => unreachable!("what is not a numbered proposal happens or is refused"),
            },
            Err(RaftError::APIError(_)) => Err(self.leaderless()),
            Err(error) => {
                tracing::debug!(%error, "a proposal got no answer");
                Err(ProposeError::Closed)
            }
        }
    }

    fn told(&self, told: Result<Outcome, oneshot::error::RecvError>) -> Result<Committed, ProposeError> {
        match told {
            Ok(Outcome::Committed(committed)) => Ok(committed),
            Ok(Outcome::Refused(conflict)) => Err(conflict.into()),
            // It happened while this member was given the whole world, without what happened in it.
            Ok(Outcome::Nothing) | Err(_) => Err(self.leaderless()),
        }
    }

    /// Commits a command if this member leads. No answer where it is going down.
    pub(crate) async fn commit(&self, command: Command) -> Option<Answer> {
        match self.raft.client_write(command).await {
            Ok(_) => Some(Answer::Done),
            Err(RaftError::APIError(
                ClientWriteError::ForwardToLeader(forward) | ClientWriteError::LogEntryDiscarded(forward),
            )) => Some(Answer::NotLeader(forward.leader_id.filter(|leader| *leader != self.member()))),
            Err(RaftError::APIError(error)) => Some(Answer::Refused(error.to_string())),
            Err(RaftError::Fatal(_)) => None,
        }
    }

    pub(super) async fn change(&self, change: Change) -> Result<(), ChangeError> {
        let deadline = Instant::now() + CHANGE_PATIENCE;
        let mut is_asked = false;
        while Instant::now() < deadline {
            let news = self.news();
            match self.at_the_leader(Call::Change(change.clone()), CHANGE_CALL_PATIENCE).await {
                Some(Answer::Done) => return Ok(()),
                // What was asked for and never answered may have been done.
                Some(Answer::Refused(_)) if is_asked && self.read().await.is_ok() && self.has(&change) => return Ok(()),
                Some(Answer::Refused(reason)) => return Err(ChangeError::Refused(reason)),
                _ if self.is_closed() => return Err(ChangeError::Closed),
                Some(_) => news.pause().await,
                None => {
                    is_asked = true;
                    news.pause().await;
                }
            }
        }
        Err(ChangeError::NoLeader)
    }

    /// Asks whoever leads, here or elsewhere. No answer where none came, or nobody is known to lead.
    pub(super) async fn at_the_leader(&self, call: Call, patience: Duration) -> Option<Answer> {
        let cluster = self.cluster.borrow().clone();
        let leader = cluster.get(cluster.leader?)?;
        if leader.peer.member != self.member() {
            let is_asked_again = matches!(call, Call::Propose(_) | Call::ReadIndex);
            let caller = self.peers.caller(&leader.peer);
            return tokio::select! {
                biased;
                answer = caller.ask(call, patience) => answer.ok(),
                // One that is cut off does not answer, and by now need not.
                () = self.other_than(leader.peer.member), if is_asked_again => None,
            };
        }
        match call {
            Call::Propose(command) => self.commit(command).await,
            Call::ReadIndex => self.committed().await,
            Call::Change(change) => self.change_here(change).await,
            Call::Vote(_) | Call::PreVote(_) | Call::HandOver(_) => unreachable!("Raft itself asks these, of a member"),
        }
    }

    /// What is told of the members from now on. It is to be had before anybody is asked: an answer may be older than what was told
    /// while it was on its way.
    pub(super) fn news(&self) -> News {
        let mut cluster = self.cluster.clone();
        cluster.mark_unchanged();
        News(cluster)
    }

    /// Returns when another than this one leads.
    async fn other_than(&self, leader: MemberId) {
        let mut cluster = self.cluster.clone();
        let another = |cluster: &Cluster| cluster.leader.is_some_and(|now| now != leader);
        if cluster.wait_for(another).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn is_alone(&self) -> bool {
        self.cluster.borrow().is_alone(self.member())
    }

    fn has(&self, change: &Change) -> bool {
        self.cluster.borrow().has(change)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.raft.metrics().borrow_watched().running_state.is_err()
    }

    /// Who is known to lead, if that is another.
    pub(super) fn leader_elsewhere(&self) -> Option<MemberId> {
        self.cluster.borrow().leader.filter(|leader| *leader != self.member())
    }

    fn leaderless(&self) -> ProposeError {
        ProposeError::NotLeader { leader: self.leader_elsewhere() }
    }
}
