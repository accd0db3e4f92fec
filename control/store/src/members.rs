//! Who the members are, and how that changes.
//!
//! A new member begins as a learner: it is sent the log, or the whole world first, and has no vote. When it has caught up it asks
//! for one itself. Every change is an entry of the log, with the addresses in it, and voters change by joint consensus, so that
//! there are never two majorities that do not meet.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, RaftMetrics, ServerState};

use crate::MemberId;
use crate::consensus::{Member, StoredMembership, Types};
use crate::fault::{Bug, planted};
use crate::runtime::{self, Instant};
use crate::store::Parts;
use crate::transport::Peer;
use crate::wire::Answer;

/// More votes make every write slower and outlive no more than two machines at a time, which is as many as fail at once.
pub(crate) const VOTERS_MAX: usize = 5;

/// A learner so few entries behind is at the front within milliseconds: it does not hold up a quorum that needs it.
const PROMOTED_LAG_MAX: u64 = 1_000;

/// One change at a time; the next waits so long for its turn.
const TURN_PATIENCE: Duration = Duration::from_secs(5);
const TURN_POLL: Duration = Duration::from_millis(20);

/// A handover takes a round trip or two.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(3);

/// A change of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Let this one learn.
    Add(Peer),
    /// Give a learner that has caught up a vote.
    Promote(MemberId),
    /// Have no more to do with it.
    Remove(MemberId),
    /// Give the vote of one to another, a learner that has caught up, in one step.
    Replace {
        /// Who goes.
        old: MemberId,
        /// Who takes its place.
        new: MemberId,
    },
    /// Have no more to do with one that lost what it knew, and let another learn in its place: the same, under a new number.
    Renew {
        /// Who does not come back.
        old: MemberId,
        /// Who it is now.
        new: Peer,
    },
    /// It is reached elsewhere now.
    Move(Peer),
    /// Have this voter lead.
    Lead(MemberId),
}

/// The members, as one of them knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Who leads, as far as is known.
    pub leader: Option<MemberId>,
    /// All of them, by number.
    pub members: Vec<Standing>,
    /// Whether votes are being given or taken: until that is done, both those of before and those of after decide.
    pub is_changing: bool,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Who and where.
    pub peer: Peer,
    /// What it does.
    pub role: Role,
}

/// What a member does beside holding everything and answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Elects, and counts for what is committed.
    Voter,
    /// Only learns what is committed.
    Learner,
}

// === impl Cluster ===

impl Cluster {
    pub(crate) fn of(leader: Option<MemberId>, membership: &StoredMembership) -> Self {
        // Whoever is only in one of two sets of voters is on its way in or out.
        let sets = membership.membership().get_joint_config();
        let voters: BTreeSet<MemberId> = sets.iter().cloned().reduce(|one, other| &one & &other).unwrap_or_default();
        let members = membership.nodes().map(|(member, Member { address })| Standing {
            peer: Peer { member: *member, address: address.clone() },
            role: if voters.contains(member) { Role::Voter } else { Role::Learner },
        });
        Self { leader, members: members.collect(), is_changing: sets.len() > 1 }
    }

    /// A member, by its number.
    pub fn get(&self, member: MemberId) -> Option<&Standing> {
        self.members.iter().find(|standing| standing.peer.member == member)
    }

    /// How many votes there are.
    pub fn voters(&self) -> usize {
        self.members.iter().filter(|standing| standing.role == Role::Voter).count()
    }

    /// Whether nothing is left to do of a change.
    pub(crate) fn has(&self, change: &Change) -> bool {
        match change {
            Change::Remove(member) => self.get(*member).is_none(),
            Change::Replace { old, new } => {
                self.get(*old).is_none() && self.get(*new).is_some_and(|new| new.role == Role::Voter)
            }
            Change::Renew { old, new } => self.get(*old).is_none() && self.get(new.member).is_some(),
            _ => false,
        }
    }

    /// Whether this member is all there is.
    pub(crate) fn is_alone(&self, member: MemberId) -> bool {
        !self.is_changing
            && matches!(&self.members[..], [only] if only.peer.member == member && only.role == Role::Voter)
    }
}

impl Parts {
    /// Changes the members, if this one leads. No answer where this member is going down.
    pub(crate) async fn change_here(&self, change: Change) -> Option<Answer> {
        let deadline = Instant::now() + TURN_PATIENCE;
        let _one_at_a_time = self.changing.lock().await;
        let mut is_begun = false;
        loop {
            let (changes, retain) = match self.considered(&change) {
                Ok(Considered::Membership(changes, retain)) => (changes, retain),
                Ok(Considered::Nothing) => return Some(Answer::Done),
                Ok(Considered::Lead(member)) => return self.hand_over(member).await,
                Err(_) if is_begun && self.effective().has(&change) => return Some(Answer::Done),
                Err(answer) => return Some(answer),
            };
            let is_last = !self.effective().is_changing;
            match self.raft.change_membership(changes, retain).await {
                // That takes two.
                Ok(_) if is_last && !matches!(change, Change::Renew { .. }) => return Some(Answer::Done),
                Ok(_) => {}
                Err(RaftError::Fatal(_)) => return None,
                Err(RaftError::APIError(error)) => match error {
                    ClientWriteError::ForwardToLeader(forward) | ClientWriteError::LogEntryDiscarded(forward) => {
                        return Some(Answer::NotLeader(forward.leader_id.filter(|leader| *leader != self.member())));
                    }
                    ClientWriteError::ChangeMembershipError(
                        ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
                    )
                    | ClientWriteError::PreconditionFailed(_)
                        if Instant::now() < deadline =>
                    {
                        is_begun = true;
                        runtime::sleep(TURN_POLL).await;
                    }
                    error => return Some(Answer::Refused(error.to_string())),
                },
            }
        }
    }

    /// The members as this one acts by, committed or not.
    fn effective(&self) -> Cluster {
        let metrics = self.raft.server_metrics().borrow_watched().clone();
        Cluster::of(metrics.current_leader, &metrics.membership_config)
    }

    /// What a change comes down to, as things stand.
    fn considered(&self, change: &Change) -> Result<Considered, Answer> {
        let metrics = self.raft.metrics().borrow_watched().clone();
        if metrics.state != ServerState::Leader {
            return Err(Answer::NotLeader(metrics.current_leader.filter(|leader| *leader != self.member())));
        }
        let cluster = Cluster::of(metrics.current_leader, &metrics.membership_config);
        if cluster.is_changing {
            // What a leader that is gone began is finished first.
            return Ok(Considered::Membership(ChangeMembers::AddVoterIds(BTreeSet::new()), false));
        }
        let known = |member: MemberId| {
            cluster.get(member).ok_or_else(|| Answer::Refused(format!("{member} is not a member of this cluster")))
        };
        let membership = |changes| Ok(Considered::Membership(changes, false));
        match change {
            Change::Add(peer) => match cluster.get(peer.member) {
                Some(_) => Ok(Considered::Nothing),
                None => Ok(Considered::Membership(ChangeMembers::AddNodes(nodes(peer)), true)),
            },
            Change::Move(peer) if known(peer.member)?.peer == *peer => Ok(Considered::Nothing),
            Change::Move(peer) => Ok(Considered::Membership(ChangeMembers::SetNodes(nodes(peer)), true)),
            Change::Promote(member) => {
                if known(*member)?.role == Role::Voter {
                    return Ok(Considered::Nothing);
                }
                caught_up(&metrics, *member)?;
                Ok(Considered::Membership(ChangeMembers::AddVoterIds([*member].into()), true))
            }
            Change::Remove(member) => membership(without(&cluster, known(*member)?)?),
            Change::Renew { old, new } => match (cluster.get(*old), cluster.get(new.member)) {
                (None, Some(_)) => Ok(Considered::Nothing),
                (None, None) => known(*old).map(|_| Considered::Nothing),
                (Some(_), _) if *old == self.member() => {
                    Err(Answer::Refused(format!("{old} leads, and needs nobody in its place")))
                }
                (Some(old), Some(_)) => membership(without(&cluster, old)?),
                (Some(old), None) => {
                    without(&cluster, old)?;
                    Ok(Considered::Membership(ChangeMembers::AddNodes(nodes(new)), true))
                }
            },
            Change::Replace { old, new } => {
                if known(*old)?.role != Role::Voter {
                    return Err(Answer::Refused(format!("{old} has no vote that {new} could take")));
                }
                if known(*new)?.role == Role::Voter {
                    return Err(Answer::Refused(format!("{new} has a vote of its own")));
                }
                caught_up(&metrics, *new)?;
                let (new, old) = ([*new].into(), [*old].into());
                membership(ChangeMembers::Batch(vec![
                    ChangeMembers::AddVoterIds(new),
                    ChangeMembers::RemoveVoters(old),
                ]))
            }
            Change::Lead(member) => {
                if known(*member)?.role != Role::Voter {
                    return Err(Answer::Refused(format!("{member} has no vote, and cannot lead")));
                }
                if *member == self.member() {
                    return Ok(Considered::Nothing);
                }
                caught_up(&metrics, *member)?;
                Ok(Considered::Lead(*member))
            }
        }
    }

    async fn hand_over(&self, to: MemberId) -> Option<Answer> {
        self.raft.trigger().transfer_leader(to).await.ok()?;
        let led = self.raft.wait(Some(HANDOVER_PATIENCE)).current_leader(to, "the lead is handed over").await;
        Some(match led {
            Ok(_) => Answer::Done,
            Err(_) => Answer::Refused(format!("{to} did not take the lead")),
        })
    }
}

/// What a change comes down to.
enum Considered {
    /// The change, and whether voters that are left out go on learning.
    Membership(ChangeMembers<MemberId, Member>, bool),
    Lead(MemberId),
    Nothing,
}

/// Has no more to do with this one.
fn without(cluster: &Cluster, gone: &Standing) -> Result<ChangeMembers<MemberId, Member>, Answer> {
    let member = gone.peer.member;
    match gone.role {
        Role::Learner => Ok(ChangeMembers::RemoveNodes([member].into())),
        Role::Voter if cluster.voters() == 1 => {
            Err(Answer::Refused(format!("{member} is the only voter: there would be no cluster without it")))
        }
        Role::Voter => Ok(ChangeMembers::RemoveVoters([member].into())),
    }
}

/// A vote that lags behind would stop everything as soon as it is needed.
fn caught_up(metrics: &RaftMetrics<Types>, member: MemberId) -> Result<(), Answer> {
    let matched = metrics.replication.as_ref().and_then(|replication| *replication.get(&member)?);
    let lag = metrics.last_log_index.unwrap_or(0).saturating_sub(matched.map_or(0, |id| id.index));
    if (matched.is_some() && lag <= PROMOTED_LAG_MAX) || planted(Bug::PromotedTooEarly) {
        Ok(())
    } else {
        Err(Answer::Refused(format!("{member} has not caught up yet: it is {lag} entries behind")))
    }
}

fn nodes(peer: &Peer) -> std::collections::BTreeMap<MemberId, Member> {
    [(peer.member, Member { address: peer.address.clone() })].into()
}
