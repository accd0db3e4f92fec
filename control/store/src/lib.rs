//! The brain: a log of transactions, the world they add up to, and its durable image.
//!
//! A [`Store`] takes a [`Txn`](state::Txn), writes it to a Raft log, applies it once it is durable on a quorum, publishes the
//! next [`Snapshot`](state::Snapshot) and only then answers: whoever is answered, and whoever they tell, sees the write. What it
//! writes to disk is sealed.

mod codec;
mod config;
mod consensus;
mod error;
mod history;
mod identity;
mod image;
mod log;
mod rotation;
mod seal;
mod store;
mod world;

pub use config::{Config, ImageLimits, LogLimits, Pace};
pub use error::{MemberId, OpenError, ProposeError, ReadError, RotationError, TooOld};
pub use history::{Interest, Limits as HistoryLimits, Subscription};
pub use rotation::Rotation;
pub use store::{Committed, Store};
