//! What a container sees of its pod's volumes: directories, by their places in the guest.
//!
//! A guest is given directories, never single files. So a file that is mounted by `subPath` comes in a directory made for the
//! place it is mounted at, with nothing else in it; several files mounted side by side share one. The file is a copy where
//! its volume's files are swapped, and the very same file where they stay.
//!
//! Copies lie in memory, because they may be of secrets; but the very same file has to lie on the disk where it is, and a copy that
//! is mounted beside it lies there too.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use host::Folder;
use k8s_openapi::api::core::v1::{Pod, VolumeMount};
use rustix::fs::{self, AtFlags};
use rustix::io::Errno;

use super::{Placed, inner_path, refused};
use crate::beneath::{Links, Root};
use crate::environment::{Surroundings, sub_path_of};
use crate::joint::image_of;
use crate::pod::{Blocked, Place, container};

/// What a container's guest sees of the pod's volumes. What a `subPath` shows is put into `fixed`.
pub fn mounts(
    pod: &Pod,
    place: Place,
    placed: &BTreeMap<String, Placed>,
    mut fixed: Fixed,
    around: &Surroundings<'_>,
) -> Result<Vec<host::Mount>, Blocked> {
    let Some(container) = container(pod, place) else { return Ok(Vec::new()) };
    let mut wanted: Vec<&VolumeMount> = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        if image_of(pod, mount).is_none() {
            wanted.push(mount);
        } else if mount.sub_path.is_some() || mount.sub_path_expr.is_some() {
            let why = "is an image that is linked to the container's own, and has no subPath";
            return Err(refused(format!("volume \"{}\" {why}", mount.name)));
        }
    }
    // Those that may be written first: where such a file is, the others beside it go.
    wanted.sort_by_key(|mount| placed.get(&mount.name).is_some_and(|volume| volume.read_only));
    fixed.clear().map_err(|error| refused(format!("failed to prepare for subPath mounts: {error}")))?;
    let mut mounts = Vec::new();
    for mount in wanted {
        let volume = placed.get(&mount.name);
        let volume = volume.ok_or_else(|| refused(format!("volume \"{}\" is not one of the pod's", mount.name)))?;
        let read_only = volume.read_only || mount.read_only == Some(true);
        let mode = if read_only { host::Mode::ReadOnly } else { host::Mode::ReadWrite };
        let host = match sub_path_of(pod, container, mount, around)? {
            None if !volume.at.path().is_file() => volume.at.clone(),
            inner => match fixed.show(volume, inner.as_deref(), mount)? {
                Shown::Directory(folder) => folder,
                Shown::Beside => continue,
            },
        };
        mounts.push(host::Mount { host, guest: mount.mount_path.clone(), mode, quota: volume.quota.clone() });
    }
    for (guest, Files { host, mode, quota }) in fixed.files {
        if mounts.iter().any(|mount| same_place(&mount.guest, &guest)) {
            return Err(refused(format!("a file cannot be mounted into {guest}, where a volume is mounted already")));
        }
        mounts.push(host::Mount { host: Folder::at(host), guest, mode, quota });
    }
    Ok(mounts)
}

/// The subPaths of one container, in directories of its own that are made anew.
#[derive(Debug)]
pub struct Fixed {
    disk: PathBuf,
    /// For copies.
    memory: PathBuf,
    turn: u32,
    /// The directories made for single files, by the place that guests see them at.
    files: BTreeMap<String, Files>,
}

/// A directory made for single files.
#[derive(Debug)]
struct Files {
    host: PathBuf,
    mode: host::Mode,
    /// That of the volume of a file in it that may be written.
    quota: Option<host::Quota>,
}

/// How a subPath is shown.
enum Shown {
    /// As this directory.
    Directory(Folder),
    /// As a file in a directory that other files may share.
    Beside,
}

// === impl Fixed ===

impl Fixed {
    /// In these directories, which may be one.
    pub fn new(disk: PathBuf, memory: PathBuf) -> Self {
        Self { disk, memory, turn: 0, files: BTreeMap::new() }
    }

    fn clear(&self) -> io::Result<()> {
        let clear = |root: &Path| match std::fs::remove_dir_all(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        };
        clear(&self.disk).and(clear(&self.memory))
    }

    /// Shows what is at `inner`; a volume that is a single file has nothing in it, and is shown itself.
    fn show(&mut self, volume: &Placed, inner: Option<&str>, mount: &VolumeMount) -> Result<Shown, Blocked> {
        let what = match inner {
            Some(inner) => format!("subPath {inner} of volume \"{}\"", mount.name),
            None => format!("volume \"{}\"", mount.name),
        };
        let failed = |error: io::Error| match Errno::from_io_error(&error) {
            Some(Errno::XDEV) => refused(format!("{what} leads out of it")),
            _ => refused(format!("{what}: {error}")),
        };
        let inner = inner.map(inner_path).transpose()?;
        if volume.is_swapped {
            // No guest writes there, and all of it is the cluster's.
            let real = inner.map_or(volume.at.path().to_owned(), |inner| volume.at.path().join(inner));
            let real = real.canonicalize().map_err(failed)?;
            if !real.is_dir() {
                return self.show_file(File::open(real).map_err(failed)?, volume, mount).map_err(failed);
            }
            let to = self.fresh(true).map_err(failed)?;
            copy(&real, &to).map_err(failed)?;
            return Ok(Shown::Directory(Folder::at(to)));
        }
        let opened = match inner {
            Some(inner) => opened(volume, &inner),
            None => File::open(volume.at.path()),
        };
        let opened = opened.map_err(failed)?;
        let found = opened.metadata().map_err(failed)?;
        if found.is_dir() {
            return Ok(Shown::Directory(Folder::held(opened.into())));
        }
        if !found.is_file() {
            return Err(refused(format!("{what} is neither a directory nor a file")));
        }
        self.show_file(opened, volume, mount).map_err(failed)
    }

    fn show_file(&mut self, mut file: File, volume: &Placed, mount: &VolumeMount) -> io::Result<Shown> {
        let place = Path::new(&mount.mount_path);
        let (Some(directory), Some(name)) = (place.parent().and_then(Path::to_str), place.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file cannot be mounted there"));
        };
        let read_only = volume.read_only || mount.read_only == Some(true);
        let mode = if read_only { host::Mode::ReadOnly } else { host::Mode::ReadWrite };
        let to = match self.files.get_mut(directory) {
            Some(shared) => {
                if mode == host::Mode::ReadWrite {
                    shared.mode = mode;
                    shared.quota = shared.quota.take().or_else(|| volume.quota.clone());
                }
                shared.host.clone()
            }
            None => {
                let to = self.fresh(volume.is_swapped)?;
                let quota = volume.quota.clone();
                self.files.insert(directory.to_owned(), Files { host: to.clone(), mode, quota });
                to
            }
        };
        let to = to.join(name);
        if volume.is_swapped {
            io::copy(&mut file, &mut File::create_new(to)?)?;
            return Ok(Shown::Beside);
        }
        // The very file that was opened.
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        match fs::linkat(fs::CWD, itself, fs::CWD, &to, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => {}
            // No name on this disk can be given to it: whoever only reads is well served by a copy.
            Err(_) if read_only => drop(io::copy(&mut file, &mut File::create_new(to)?)?),
            Err(error) => {
                let error = io::Error::from(error);
                let why = format!("the file can only be mounted readOnly, because the node cannot link it: {error}");
                return Err(io::Error::new(error.kind(), why));
            }
        }
        Ok(Shown::Beside)
    }

    fn fresh(&mut self, copies: bool) -> io::Result<PathBuf> {
        let root = if copies { &self.memory } else { &self.disk };
        let path = root.join(self.turn.to_string());
        self.turn += 1;
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }
}

/// What is at a place in a volume that guests write to; made, where it may be, if nothing is.
fn opened(volume: &Placed, inner: &Path) -> io::Result<File> {
    let root = Root::open(volume.at.path())?;
    match root.any(inner, Links::Within) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !volume.read_only => {
            root.make(inner)?;
            root.any(inner, Links::Within)
        }
        opened => opened,
    }
}

fn same_place(one: &str, other: &str) -> bool {
    Path::new(one).components().eq(Path::new(other).components())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
