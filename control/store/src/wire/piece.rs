//! The whole world, for a member that has fallen behind the log.
//!
//! It is sent in pieces of about a MiB, each with a checksum over the bytes it holds, and is not believed before the last one
//! has said how many objects there were. Where the level of the cluster has it they are deflated: what is said of objects repeats itself.

use std::io::{Read, Write};

use api::level;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use state::{Object, Revision};

use crate::codec::{self, FORMAT, Malformed, Reader, Stored};
use crate::consensus::{SnapshotMeta, StoredMembership, Vote, Whole};
use crate::proposals::Sessions;

/// Objects in one piece: a MiB, and then the one that goes beyond.
const PIECE_BYTES: usize = 1 << 20;
/// What is inflated of one piece: no object is larger than what a frame holds.
const INFLATED_BYTES_MAX: u64 = 64 << 20;

/// What comes before the objects.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Begin {
    /// The leader's.
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
    pub(crate) revision: Revision,
    pub(crate) sessions: Sessions,
}

/// A part of a transfer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    Begin(Box<Begin>),
    Objects(Vec<Object>),
    /// The same, deflated: for those who speak [`level::DEFLATED_WORLDS`].
    Deflated(Vec<Object>),
    /// That was all, and so many objects.
    End(u64),
}

/// The receiver's last word: its vote, once everything is installed or refused because of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Installed(pub(crate) Vote);

/// The pieces that the world of a snapshot is sent in. Whoever is sent it speaks the level that is in force there.
pub(crate) fn pieces(vote: Vote, meta: SnapshotMeta, whole: &Whole) -> impl Iterator<Item = Piece> + use<> {
    let begin = Begin { vote, meta, revision: whole.world.revision(), sessions: Sessions::clone(&whole.sessions) };
    // Where it cannot be told, what everybody reads.
    let is_deflated =
        level::in_force(whole.world.get(&level::key())).is_ok_and(|level| level >= level::DEFLATED_WORLDS);
    let objects: Vec<Object> = whole.world.objects().cloned().collect();
    let count = objects.len() as u64;
    let mut objects = objects.into_iter();
    let parts = std::iter::from_fn(move || {
        let part = part(&mut objects);
        let piece = if is_deflated { Piece::Deflated } else { Piece::Objects };
        (!part.is_empty()).then(|| piece(part))
    });
    std::iter::once(Piece::Begin(Box::new(begin))).chain(parts).chain(std::iter::once(Piece::End(count)))
}

/// The next objects, as many as a piece holds.
fn part(objects: &mut impl Iterator<Item = Object>) -> Vec<Object> {
    let (mut part, mut bytes) = (Vec::new(), 0);
    while bytes < PIECE_BYTES
        && let Some(object) = objects.next()
    {
        bytes += object.body().len();
        part.push(object);
    }
    part
}

impl Stored for Piece {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        match self {
            Self::Begin(begin) => {
                out.push(0);
                codec::put_vote(out, &begin.vote);
                codec::identified(out, begin.meta.last_log_id);
                codec::identified(out, *begin.meta.last_membership.log_id());
                codec::member_list(out, begin.meta.last_membership.membership());
                out.extend_from_slice(&begin.revision.0.to_le_bytes());
                codec::put_sessions(out, &begin.sessions);
            }
            Self::Objects(objects) => {
                out.push(1);
                summed(out, |out| put_objects(out, objects));
            }
            Self::Deflated(objects) => {
                out.push(3);
                let mut plain = Vec::new();
                put_objects(&mut plain, objects);
                summed(out, |out| {
                    let mut deflating = DeflateEncoder::new(out, Compression::fast());
                    let deflated = deflating.write_all(&plain).and_then(|()| deflating.finish().map(drop));
                    deflated.expect("memory takes everything");
                });
            }
            Self::End(count) => {
                out.push(2);
                out.extend_from_slice(&count.to_le_bytes());
            }
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        match reader.byte()? {
            0 => {
                let (vote, last_log_id) = (codec::vote(&mut reader)?, codec::id(&mut reader)?);
                let last_membership = StoredMembership::new(codec::id(&mut reader)?, codec::members(&mut reader)?);
                let meta = SnapshotMeta { last_log_id, last_membership };
                let (revision, sessions) = (Revision(reader.u64()?), codec::sessions(&mut reader)?);
                reader.end(Self::Begin(Box::new(Begin { vote, meta, revision, sessions })))
            }
            1 => {
                let objects = objects(whole(reader)?)?;
                Ok(Self::Objects(objects))
            }
            2 => {
                let count = reader.u64()?;
                reader.end(Self::End(count))
            }
            3 => {
                let mut plain = Vec::new();
                let inflated = DeflateDecoder::new(whole(reader)?).take(INFLATED_BYTES_MAX).read_to_end(&mut plain);
                inflated.map_err(|_| Malformed { what: "piece: it cannot be inflated" })?;
                Ok(Self::Deflated(objects(&plain)?))
            }
            _ => Err(Malformed { what: "piece: of a level that this version does not speak" }),
        }
    }
}

/// Appends what `put` appends, behind its checksum.
fn summed(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let checksum = out.len();
    out.extend_from_slice(&[0; 4]);
    put(out);
    let sum = crc32fast::hash(&out[checksum + 4..]);
    out[checksum..checksum + 4].copy_from_slice(&sum.to_le_bytes());
}

/// What is behind a checksum, if it is its own.
fn whole(mut reader: Reader<'_>) -> Result<&[u8], Malformed> {
    let sum = reader.u32()?;
    let bytes = reader.rest();
    if crc32fast::hash(bytes) == sum { Ok(bytes) } else { Err(Malformed { what: "piece: its checksum is another" }) }
}

fn put_objects(out: &mut Vec<u8>, objects: &[Object]) {
    codec::put_length(out, objects.len());
    for object in objects {
        out.extend_from_slice(&object.revision().0.to_le_bytes());
        codec::put_object(out, object);
    }
}

fn objects(bytes: &[u8]) -> Result<Vec<Object>, Malformed> {
    let mut reader = Reader::inside(bytes);
    let objects = reader.list(|reader| {
        let revision = Revision(reader.u64()?);
        Ok(codec::object(reader)?.at(revision))
    })?;
    reader.end(objects)
}

impl Stored for Installed {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        codec::put_vote(out, &self.0);
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let vote = codec::vote(&mut reader)?;
        reader.end(Self(vote))
    }
}
