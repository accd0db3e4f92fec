//! Directories and files of the node itself that pods may see.
//!
//! Whoever may create pods reaches with them whatever this program may reach; [`HostPaths`] is how much a node allows of that.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

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
    /// Refuses a path that pods may not see, wherever its links lead. What is not there yet is judged by where it would be.
    pub fn check(&self, path: &Path) -> io::Result<()> {
        let Self::Below(allowed) = self else { return Ok(()) };
        let real = settled(path)?;
        if allowed.iter().any(|root| root.canonicalize().is_ok_and(|root| real.starts_with(root))) {
            return Ok(());
        }
        let message = format!("host path {} is not one that this node allows", path.display());
        Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
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

    /// Makes what may be made, and checks that it is what it has to be.
    pub(super) fn ensure(self, path: &Path) -> io::Result<()> {
        let failed = |what: &str| {
            let message = format!("hostPath type check failed: {} is not a {what}", path.display());
            Err(io::Error::new(io::ErrorKind::NotFound, message))
        };
        match self {
            Self::Anything if path.exists() => Ok(()),
            Self::Anything | Self::DirectoryOrCreate if !path.exists() => std::fs::create_dir_all(path),
            Self::FileOrCreate if !path.exists() => std::fs::File::create_new(path).map(drop),
            Self::Directory | Self::DirectoryOrCreate if !path.is_dir() => failed("directory"),
            Self::File | Self::FileOrCreate if !path.is_file() => failed("file"),
            _ => Ok(()),
        }
    }
}

// === impl NotForGuests ===

impl fmt::Display for NotForGuests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hostPath type {} is not supported: guests are given directories and files", self.0)
    }
}
