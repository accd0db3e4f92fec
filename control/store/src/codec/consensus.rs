//! What Raft stores: votes, log ids, memberships and entries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openraft::EntryPayload;
use state::Txn;

use super::{FORMAT, Malformed, Reader, Stored, put_bytes, put_length, put_numbers};
use crate::consensus::{Command, Entry, LeaderId, LogId, Member, Membership, StoredMembership, Vote};
use crate::proposals::{Proposal, Session, Sessions};
use crate::seal::Sealer;

const BLANK: u8 = 0;
const TXN: u8 = 1;
const MEMBERSHIP: u8 = 2;
const SEALED_TXN: u8 = 3;
const PROPOSAL: u8 = 4;
const SEALED_PROPOSAL: u8 = 5;

impl Stored for Vote {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        put_vote(out, self);
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let vote = vote(&mut reader)?;
        reader.end(vote)
    }
}

impl Stored for Option<LogId> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        identified(out, *self);
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let id = id(&mut reader)?;
        reader.end(id)
    }
}

impl Stored for Entry {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        put_id(out, self.log_id);
        match &self.payload {
            EntryPayload::Blank => out.push(BLANK),
            EntryPayload::Normal(command) => {
                out.push(if command.proposal.is_some() { PROPOSAL } else { TXN });
                put_command(out, command);
            }
            EntryPayload::Membership(membership) => {
                out.push(MEMBERSHIP);
                member_list(out, membership);
            }
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let log_id = some_id(&mut reader)?;
        match reader.byte()? {
            BLANK => reader.end(Self { log_id, payload: EntryPayload::Blank }),
            TXN => Ok(Self { log_id, payload: EntryPayload::Normal(command(reader.rest(), false)?) }),
            PROPOSAL => Ok(Self { log_id, payload: EntryPayload::Normal(command(reader.rest(), true)?) }),
            MEMBERSHIP => {
                let membership = members(&mut reader)?;
                reader.end(Self { log_id, payload: EntryPayload::Membership(membership) })
            }
            _ => Err(Malformed { what: "entry" }),
        }
    }
}

impl Stored for StoredMembership {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        identified(out, *self.log_id());
        member_list(out, self.membership());
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let stored = Self::new(id(&mut reader)?, members(&mut reader)?);
        reader.end(stored)
    }
}

/// Appends an entry as it lies on disk: what it does to the world is sealed, and opens only as this entry of the log.
pub(crate) fn seal_entry(out: &mut Vec<u8>, entry: &Entry, sealer: &Sealer) {
    let EntryPayload::Normal(command) = &entry.payload else { return entry.encode(out) };
    out.push(FORMAT);
    put_id(out, entry.log_id);
    out.push(if command.proposal.is_some() { SEALED_PROPOSAL } else { SEALED_TXN });
    sealer.seal(&place(entry.log_id), out, |out| put_command(out, command));
}

/// Reads an entry as it lies on disk. Those from before there were seals are read too.
pub(crate) fn open_entry(bytes: &[u8], sealer: &Sealer) -> Result<Entry, Malformed> {
    let mut reader = Reader::new(bytes)?;
    let log_id = some_id(&mut reader)?;
    let is_proposal = match reader.byte()? {
        SEALED_TXN => false,
        SEALED_PROPOSAL => true,
        _ => return Entry::decode(bytes),
    };
    let command = command(&sealer.open(&place(log_id), reader.rest())?, is_proposal)?;
    Ok(Entry { log_id, payload: EntryPayload::Normal(command) })
}

/// Appends a transaction, behind what tells its proposal from others if it has one.
pub(crate) fn put_command(out: &mut Vec<u8>, command: &Command) {
    if let Some(Proposal { session, number, settled }) = command.proposal {
        put_numbers(out, [session, number, settled]);
    }
    command.txn.encode(out);
}

pub(crate) fn command(bytes: &[u8], is_proposal: bool) -> Result<Command, Malformed> {
    let mut reader = Reader::inside(bytes);
    let mut proposal = None;
    if is_proposal {
        proposal = Some(Proposal { session: reader.u64()?, number: reader.u64()?, settled: reader.u64()? });
    }
    Ok(Command { txn: Arc::new(Txn::decode(reader.rest())?), proposal })
}

/// What ties a sealed entry to its place in the log.
fn place(id: LogId) -> Vec<u8> {
    let mut place = Vec::from(*b"log");
    put_id(&mut place, id);
    place
}

/// The id of an encoded entry, without reading the rest of it.
pub(crate) fn entry_id(bytes: &[u8]) -> Result<LogId, Malformed> {
    some_id(&mut Reader::new(bytes)?)
}

/// Appends a log id that may be missing.
pub(crate) fn identified(out: &mut Vec<u8>, id: Option<LogId>) {
    out.push(id.is_some().into());
    if let Some(id) = id {
        put_id(out, id);
    }
}

/// A log id that may be missing.
pub(crate) fn id(reader: &mut Reader<'_>) -> Result<Option<LogId>, Malformed> {
    if reader.flag()? { some_id(reader).map(Some) } else { Ok(None) }
}

pub(crate) fn put_id(out: &mut Vec<u8>, id: LogId) {
    put_leader(out, id.leader_id);
    out.extend_from_slice(&id.index.to_le_bytes());
}

pub(crate) fn some_id(reader: &mut Reader<'_>) -> Result<LogId, Malformed> {
    Ok(LogId { leader_id: leader(reader)?, index: reader.u64()? })
}

/// Appends a vote that is part of something.
pub(crate) fn put_vote(out: &mut Vec<u8>, vote: &Vote) {
    put_leader(out, vote.leader_id);
    out.push(vote.committed.into());
}

pub(crate) fn vote(reader: &mut Reader<'_>) -> Result<Vote, Malformed> {
    Ok(Vote { leader_id: leader(reader)?, committed: reader.flag()? })
}

/// Appends which proposals have happened.
pub(crate) fn put_sessions(out: &mut Vec<u8>, sessions: &Sessions) {
    let sessions = sessions.all();
    put_length(out, sessions.len());
    for (number, Session { last, settled, done }) in sessions {
        put_numbers(out, [*number, *last, *settled]);
        put_length(out, done.len());
        put_numbers(out, done.iter().copied());
    }
}

pub(crate) fn sessions(reader: &mut Reader<'_>) -> Result<Sessions, Malformed> {
    let sessions = reader.list(|reader| {
        let number = reader.u64()?;
        let session = Session {
            last: reader.u64()?,
            settled: reader.u64()?,
            done: reader.list(Reader::u64)?.into_iter().collect(),
        };
        Ok((number, session))
    })?;
    Ok(Sessions::from(BTreeMap::from_iter(sessions)))
}

fn put_leader(out: &mut Vec<u8>, leader: LeaderId) {
    out.extend_from_slice(&leader.term.to_le_bytes());
    out.extend_from_slice(&leader.node_id.to_le_bytes());
}

fn leader(reader: &mut Reader<'_>) -> Result<LeaderId, Malformed> {
    Ok(LeaderId { term: reader.u64()?, node_id: reader.u64()? })
}

/// Appends who decides and who listens.
pub(crate) fn member_list(out: &mut Vec<u8>, membership: &Membership) {
    let configs = membership.get_joint_config();
    put_length(out, configs.len());
    for voters in configs {
        put_length(out, voters.len());
        for voter in voters {
            out.extend_from_slice(&voter.to_le_bytes());
        }
    }
    put_length(out, membership.nodes().count());
    for (number, member) in membership.nodes() {
        out.extend_from_slice(&number.to_le_bytes());
        put_bytes(out, member.address.as_bytes());
    }
}

/// Who decides and who listens.
pub(crate) fn members(reader: &mut Reader<'_>) -> Result<Membership, Malformed> {
    let configs = reader.list(|reader| reader.list(Reader::u64).map(BTreeSet::from_iter))?;
    let members = reader.list(|reader| Ok((reader.u64()?, Member { address: reader.text()?.to_owned() })))?;
    if configs.is_empty() && members.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, BTreeMap::from_iter(members)).map_err(|_| Malformed { what: "membership" })
}
