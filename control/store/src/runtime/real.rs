//! What really runs.

use ring::rand::{SecureRandom, SystemRandom};

pub(crate) use tokio::spawn;
pub(crate) use tokio::task::{JoinHandle as Task, JoinSet as Tasks, spawn_blocking, yield_now};
pub(crate) use tokio::time::{Instant, sleep, sleep_until, timeout};

/// What Raft's library runs on.
#[allow(deprecated, reason = "the crate that it is to be taken from instead is the one that this name leads to")]
pub(crate) type Runtime = openraft::impls::TokioRuntime;

/// Bytes that nobody foresees.
pub(crate) fn fill(bytes: &mut [u8]) {
    SystemRandom::new().fill(bytes).expect("a system that has no randomness cannot keep secrets");
}
