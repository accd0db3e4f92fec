//! One file of the log: a header, records, and room for more.
//!
//! The room is allocated beforehand, so that a sync writes data and no metadata. A segment appears under its name only when
//! its header is on disk, so a header that cannot be read is damage and never an accident of timing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{Chain, FRAME_BYTES, Mark};
use crate::codec::{FORMAT, open_entry};
use crate::consensus::Entry;
use crate::disk::{Disk, File};
use crate::fault::{Bug, planted};
use crate::seal::Sealer;

/// The header: magic and format, the sequence number, where the segment before ended, a checksum.
pub(super) const HEADER_BYTES: usize = 28;

const MAGIC: &[u8; 7] = b"CORALOG";

/// Read at once while looking for the end of a segment.
const WINDOW_BYTES: usize = 256 << 10;

/// The first bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) sequence: u64,
    /// Where the records of the segment before end; zero if there was none.
    pub(super) previous_end: u64,
}

/// Where the body of an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) length: u32,
    /// The checksum of the body alone: what is read later is still what was written.
    pub(crate) sum: u32,
}

/// A spot together with its file.
pub(crate) struct Place {
    pub(crate) file: Arc<dyn File>,
    pub(crate) spot: Spot,
}

/// Reads a file front to back, a window at a time.
struct Window<'a> {
    file: &'a dyn File,
    size: u64,
    start: u64,
    bytes: Vec<u8>,
}

// === impl Header ===

impl Header {
    pub(super) fn encode(self) -> ([u8; HEADER_BYTES], Chain) {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..7].copy_from_slice(MAGIC);
        bytes[7] = FORMAT;
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.previous_end.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..24]);
        bytes[24..].copy_from_slice(&checksum.to_le_bytes());
        (bytes, Chain(checksum))
    }

    /// Reads a header and where the chain of its records begins.
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<(Self, Chain)> {
        let number = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let header = Self { sequence: number(8)?, previous_end: number(16)? };
        let (expected, chain) = header.encode();
        (expected == *bytes).then_some((header, chain))
    }
}

/// The format of a header of which no more than that can be read, because a newer version wrote it. Whatever the others have behind
/// it, a header has its magic, its format and its checksum where this one has them.
pub(super) fn newer(bytes: &[u8; HEADER_BYTES]) -> Option<u8> {
    let (head, sum) = bytes.split_last_chunk()?;
    let is_whole = head.starts_with(MAGIC) && crc32fast::hash(head) == u32::from_le_bytes(*sum);
    (is_whole && head[MAGIC.len()] > FORMAT).then_some(head[MAGIC.len()])
}

// === impl Place ===

impl Place {
    /// Reads the entry that lies here.
    pub(super) fn read(&self, sealer: &Sealer) -> Result<Entry, io::Error> {
        let mut bytes = vec![0; self.spot.length as usize];
        self.file.read_at(&mut bytes, self.spot.offset)?;
        if crc32fast::hash(&bytes) != self.spot.sum {
            let Spot { segment, offset, .. } = self.spot;
            let reason = format!("the entry at {offset} of segment {segment:016x} is not what was written");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(open_entry(&bytes, sealer)?)
    }
}

/// The name of a segment.
pub(super) fn path(directory: &Path, sequence: u64) -> PathBuf {
    directory.join(format!("{sequence:016x}.log"))
}

/// Makes a segment of `size` bytes that begins with `records`; when it returns, all of it is on disk.
pub(super) fn create(
    disk: &dyn Disk,
    directory: &Path,
    header: &[u8],
    records: &[u8],
    sequence: u64,
    size: u64,
) -> io::Result<Arc<dyn File>> {
    let unfinished = directory.join(format!("{sequence:016x}.new"));
    let file = disk.create(&unfinished)?;
    if let Err(error) = file.allocate(size) {
        // What it may have got of a disk that is full, others need.
        let _ = disk.remove(&unfinished);
        return Err(error);
    }
    file.write_at(header, 0)?;
    file.write_at(records, header.len() as u64)?;
    if !planted(Bug::NamedBeforeWritten) {
        file.sync()?;
    }
    disk.rename(&unfinished, &path(directory, sequence))?;
    disk.sync_directory(directory)?;
    Ok(file)
}

/// Where behind `start` it says that everything before was synced, if it does: then no crash can have ended the log at `start`.
pub(super) fn mark_behind(file: &dyn File, sequence: u64, start: u64) -> io::Result<Option<u64>> {
    let mut window = Window { file, size: file.len()?, start: 0, bytes: Vec::new() };
    let mut at = start + 1;
    while at + Mark::BYTES as u64 <= window.size {
        let length = (WINDOW_BYTES as u64).min(window.size - at);
        let Some(bytes) = window.get(at, length)? else { break };
        let found = bytes.windows(Mark::BYTES).zip(at..).find(|(bytes, at)| Mark { sequence, at: *at }.is(bytes));
        if let Some((_, at)) = found {
            return Ok(Some(at));
        }
        at += length - Mark::BYTES as u64 + 1;
    }
    Ok(None)
}

/// Has nothing be there from `start` on; whether there was something.
pub(super) fn wipe(file: &dyn File, start: u64) -> io::Result<bool> {
    let mut window = Window { file, size: file.len()?, start: 0, bytes: Vec::new() };
    let (mut at, mut was_there) = (start, false);
    while at < window.size {
        let length = (WINDOW_BYTES as u64).min(window.size - at);
        if window.get(at, length)?.is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0)) {
            file.write_at(&vec![0; length as usize], at)?;
            was_there = true;
        }
        at += length;
    }
    Ok(was_there)
}

/// Calls `each` with the place and content of every record from `start` on, until one does not follow from the one before.
/// Returns where that is and the chain up to there.
pub(super) fn scan(
    file: &dyn File,
    start: u64,
    mut chain: Chain,
    mut each: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<(u64, Chain)> {
    let mut window = Window { file, size: file.len()?, start: 0, bytes: Vec::new() };
    let mut at = start;
    while let Some(&frame) = window.get(at, FRAME_BYTES as u64)?.and_then(<[u8]>::first_chunk::<FRAME_BYTES>) {
        let [l0, l1, l2, l3, c0, c1, c2, c3] = frame;
        let length = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
        if length == 0 {
            break;
        }
        let body_at = at + FRAME_BYTES as u64;
        let Some(record) = window.get(body_at, length)? else { break };
        let mut next = chain;
        if next.next(record) != u32::from_le_bytes([c0, c1, c2, c3]) && !planted(Bug::ChecksumIgnored) {
            break;
        }
        each(body_at + 1, record)?;
        (at, chain) = (body_at + length, next);
    }
    Ok((at, chain))
}

// === impl Window ===

impl Window<'_> {
    /// The bytes at this place, or `None` where the file does not have that many.
    fn get(&mut self, at: u64, length: u64) -> io::Result<Option<&[u8]>> {
        if at + length > self.size {
            return Ok(None);
        }
        let inside = at >= self.start && at + length <= self.start + self.bytes.len() as u64;
        if !inside {
            let wanted = length.max(WINDOW_BYTES as u64).min(self.size - at);
            self.bytes.resize(wanted as usize, 0);
            self.file.read_at(&mut self.bytes, at)?;
            self.start = at;
        }
        let from = (at - self.start) as usize;
        Ok(Some(&self.bytes[from..from + length as usize]))
    }
}
