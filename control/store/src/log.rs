//! The Raft log: append-only segment files, one thread that writes them, and the recent part in memory.
//!
//! Every write goes through one queue in order: votes, entries and truncations reach the disk as Raft decided them. What
//! queues up while one sync runs is made durable by the next, all of it at once: that is the group commit. An entry can be
//! read as soon as it is queued, because memory has it until the disk does.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};

use crate::consensus::{Entry, LogId, Types, Vote};
use crate::disk::Disk;
use crate::fault::{Bug, planted};
use crate::seal::Sealer;
use crate::{LogLimits, OpenError};

mod memory;
mod record;
mod recovery;
mod segment;
mod writer;

use memory::Memory;
use writer::{Job, Writer};

/// One answer to a member that lags behind: enough to keep a network busy, little enough that a heartbeat is not late.
const READ_BYTES_MAX: usize = 2 << 20;

/// A handle on the log. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Log {
    memory: Arc<RwLock<Memory>>,
    sealer: Sealer,
    jobs: mpsc::UnboundedSender<Job>,
    closing: Arc<AtomicBool>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

// === impl Log ===

impl Log {
    /// Opens the log in `directory`, or begins one there. What a crash left unfinished at its end is cut off.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        directory: &Path,
        limits: LogLimits,
        sealer: Sealer,
    ) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Io { path: directory.into(), source };
        disk.make_directory(directory).map_err(failed)?;
        let (memory, tail) = recovery::recover(&**disk, directory)?;
        let memory = Arc::new(RwLock::new(memory));
        let closing = Arc::new(AtomicBool::new(false));
        let (mine, memory_of) = (disk.clone(), memory.clone());
        let writer = Writer::new(mine, directory, limits, memory_of, sealer.clone(), closing.clone(), tail);
        let writer = writer.map_err(failed)?;
        let (jobs, queue) = mpsc::unbounded_channel();
        #[cfg(test)]
        if crate::simulation::executor::current().is_some() {
            drop(crate::runtime::spawn(writer.simulate(queue)));
            return Ok(Self { memory, sealer, jobs, closing, thread: Arc::default() });
        }
        let thread = std::thread::Builder::new().name("log".into()).spawn(move || writer.run(queue)).map_err(failed)?;
        Ok(Self { memory, sealer, jobs, closing, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Up to where the log may go so that what stays is within the limits; `None` as long as it is not far beyond them.
    pub(crate) fn surplus(&self, limits: LogLimits) -> Option<u64> {
        self.memory.read().surplus(limits)
    }

    /// Goes on in a new file: nothing written before lies in it.
    pub(crate) async fn roll(&self) -> Result<(), io::Error> {
        self.ask(Job::Roll).await
    }

    /// The last entry that was let go at the front.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.memory.read().purged
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.memory.read().last
    }

    /// Whether it holds nothing: no entry, none that it let go of, and no vote.
    pub(crate) fn is_new(&self) -> bool {
        let memory = self.memory.read();
        memory.vote.is_none() && memory.last.is_none() && memory.purged.is_none()
    }

    /// How many files the log is made of.
    pub(crate) fn segments(&self) -> usize {
        self.memory.read().segments()
    }

    /// Finishes what is queued and closes the files.
    pub(crate) fn close(&self) {
        // One that waits for room would do so for as long as there is none.
        self.closing.store(true, Ordering::Relaxed);
        // A writer that has stopped already has nothing left to finish.
        let _ = self.jobs.send(Job::Stop);
        if let Some(thread) = self.thread.lock().take() {
            // A panic of the thread has been reported where it happened.
            let _ = thread.join();
        }
    }

    fn queue(&self, job: Job) -> Result<(), io::Error> {
        self.jobs.send(job).map_err(|_| closed())
    }

    async fn ask(&self, job: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Job) -> Result<(), io::Error> {
        let (done, answer) = oneshot::channel();
        self.queue(job(done))?;
        answer.await.map_err(|_| closed())?
    }

    pub(crate) fn read(&self, range: impl RangeBounds<u64>, bytes_max: usize) -> Result<Vec<Entry>, io::Error> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let (stored, recent) = self.memory.read().select(start, end, bytes_max);
        let mut entries = stored.iter().map(|place| place.read(&self.sealer)).collect::<Result<Vec<_>, _>>()?;
        entries.extend(recent);
        Ok(entries)
    }
}

fn closed() -> io::Error {
    io::Error::other("the log is closed")
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(range, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end, READ_BYTES_MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.memory.read().vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let memory = self.memory.read();
        Ok(LogState { last_purged_log_id: memory.purged, last_log_id: memory.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        if !planted(Bug::VoteForgotten) {
            self.ask(|done| Job::Vote(*vote, done)).await?;
        }
        self.memory.write().vote = Some(*vote);
        Ok(())
    }

    /// Noted in memory only: it goes to disk with whatever is written next, because a restart that knows less of what was
    /// committed only has to be told again.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.memory.write().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.memory.read().committed)
    }

    async fn append<I>(&mut self, entries: I, done: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        self.memory.write().append(&entries);
        self.queue(Job::Append(entries, done))
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.memory.write().truncate_after(last);
        self.ask(|done| Job::Truncate(last, done)).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.memory.write().purge(upto);
        self.ask(|done| Job::Purge(upto, done)).await
    }
}

#[cfg(test)]
mod tests;
