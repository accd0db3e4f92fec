//! How one container's instances are to be run.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::keyvalue::Buckets;
use crate::ledger::Ledger;
use crate::network::Network;
use crate::outside::Nowhere;
use crate::quota::Quota;
use crate::sink::{Discard, Sink};

/// As many connections as a busy server keeps; each may hold some 100 KiB of bytes on their way.
const SOCKETS_MAX: usize = 4_096;

/// What a guest is given: arguments, environment, files, where its output goes, and what it may use.
#[derive(Clone)]
pub struct Spec {
    /// The guest's argv, program name first.
    pub args: Vec<String>,
    /// The environment, in order; a name that comes twice is seen twice.
    pub env: Arc<[(String, String)]>,
    /// The directory the guest starts in.
    pub working_dir: Option<String>,
    /// Directories of the node that the guest sees.
    pub mounts: Vec<Mount>,
    /// What it finds by `wasi:config`, each name once.
    pub settings: Arc<[(String, String)]>,
    /// The buckets it may open by `wasi:keyvalue`.
    pub buckets: Arc<dyn Buckets>,
    /// Where its objects are kept by `wasi:blobstore`; what the guest calls that place does not matter.
    pub blobs: Option<Mount>,
    /// Takes what the guest writes to standard output.
    pub stdout: Arc<dyn Sink>,
    /// Takes what the guest writes to standard error, and what it logs by `wasi:logging`.
    pub stderr: Arc<dyn Sink>,
    /// What its standard streams are to the guest.
    pub streams: Streams,
    /// What its sockets and name look-ups reach.
    pub network: Arc<dyn Network>,
    /// Sockets an instance may have open at the same time.
    pub sockets_max: usize,
    /// Limits and use, shared by everything that runs for the same container.
    pub ledger: Ledger,
    /// How a server answers requests; a command ignores it.
    pub requests: RequestPolicy,
}

/// What a guest finds its standard streams to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Streams {
    /// Files or pipes.
    #[default]
    Plain,
    /// A terminal: `wasi:cli/terminal-*` has one for each of them.
    Terminal,
}

/// A directory of the node inside the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The directory on the node; it must exist when an instance starts.
    pub host: Folder,
    /// Where the guest finds it.
    pub guest: String,
    /// Whether the guest may write.
    pub mode: Mode,
    /// How much may be in it; without one the disk is the limit.
    pub quota: Option<Quota>,
}

/// A directory of the node.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    /// What the path leads to, where that is by its number.
    _held: Option<Arc<OwnedFd>>,
}

/// Whether a mount may be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Reading only; writing is refused as not permitted.
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

/// How a server takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestPolicy {
    /// Time from a request's arrival to the head of its response; also what a guest may go on for after its response.
    pub timeout: Duration,
    /// Requests answered at the same time; each holds an instance.
    pub concurrent_max: usize,
    /// Requests that wait for a place; one more is refused as overload.
    pub queued_max: usize,
    /// Whether an instance may answer more than one request.
    pub instances: InstancePolicy,
}

/// How long an instance lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstancePolicy {
    /// One request, one instance: nothing is carried over.
    Fresh,
    /// An instance answers requests one after another.
    Reuse {
        /// After so many requests an instance is replaced.
        requests_max: u32,
        /// An instance without a request for so long is let go.
        idle: Duration,
    },
    /// One request, one instance, and some are started before they are needed.
    Warm {
        /// So many wait.
        instances: usize,
    },
}

// === impl Folder ===

/// Folders are the same when they are reached in the same way.
impl PartialEq for Folder {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for Folder {}

impl Folder {
    /// The one at a path that no guest has a hand in: each instance goes that way anew.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), _held: None }
    }

    /// The very one that is open, whatever guests put in its place meanwhile.
    pub fn held(directory: OwnedFd) -> Self {
        Self { path: format!("/proc/self/fd/{}", directory.as_raw_fd()).into(), _held: Some(Arc::new(directory)) }
    }

    /// The way to it, for as long as this is there.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

// === impl Spec ===

impl Default for Spec {
    fn default() -> Self {
        Self {
            args: Vec::new(),
            env: Arc::default(),
            working_dir: None,
            mounts: Vec::new(),
            settings: Arc::default(),
            buckets: Arc::new(Nowhere),
            blobs: None,
            stdout: Arc::new(Discard),
            stderr: Arc::new(Discard),
            streams: Streams::default(),
            network: Arc::new(Nowhere),
            sockets_max: SOCKETS_MAX,
            ledger: Ledger::default(),
            requests: RequestPolicy::default(),
        }
    }
}

// === impl RequestPolicy ===

impl Default for RequestPolicy {
    fn default() -> Self {
        Self {
            timeout: Duration::from_mins(1),
            concurrent_max: 256,
            queued_max: 1_024,
            instances: InstancePolicy::Fresh,
        }
    }
}
