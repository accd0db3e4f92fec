//! The durable image of the world, written behind the log.
//!
//! Nothing waits for the image to be acknowledged: the log is what is durable, and after a crash it replays what the image
//! has not yet. So changes gather for a moment, and one thread writes them together. The image keeps every object once, under
//! the revision that wrote it, together with as much of the past as [`history`](crate::history) holds, so that watches resume
//! over a restart.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;
use std::{fmt, io};

use parking_lot::{Condvar, Mutex};
use state::{Event, Revision, Snapshot};
use tokio::sync::{Notify, oneshot, watch};

use crate::codec::Malformed;
use crate::consensus::{LogId, StoredMembership};
use crate::disk::Disk;
use crate::proposals::Sessions;
use crate::seal::Sealer;
use crate::{ImageLimits, OpenError, room};

mod tables;

pub(crate) use tables::Past;
use tables::{Tables, TablesError};

/// How far the image stands in the log, and what it says beside objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Standing {
    /// The last entry it contains.
    pub(crate) applied: Option<LogId>,
    /// The members as of then.
    pub(crate) membership: StoredMembership,
    /// The last revision.
    pub(crate) revision: Revision,
    /// Events up to here may be forgotten.
    pub(crate) floor: Revision,
    /// Which proposals have happened.
    pub(crate) sessions: Arc<Sessions>,
}

/// A handle on the image. Cloning shares it; when the last one goes, what waits is written and the file is closed.
#[derive(Clone)]
pub(crate) struct Image(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    limits: ImageLimits,
    waiting: Mutex<Waiting>,
    /// Something waits, or somebody is in a hurry.
    wake: Condvar,
    /// What waited has been taken.
    room: Notify,
    written: watch::Sender<Written>,
    /// The same as `wake`, for those who are no threads.
    #[cfg(test)]
    bell: Notify,
}

/// What the image does not have yet.
#[derive(Default)]
struct Waiting {
    /// A whole new world, to be written before the changes.
    world: Option<Snapshot>,
    changes: Vec<Arc<Event>>,
    bytes: usize,
    standing: Option<Standing>,
    /// Who waits until everything is sealed with the newest key.
    resealing: Vec<oneshot::Sender<()>>,
    hurry: bool,
    stop: bool,
}

/// What the thread does next.
struct Taken {
    world: Option<Snapshot>,
    changes: Vec<Arc<Event>>,
    standing: Option<Standing>,
    resealing: Vec<oneshot::Sender<()>>,
}

/// How far the image is on disk.
#[derive(Clone, Debug)]
struct Written {
    applied: Option<LogId>,
    failure: Option<String>,
}

// === impl Image ===

impl Image {
    /// Opens the image, or makes an empty one, and reads what it holds.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        limits: ImageLimits,
        sealer: Sealer,
    ) -> Result<(Self, Standing, Past), OpenError> {
        let (tables, standing, past) = Tables::load(disk, path, limits.cache_bytes, sealer)?;
        let written = Written { applied: standing.applied, failure: None };
        let shared = Arc::new(Shared {
            limits,
            waiting: Mutex::default(),
            wake: Condvar::new(),
            room: Notify::new(),
            written: watch::Sender::new(written),
            #[cfg(test)]
            bell: Notify::new(),
        });
        let (writer, floor) = (shared.clone(), standing.floor);
        #[cfg(test)]
        if crate::simulation::executor::current().is_some() {
            drop(crate::runtime::spawn(simulated_write_behind(writer, tables, floor)));
            return Ok((Self(Arc::new(Handle { shared, thread: Mutex::default() })), standing, past));
        }
        let thread = std::thread::Builder::new()
            .name("image".into())
            .spawn(move || write_behind(&writer, tables, floor))
            .map_err(|source| OpenError::Io { path: path.into(), source })?;
        Ok((Self(Arc::new(Handle { shared, thread: Mutex::new(Some(thread)) })), standing, past))
    }

    /// Makes an image that holds this world and nothing else.
    pub(crate) fn found(
        disk: &dyn Disk,
        path: &Path,
        limits: ImageLimits,
        sealer: Sealer,
        world: &Snapshot,
        standing: &Standing,
    ) -> Result<(), OpenError> {
        let tables = Tables::open(disk, path, limits.cache_bytes, sealer)?;
        tables.replace(world, standing).map_err(|error| error.at(path))
    }

    /// Waits until there is room for more changes. Fails once the disk did.
    pub(crate) async fn room(&self) -> Result<(), io::Error> {
        loop {
            let taken = self.0.shared.room.notified();
            if let Some(failure) = &self.0.shared.written.borrow().failure {
                return Err(io::Error::other(failure.clone()));
            }
            if self.0.shared.waiting.lock().bytes < self.0.shared.limits.waiting_bytes_max {
                return Ok(());
            }
            taken.await;
        }
    }

    /// Leaves changes to be written, and where the world then stands.
    pub(crate) fn record(&self, changes: Vec<Arc<Event>>, standing: Standing) {
        let mut waiting = self.0.shared.waiting.lock();
        let first = waiting.standing.is_none();
        waiting.bytes += changes.iter().map(|event| event.latest().body().len()).sum::<usize>();
        waiting.changes.extend(changes);
        waiting.standing = Some(standing);
        if first || waiting.bytes >= self.0.shared.limits.batch_bytes {
            self.0.shared.wake();
        }
    }

    /// Replaces everything by `world` and waits until that is on disk.
    pub(crate) async fn replace(&self, world: Snapshot, standing: Standing) -> Result<(), io::Error> {
        let applied = standing.applied;
        {
            let mut waiting = self.0.shared.waiting.lock();
            let resealing = std::mem::take(&mut waiting.resealing);
            *waiting = Waiting { world: Some(world), standing: Some(standing), resealing, ..Waiting::default() };
        }
        self.flush(applied).await
    }

    /// Waits until everything up to `applied` is on disk.
    pub(crate) async fn flush(&self, applied: Option<LogId>) -> Result<(), io::Error> {
        let mut written = self.0.shared.written.subscribe();
        {
            let mut waiting = self.0.shared.waiting.lock();
            waiting.hurry = waiting.standing.is_some();
            self.0.shared.wake();
        }
        let reached = written.wait_for(|written| written.failure.is_some() || written.applied >= applied).await;
        match reached.map(|written| written.failure.clone()) {
            Ok(None) => Ok(()),
            Ok(Some(failure)) => Err(io::Error::other(failure)),
            Err(_) => Err(io::Error::other("the image is closed")),
        }
    }

    /// Waits until everything is sealed with the newest key.
    pub(crate) async fn reseal(&self) -> Result<(), io::Error> {
        let (done, resealed) = oneshot::channel();
        self.0.shared.waiting.lock().resealing.push(done);
        self.0.shared.wake();
        resealed.await.map_err(|_| io::Error::other("the image cannot be written"))
    }

    /// Tells how far the image is on disk, whenever that changes.
    pub(crate) fn progress(&self) -> impl Future<Output = ()> + use<> {
        let mut written = self.0.shared.written.subscribe();
        async move {
            if written.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Writes what waits and closes the file.
    pub(crate) fn close(&self) {
        self.0.shared.stop();
        if let Some(thread) = self.0.thread.lock().take() {
            // A panic of the thread has been reported where it happened, and there is nothing left to save.
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

/// The thread: waits for changes, lets them gather, writes them, until told to stop.
fn write_behind(shared: &Shared, mut tables: Tables, mut floor: Revision) {
    yield_to_others();
    while let Some(taken) = shared.take() {
        let mut outcome = taken.write(&tables, floor);
        let mut has_waited = false;
        while let Err(error) = &outcome
            && error.is_for_lack_of_room()
        {
            if !std::mem::replace(&mut has_waited, true) {
                tracing::error!(%error, "the durable image waits for room; until then the log grows");
            }
            let reopen = tables.reopener();
            drop(tables);
            let Some(again) = shared.with_room(reopen) else { return };
            tables = again;
            outcome = taken.write(&tables, floor);
        }
        if has_waited && outcome.is_ok() {
            tracing::info!("the durable image has room again");
        }
        if !shared.settle(taken, outcome, &mut floor) {
            return;
        }
    }
}

/// The same without a thread.
#[cfg(test)]
async fn simulated_write_behind(shared: Arc<Shared>, tables: Tables, mut floor: Revision) {
    loop {
        let bell = shared.bell.notified();
        if shared.waiting.lock().is_idle() {
            bell.await;
            continue;
        }
        let deadline = crate::runtime::Instant::now() + shared.limits.delay;
        while !shared.waiting.lock().is_due(&shared.limits) && crate::runtime::Instant::now() < deadline {
            let _ = crate::runtime::timeout(deadline - crate::runtime::Instant::now(), shared.bell.notified()).await;
        }
        crate::simulation::disk::latency().await;
        let Some(taken) = shared.taken() else { return };
        let outcome = taken.write(&tables, floor);
        if !shared.settle(taken, outcome, &mut floor) {
            return;
        }
    }
}

/// The image is never on the way to an acknowledgement: its bursts of checksums run when nothing else wants to.
fn yield_to_others() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, 15) {
        tracing::debug!(%error, "the image is written at normal priority");
    }
}

// === impl Taken ===

impl Taken {
    /// Writes it, all or nothing; once more is as good as once.
    fn write(&self, tables: &Tables, floor: Revision) -> Result<(), TablesError> {
        // The library takes for granted that a page is what it was.
        let written = catch_unwind(AssertUnwindSafe(|| self.write_to(tables, floor)));
        written.unwrap_or_else(|_| Err(Malformed { what: "image: its pages make no sense" }.into()))
    }

    fn write_to(&self, tables: &Tables, floor: Revision) -> Result<(), TablesError> {
        match (&self.standing, &self.world) {
            (Some(standing), Some(world)) => tables.replace(world, standing)?,
            (Some(standing), None) => tables.write(&self.changes, standing, floor)?,
            (None, _) => {}
        }
        if self.resealing.is_empty() { Ok(()) } else { tables.reseal() }
    }
}

// === impl Waiting ===

impl Waiting {
    /// Nothing is to be done.
    fn is_idle(&self) -> bool {
        self.standing.is_none() && self.resealing.is_empty() && !self.stop
    }

    /// What waits is to be written now, without waiting for more.
    fn is_due(&self, limits: &ImageLimits) -> bool {
        let is_urgent = self.hurry || self.stop || self.world.is_some() || !self.resealing.is_empty();
        is_urgent || self.bytes >= limits.batch_bytes
    }
}

// === impl Shared ===

impl Shared {
    /// Nothing will be written any more.
    fn failed(&self, error: &dyn fmt::Display) {
        tracing::error!(%error, "the durable image cannot be written");
        self.written.send_modify(|written| written.failure = Some(error.to_string()));
        self.room.notify_waiters();
    }

    /// Opens the database again as soon as the disk has room for that; none if that never came to be.
    fn with_room(&self, open: impl Fn() -> Result<Tables, OpenError>) -> Option<Tables> {
        loop {
            let deadline = Instant::now() + room::POLL;
            let mut waiting = self.waiting.lock();
            while !waiting.stop && !self.wake.wait_until(&mut waiting, deadline).timed_out() {}
            if waiting.stop {
                return None;
            }
            drop(waiting);
            match open() {
                Ok(tables) => return Some(tables),
                Err(OpenError::Io { source, .. }) if room::is_lacking(&source) => {}
                Err(error) => {
                    self.failed(&error);
                    return None;
                }
            }
        }
    }

    /// How writing what was taken went; whether to go on.
    fn settle(&self, taken: Taken, outcome: Result<(), TablesError>, floor: &mut Revision) -> bool {
        let Taken { standing, resealing, .. } = taken;
        *floor = standing.as_ref().map_or(*floor, |standing| standing.floor);
        if let Err(error) = outcome {
            self.failed(&error);
            return false;
        }
        if let Some(standing) = standing {
            self.written.send_modify(|written| written.applied = standing.applied);
        }
        // Who no longer waits need not be told.
        for done in resealing {
            let _ = done.send(());
        }
        true
    }

    fn stop(&self) {
        self.waiting.lock().stop = true;
        self.wake();
    }

    fn wake(&self) {
        self.wake.notify_one();
        #[cfg(test)]
        self.bell.notify_one();
    }

    /// The next batch, or `None` when all is written and the store closes.
    fn take(&self) -> Option<Taken> {
        let mut waiting = self.waiting.lock();
        while waiting.is_idle() {
            self.wake.wait(&mut waiting);
        }
        let deadline = Instant::now() + self.limits.delay;
        while !waiting.is_due(&self.limits) {
            if self.wake.wait_until(&mut waiting, deadline).timed_out() {
                break;
            }
        }
        drop(waiting);
        self.taken()
    }

    /// What waits, if anything does.
    fn taken(&self) -> Option<Taken> {
        let mut waiting = self.waiting.lock();
        let stop = waiting.stop;
        let taken = std::mem::replace(&mut *waiting, Waiting { stop, ..Waiting::default() });
        drop(waiting);
        self.room.notify_waiters();
        if taken.standing.is_none() && taken.resealing.is_empty() {
            return None;
        }
        let Waiting { world, changes, standing, resealing, .. } = taken;
        Some(Taken { world, changes, standing, resealing })
    }
}

#[cfg(test)]
mod tests;
