//! The machine's own disk.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use redb::{Builder, Database, DatabaseError};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::{Disk, File};

/// What the system calls files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Real;

impl Disk for Real {
    fn share(&self) -> Arc<dyn Disk> {
        Arc::new(*self)
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        // What is not called in Unicode is not ours.
        fs::read_dir(directory)?
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        Ok(Arc::new(options.create(true).truncate(true).read(true).write(true).mode(0o600).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn database(&self, builder: &Builder, path: &Path) -> Result<Database, DatabaseError> {
        builder.create(path)
    }
}

impl File for fs::File {
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(bytes, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        Self::set_len(self, length)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match fallocate(self, FallocateFlags::empty(), 0, length) {
            Ok(()) => Ok(()),
            // A file system without preallocation still works, a little slower.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Self::set_len(self, length),
            Err(error) => Err(error.into()),
        }
    }

    /// The length is synced with the data where it has changed, which is all of what else there is that matters.
    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
