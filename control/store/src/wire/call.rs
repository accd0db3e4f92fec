//! Questions and answers.

use crate::MemberId;
use crate::codec::{self, FORMAT, Malformed, Reader, Stored};
use crate::consensus::{Command, HandOver, HandOverRefused, VoteRequest, VoteResponse};
use crate::members::Change;
use crate::transport::Peer;

/// A question, and the number its answer will have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) number: u64,
    pub(crate) call: Call,
}

/// An answer to the question of this number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Replied {
    pub(crate) number: u64,
    pub(crate) answer: Answer,
}

/// What one member asks of another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    /// To be elected.
    Vote(VoteRequest),
    /// Whether it would be.
    PreVote(VoteRequest),
    /// To stand for election at once, because the leader leaves.
    HandOver(HandOver),
    /// To put this into the log. Of the leader.
    Propose(Command),
    /// How far the log is committed. Of the leader.
    ReadIndex,
    /// To change who is a member. Of the leader.
    Change(Change),
}

/// What it is answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Vote(VoteResponse),
    HandOver(Result<(), HandOverRefused>),
    /// Done: the proposal is committed, the members are changed.
    Done,
    /// Whatever has been acknowledged is at this index of the log, or before.
    ReadIndex(u64),
    /// This is not the leader. That may be who is.
    NotLeader(Option<MemberId>),
    /// It will not be done, and why.
    Refused(String),
}

impl Stored for Asked {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        out.extend_from_slice(&self.number.to_le_bytes());
        match &self.call {
            Call::Vote(request) => {
                out.push(0);
                put_request(out, request);
            }
            Call::PreVote(request) => {
                out.push(1);
                put_request(out, request);
            }
            Call::HandOver(request) => {
                out.push(2);
                codec::put_vote(out, request.from_leader());
                out.extend_from_slice(&request.to_node_id().to_le_bytes());
                codec::identified(out, request.last_log_id().copied());
            }
            Call::Propose(command) => {
                out.push(3);
                out.push(command.proposal.is_some().into());
                codec::put_command(out, command);
            }
            Call::ReadIndex => out.push(4),
            Call::Change(change) => {
                out.push(5);
                put_change(out, change);
            }
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let number = reader.u64()?;
        let call = match reader.byte()? {
            0 => Call::Vote(request(&mut reader)?),
            1 => Call::PreVote(request(&mut reader)?),
            2 => {
                let (from, to) = (codec::vote(&mut reader)?, reader.u64()?);
                Call::HandOver(HandOver::new(from, to, codec::id(&mut reader)?))
            }
            3 => {
                let is_proposal = reader.flag()?;
                let command = codec::command(reader.rest(), is_proposal)?;
                return Ok(Self { number, call: Call::Propose(command) });
            }
            4 => Call::ReadIndex,
            5 => Call::Change(change(&mut reader)?),
            _ => return Err(Malformed { what: "call" }),
        };
        reader.end(Self { number, call })
    }
}

impl Stored for Replied {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        out.extend_from_slice(&self.number.to_le_bytes());
        match &self.answer {
            Answer::Vote(response) => {
                out.push(0);
                codec::put_vote(out, &response.vote);
                out.push(response.vote_granted.into());
                codec::identified(out, response.last_log_id);
            }
            Answer::HandOver(Ok(())) => out.push(1),
            Answer::HandOver(Err(HandOverRefused::VoteChanged { expected, actual })) => {
                out.push(2);
                codec::put_vote(out, expected);
                codec::put_vote(out, actual);
            }
            Answer::HandOver(Err(HandOverRefused::LogNotFlushed { expected, actual })) => {
                out.push(3);
                codec::identified(out, *expected);
                codec::identified(out, *actual);
            }
            Answer::Done => out.push(4),
            Answer::ReadIndex(index) => {
                out.push(5);
                out.extend_from_slice(&index.to_le_bytes());
            }
            Answer::NotLeader(leader) => {
                out.push(6);
                out.push(leader.is_some().into());
                codec::put_numbers(out, *leader);
            }
            Answer::Refused(reason) => {
                out.push(7);
                codec::put_bytes(out, reason.as_bytes());
            }
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let number = reader.u64()?;
        let answer = match reader.byte()? {
            0 => {
                let (vote, vote_granted) = (codec::vote(&mut reader)?, reader.flag()?);
                Answer::Vote(VoteResponse { vote, vote_granted, last_log_id: codec::id(&mut reader)? })
            }
            1 => Answer::HandOver(Ok(())),
            2 => Answer::HandOver(Err(HandOverRefused::VoteChanged {
                expected: codec::vote(&mut reader)?,
                actual: codec::vote(&mut reader)?,
            })),
            3 => Answer::HandOver(Err(HandOverRefused::LogNotFlushed {
                expected: codec::id(&mut reader)?,
                actual: codec::id(&mut reader)?,
            })),
            4 => Answer::Done,
            5 => Answer::ReadIndex(reader.u64()?),
            6 => Answer::NotLeader(if reader.flag()? { Some(reader.u64()?) } else { None }),
            7 => Answer::Refused(reader.text()?.to_owned()),
            _ => return Err(Malformed { what: "answer" }),
        };
        reader.end(Self { number, answer })
    }
}

fn put_request(out: &mut Vec<u8>, request: &VoteRequest) {
    codec::put_vote(out, &request.vote);
    codec::identified(out, request.last_log_id);
    out.push(request.leadership_transfer.into());
}

fn request(reader: &mut Reader<'_>) -> Result<VoteRequest, Malformed> {
    Ok(VoteRequest { vote: codec::vote(reader)?, last_log_id: codec::id(reader)?, leadership_transfer: reader.flag()? })
}

fn put_change(out: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Add(peer) => {
            out.push(0);
            put_peer(out, peer);
        }
        Change::Promote(member) => {
            out.push(1);
            out.extend_from_slice(&member.to_le_bytes());
        }
        Change::Remove(member) => {
            out.push(2);
            out.extend_from_slice(&member.to_le_bytes());
        }
        Change::Replace { old, new } => {
            out.push(3);
            out.extend_from_slice(&old.to_le_bytes());
            out.extend_from_slice(&new.to_le_bytes());
        }
        Change::Move(peer) => {
            out.push(4);
            put_peer(out, peer);
        }
        Change::Lead(member) => {
            out.push(5);
            out.extend_from_slice(&member.to_le_bytes());
        }
        Change::Renew { old, new } => {
            out.push(6);
            out.extend_from_slice(&old.to_le_bytes());
            put_peer(out, new);
        }
    }
}

fn change(reader: &mut Reader<'_>) -> Result<Change, Malformed> {
    Ok(match reader.byte()? {
        0 => Change::Add(peer(reader)?),
        1 => Change::Promote(reader.u64()?),
        2 => Change::Remove(reader.u64()?),
        3 => Change::Replace { old: reader.u64()?, new: reader.u64()? },
        4 => Change::Move(peer(reader)?),
        5 => Change::Lead(reader.u64()?),
        6 => Change::Renew { old: reader.u64()?, new: peer(reader)? },
        _ => return Err(Malformed { what: "change" }),
    })
}

fn put_peer(out: &mut Vec<u8>, peer: &Peer) {
    out.extend_from_slice(&peer.member.to_le_bytes());
    codec::put_bytes(out, peer.address.as_bytes());
}

fn peer(reader: &mut Reader<'_>) -> Result<Peer, Malformed> {
    Ok(Peer { member: reader.u64()?, address: reader.text()?.to_owned() })
}
