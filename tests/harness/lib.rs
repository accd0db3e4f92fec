//! Clusters for tests: the real program in a process of its own, on free ports and a temporary folder, gone with the value.

mod cluster;
mod kubectl;
mod load;
mod peers;
mod web;

pub use cluster::{Cluster, Plan, eventually};
pub use kubectl::{Output, kubectl_is_there};
pub use load::{Load, Report};
pub use peers::peer_is_there;
pub use web::{Answer, get, get_with};
