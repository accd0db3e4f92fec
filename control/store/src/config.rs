//! How a store is set up.

use std::path::PathBuf;
use std::time::Duration;

use crate::history;

/// Everything a store needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The directory that holds the log, the image and the identity of this member; made if it is missing.
    pub directory: PathBuf,
    /// The file with the keys that everything on disk is sealed with; made if it is missing.
    pub keys: PathBuf,
    /// How much of the past is kept for watches and exact lists.
    pub history: history::Limits,
    /// The log on disk.
    pub log: LogLimits,
    /// The durable image.
    pub image: ImageLimits,
    /// How often members look after each other.
    pub pace: Pace,
}

/// Limits of the log.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// One file of the log. Small enough that a laptop does not notice the preallocated part, large enough that a new file,
    /// which costs two more syncs, is rare.
    pub segment_bytes: u64,
    /// Entries kept in memory: what is applied and sent to other members is almost always younger than this.
    pub memory_bytes_max: usize,
    /// Log kept on disk although the image has it, so that a member that was away catches up without a whole snapshot.
    pub kept_bytes: u64,
    /// The same, in entries: each also costs some memory to find it again.
    pub kept_entries: u64,
}

/// Limits of the durable image.
#[derive(Clone, Copy, Debug)]
pub struct ImageLimits {
    /// How long a change waits for company before it is written: what a restart replays from the log at most.
    pub delay: Duration,
    /// Changes that are written at once without waiting for the delay.
    pub batch_bytes: usize,
    /// Changes that may wait in memory before new ones have to.
    pub waiting_bytes_max: usize,
    /// What the database may cache. Nothing is read from it after the start, so it needs only the pages it is changing.
    pub cache_bytes: usize,
}

/// How often members look after each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between two signs of life of the leader.
    pub heartbeat_ms: u64,
    /// Silence after which a member may stand for election, at least.
    pub election_ms_min: u64,
    /// The same, at most; also how long a leader may answer reads after it last heard from a quorum.
    pub election_ms_max: u64,
}

// === impl Config ===

impl Config {
    /// The usual limits, with everything under `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        Self {
            keys: directory.join("keys.json"),
            directory,
            history: history::Limits::default(),
            log: LogLimits::default(),
            image: ImageLimits::default(),
            pace: Pace::ALONE,
        }
    }
}

// === impl LogLimits ===

impl Default for LogLimits {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, memory_bytes_max: 8 << 20, kept_bytes: 64 << 20, kept_entries: 50_000 }
    }
}

// === impl ImageLimits ===

impl Default for ImageLimits {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(200),
            batch_bytes: 4 << 20,
            waiting_bytes_max: 64 << 20,
            cache_bytes: 16 << 20,
        }
    }
}

// === impl Pace ===

impl Pace {
    /// For a sole voter: nobody listens, and a laptop should sleep.
    pub const ALONE: Self = Self { heartbeat_ms: 1_000, election_ms_min: 2_000, election_ms_max: 4_000 };

    /// For several members on one network: half a second from the death of a leader to the next acknowledged write.
    pub const CLUSTER: Self = Self { heartbeat_ms: 50, election_ms_min: 150, election_ms_max: 300 };
}
