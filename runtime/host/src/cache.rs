//! Compiled components on disk, by content.
//!
//! `<dir>/<compatibility>/<digest>.cwasm`, and beside it `.check` with length and checksum. A file appears whole or not
//! at all (temporary file, sync, rename); the checksum is written last, so code without one does not count. What does
//! not match its checksum is made again.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::artifact::Digest;

/// Nobody but this user reads or writes what is run as native code.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A directory of compiled components for one engine.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    serial: AtomicU64,
}

/// A compiled component whose content was found to be what was written.
#[derive(Debug)]
pub(crate) struct Checked {
    path: PathBuf,
}

/// A path in the cache's directory for something unfinished, removed unless it was kept.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
}

// === impl Cache ===

impl Cache {
    /// Opens the part of `dir` that belongs to the engine, and makes sure that nobody else can write there.
    pub(crate) fn open(dir: &Path, compatibility: &str) -> io::Result<Self> {
        make_private(dir)?;
        let dir = dir.join(compatibility);
        make_private(&dir)?;
        Ok(Self { dir, serial: AtomicU64::new(0) })
    }

    /// The compiled component, if it is there and whole.
    pub(crate) fn find(&self, digest: &Digest) -> io::Result<Option<Checked>> {
        let path = self.compiled(digest);
        let expected = match fs::read_to_string(self.check(digest)) {
            Ok(expected) => expected,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match checksum(&path) {
            Ok(found) if found == expected => Ok(Some(Checked { path })),
            Ok(_) => {
                tracing::warn!(%digest, "a compiled component was damaged on disk, compiling it again");
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes over a draft as the compiled form of `digest`.
    pub(crate) fn keep(&self, digest: &Digest, draft: Draft) -> io::Result<Checked> {
        File::open(&draft.path)?.sync_all()?;
        let expected = checksum(&draft.path)?;
        let path = self.compiled(digest);
        fs::rename(&draft.path, &path)?;
        let check = self.draft();
        check.write(expected.as_bytes())?;
        fs::rename(&check.path, self.check(digest))?;
        File::open(&self.dir)?.sync_all()?;
        Ok(Checked { path })
    }

    /// The components that are here compiled, with the size and the age of the code.
    pub(crate) fn list(&self) -> io::Result<Vec<(Digest, u64, std::time::SystemTime)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| name.strip_suffix(".cwasm")?.parse().ok());
            if let Some(digest) = digest {
                let metadata = entry.metadata()?;
                found.push((digest, metadata.len(), metadata.modified()?));
            }
        }
        Ok(found)
    }

    /// Removes what was compiled from `digest`; what is mapped stays usable.
    pub(crate) fn remove(&self, digest: &Digest) -> io::Result<()> {
        for path in [self.check(digest), self.compiled(digest)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// A new place to write to.
    pub(crate) fn draft(&self) -> Draft {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        Draft { path: self.dir.join(format!("draft-{}-{serial}", std::process::id())) }
    }

    fn compiled(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}.cwasm", digest.hex()))
    }

    fn check(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}.check", digest.hex()))
    }
}

// === impl Checked ===

impl Checked {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

// === impl Draft ===

impl Draft {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        write_private(&self.path, bytes)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Nothing is there when the draft was kept.
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes a new file that only this user can read, down to the disk.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn make_private(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)?;
    let found = fs::metadata(dir)?;
    if found.uid() != rustix::process::geteuid().as_raw() {
        let reason = format!("{} belongs to another user, who could change compiled code", dir.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    if found.permissions().mode() & 0o777 != DIR_MODE {
        fs::set_permissions(dir, fs::Permissions::from_mode(DIR_MODE))?;
    }
    Ok(())
}

/// Length and CRC-32 of a file: enough against damage; against malice there is the directory's mode.
fn checksum(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; 256 * 1024];
    let (mut length, mut hasher) = (0, crc32fast::Hasher::new());
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(format!("{length} {:08x}\n", hasher.finalize())),
            read => {
                length += read as u64;
                hasher.update(&chunk[..read]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_kept(content: &[u8], then: impl FnOnce(&Cache, &Digest)) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let cache = Cache::open(&dir.path().join("cache"), "engine").expect("the cache opens");
        let digest = Digest::of(b"source");
        assert!(cache.find(&digest).expect("an empty cache reads").is_none());
        let draft = cache.draft();
        draft.write(content).expect("the draft is written");
        cache.keep(&digest, draft).expect("the draft is kept");
        then(&cache, &digest);
    }

    #[test]
    fn what_was_kept_is_found() {
        with_kept(b"code", |cache, digest| {
            let found = cache.find(digest).expect("the cache reads").expect("it is there");
            assert_eq!(fs::read(found.path()).expect("it reads"), b"code");
            let listed = cache.list().expect("it lists");
            assert!(matches!(listed.as_slice(), [(listed, 4, _)] if listed == digest));
            assert_eq!(fs::read_dir(&cache.dir).expect("it lists").count(), 2, "no drafts are left");
            cache.remove(digest).expect("it is removed");
            assert!(cache.find(digest).expect("the cache reads").is_none());
        });
    }

    #[test]
    fn damaged_code_is_never_found() {
        for damage in [&b"codE"[..], b"cod", b"codes", b""] {
            with_kept(b"code", |cache, digest| {
                fs::write(cache.compiled(digest), damage).expect("it is damaged");
                assert!(cache.find(digest).expect("the cache reads").is_none());
            });
        }
    }

    #[test]
    fn code_without_a_checksum_does_not_count() {
        with_kept(b"code", |cache, digest| {
            fs::remove_file(cache.check(digest)).expect("it is removed");
            assert!(cache.find(digest).expect("the cache reads").is_none());
        });
    }

    #[test]
    fn the_directory_is_made_private() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let open = dir.path().join("cache");
        fs::create_dir(&open).expect("it is made");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).expect("it is opened up");
        Cache::open(&open, "engine").expect("the cache opens");
        assert_eq!(fs::metadata(&open).expect("it is there").permissions().mode() & 0o777, DIR_MODE);
    }
}
