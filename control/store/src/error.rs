//! What the store cannot do, said to whoever must act on it.

use std::io;
use std::path::PathBuf;

use state::{Conflict, Revision};

use crate::codec::Malformed;

/// The number of a member of the control plane. Random, made once for a data directory, never used again.
pub type MemberId = u64;

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// What is on disk is not what was written.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It is whole, and not for this version to read. Nothing of it was changed.
    #[error("{} was written by a newer version: {reason}; start the version that wrote it, or a later one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// What this version does not know.
        reason: String,
    },
    /// What is on disk is not what was written, and the other members could not make it good.
    #[error("{} is damaged: {reason}; the other servers could not fill it anew: {why}", path.display())]
    NotRefilled {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What the others said, or that nobody did.
        why: String,
    },
    /// The disk would not do it.
    #[error("failed to open {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Consensus could not start.
    #[error("failed to start consensus: {reason}")]
    Consensus {
        /// What it said.
        reason: String,
    },
}

/// Why a transaction did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// A guard did not hold when the transaction's turn came: look again.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// No leader took it in time. Nothing is known of the transaction: it may have come to pass.
    #[error("no server leads")]
    NotLeader {
        /// Who was last known to, if that is another.
        leader: Option<MemberId>,
    },
    /// The store has been shut down, or its disk failed. Nothing is known of the transaction.
    #[error("the store is closed")]
    Closed,
}

/// Why a linearizable read was not possible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader answered in time.
    #[error("no server leads")]
    NotLeader {
        /// Who was last known to, if that is another.
        leader: Option<MemberId>,
    },
    /// The store has been shut down, or its disk failed.
    #[error("the store is closed")]
    Closed,
}

/// Why the members are as they were, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It cannot be done, or not now.
    #[error("{0}")]
    Refused(String),
    /// Nobody leads, or nobody who does can be reached.
    #[error("no server leads")]
    NoLeader,
    /// The store has been shut down, or its disk failed.
    #[error("the store is closed")]
    Closed,
}

/// The keys were not changed, or not wholly: the file opens everything that is on disk, and the next rotation goes on.
#[derive(Debug, thiserror::Error)]
#[error("failed to change the keys of the store")]
pub struct RotationError(#[from] io::Error);

/// The history no longer reaches back that far: list again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: the oldest to watch from is {oldest}")]
pub struct TooOld {
    /// The oldest revision after which every event is still known.
    pub oldest: Revision,
}

// === impl OpenError ===

impl OpenError {
    /// What came of reading a file.
    pub(crate) fn of_reading(path: PathBuf, source: io::Error) -> Self {
        let malformed = source.get_ref().and_then(|error| error.downcast_ref::<Malformed>());
        match malformed {
            Some(malformed) => Self::of_content(path, *malformed),
            None if source.kind() == io::ErrorKind::InvalidData => Self::Damaged { path, reason: source.to_string() },
            None => Self::Io { path, source },
        }
    }

    /// A part of a file says what it should not.
    pub(crate) fn of_content(path: PathBuf, malformed: Malformed) -> Self {
        let reason = malformed.to_string();
        if malformed == Malformed::NEWER { Self::Newer { path, reason } } else { Self::Damaged { path, reason } }
    }

    pub(crate) fn consensus(error: impl std::fmt::Display) -> Self {
        Self::Consensus { reason: error.to_string() }
    }
}
