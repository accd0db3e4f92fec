//! Raft, and the only place that names its library's types.
//!
//! Everything durable goes through [`codec`](crate::codec); everything else in the house sees [`Store`](crate::Store).

use std::fmt;
use std::sync::Arc;

use openraft::SnapshotPolicy;
use openraft::vote::leader_id_adv;
use state::{Conflict, Snapshot, Txn};

use crate::proposals::{Proposal, Sessions};
use crate::runtime::Runtime;
use crate::{Committed, MemberId, Pace};

mod machine;
mod network;

pub(crate) use machine::Machine;
pub(crate) use network::Network;

openraft::declare_raft_types!(
    /// The types that Raft is made of here.
    pub(crate) Types:
        D = Command,
        R = Outcome,
        NodeId = MemberId,
        Node = Member,
        AsyncRuntime = Runtime,
);

pub(crate) type Raft = openraft::Raft<Types, Machine>;
pub(crate) type Entry = openraft::alias::EntryOf<Types>;
pub(crate) type LogId = openraft::alias::LogIdOf<Types>;
pub(crate) type LeaderId = leader_id_adv::LeaderId<u64, MemberId>;
pub(crate) type Vote = openraft::alias::VoteOf<Types>;
pub(crate) type Membership = openraft::Membership<MemberId, Member>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;
/// What one member gives another that has fallen behind the log: the world itself.
pub(crate) type Transfer = openraft::alias::SnapshotOf<Types, Whole>;
pub(crate) type AppendRequest = openraft::raft::AppendEntriesRequest<Types>;
pub(crate) type Appended = openraft::raft::StreamAppendResult<Types>;
pub(crate) type VoteRequest = openraft::raft::VoteRequest<Types>;
pub(crate) type VoteResponse = openraft::raft::VoteResponse<Types>;
pub(crate) type HandOver = openraft::raft::TransferLeaderRequest<Types>;
pub(crate) type HandOverRefused = openraft::raft::TransferLeaderError<Types>;

/// What the log carries. Shared, because memory, disk and apply all hold it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Command {
    pub(crate) txn: Arc<Txn>,
    /// Which proposal it is, where it may be proposed twice.
    pub(crate) proposal: Option<Proposal>,
}

/// Everything that the log added up to.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    pub(crate) world: Snapshot,
    pub(crate) sessions: Arc<Sessions>,
}

/// What applying an entry gave.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The entry was about Raft itself, or it is a proposal that happened before.
    Nothing,
    /// The transaction happened.
    Committed(Committed),
    /// A guard did not hold.
    Refused(Conflict),
}

/// A member of the control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// Where the others reach it; empty as long as there are no others.
    pub(crate) address: String,
}

/// The settings of Raft.
pub(crate) fn config(pace: Pace) -> Result<openraft::Config, openraft::ConfigError> {
    openraft::Config {
        cluster_name: "coracle".into(),
        heartbeat_interval: pace.heartbeat_ms,
        election_timeout_min: pace.election_ms_min,
        election_timeout_max: pace.election_ms_max,
        heartbeat_min_interval: None,
        enable_pre_vote: Some(true),
        // A leader that is heard but hears nobody falls silent, so that another can be elected.
        quorum_loss_probe_interval: Some(pace.election_ms_max * 2),
        // The state machine is written behind the log: a restarted leader must be elected, which commits and applies all there is.
        enable_leader_restore: Some(false),
        broadcast_submitted_on_append: Some(true),
        // The store decides by bytes and entries what of the log may go.
        snapshot_policy: SnapshotPolicy::Never,
        // By bytes and entries: never on its own after a snapshot.
        max_in_snapshot_log_to_keep: u64::MAX,
        install_snapshot_timeout: 60_000,
        // A member that comes back is to be found soon; asking for one that does not costs a packet.
        backoff: "50ms 100ms 200ms ..400ms".into(),
        ..openraft::Config::default()
    }
    .validate()
}

// === impl Command ===

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} guards, {} writes", self.txn.guards.len(), self.txn.writes.len())
    }
}

#[cfg(test)]
mod tests;
