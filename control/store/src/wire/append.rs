//! Entries from the leader, and how they went.

use openraft::raft::StreamAppendError;

use crate::codec::{self, FORMAT, Malformed, Reader, Stored};
use crate::consensus::{AppendRequest, Appended, Entry};

/// Entries to append, or none: then it is a sign of life.
#[derive(Clone, Debug)]
pub(crate) struct Append {
    pub(crate) session: u64,
    pub(crate) request: AppendRequest,
}

/// How that went.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) session: u64,
    pub(crate) result: Appended,
}

impl Stored for Append {
    fn encode(&self, out: &mut Vec<u8>) {
        let AppendRequest { vote, prev_log_id, entries, leader_commit } = &self.request;
        out.push(FORMAT);
        out.extend_from_slice(&self.session.to_le_bytes());
        codec::put_vote(out, vote);
        codec::identified(out, *prev_log_id);
        codec::identified(out, *leader_commit);
        codec::put_length(out, entries.len());
        for entry in entries {
            codec::put_sized(out, |out| entry.encode(out));
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let session = reader.u64()?;
        let (vote, prev_log_id) = (codec::vote(&mut reader)?, codec::id(&mut reader)?);
        let leader_commit = codec::id(&mut reader)?;
        let entries = reader.list(|reader| Entry::decode(reader.bytes()?))?;
        reader.end(Self { session, request: AppendRequest { vote, prev_log_id, entries, leader_commit } })
    }
}

impl Stored for Told {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        out.extend_from_slice(&self.session.to_le_bytes());
        match &self.result {
            Ok(matching) => {
                out.push(0);
                codec::identified(out, *matching);
            }
            Err(StreamAppendError::Conflict(at)) => {
                out.push(1);
                codec::put_id(out, *at);
            }
            Err(StreamAppendError::HigherVote(vote)) => {
                out.push(2);
                codec::put_vote(out, vote);
            }
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let session = reader.u64()?;
        let result = match reader.byte()? {
            0 => Ok(codec::id(&mut reader)?),
            1 => Err(StreamAppendError::Conflict(codec::some_id(&mut reader)?)),
            2 => Err(StreamAppendError::HigherVote(codec::vote(&mut reader)?)),
            _ => return Err(Malformed { what: "append" }),
        };
        reader.end(Self { session, result })
    }
}
