//! Clusters for tests: the real program in a process of its own, on free ports and a temporary folder, gone with the value.

mod clock;
mod cluster;
mod fleet;
mod kubectl;
mod load;
pub mod measure;
mod namespaces;
mod peers;
mod servers;
mod web;
mod websocket;

pub use clock::Clock;
pub use cluster::{Cluster, Plan, eventually};
pub use fleet::{Fleet, Server};
pub use kubectl::{Output, kubectl_is_there, kubectl_of};
pub use load::{Load, Report};
pub use namespaces::{Namespaces, namespaces_are_possible};
pub use peers::peer_is_there;
pub use rustix::process::Signal;
pub use servers::{Servers, Told};
pub use web::{Answer, get, get_with};
pub use websocket::WebSocket;
