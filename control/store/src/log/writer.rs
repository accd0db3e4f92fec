//! The thread that writes the log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use openraft::storage::IOFlushed;
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};

use super::memory::Memory;
use super::record::{Chain, FRAME_BYTES, Mark};
use super::recovery::Tail;
use super::segment::{self, HEADER_BYTES, Header, Spot};
use crate::LogLimits;
use crate::consensus::{Entry, LogId, Types, Vote};
use crate::disk::{Disk, File};
use crate::fault::{Bug, planted};
use crate::room;
use crate::seal::Sealer;

/// One write: more than this queued up waits for the next.
const BATCH_BYTES: usize = 4 << 20;

/// What the thread is asked to do.
pub(super) enum Job {
    Append(Vec<Entry>, IOFlushed<Types>),
    Vote(Vote, oneshot::Sender<io::Result<()>>),
    Truncate(Option<LogId>, oneshot::Sender<io::Result<()>>),
    Purge(LogId, oneshot::Sender<io::Result<()>>),
    /// Go on in a new segment: nothing sealed before lies in it.
    Roll(oneshot::Sender<io::Result<()>>),
    Stop,
}

/// Everything the thread owns.
pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    limits: LogLimits,
    memory: Arc<RwLock<Memory>>,
    sealer: Sealer,
    /// Set once nobody waits for what is not yet written.
    closing: Arc<AtomicBool>,
    sequence: u64,
    file: Arc<dyn File>,
    size: u64,
    end: u64,
    chain: Chain,
    /// Whether the last record is a mark: it may be there or not after a crash, and comes again only where something has followed.
    is_marked: bool,
    /// The index behind the last entry written.
    next: u64,
    vote: Option<Vote>,
    purged: Option<LogId>,
    committed: Option<LogId>,
    /// The segments before this one: each with the index behind its last entry.
    sealed: Vec<(u64, u64)>,
}

/// Jobs that become durable together.
#[derive(Default)]
struct Batch {
    jobs: Vec<Job>,
    stop: bool,
}

/// A batch as bytes: made for one place in the chain.
struct Encoded {
    bytes: Vec<u8>,
    chain: Chain,
    /// For each entry: its index, where its body begins in `bytes`, how long it is, and its checksum.
    entries: Vec<(u64, usize, usize, u32)>,
}

// === impl Writer ===

impl Writer {
    /// Goes on where the log ended, or begins one.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        directory: &Path,
        limits: LogLimits,
        memory: Arc<RwLock<Memory>>,
        sealer: Sealer,
        closing: Arc<AtomicBool>,
        tail: Option<Tail>,
    ) -> io::Result<Self> {
        let (last, committed) = {
            let memory = memory.read();
            (memory.last, memory.committed)
        };
        let next = last.map_or(0, |id| id.index + 1);
        let (directory, tail) = match tail {
            Some(tail) => (directory.to_owned(), tail),
            None => (directory.to_owned(), first_segment(&*disk, directory, limits.segment_bytes)?),
        };
        memory.write().add_segment(tail.sequence, tail.file.clone());
        let size = tail.file.len()?;
        let Tail { sequence, file, end, chain, is_marked, vote, purged, sealed } = tail;
        Ok(Self {
            disk,
            directory,
            limits,
            memory,
            sealer,
            closing,
            sequence,
            file,
            size,
            end,
            chain,
            is_marked,
            next,
            vote,
            purged,
            committed,
            sealed,
        })
    }

    /// Writes what is queued until told to stop. After a failure nothing more is written: what the disk holds is then
    /// unknown, and every later job fails too.
    pub(super) fn run(mut self, mut queue: mpsc::UnboundedReceiver<Job>) {
        let mut failure: Option<io::Error> = None;
        while let Some(first) = queue.blocking_recv()
            && self.turn(first, &mut queue, &mut failure)
        {}
    }

    /// The same on a simulated disk, which takes its time.
    #[cfg(test)]
    pub(super) async fn simulate(mut self, mut queue: mpsc::UnboundedReceiver<Job>) {
        let mut failure: Option<io::Error> = None;
        while let Some(first) = queue.recv().await {
            crate::simulation::disk::latency().await;
            if !self.turn(first, &mut queue, &mut failure) {
                return;
            }
        }
    }

    /// Writes what is queued; whether to go on.
    fn turn(&mut self, first: Job, queue: &mut mpsc::UnboundedReceiver<Job>, failure: &mut Option<io::Error>) -> bool {
        let batch = Batch::gather(first, queue);
        if failure.is_none()
            && let Err(error) = self.write(&batch)
        {
            tracing::error!(%error, "the log cannot be written");
            *failure = Some(error);
        }
        let stop = batch.stop;
        batch.answer(failure.as_ref());
        if failure.is_none()
            && (stop || queue.is_empty())
            && let Err(error) = self.mark(stop)
        {
            tracing::error!(%error, "the log cannot be written");
            *failure = Some(error);
        }
        !stop
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        if batch.jobs.is_empty() {
            return Ok(());
        }
        let committed = self.memory.read().committed;
        let mut encoded = self.encode(batch, committed);
        if self.end + encoded.bytes.len() as u64 > self.size {
            // It begins with a mark there.
            self.roll((encoded.bytes.len() + Mark::BYTES) as u64)?;
            encoded = self.encode(batch, committed);
        }
        // Nobody has been told of it yet: all of it is written again where there was no room.
        self.with_room(|| {
            self.file.write_at(&encoded.bytes, self.end)?;
            if planted(Bug::AcknowledgedBeforeSync) { Ok(()) } else { self.file.sync() }
        })?;
        let spots: Vec<_> = encoded
            .entries
            .iter()
            .map(|(index, start, length, sum)| {
                let offset = self.end + *start as u64;
                (*index, Spot { segment: self.sequence, offset, length: *length as u32, sum: *sum })
            })
            .collect();
        self.is_marked = false;
        self.end += encoded.bytes.len() as u64;
        self.chain = encoded.chain;
        self.committed = committed;
        self.settle(batch, spots)
    }

    /// Everything is on disk and nobody wants more: says so, for who comes after a crash. Where the next batch comes at once it
    /// says so itself.
    fn mark(&mut self, is_last: bool) -> io::Result<()> {
        if !self.is_marked && self.end + Mark::BYTES as u64 <= self.size {
            let mut bytes = Vec::new();
            let mut chain = self.chain;
            chain.mark(&mut bytes, Mark { sequence: self.sequence, at: self.end });
            match self.file.write_at(&bytes, self.end) {
                // Nobody waits for it.
                Err(error) if room::is_lacking(&error) => return Ok(()),
                written => written?,
            }
            self.end += bytes.len() as u64;
            self.chain = chain;
            self.is_marked = true;
        }
        if is_last { self.file.sync() } else { Ok(()) }
    }

    fn encode(&self, batch: &Batch, committed: Option<LogId>) -> Encoded {
        let mut encoded = Encoded { bytes: Vec::new(), chain: self.chain, entries: Vec::new() };
        let Encoded { bytes, chain, entries } = &mut encoded;
        if !self.is_marked {
            chain.mark(bytes, Mark { sequence: self.sequence, at: self.end });
        }
        for job in &batch.jobs {
            match job {
                Job::Append(appended, _) => {
                    for entry in appended {
                        let start = bytes.len() + FRAME_BYTES + 1;
                        let length = chain.entry(bytes, entry, &self.sealer);
                        entries.push((entry.log_id.index, start, length, crc32fast::hash(&bytes[start..])));
                    }
                }
                Job::Vote(vote, _) => chain.vote(bytes, vote),
                Job::Truncate(..) if planted(Bug::TruncationForgotten) => {}
                Job::Truncate(last, _) => chain.truncated(bytes, *last),
                Job::Purge(..) if planted(Bug::PurgeForgotten) => {}
                Job::Purge(upto, _) => chain.purged(bytes, *upto),
                Job::Roll(_) | Job::Stop => {}
            }
        }
        if committed != self.committed {
            chain.committed(bytes, committed);
        }
        encoded
    }

    /// The batch is on disk: tells memory, and removes the files that nobody needs any more.
    fn settle(&mut self, batch: &Batch, spots: Vec<(u64, Spot)>) -> io::Result<()> {
        let mut spots = spots.into_iter();
        for job in &batch.jobs {
            match job {
                Job::Append(entries, _) => {
                    self.memory.write().written(spots.by_ref().take(entries.len()), self.limits.memory_bytes_max);
                    self.next = entries.last().map_or(self.next, |entry| entry.log_id.index + 1);
                }
                Job::Vote(vote, _) => self.vote = Some(*vote),
                Job::Truncate(last, _) => {
                    self.next = last.map_or(0, |id| id.index + 1);
                    self.memory.write().unwritten(self.next);
                }
                Job::Purge(upto, _) => {
                    self.purged = self.purged.max(Some(*upto));
                    self.next = self.next.max(upto.index + 1);
                    self.remove_up_to(upto.index)?;
                }
                Job::Roll(_) | Job::Stop => {}
            }
        }
        // Last: whatever this batch wrote lies in the old segment.
        if batch.jobs.iter().any(|job| matches!(job, Job::Roll(_))) {
            self.roll(0)?;
            if let Some(purged) = self.purged {
                self.remove_up_to(purged.index)?;
            }
        }
        Ok(())
    }

    /// Does something again for as long as the disk has no room for it, unless the log is being closed.
    fn with_room<T>(&self, mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let mut is_told = false;
        loop {
            match act() {
                Err(error) if room::is_lacking(&error) && !self.closing.load(Ordering::Relaxed) => {
                    if !is_told {
                        tracing::error!(%error, "the log waits for room; until then nothing more is acknowledged here");
                    }
                    is_told = true;
                    thread::sleep(room::POLL);
                }
                done => {
                    if is_told && done.is_ok() {
                        tracing::info!("the log has room again");
                    }
                    return done;
                }
            }
        }
    }

    fn remove_up_to(&mut self, index: u64) -> io::Result<()> {
        while let Some((sequence, next)) = self.sealed.first().copied()
            && next <= index + 1
        {
            self.memory.write().drop_segment(sequence);
            self.disk.remove(&segment::path(&self.directory, sequence))?;
            self.sealed.remove(0);
        }
        Ok(())
    }

    /// Goes on in a new segment with room for at least `needed` bytes. It begins with what the old ones can no longer be
    /// asked once they are gone.
    fn roll(&mut self, needed: u64) -> io::Result<()> {
        if self.is_marked {
            // Where this segment ends is about to be written down, and the mark belongs to it.
            self.file.sync()?;
        }
        let header = Header { sequence: self.sequence + 1, previous_end: self.end };
        let (bytes, mut chain) = header.encode();
        let mut records = Vec::new();
        if let Some(vote) = &self.vote
            && !planted(Bug::VoteNotRepeated)
        {
            chain.vote(&mut records, vote);
        }
        if let Some(purged) = self.purged {
            chain.purged(&mut records, purged);
        }
        let start = (HEADER_BYTES + records.len()) as u64;
        let size = self.limits.segment_bytes.max(start + needed);
        let create = || segment::create(&*self.disk, &self.directory, &bytes, &records, header.sequence, size);
        let file = self.with_room(create)?;
        // The part that was never used goes back to the file system.
        self.file.set_len(self.end)?;
        self.sealed.push((self.sequence, self.next));
        self.memory.write().add_segment(header.sequence, file.clone());
        (self.sequence, self.file, self.size, self.end, self.chain) = (header.sequence, file, size, start, chain);
        self.is_marked = false;
        Ok(())
    }
}

fn first_segment(disk: &dyn Disk, directory: &Path, size: u64) -> io::Result<Tail> {
    let header = Header { sequence: 1, previous_end: 0 };
    let (bytes, chain) = header.encode();
    let file = segment::create(disk, directory, &bytes, &[], header.sequence, size.max(HEADER_BYTES as u64))?;
    let (vote, purged, sealed) = (None, None, Vec::new());
    let (sequence, end, is_marked) = (header.sequence, HEADER_BYTES as u64, false);
    Ok(Tail { sequence, file, end, chain, is_marked, vote, purged, sealed })
}

// === impl Batch ===

impl Batch {
    /// Takes what is queued, up to a limit.
    fn gather(first: Job, queue: &mut mpsc::UnboundedReceiver<Job>) -> Self {
        let mut batch = Self::default();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(job) = next {
            if matches!(job, Job::Stop) {
                batch.stop = true;
                break;
            }
            if let Job::Append(entries, _) = &job {
                bytes += entries.iter().map(super::memory::weight).sum::<usize>();
            }
            batch.jobs.push(job);
            next = if bytes < BATCH_BYTES { queue.try_recv().ok() } else { None };
        }
        batch
    }

    fn answer(self, failure: Option<&io::Error>) {
        let outcome = || failure.map_or(Ok(()), |error| Err(io::Error::new(error.kind(), error.to_string())));
        for job in self.jobs {
            match job {
                Job::Append(_, flushed) => flushed.io_completed(outcome()),
                // Who no longer waits for the answer does not need it.
                Job::Vote(_, done) | Job::Truncate(_, done) | Job::Purge(_, done) | Job::Roll(done) => {
                    drop(done.send(outcome()));
                }
                Job::Stop => {}
            }
        }
    }
}
