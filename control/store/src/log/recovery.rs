//! What the segments on disk add up to.
//!
//! The last segment ends at the first record that does not follow: whatever lies behind was never acknowledged, unless a
//! [mark](super::record::Mark) behind it says that it was on disk before. Every other segment must end exactly where its successor says,
//! because all of it was synced before the successor came to be. Anything else is damage, and is told rather than repaired: a
//! member that forgot what it acknowledged, or how it voted, would let the others forget it too.
//!
//! What is found was perhaps never synced, where a process was killed and the machine went on. It is synced before it counts.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::memory::Memory;
use super::record::{Chain, Record};
use super::segment::{self, HEADER_BYTES, Header, Spot};
use crate::OpenError;
use crate::codec::FORMAT;
use crate::consensus::{LogId, Vote};
use crate::disk::{Disk, File};
use crate::fault::{Bug, planted};

/// Where the log goes on.
pub(super) struct Tail {
    pub(super) sequence: u64,
    pub(super) file: Arc<dyn File>,
    pub(super) end: u64,
    pub(super) chain: Chain,
    /// Whether the last record is a mark.
    pub(super) is_marked: bool,
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<LogId>,
    /// The segments before the last: each with the index behind its last entry.
    pub(super) sealed: Vec<(u64, u64)>,
}

/// What the records read so far say.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
    pub(super) spots: VecDeque<Spot>,
    /// The index of the first spot.
    first: u64,
}

/// Reads the log in `directory`. There is no tail if there is no log.
pub(super) fn recover(disk: &dyn Disk, directory: &Path) -> Result<(Memory, Option<Tail>), OpenError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| OpenError::of_reading(path, source)
    };
    let mut found = Found::default();
    let mut segments: BTreeMap<u64, Arc<dyn File>> = BTreeMap::new();
    let mut tail: Option<Tail> = None;
    for sequence in sequences(disk, directory).map_err(failed(directory))? {
        let path = segment::path(directory, sequence);
        let damaged = |reason: &str| OpenError::Damaged { path: path.clone(), reason: reason.into() };
        let file = disk.open(&path).map_err(failed(&path))?;
        let mut bytes = [0; HEADER_BYTES];
        file.read_at(&mut bytes, 0).map_err(|_| damaged("it has no header"))?;
        if let Some(format) = segment::newer(&bytes) {
            let reason = format!("its format is {format}, and this version knows {FORMAT}");
            return Err(OpenError::Newer { path, reason });
        }
        let (header, start) = Header::decode(&bytes).ok_or_else(|| damaged("its header is not one"))?;
        if header.sequence != sequence {
            return Err(damaged("it bears the name of another"));
        }
        let mut sealed = Vec::new();
        if let Some(before) = tail.take() {
            if before.sequence + 1 != sequence {
                return Err(damaged("the segment before it is missing"));
            }
            if before.end != header.previous_end {
                let path = segment::path(directory, before.sequence);
                let reason = format!("its records end at {} and not at {}", before.end, header.previous_end);
                return Err(OpenError::Damaged { path, reason });
            }
            sealed = before.sealed;
            sealed.push((before.sequence, found.next()));
        }
        let mut is_marked = false;
        let (end, chain) = segment::scan(&*file, HEADER_BYTES as u64, start, |offset, record| {
            let (length, sum) = ((record.len() - 1) as u32, crc32fast::hash(&record[1..]));
            let record = Record::decode(record)?;
            is_marked = record == Record::Synced;
            found.add(record, Spot { segment: sequence, offset, length, sum })
        })
        .map_err(failed(&path))?;
        segments.insert(sequence, file.clone());
        tail = Some(Tail { sequence, file, end, chain, is_marked, vote: None, purged: None, sealed });
    }
    found.complete().map_err(failed(directory))?;
    if let Some(tail) = &mut tail {
        let path = segment::path(directory, tail.sequence);
        let is_damage = !planted(Bug::DamageCut);
        if is_damage
            && let Some(mark) = segment::mark_behind(&*tail.file, tail.sequence, tail.end).map_err(failed(&path))?
        {
            let reason =
                format!("the record at {} is not what was written: everything before {mark} was on disk", tail.end);
            return Err(OpenError::Damaged { path, reason });
        }
        // What a crash left there is never to be taken for something that was written later.
        segment::wipe(&*tail.file, tail.end).map_err(failed(&path))?;
        if !planted(Bug::TailNotSynced) {
            tail.file.sync().map_err(failed(&path))?;
        }
        disk.sync_directory(directory).map_err(failed(directory))?;
        (tail.vote, tail.purged) = (found.vote, found.purged);
    }
    Ok((Memory::recovered(found, segments), tail))
}

/// The numbers of the segments, ascending. One that was not finished is removed: nothing was ever written to it.
fn sequences(disk: &dyn Disk, directory: &Path) -> io::Result<Vec<u64>> {
    let mut sequences = Vec::new();
    for name in disk.names(directory)? {
        match name.rsplit_once('.') {
            Some((_, "new")) => disk.remove(&directory.join(&name))?,
            Some((digits, "log")) => sequences.extend(u64::from_str_radix(digits, 16).ok()),
            _ => {}
        }
    }
    sequences.sort_unstable();
    Ok(sequences)
}

// === impl Found ===

impl Found {
    /// The index behind the last entry.
    pub(super) fn next(&self) -> u64 {
        self.last.map_or(0, |id| id.index + 1)
    }

    fn add(&mut self, record: Record, spot: Spot) -> io::Result<()> {
        match record {
            Record::Vote(vote) => self.vote = Some(vote),
            Record::Committed(committed) => self.committed = committed,
            Record::Synced => {}
            Record::Entry(id) => self.entry(id, spot)?,
            Record::Truncated(last) => {
                let next = last.map_or(0, |id| id.index + 1);
                self.spots.truncate(next.saturating_sub(self.first) as usize);
                self.last = last;
            }
            Record::Purged(upto) => {
                let gone = (upto.index + 1).saturating_sub(self.first).min(self.spots.len() as u64);
                self.spots.drain(..gone as usize);
                self.first = self.first.max(upto.index + 1);
                if self.next() <= upto.index {
                    self.last = Some(upto);
                }
                self.purged = self.purged.max(Some(upto));
            }
        }
        Ok(())
    }

    fn entry(&mut self, id: LogId, spot: Spot) -> io::Result<()> {
        if id.index != self.next() {
            // Where segments at the front are gone, the record that allowed it is still to come, in the last one.
            if !self.spots.is_empty() || id.index < self.next() {
                return Err(invalid(format!("entry {} stands where {} should", id.index, self.next())));
            }
        }
        if self.spots.is_empty() {
            self.first = id.index;
        }
        self.spots.push_back(spot);
        self.last = Some(id);
        Ok(())
    }

    /// All records are read.
    fn complete(&mut self) -> io::Result<()> {
        let expected = self.purged.map_or(0, |id| id.index + 1);
        if !self.spots.is_empty() && self.first != expected {
            return Err(invalid(format!("its first entry is {} and not {expected}", self.first)));
        }
        if self.spots.is_empty() && self.last < self.purged {
            self.last = self.purged;
        }
        // The note of what was committed can be newer than what a crash left of the entries.
        if self.committed.is_some_and(|id| id.index >= self.next()) {
            self.committed = self.last;
        }
        Ok(())
    }
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
