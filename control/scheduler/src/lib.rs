//! Which node should run a pod, or every reason why none can.
//!
//! A pure function of a snapshot: it binds nothing and remembers nothing. Two schedulers may disagree; the store settles it,
//! because a binding is guarded by the pod's revision.
//!
//! [`place`] answers for one pod. Whoever has many pods to place builds a [`Cluster`] once, asks it for each of them, and
//! tells it what was decided with [`Cluster::assume`], so that no two decisions of one round spend the same room.

mod affinity;
mod cluster;
mod demand;
mod fit;
mod neighbours;
mod node;
mod ports;
mod preemption;
mod request;
mod resident;
mod resources;
mod score;
mod spreading;
mod taint;
mod term;
mod unplaceable;
pub mod volumes;

pub use affinity::selects;
pub use cluster::{Cluster, Followed, NodeName};
pub use demand::Demand;
pub use preemption::{Budgets, Preemption};
pub use request::Request;
pub use resources::Resources;
pub use taint::tolerates;
pub use unplaceable::{Reason, Unplaceable};

use k8s_openapi::api::core::v1::Pod;
use state::Snapshot;

/// The node for `pod` in the world of `view`; among equals, `seed` decides.
pub fn place(view: &Snapshot, pod: &Pod, seed: u64) -> Result<NodeName, Unplaceable> {
    Cluster::of(view).place(&Demand::in_world(pod, view)?, seed)
}
