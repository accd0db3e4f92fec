//! The brain: a log of transactions, the world they add up to, and its durable image.
//!
//! A [`Store`] takes a [`Txn`](state::Txn), writes it to a Raft log, applies it once it is durable on a quorum, publishes the
//! next [`Snapshot`](state::Snapshot) and only then answers: whoever is answered, and whoever they tell, sees the write. What it
//! writes to disk is sealed.
//!
//! Several stores make one: each holds everything, one leads, and all answer. A write is proposed anywhere and handed to the
//! [leader](Cluster); a linearizable read asks the leader how far the log is committed, and is then answered from the world at
//! hand. The way from one to the other is a [`Transport`], which somebody else provides.

pub mod backup;
mod codec;
mod config;
mod consensus;
mod disk;
mod error;
mod fault;
mod found;
mod history;
mod identity;
mod image;
mod log;
mod members;
mod peers;
mod proposals;
mod refill;
mod room;
mod roster;
mod rotation;
mod runtime;
mod seal;
#[cfg(test)]
mod simulation;
mod store;
mod transport;
mod wire;
mod world;

pub use config::{Config, ImageLimits, LogLimits, Pace};
pub use error::{ChangeError, MemberId, OpenError, ProposeError, ReadError, RotationError, TooOld};
pub use found::found;
pub use history::{Interest, Limits as HistoryLimits, Subscription};
pub use members::{Change, Cluster, Role, Standing as MemberStanding};
pub use rotation::Rotation;
pub use store::{Committed, Seat, Store};
pub use transport::{Connection, Duplex, Peer, Transport};
