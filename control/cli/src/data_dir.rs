//! The data directory: what is where in it, and who holds it.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::FlockOperation;

/// A data directory that this process alone uses until it ends.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Held, not read: the lock ends with it.
    _lock: File,
}

/// Where data is kept when nobody says: `$XDG_DATA_HOME/coracle`, or `/var/lib/coracle` for root.
pub(crate) fn default_path() -> anyhow::Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/coracle".into());
    }
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let share = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")));
    Ok(share.context("neither XDG_DATA_HOME nor HOME is set; say where to keep data with --data-dir")?.join("coracle"))
}

/// The path given, or the default one.
pub(crate) fn path(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    match given {
        Some(given) => Ok(given.to_owned()),
        None => default_path(),
    }
}

impl DataDir {
    /// Makes the directory if need be and takes it for this process.
    pub(crate) fn take(path: PathBuf) -> anyhow::Result<Self> {
        let built = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        built.with_context(|| format!("cannot make the data directory {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("cannot use the data directory {}", path.display()))?;
        let lock = File::create(path.join("lock")).with_context(|| format!("cannot write to {}", path.display()))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                bail!("another coracle runs on {}; stop it first, or give this one its own --data-dir", path.display())
            }
            Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// A file or directory in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Writes a file whole or not at all, readable by its owner alone.
pub(crate) fn write(path: &Path, contents: &str) -> anyhow::Result<()> {
    let written = || -> std::io::Result<()> {
        let fresh = path.with_extension("new");
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(contents.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_held_by_one_at_a_time() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let held = DataDir::take(dir.path().join("data")).expect("free");
        let refused = DataDir::take(dir.path().join("data")).expect_err("held");
        assert!(refused.to_string().starts_with("another coracle runs on "), "{refused}");
        drop(held);
        DataDir::take(dir.path().join("data")).expect("free again");
    }
}
