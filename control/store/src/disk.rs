//! Files, as the store uses them.
//!
//! What a crash leaves of them is known only of what was synced: a file's content by [`File::sync`], its name by
//! [`Disk::sync_directory`]. Under test the [simulation](crate::simulation) has disks that take this at its word.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use redb::{Builder, Database, DatabaseError};

use crate::fault::{Bug, planted};

mod real;

pub(crate) use real::Real;

/// Where files are. The files of the store are its owner's alone.
pub(crate) trait Disk: fmt::Debug + Send + Sync + 'static {
    /// The same disk, for whoever needs it for long.
    fn share(&self) -> Arc<dyn Disk>;

    /// Makes a directory, and those that it lies in, unless it is there.
    fn make_directory(&self, path: &Path) -> io::Result<()>;

    /// What lies in a directory.
    fn names(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Whether there is such a file.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Opens a file that is there.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Makes an empty file, whatever was there.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Gives a file the name of another, whose place it takes.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Forgets a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Has the names in a directory survive a crash.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Opens a database, or makes an empty one.
    fn database(&self, builder: &Builder, path: &Path) -> Result<Database, DatabaseError>;
}

/// An open file.
pub(crate) trait File: fmt::Debug + Send + Sync {
    /// Reads as much as fits, which has to be there.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;

    /// Writes all of it.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// How long it is.
    fn len(&self) -> io::Result<u64>;

    /// Cuts it, or fills it up with zeros.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Makes it so long, with room on the disk for all of it where that can be had.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// Has what was written survive a crash.
    fn sync(&self) -> io::Result<()>;
}

/// All that a small file holds.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let length = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Writes a file whole or not at all: it survives a crash once this returns.
pub(crate) fn write(disk: &dyn Disk, path: &Path, unfinished: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = disk.create(unfinished)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    disk.rename(unfinished, path)?;
    if planted(Bug::NameNotSynced) { Ok(()) } else { disk.sync_directory(directory(path)) }
}

/// Where a file lies.
pub(crate) fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
