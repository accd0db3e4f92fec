//! What a segment holds: records, each under a checksum that also covers the checksum before it.
//!
//! ```text
//! length u32 │ checksum u32 │ kind u8 │ body        length covers kind and body
//! ```
//! The chain makes the end of the log certain: bytes left over from a longer, torn life of the same file never follow from
//! what was written over them, so the first record that does not fit ends the log.

use crate::codec::{FORMAT, Malformed, Stored, entry_id, seal_entry};
use crate::consensus::{Entry, LogId, Vote};
use crate::seal::Sealer;

/// Before the kind and the body: the length and the checksum.
pub(super) const FRAME_BYTES: usize = 8;

const ENTRY: u8 = 1;
const VOTE: u8 = 2;
const TRUNCATED: u8 = 3;
const PURGED: u8 = 4;
const COMMITTED: u8 = 5;
const SYNCED: u8 = 6;

/// A record as read: an entry stays where it is, only its id is looked at.
#[derive(Debug, PartialEq)]
pub(super) enum Record {
    Entry(LogId),
    Vote(Vote),
    /// Every entry behind this one is void.
    Truncated(Option<LogId>),
    /// Every entry up to this one may be gone.
    Purged(LogId),
    /// Entries up to here were committed when this was written.
    Committed(Option<LogId>),
    /// Everything before it in its segment was on disk when this was written.
    Synced,
}

/// Says that everything before it is on disk: no crash takes any of that away, and whatever is missing there is damage.
///
/// It can be told for what it is by itself, without the records before it, because it is looked for where these are broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) sequence: u64,
    /// Where its frame begins.
    pub(super) at: u64,
}

/// Appends records to a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain(pub(super) u32);

// === impl Chain ===

impl Chain {
    /// Appends an entry; returns how long its body is.
    pub(super) fn entry(&mut self, out: &mut Vec<u8>, entry: &Entry, sealer: &Sealer) -> usize {
        self.frame(out, ENTRY, |out| seal_entry(out, entry, sealer))
    }

    pub(super) fn vote(&mut self, out: &mut Vec<u8>, vote: &Vote) {
        self.frame(out, VOTE, |out| vote.encode(out));
    }

    pub(super) fn truncated(&mut self, out: &mut Vec<u8>, last: Option<LogId>) {
        self.frame(out, TRUNCATED, |out| last.encode(out));
    }

    pub(super) fn purged(&mut self, out: &mut Vec<u8>, upto: LogId) {
        self.frame(out, PURGED, |out| Some(upto).encode(out));
    }

    pub(super) fn committed(&mut self, out: &mut Vec<u8>, committed: Option<LogId>) {
        self.frame(out, COMMITTED, |out| committed.encode(out));
    }

    pub(super) fn mark(&mut self, out: &mut Vec<u8>, mark: Mark) {
        self.frame(out, SYNCED, |out| out.extend_from_slice(&mark.body()));
    }

    fn frame(&mut self, out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) -> usize {
        let start = out.len();
        out.extend_from_slice(&[0; FRAME_BYTES]);
        out.push(kind);
        body(out);
        let length = out.len() - start - FRAME_BYTES;
        let checksum = self.next(&out[start + FRAME_BYTES..]);
        let field =
            u32::try_from(length).expect("a record is far smaller than 4 GiB: requests are limited to a few MiB");
        out[start..start + 4].copy_from_slice(&field.to_le_bytes());
        out[start + 4..start + FRAME_BYTES].copy_from_slice(&checksum.to_le_bytes());
        length - 1
    }

    /// The checksum of what follows in the chain.
    pub(super) fn next(&mut self, kind_and_body: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.0.to_le_bytes());
        hasher.update(kind_and_body);
        self.0 = hasher.finalize();
        self.0
    }
}

// === impl Mark ===

impl Mark {
    const BODY_BYTES: usize = 21;
    /// With its frame.
    pub(super) const BYTES: usize = FRAME_BYTES + 1 + Self::BODY_BYTES;

    fn body(self) -> [u8; Self::BODY_BYTES] {
        let mut body = [0; Self::BODY_BYTES];
        body[0] = FORMAT;
        body[1..9].copy_from_slice(&self.sequence.to_le_bytes());
        body[9..17].copy_from_slice(&self.at.to_le_bytes());
        let sum = crc32fast::hash(&body[..17]);
        body[17..].copy_from_slice(&sum.to_le_bytes());
        body
    }

    /// Whether these bytes, frame and all, are this mark.
    pub(super) fn is(self, bytes: &[u8]) -> bool {
        bytes[FRAME_BYTES] == SYNCED && bytes[FRAME_BYTES + 1..] == self.body()
    }
}

// === impl Record ===

impl Record {
    pub(super) fn decode(kind_and_body: &[u8]) -> Result<Self, Malformed> {
        match kind_and_body.split_first() {
            Some((&ENTRY, body)) => entry_id(body).map(Self::Entry),
            Some((&VOTE, body)) => Vote::decode(body).map(Self::Vote),
            Some((&TRUNCATED, body)) => Stored::decode(body).map(Self::Truncated),
            Some((&PURGED, body)) => {
                let id: Option<LogId> = Stored::decode(body)?;
                id.map(Self::Purged).ok_or(Malformed { what: "purge" })
            }
            Some((&COMMITTED, body)) => Stored::decode(body).map(Self::Committed),
            Some((&SYNCED, body)) if body.len() == Mark::BODY_BYTES => Ok(Self::Synced),
            _ => Err(Malformed { what: "record" }),
        }
    }
}
