//! Directories and files of the node itself that pods may see.
//!
//! Whoever may create pods reaches with them whatever this program may reach; [`HostPaths`] is how much a node allows of that.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::beneath::{Links, Root};

/// Which paths of a node pods may see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostPaths {
    /// Any, as with a kubelet.
    #[default]
    Any,
    /// These and what is below them; none if there are none.
    Below(Vec<PathBuf>),
}

/// What has to be at a path, or is made there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostType {
    /// Whatever is there; a directory if nothing is.
    Anything,
    /// A directory.
    Directory,
    /// A directory, made if there is none.
    DirectoryOrCreate,
    /// A file.
    File,
    /// A file, made if there is none; the directory that it is in has to be there.
    FileOrCreate,
}

/// A kind of thing that no guest can be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotForGuests(String);

// === impl HostPaths ===

impl HostPaths {
    /// Opens what is at a path, made where its type says so; refuses a path that pods may not see, wherever its links lead.
    ///
    /// Where the links lead is looked at first, and from there on none is followed: what a guest puts in the way meanwhile is
    /// not taken for what was looked at.
    pub(super) fn open(&self, path: &Path, kind: HostType) -> io::Result<File> {
        let real = settled(path)?;
        let root = match self {
            Self::Any => Some(PathBuf::from("/")),
            Self::Below(allowed) => {
                allowed.iter().filter_map(|root| root.canonicalize().ok()).find(|root| real.starts_with(root))
            }
        };
        let below = root.as_ref().and_then(|root| real.strip_prefix(root).ok());
        let Some((root, below)) = root.as_ref().zip(below) else {
            let message = format!("host path {} is not one that this node allows", path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        };
        if root.is_dir() {
            kind.open(&Root::open(root)?, below, path)
        } else {
            // A single file is allowed: it is found in its directory, which is not the guests'.
            let (directory, name) = (root.parent().unwrap_or(root), root.file_name().unwrap_or_default());
            kind.open(&Root::open(directory)?, Path::new(name), path)
        }
    }
}

/// Where a path really is: as much of it as is there, with the rest as it is written.
fn settled(path: &Path) -> io::Result<PathBuf> {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(real), _, _) => Ok(real),
        (Err(error), Some(parent), Some(name)) if error.kind() == io::ErrorKind::NotFound => {
            Ok(settled(parent)?.join(name))
        }
        (Err(error), _, _) => Err(error),
    }
}

// === impl HostType ===

impl HostType {
    /// The type of this name.
    pub fn named(name: Option<&str>) -> Result<Self, NotForGuests> {
        match name.unwrap_or_default() {
            "" => Ok(Self::Anything),
            "Directory" => Ok(Self::Directory),
            "DirectoryOrCreate" => Ok(Self::DirectoryOrCreate),
            "File" => Ok(Self::File),
            "FileOrCreate" => Ok(Self::FileOrCreate),
            other => Err(NotForGuests(other.to_owned())),
        }
    }

    /// Opens what is below a directory, by a name without links; `path` is what it is called by whoever asked for it.
    fn open(self, root: &Root, below: &Path, path: &Path) -> io::Result<File> {
        let found = match (root.any(below, Links::None), self) {
            (Err(error), Self::Anything | Self::DirectoryOrCreate) if error.kind() == io::ErrorKind::NotFound => {
                root.make(below)?;
                root.any(below, Links::None)?
            }
            (Err(error), Self::FileOrCreate) if error.kind() == io::ErrorKind::NotFound => root.create(below)?,
            (Err(error), Self::Directory) if error.kind() == io::ErrorKind::NotFound => {
                return Err(not_a("directory", path));
            }
            (Err(error), Self::File) if error.kind() == io::ErrorKind::NotFound => return Err(not_a("file", path)),
            (found, _) => found?,
        };
        let metadata = found.metadata()?;
        match self {
            Self::Directory | Self::DirectoryOrCreate if !metadata.is_dir() => Err(not_a("directory", path)),
            Self::File | Self::FileOrCreate if !metadata.is_file() => Err(not_a("file", path)),
            _ => Ok(found),
        }
    }
}

fn not_a(what: &str, path: &Path) -> io::Error {
    let message = format!("hostPath type check failed: {} is not a {what}", path.display());
    io::Error::new(io::ErrorKind::NotFound, message)
}

// === impl NotForGuests ===

impl fmt::Display for NotForGuests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hostPath type {} is not supported: guests are given directories and files", self.0)
    }
}
