//! The API server's door from outside: requests, watches, and a mirror of the world kept up to date by them.
//!
//! Speaks TLS and HTTP/2 to any Kubernetes-compatible server, or to one of several that answer for the same cluster. Nothing is
//! decided here but which of them is asked; callers get objects, statuses and streams of events.

mod connection;
mod error;
pub mod kinds;
mod kubeconfig;
mod mirror;
mod path;
mod pinned;
mod requests;
mod servers;
mod silence;
mod tokens;
mod upgrade;
mod watch;

pub use connection::{Body, Client, Identity, Target, no_body};
pub use error::ClientError;
pub use hyper::body::Incoming;
pub use kubeconfig::Kubeconfig;
pub use mirror::{Watched, mirror};
pub use path::{collection_path, object_path};
pub use pinned::Recognise;
pub use requests::{DeleteOptions, ListOptions, PatchType};
pub use servers::{Servers, published};
pub use silence::heed_silence;
pub use tokens::{Token, TokenWanted};
pub use upgrade::Upgraded;
pub use watch::{WatchEvent, WatchStream};
