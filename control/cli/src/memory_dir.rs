//! A directory in memory, for what must be on no disk: the secrets that pods mount.
//!
//! It lies where the system keeps such things for this user (`$XDG_RUNTIME_DIR`, else `/dev/shm`), if that is a file system in
//! memory and not merely called so. It belongs to one data directory and goes with it: it is removed when the node stops, and those
//! of data directories that are no more are removed by whoever comes next.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// `TMPFS_MAGIC` and `RAMFS_MAGIC`, as statfs(2) has them.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
/// Says whose it is.
const OWNER: &str = "data-dir";

/// A directory in memory, removed when this goes.
#[derive(Debug)]
pub(crate) struct MemoryDir(PathBuf);

impl MemoryDir {
    /// The directory for what belongs to `data`; none where the machine has no memory to give that way.
    pub(crate) fn take(data: &Path) -> Option<Self> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()).map(PathBuf::from);
        let found = runtime.into_iter().chain([PathBuf::from("/dev/shm")]).find_map(|root| take_in(&root, data).ok());
        if found.is_none() {
            tracing::warn!("this machine has no file system in memory: secrets that pods mount lie on its disk");
        }
        found.map(Self)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for MemoryDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "secrets were left in memory");
        }
    }
}

fn take_in(root: &Path, data: &Path) -> io::Result<PathBuf> {
    if !IN_MEMORY.contains(&(rustix::fs::statfs(root)?.f_type as u64)) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let user = rustix::process::geteuid().as_raw();
    let prefix = format!("coracle-{user}-");
    clear(root, &prefix);
    let name = hex::encode(&Sha256::digest(data.as_os_str().as_encoded_bytes())[..8]);
    let path = root.join(prefix + &name);
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        done => done?,
    }
    // Others may write to `/dev/shm`, and may have been there first.
    let found = fs::symlink_metadata(&path)?;
    if !found.is_dir() || found.uid() != user || found.mode() & 0o077 != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    fs::write(path.join(OWNER), data.as_os_str().as_encoded_bytes())?;
    Ok(path)
}

/// Removes directories of data directories that are no more: their process was killed.
fn clear(root: &Path, prefix: &str) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let owner = fs::read_to_string(path.join(OWNER));
        let is_left = owner.is_ok_and(|owner| !owner.is_empty() && !Path::new(&owner).exists());
        if is_left
            && name.to_string_lossy().starts_with(prefix)
            && let Err(error) = fs::remove_dir_all(&path)
        {
            tracing::debug!(path = %path.display(), %error, "a directory in memory was left");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_memory_goes_with_its_data() {
        let (one, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let Some(first) = MemoryDir::take(one.path()) else {
            return println!("skipped: no file system in memory here");
        };
        let left = first.path().to_owned();
        fs::write(left.join("secret"), "s").expect("written");
        // As if the process were killed, and its data removed.
        std::mem::forget(first);
        drop(one);
        let second = MemoryDir::take(other.path()).expect("there is one");
        assert!(!left.exists() && second.path().is_dir());
        let path = second.path().to_owned();
        drop(second);
        assert!(!path.exists());
    }
}
