//! Raft, and the only place that names its library's types.
//!
//! Everything durable goes through [`codec`](crate::codec); everything else in the house sees [`Store`](crate::Store).

use std::fmt;
use std::sync::Arc;

use openraft::SnapshotPolicy;
use openraft::vote::leader_id_adv;
use state::{Conflict, Txn};

use crate::{Committed, MemberId, Pace};

mod machine;
mod network;

pub(crate) use machine::Machine;
pub(crate) use network::NoPeers;

openraft::declare_raft_types!(
    /// The types that Raft is made of here.
    pub(crate) Types:
        D = Command,
        R = Outcome,
        NodeId = MemberId,
        Node = Member,
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
pub(crate) type Transfer = openraft::alias::SnapshotOf<Types, state::Snapshot>;

/// What the log carries. Shared, because memory, disk and apply all hold it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Command(pub(crate) Arc<Txn>);

/// What applying an entry gave.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The entry was about Raft itself.
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
        // The state machine is written behind the log: a restarted leader must be elected, which commits and applies all there is.
        enable_leader_restore: Some(false),
        broadcast_submitted_on_append: Some(true),
        // The store decides by bytes and entries what of the log may go.
        snapshot_policy: SnapshotPolicy::Never,
        install_snapshot_timeout: 60_000,
        ..openraft::Config::default()
    }
    .validate()
}

// === impl Command ===

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} guards, {} writes", self.0.guards.len(), self.0.writes.len())
    }
}

#[cfg(test)]
mod tests;
