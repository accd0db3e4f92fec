//! Making volumes on the disk.

use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::Folder;

use super::host_path::HostPaths;
use super::quotas::Quotas;
use super::{Content, Files, Placed, Planned};

/// What of a node's own disk volumes may be of.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// Where volumes lie that outlive pods.
    pub local: PathBuf,
    /// Which other paths pods may see.
    pub host_paths: HostPaths,
    /// What holds volumes to their sizes.
    pub quotas: Arc<Quotas>,
}

/// Makes the volume below `root`, and says where it lies. Nothing happens to what is as planned already.
pub fn write(root: &Path, store: &Store, planned: &Planned) -> io::Result<Placed> {
    let path = root.join(&planned.name);
    match &planned.content {
        Content::Scratch { bytes_max } => {
            std::fs::create_dir_all(&path)?;
            let quota = bytes_max.map(|bytes_max| store.quotas.of(&path, bytes_max));
            Ok(Placed { at: Folder::at(path), read_only: false, is_swapped: false, quota })
        }
        Content::Files(files) => {
            std::fs::create_dir_all(&path)?;
            swap(&path, files)?;
            Ok(Placed { at: Folder::at(path), read_only: true, is_swapped: true, quota: None })
        }
        Content::Host { path: host, kind, read_only } => {
            let at = Folder::held(store.host_paths.open(host, *kind)?.into());
            Ok(Placed { at, read_only: *read_only, is_swapped: false, quota: None })
        }
        Content::Remote(remote) => {
            let message = format!("volume {} is not one of this disk", remote.volume);
            Err(io::Error::new(io::ErrorKind::Unsupported, message))
        }
        Content::Local { directory, bytes_max, read_only } => {
            let path = store.local.join(directory);
            if !path.is_dir() {
                std::fs::create_dir_all(&path)?;
                // What a guest has written for good is to be found after the power was gone.
                std::fs::File::open(&store.local)?.sync_all()?;
            }
            let quota = Some(store.quotas.of(&path, *bytes_max));
            Ok(Placed { at: Folder::at(path), read_only: *read_only, is_swapped: false, quota })
        }
    }
}

const CURRENT: &str = "..data";
const NEXT: &str = "..data_next";

/// Puts `files` into place at once.
fn swap(directory: &Path, files: &Files) -> io::Result<()> {
    let old = std::fs::read_link(directory.join(CURRENT)).ok();
    if old.as_deref().is_some_and(|old| is_as(&directory.join(old), files)) {
        return relink(directory, files);
    }
    let number =
        old.as_deref().and_then(Path::to_str).and_then(|name| name.strip_prefix("..")?.parse().ok()).unwrap_or(0u64);
    let fresh = PathBuf::from(format!("..{}", number + 1));
    let _ = std::fs::remove_dir_all(directory.join(&fresh));
    std::fs::create_dir(directory.join(&fresh))?;
    for (path, content) in files {
        let path = directory.join(&fresh).join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, content)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    }
    let _ = std::fs::remove_file(directory.join(NEXT));
    symlink(&fresh, directory.join(NEXT))?;
    std::fs::rename(directory.join(NEXT), directory.join(CURRENT))?;
    relink(directory, files)?;
    match old {
        Some(old) if old != fresh => std::fs::remove_dir_all(directory.join(old)),
        _ => Ok(()),
    }
}

/// Gives each file its name in the volume, and takes the names of those that are gone.
fn relink(directory: &Path, files: &Files) -> io::Result<()> {
    let tops = || files.keys().filter_map(|path| path.components().next());
    for top in tops() {
        let link = directory.join(top);
        if link.symlink_metadata().is_err() {
            symlink(Path::new(CURRENT).join(top), link)?;
        }
    }
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let known = tops().any(|top| top.as_os_str() == name) || name.to_string_lossy().starts_with("..");
        if !known {
            std::fs::remove_file(directory.join(name))?;
        }
    }
    Ok(())
}

/// Whether a directory holds these files and no others.
fn is_as(directory: &Path, files: &Files) -> bool {
    let same = |(path, content): (&PathBuf, &Vec<u8>)| {
        std::fs::read(directory.join(path)).is_ok_and(|found| found == *content)
    };
    count(directory).is_ok_and(|found| found == files.len()) && files.iter().all(same)
}

fn count(directory: &Path) -> io::Result<usize> {
    let mut files = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        files += if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 };
    }
    Ok(files)
}
