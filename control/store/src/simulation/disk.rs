//! A disk that keeps what was synced, and of the rest whatever chance leaves.
//!
//! What is written lies in the machine's memory until it is synced. A process that is killed leaves it there; a machine that loses its
//! power keeps of every write that was not synced any of its sectors, or none, and of the names that were not synced the first few.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redb::{Builder, Database, DatabaseError, StorageBackend};

use super::executor::{self, Life};
use super::random::Random;
use crate::disk::{Disk, File};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A disk, as the process that now runs on it has it. Cloning shares it.
#[derive(Clone)]
pub(crate) struct SimulatedDisk {
    state: Arc<Mutex<State>>,
    /// Which of the processes that come one after the other.
    run: u64,
}

#[derive(Clone, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// What happened to names since they were last synced.
    pending_names: Vec<Naming>,
    directories: BTreeSet<PathBuf>,
    /// The process that may use it.
    run: u64,
    /// Whose it is, where that can be ended by it.
    life: Option<Life>,
    /// It ends after so many changes,
    changes_left: Option<u64>,
    /// or when it wants a file in this directory to be synced, which is then not.
    unsynced: Option<PathBuf>,
    changes: u64,
    watcher: Option<Watcher>,
}

/// Told after each change of the disk.
type Watcher = Arc<dyn Fn(&SimulatedDisk) + Send + Sync>;

#[derive(Clone, Debug)]
enum Naming {
    Named(PathBuf, u64),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf),
}

#[derive(Clone, Default)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

/// How much a machine without power keeps of what was not synced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kept {
    Nothing,
    Everything,
    /// The first writes, and a part of the one after.
    Beginning,
    /// Any sectors.
    Any,
}

#[derive(Debug)]
struct Open {
    disk: SimulatedDisk,
    inode: u64,
}

/// How long a disk takes.
pub(crate) async fn latency() {
    let Some(executor) = executor::current() else { return };
    let micros =
        executor.random(|random| if random.one_in(50) { random.range(2_000, 30_000) } else { random.range(50, 1_500) });
    crate::runtime::sleep(Duration::from_micros(micros)).await;
}

// === impl SimulatedDisk ===

impl SimulatedDisk {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), run: 0 }
    }

    /// The disk for the next process; the last one can do nothing to it any more.
    pub(crate) fn next(&self, life: Option<Life>) -> Self {
        let mut state = self.state.lock();
        state.run += 1;
        state.life = life;
        (state.changes_left, state.unsynced) = (None, None);
        Self { state: self.state.clone(), run: state.run }
    }

    /// The process that uses it ends in the midst of the change that comes so many from now.
    pub(crate) fn end_after(&self, changes: u64) {
        self.state.lock().changes_left = Some(changes);
    }

    /// The process that uses it ends when it next wants a file in this directory to be synced: what it wrote is not.
    pub(crate) fn end_unsynced(&self, directory: &Path) {
        self.state.lock().unsynced = Some(directory.into());
    }

    /// How often it was changed or synced.
    pub(crate) fn changes(&self) -> u64 {
        self.state.lock().changes
    }

    /// Has somebody be told after each change.
    pub(crate) fn watch(&self, watcher: impl Fn(&Self) + Send + Sync + 'static) {
        self.state.lock().watcher = Some(Arc::new(watcher));
    }

    /// A disk such as this one might be after the power failed now.
    pub(crate) fn without_power(&self, kept: Kept, random: &mut Random) -> Self {
        let mut state = self.state.lock().clone();
        state.watcher = None;
        state.lose(kept, random);
        Self { run: state.run, state: Arc::new(Mutex::new(state)) }
    }

    /// The power fails.
    pub(crate) fn fail(&self, kept: Kept, random: &mut Random) {
        self.state.lock().lose(kept, random);
    }

    /// The files there are, and how long they are.
    pub(crate) fn files(&self) -> Vec<(PathBuf, usize)> {
        let state = self.state.lock();
        state.names.iter().map(|(path, inode)| (path.clone(), state.inodes[inode].content.len())).collect()
    }

    /// What is in a file.
    pub(crate) fn content(&self, path: &Path) -> Vec<u8> {
        let state = self.state.lock();
        state.inodes[&state.names[path]].content.clone()
    }

    /// Changes a bit of a file behind everybody's back.
    pub(crate) fn flip(&self, path: &Path, bit: u64) {
        let mut state = self.state.lock();
        let inode = state.names[path];
        let inode = state.inodes.get_mut(&inode).expect("it has a name");
        let (byte, mask) = ((bit / 8) as usize, 1 << (bit % 8));
        inode.content[byte] ^= mask;
        if let Some(byte) = inode.durable.get_mut(byte) {
            *byte ^= mask;
        }
    }

    /// Takes a file away behind everybody's back.
    pub(crate) fn take_away(&self, path: &Path) {
        let mut state = self.state.lock();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    /// A copy that nobody else has.
    pub(crate) fn copy(&self) -> Self {
        let mut state = self.state.lock().clone();
        state.watcher = None;
        Self { run: state.run, state: Arc::new(Mutex::new(state)) }
    }

    fn change<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let (done, watcher) = {
            let mut state = self.state.lock();
            self.check(&state)?;
            state.changes += 1;
            if let Some(left) = &mut state.changes_left {
                if *left == 0 {
                    // Whatever it would have done now is left to chance: half of it, or nothing.
                    let life = state.life.take();
                    let half = executor::current().is_some_and(|executor| executor.random(|random| random.one_in(2)));
                    if half {
                        let _ = work(&mut state);
                    }
                    state.run += 1;
                    drop(state);
                    if let (Some(executor), Some(life)) = (executor::current(), life) {
                        executor.end(life);
                    }
                    return Err(gone());
                }
                *left -= 1;
            }
            (work(&mut state), state.watcher.clone())
        };
        if let Some(watcher) = watcher {
            watcher(self);
        }
        done
    }

    /// Ends the process if it was to end when it wants this.
    fn end_if_unsynced(&self, inode: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        self.check(&state)?;
        let Some(directory) = &state.unsynced else { return Ok(()) };
        let is_there = |(path, named): (&PathBuf, &u64)| *named == inode && path.parent() == Some(directory);
        if !state.names.iter().any(is_there) {
            return Ok(());
        }
        state.run += 1;
        let life = state.life.take();
        drop(state);
        if let (Some(executor), Some(life)) = (executor::current(), life) {
            executor.end(life);
        }
        Err(gone())
    }

    fn look<T>(&self, work: impl FnOnce(&State) -> io::Result<T>) -> io::Result<T> {
        let state = self.state.lock();
        self.check(&state)?;
        work(&state)
    }

    fn check(&self, state: &State) -> io::Result<()> {
        if state.run == self.run { Ok(()) } else { Err(gone()) }
    }

    fn opened(&self, inode: u64) -> Arc<dyn File> {
        Arc::new(Open { disk: self.clone(), inode })
    }
}

fn gone() -> io::Error {
    io::Error::other("the process has ended")
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} is not there", path.display()))
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedDisk").field("run", &self.run).finish_non_exhaustive()
    }
}

impl Disk for SimulatedDisk {
    fn share(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        // Nobody loses these: what lies in them is what matters.
        self.look(|_| Ok(()))?;
        self.state.lock().directories.insert(path.into());
        Ok(())
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.look(|state| {
            let inside = state.names.keys().filter(|path| path.parent() == Some(directory));
            Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
        })
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.look(|state| Ok(state.names.contains_key(path)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let inode = self.look(|state| state.names.get(path).copied().ok_or_else(|| not_found(path)))?;
        Ok(self.opened(inode))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let inode = self.change(|state| {
            let inode = state.next_inode;
            state.next_inode += 1;
            state.inodes.insert(inode, Inode::default());
            state.names.insert(path.into(), inode);
            state.pending_names.push(Naming::Named(path.into(), inode));
            Ok(inode)
        })?;
        Ok(self.opened(inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|state| {
            let inode = state.names.remove(from).ok_or_else(|| not_found(from))?;
            state.names.insert(to.into(), inode);
            state.pending_names.push(Naming::Renamed(from.into(), to.into()));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            state.names.remove(path).ok_or_else(|| not_found(path))?;
            state.pending_names.push(Naming::Removed(path.into()));
            Ok(())
        })
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            let pending = std::mem::take(&mut state.pending_names);
            let (synced, pending) = pending.into_iter().partition(|naming| naming.directory() == Some(path));
            state.pending_names = pending;
            let synced: Vec<Naming> = synced;
            for naming in synced {
                naming.apply(&mut state.durable_names);
            }
            Ok(())
        })
    }

    fn database(&self, builder: &Builder, path: &Path) -> Result<Database, DatabaseError> {
        let storage = |source| DatabaseError::Storage(redb::StorageError::Io(source));
        let file = match self.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create(path).map_err(storage)?,
            other => other.map_err(storage)?,
        };
        builder.create_with_backend(Backend(file))
    }
}

impl File for Open {
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.disk.look(|state| {
            let content = &state.inodes[&self.inode].content;
            let found = content.get(at as usize..at as usize + bytes.len());
            bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.change_it(Change::Write(at, bytes.to_vec()))
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.look(|state| Ok(state.inodes[&self.inode].content.len() as u64))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change_it(Change::Length(length))
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.change_it(Change::Length(length))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.end_if_unsynced(self.inode)?;
        self.disk.change(|state| {
            let inode = state.inodes.get_mut(&self.inode).expect("open files stay");
            for change in std::mem::take(&mut inode.pending) {
                change.apply(&mut inode.durable);
            }
            Ok(())
        })
    }
}

impl Open {
    fn change_it(&self, change: Change) -> io::Result<()> {
        self.disk.change(|state| {
            let inode = state.inodes.get_mut(&self.inode).expect("open files stay");
            change.apply(&mut inode.content);
            inode.pending.push(change);
            Ok(())
        })
    }
}

// === impl State ===

impl State {
    fn lose(&mut self, kept: Kept, random: &mut Random) {
        for inode in self.inodes.values_mut() {
            let pending = std::mem::take(&mut inode.pending);
            let whole = random.below(pending.len() as u64 + 1) as usize;
            for (number, change) in pending.into_iter().enumerate() {
                match kept {
                    Kept::Nothing => {}
                    Kept::Everything => change.apply(&mut inode.durable),
                    Kept::Beginning if number < whole => change.apply(&mut inode.durable),
                    Kept::Beginning if number > whole => {}
                    Kept::Beginning | Kept::Any => change.apply_partly(&mut inode.durable, random),
                }
            }
            inode.content = inode.durable.clone();
        }
        let pending = std::mem::take(&mut self.pending_names);
        let arrived = match kept {
            Kept::Nothing => 0,
            Kept::Everything => pending.len(),
            Kept::Beginning | Kept::Any => random.below(pending.len() as u64 + 1) as usize,
        };
        for naming in pending.into_iter().take(arrived) {
            naming.apply(&mut self.durable_names);
        }
        self.names.clone_from(&self.durable_names);
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.inodes.retain(|inode, _| named.contains(inode));
    }
}

// === impl Naming ===

impl Naming {
    fn directory(&self) -> Option<&Path> {
        let (Self::Named(path, _) | Self::Renamed(path, _) | Self::Removed(path)) = self;
        path.parent()
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Named(path, inode) => {
                names.insert(path, inode);
            }
            Self::Renamed(from, to) => {
                if let Some(inode) = names.remove(&from) {
                    names.insert(to, inode);
                }
            }
            Self::Removed(path) => {
                names.remove(&path);
            }
        }
    }
}

// === impl Change ===

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(at, bytes) => put(content, *at as usize, bytes),
            Self::Length(length) => content.resize(*length as usize, 0),
        }
    }

    /// Some of its sectors arrive.
    fn apply_partly(&self, content: &mut Vec<u8>, random: &mut Random) {
        let Self::Write(at, bytes) = self else {
            if random.one_in(2) {
                self.apply(content);
            }
            return;
        };
        let (mut at, mut left) = (*at as usize, bytes.as_slice());
        while !left.is_empty() {
            let length = (SECTOR_BYTES - at % SECTOR_BYTES).min(left.len());
            let (sector, rest) = left.split_at(length);
            if random.one_in(2) {
                put(content, at, sector);
            }
            (at, left) = (at + length, rest);
        }
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A file, as the database wants it.
#[derive(Debug)]
struct Backend(Arc<dyn File>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(out, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(data, offset)
    }
}
