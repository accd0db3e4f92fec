//! One node: the pods the cluster wants here become workloads, and what becomes of them becomes their status.
//!
//! ```text
//! view ─► desired(pod) ─► a worker for each pod of the node ─┬─► PodState::on(happening, now) ─► state, effects     pure
//!                                                       ├─► effects: claim, mount, pull, prepare, start, stop, probe
//!                                                       └─► PodState::status(…) ─► report: the difference ─► API
//! ```
//! What a pod should do is decided in [`pod`], by values alone; what it is given in [`environment`], [`volumes`], [`state::address`] and
//! [`image`], by functions of a snapshot; one loop for each pod carries it out. The node's own object and lease are kept true
//! beside it, and what containers print is read over a link that the agent dials.
//!
//! What holds:
//! - A pod's address is in its status before anybody answers there; the store lets nobody else have it.
//! - An idle server holds no instance: its handler waits in the fabric. Its worker waits for the hour in which its token is due.
//! - A pod has one place on the network, made when its first container starts, and all its containers share it.
//! - Nothing is written to the cluster that it does not say already, and what it says wrongly is put right.
//! - When the agent is restarted its pods begin again, counted as a restart, with the address they had.
//!
//! A node that hears from no server goes on with what it was last told; [`kept`] lets it begin with that as well.
//!
//! A node that runs out of memory or disk sends pods off, by the order in [`eviction`]; one that keeps more on the disk than it may
//! goes as well.
//!
//! A server that meets its memory limit is ended as `OOMKilled` and restarted, as a process would be; a trap costs one request.
//! A command cannot be asked to stop, because WASI has no signals: nobody new is let in, and it is ended once those inside have
//! left, or when its grace is over.

mod allotment;
mod beneath;
mod body;
mod buckets;
mod config;
mod context;
mod conversation;
mod denials;
mod desired;
pub mod environment;
mod eviction;
#[cfg(test)]
mod fixture;
pub mod image;
mod joint;
mod kept;
mod link;
pub mod logs;
mod machine;
mod node;
mod outside;
pub mod pod;
mod pressure;
mod probing;
mod quantity;
mod recorder;
mod report;
mod run;
mod sockets;
mod taps;
mod terminal;
mod usage;
mod vault;
mod visit;
pub mod volumes;
mod worker;

pub use config::{Collection, Config, Eviction, Resources, Rotation};
pub use desired::{Uid, Wanted, desired};
pub use eviction::{Amount, InvalidThreshold, Thresholds};
pub use kept::Kept;
pub use run::{Engines, RunError, run};
pub use volumes::host_path::HostPaths;
