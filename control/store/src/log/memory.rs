//! What is known of the log without reading it: where every entry lies, and the recent ones themselves.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use openraft::EntryPayload;
use state::Write;

use super::recovery::Found;
use super::segment::{Place, Spot};
use crate::LogLimits;
use crate::consensus::{Entry, LogId, Vote};
use crate::disk::File;

/// What an entry costs in memory beside the bodies it carries.
const ENTRY_OVERHEAD_BYTES: usize = 256;

/// The log as readers see it.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    /// The last entry that was dropped from the front.
    pub(crate) purged: Option<LogId>,
    /// The last entry; the last purged one when there is none.
    pub(crate) last: Option<LogId>,
    /// Where the entries from the first on lie on disk; those at the end may not be there yet.
    spots: VecDeque<Spot>,
    spots_bytes: u64,
    /// The last entries, up to `last`, and all that have no spot yet.
    recent: VecDeque<Entry>,
    recent_bytes: usize,
    segments: BTreeMap<u64, Arc<dyn File>>,
}

// === impl Memory ===

impl Memory {
    /// What was found on disk.
    pub(super) fn recovered(found: Found, segments: BTreeMap<u64, Arc<dyn File>>) -> Self {
        let Found { vote, committed, purged, last, spots, .. } = found;
        let spots_bytes = spots.iter().map(|spot| u64::from(spot.length)).sum();
        Self { vote, committed, purged, last, spots, spots_bytes, segments, ..Self::default() }
    }

    /// The index of the first entry there is or can be.
    fn first(&self) -> u64 {
        self.purged.map_or(0, |id| id.index + 1)
    }

    /// The index that the next entry gets.
    fn next(&self) -> u64 {
        self.last.map_or(0, |id| id.index + 1)
    }

    fn recent_first(&self) -> u64 {
        self.next() - self.recent.len() as u64
    }

    /// Adds entries that are about to be written.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        for entry in entries {
            debug_assert!(self.last.is_none() || entry.log_id.index == self.next(), "no holes");
            self.last = Some(entry.log_id);
            self.recent_bytes += weight(entry);
            self.recent.push_back(entry.clone());
        }
    }

    /// Drops every entry behind `last`.
    pub(crate) fn truncate_after(&mut self, last: Option<LogId>) {
        let next = last.map_or(0, |id| id.index + 1);
        if next >= self.next() {
            return;
        }
        while self.recent.back().is_some_and(|entry| entry.log_id.index >= next) {
            let entry = self.recent.pop_back();
            self.recent_bytes -= entry.as_ref().map_or(0, weight);
        }
        self.last = last;
    }

    /// Drops every entry up to `upto`.
    pub(crate) fn purge(&mut self, upto: LogId) {
        if self.purged >= Some(upto) {
            return;
        }
        while self.recent.front().is_some_and(|entry| entry.log_id.index <= upto.index) {
            let entry = self.recent.pop_front();
            self.recent_bytes -= entry.as_ref().map_or(0, weight);
        }
        let gone = (upto.index + 1 - self.first()).min(self.spots.len() as u64);
        for spot in self.spots.drain(..gone as usize) {
            self.spots_bytes -= u64::from(spot.length);
        }
        if upto.index >= self.next() {
            self.last = Some(upto);
        }
        self.purged = Some(upto);
    }

    /// The entries of `start..end` that are here, at least one if there is one and then at most `bytes_max` of them: where the
    /// older ones lie, and the recent ones.
    pub(crate) fn select(&self, start: u64, end: u64, bytes_max: usize) -> (Vec<Place>, Vec<Entry>) {
        let (start, end) = (start.max(self.first()), end.min(self.next()));
        let border = self.recent_first().max(self.first());
        let mut budget = Some(bytes_max);
        let mut afford = |cost: usize| {
            let Some(left) = budget else { return false };
            budget = left.checked_sub(cost);
            budget.is_some() || left == bytes_max
        };
        let stored: Vec<_> = (start..end.min(border))
            .map_while(|index| self.spots.get((index - self.first()) as usize))
            .take_while(|spot| afford(spot.length as usize))
            .filter_map(|spot| Some(Place { file: self.segments.get(&spot.segment)?.clone(), spot: *spot }))
            .collect();
        let recent = (start.max(border)..end)
            .filter_map(|index| self.recent.get((index - border) as usize))
            .take_while(|entry| afford(weight(entry)))
            .cloned()
            .collect();
        (stored, recent)
    }

    /// Entries were written, in order, there.
    pub(crate) fn written(&mut self, spots: impl IntoIterator<Item = (u64, Spot)>, memory_bytes_max: usize) {
        for (index, spot) in spots {
            // What was purged before it was written needs no spot.
            if index == self.first() + self.spots.len() as u64 {
                self.spots_bytes += u64::from(spot.length);
                self.spots.push_back(spot);
            }
        }
        let located = self.first() + self.spots.len() as u64;
        while self.recent_bytes > memory_bytes_max
            && self.recent.front().is_some_and(|entry| entry.log_id.index < located)
        {
            let entry = self.recent.pop_front();
            self.recent_bytes -= entry.as_ref().map_or(0, weight);
        }
    }

    /// Everything from `next` on is no longer on disk.
    pub(crate) fn unwritten(&mut self, next: u64) {
        let kept = next.saturating_sub(self.first()).min(self.spots.len() as u64);
        for spot in self.spots.drain(kept as usize..) {
            self.spots_bytes -= u64::from(spot.length);
        }
    }

    pub(crate) fn add_segment(&mut self, sequence: u64, file: Arc<dyn File>) {
        self.segments.insert(sequence, file);
    }

    pub(crate) fn segments(&self) -> usize {
        self.segments.len()
    }

    pub(crate) fn drop_segment(&mut self, sequence: u64) {
        self.segments.remove(&sequence);
    }

    /// See [`Log::surplus`](super::Log::surplus).
    pub(crate) fn surplus(&self, limits: LogLimits) -> Option<u64> {
        let (entries, bytes) = (self.spots.len() as u64, self.spots_bytes);
        if entries <= limits.kept_entries / 4 * 5 && bytes <= limits.kept_bytes / 4 * 5 {
            return None;
        }
        let mut gone = entries.saturating_sub(limits.kept_entries);
        let mut left = bytes - self.spots.range(..gone as usize).map(|spot| u64::from(spot.length)).sum::<u64>();
        while left > limits.kept_bytes {
            left -= u64::from(self.spots[gone as usize].length);
            gone += 1;
        }
        (self.first() + gone).checked_sub(1)
    }
}

/// What an entry costs in memory.
pub(super) fn weight(entry: &Entry) -> usize {
    let EntryPayload::Normal(command) = &entry.payload else { return ENTRY_OVERHEAD_BYTES };
    let bodies = command.txn.writes.iter().map(|write| match write {
        Write::Put(object) => object.body().len(),
        Write::Delete(_) => 0,
    });
    ENTRY_OVERHEAD_BYTES + bodies.sum::<usize>()
}
