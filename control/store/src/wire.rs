//! What members say to each other.
//!
//! A connection carries frames: a length and a body, and each body begins with the format byte that everything of the store has.
//! The one who dialled says [`Hello`] first: who it is, whom it wants, and what the connection is for. The other says [`Welcome`],
//! or why not, and then the connection is one of three things.
//!
//! - calls: questions and answers, each with a number, in any order;
//! - appends: the leader's entries in order, and how each batch of them went. A *session* is what Raft's library calls a stream: it
//!   ends at the first refusal, and whatever is still under way of it then is ignored;
//! - a transfer: the whole world in [pieces](Piece), each with its checksum.
//!
//! Nothing here is sealed: keys stay with the member whose disk they seal, and what carries the connection is private.
//! `wire/golden.txt` holds one of each; a change that alters it needs a new format, and what is only new there a [level](api::level).

use crate::MemberId;
use crate::codec::{self, FORMAT, Malformed, Reader, Stored};

mod append;
mod call;
mod frame;
mod piece;

pub(crate) use append::{Append, Told};
pub(crate) use call::{Answer, Asked, Call, Replied};
pub(crate) use frame::{TOGETHER_BYTES, read, write, write_all};
pub(crate) use piece::{Begin, Installed, Piece, pieces};

/// What this protocol is called, first thing.
const NAME: &str = "coracle-store";

/// The first thing said on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) from: MemberId,
    pub(crate) to: MemberId,
    pub(crate) lane: Lane,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Calls,
    Appends,
    Transfer,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Welcome {
    Yes,
    /// Another member lives there.
    Other(MemberId),
}

impl Stored for Hello {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        codec::put_bytes(out, NAME.as_bytes());
        out.extend_from_slice(&self.from.to_le_bytes());
        out.extend_from_slice(&self.to.to_le_bytes());
        out.push(match self.lane {
            Lane::Calls => 0,
            Lane::Appends => 1,
            Lane::Transfer => 2,
        });
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        if reader.text()? != NAME {
            return Err(Malformed { what: "hello" });
        }
        let (from, to) = (reader.u64()?, reader.u64()?);
        let lane = match reader.byte()? {
            0 => Lane::Calls,
            1 => Lane::Appends,
            2 => Lane::Transfer,
            _ => return Err(Malformed { what: "lane" }),
        };
        reader.end(Self { from, to, lane })
    }
}

impl Stored for Welcome {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        match self {
            Self::Yes => out.push(0),
            Self::Other(member) => {
                out.push(1);
                out.extend_from_slice(&member.to_le_bytes());
            }
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let welcome = match reader.byte()? {
            0 => Self::Yes,
            1 => Self::Other(reader.u64()?),
            _ => return Err(Malformed { what: "welcome" }),
        };
        reader.end(welcome)
    }
}

#[cfg(test)]
mod tests;
