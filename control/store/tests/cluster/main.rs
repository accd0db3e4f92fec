//! Several stores as one, over a network in memory that can be cut.

mod found;
mod history;
mod members;
mod net;
mod partitions;
mod room;
mod transfer;
