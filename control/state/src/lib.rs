//! The world of Coracle: everything is a function of a snapshot.
//!
//! A [`Snapshot`] is all objects at one revision; a [`Txn`] is what someone wants; applying one to the other gives the next
//! snapshot and the [`Event`]s between them. Pure: durability is the store's business, and time travels inside objects.

pub mod address;
mod batch;
mod claim;
mod event;
mod given;
mod snapshot;
mod txn;
mod used;

pub use api::{Key, Object, Revision};
pub use batch::Batch;
pub use claim::{Claim, Protocol};
pub use event::{Change, Event};
pub use snapshot::Snapshot;
pub use txn::{Conflict, Guard, Txn, Write};
