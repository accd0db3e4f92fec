//! What Raft stores: votes, log ids, memberships and entries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openraft::EntryPayload;
use state::Txn;

use super::{FORMAT, Malformed, Reader, Stored, put_bytes, put_length};
use crate::consensus::{Command, Entry, LeaderId, LogId, Member, Membership, StoredMembership, Vote};

const BLANK: u8 = 0;
const TXN: u8 = 1;
const MEMBERSHIP: u8 = 2;

impl Stored for Vote {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        put_leader(out, self.leader_id);
        out.push(self.committed.into());
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let vote = Self { leader_id: leader(&mut reader)?, committed: reader.flag()? };
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
                out.push(TXN);
                command.0.encode(out);
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
            TXN => {
                let command = Command(Arc::new(Txn::decode(reader.0)?));
                Ok(Self { log_id, payload: EntryPayload::Normal(command) })
            }
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

fn put_id(out: &mut Vec<u8>, id: LogId) {
    put_leader(out, id.leader_id);
    out.extend_from_slice(&id.index.to_le_bytes());
}

fn some_id(reader: &mut Reader<'_>) -> Result<LogId, Malformed> {
    Ok(LogId { leader_id: leader(reader)?, index: reader.u64()? })
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
