//! What containers print: files in the format of a kubelet's, with rotation, and a reader for `kubectl logs`.
//!
//! ```text
//! <root>/<namespace>_<pod>_<uid>/<container>/<run>.log      the newest lines of a run
//!                                            <run>.log.1    older ones, as many as the node keeps
//! ```
//! A line is `<time> stdout|stderr F|P <text>`; `P` is a piece of a line that goes on. Writing it down is
//! work that the guest causes, and pays for. A guest that prints faster than the disk takes waits, alone; when the disk takes nothing at all, lines are dropped rather than guests stopped.

mod line;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::config::Rotation;

pub(crate) use read::end_of;
pub use read::{Options, ReadError};
pub use write::Streams;

/// The logs of a node.
#[derive(Clone)]
pub struct Logs {
    root: PathBuf,
    rotation: Rotation,
    /// The runs that still print, by their newest file.
    live: Arc<Mutex<HashMap<PathBuf, watch::Receiver<Progress>>>>,
}

/// How far a run's log has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    /// How often a new file was begun.
    rotations: u64,
    /// One is being begun: the names of the files are not to be trusted.
    is_moving: bool,
    bytes: u64,
}

/// Whose log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's name.
    pub pod: &'a str,
    /// The pod's uid.
    pub uid: &'a str,
    /// The container's name.
    pub container: &'a str,
}

// === impl Logs ===

impl Logs {
    /// The logs under this directory.
    pub fn new(root: impl Into<PathBuf>, rotation: Rotation) -> Self {
        let rotation = Rotation { files_max: rotation.files_max.max(2), ..rotation };
        Self { root: root.into(), rotation, live: Arc::default() }
    }

    /// Removes everything a pod printed.
    pub fn remove(&self, namespace: &str, pod: &str, uid: &str) -> io::Result<()> {
        match std::fs::remove_dir_all(self.root.join(format!("{namespace}_{pod}_{uid}"))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// The file that a run prints to.
    pub(crate) fn newest(&self, whose: &Whose<'_>, run: u32) -> PathBuf {
        self.directory(whose).join(format!("{run}.log"))
    }

    fn directory(&self, whose: &Whose<'_>) -> PathBuf {
        let Whose { namespace, pod, uid, container } = whose;
        self.root.join(format!("{namespace}_{pod}_{uid}")).join(container)
    }

    fn live(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, watch::Receiver<Progress>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The runs that have a log in a container's directory, oldest first.
fn runs(directory: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut runs: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log")?.parse().ok()).collect();
    runs.sort_unstable();
    runs
}

/// The files of one run, the newest first, without end; the older ones may not be there.
fn files(directory: &Path, run: u32) -> impl Iterator<Item = PathBuf> {
    let newest = directory.join(format!("{run}.log"));
    let older = (1..).map({
        let directory = directory.to_owned();
        move |age: u32| directory.join(format!("{run}.log.{age}"))
    });
    std::iter::once(newest).chain(older)
}
