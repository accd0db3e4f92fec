//! What the segments on disk add up to.
//!
//! The last segment ends at the first record that does not follow: whatever lies behind was never acknowledged. Every other
//! segment must end exactly where its successor says, because all of it was synced before the successor came to be; anything
//! else is damage, and is told rather than repaired.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::memory::Memory;
use super::record::{Chain, Record};
use super::segment::{self, HEADER_BYTES, Header, Spot};
use crate::OpenError;
use crate::consensus::{LogId, Vote};

/// Where the log goes on.
pub(super) struct Tail {
    pub(super) sequence: u64,
    pub(super) file: Arc<File>,
    pub(super) end: u64,
    pub(super) chain: Chain,
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
pub(super) fn recover(directory: &Path) -> Result<(Memory, Option<Tail>), OpenError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| match source.kind() {
            io::ErrorKind::InvalidData => OpenError::Damaged { path, reason: source.to_string() },
            _ => OpenError::Io { path, source },
        }
    };
    let mut found = Found::default();
    let mut segments = BTreeMap::new();
    let mut tail: Option<Tail> = None;
    for sequence in sequences(directory).map_err(failed(directory))? {
        let path = segment::path(directory, sequence);
        let damaged = |reason: &str| OpenError::Damaged { path: path.clone(), reason: reason.into() };
        let file = Arc::new(OpenOptions::new().read(true).write(true).open(&path).map_err(failed(&path))?);
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact_at(&mut bytes, 0).map_err(|_| damaged("it has no header"))?;
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
        let (end, chain) = segment::scan(&file, HEADER_BYTES as u64, start, |offset, record| {
            let spot = Spot { segment: sequence, offset, length: (record.len() - 1) as u32 };
            found.add(Record::decode(record)?, spot)
        })
        .map_err(failed(&path))?;
        segments.insert(sequence, file.clone());
        tail = Some(Tail { sequence, file, end, chain, vote: None, purged: None, sealed });
    }
    found.complete().map_err(failed(directory))?;
    if let Some(tail) = &mut tail {
        (tail.vote, tail.purged) = (found.vote, found.purged);
    }
    Ok((Memory::recovered(found, segments), tail))
}

/// The numbers of the segments, ascending. One that was not finished is removed: nothing was ever written to it.
fn sequences(directory: &Path) -> io::Result<Vec<u64>> {
    let mut sequences = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        match name.to_str().and_then(|name| name.rsplit_once('.')) {
            Some((_, "new")) => fs::remove_file(directory.join(&name))?,
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
