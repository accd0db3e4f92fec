//! The way in: HTTP from outside, by host and path, to the services of the cluster.
//!
//! The [`RouteTable`] is a pure function of a snapshot: Ingresses, their classes, and the secrets that hold their
//! certificates. The server around it speaks HTTP/1.1 and HTTP/2, in the clear and over TLS; a request becomes a call in
//! this process, through the service table and the fabric, and bodies stream both ways. A client that goes away calls off
//! the work done for it.
//!
//! What an operator should know: only Ingresses of the class `coracle` are served, and those without a class while it is
//! the default or nobody else is; rules of a host are asked by longest path, older Ingresses first; a host without a
//! certificate gets one that nobody has signed. Upgrades (WebSocket) are not passed on: they belong to pods with sockets.

use std::sync::Arc;
use std::time::Duration;

use network::{Fabric, Services, published};
use state::Snapshot;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

mod certificates;
mod class;
mod headers;
mod proxy;
pub mod routes;
mod server;
mod status;

pub use class::{CLASS, CONTROLLER};
pub use routes::{Backend, RouteTable};
pub use status::status;

/// Where to listen, and what clients may ask of the edge.
#[derive(Debug, Default)]
pub struct Config {
    /// For HTTP in the clear.
    pub http: Option<TcpListener>,
    /// For HTTP over TLS.
    pub https: Option<TcpListener>,
    /// What clients may ask.
    pub limits: Limits,
}

/// What clients may ask of the edge.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long the head of an answer may take; after it a body may stream for as long as it likes.
    pub response_timeout: Duration,
    /// How long a request's head may take to arrive, also the first of a connection, and how long a kept connection
    /// may wait for its next.
    pub head_timeout: Duration,
    /// How large a request's head may be, in bytes.
    pub head_bytes_max: usize,
    /// How many connections each listener holds; more wait in the kernel.
    pub connections_max: usize,
    /// How long requests under way may take to end at shutdown.
    pub drain: Duration,
}

/// Why the edge did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate for hosts that have none could not be made.
    #[error("no certificate could be made for hosts that have none")]
    Certificate(#[source] rcgen::Error),
    /// TLS could not be set up.
    #[error("tls could not be set up")]
    Tls(#[source] rustls::Error),
}

/// Serves until `shutdown`, then lets requests under way end.
pub async fn run(
    config: Config,
    view: watch::Receiver<Snapshot>,
    services: Services,
    fabric: Fabric,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let routes = published(view, routes::SOURCES, |view| RouteTable::from(view));
    let tls = match &config.https {
        Some(_) => Some(server::acceptor(routes.clone())?),
        None => None,
    };
    let edge = Arc::new(proxy::Edge { routes, services, fabric, response_timeout: config.limits.response_timeout });
    let stop = CancellationToken::new();
    let http = server::listen(config.http, None, &edge, &config.limits, &stop);
    let https = server::listen(config.https, tls, &edge, &config.limits, &stop);
    let told = async {
        shutdown.await;
        stop.cancel();
    };
    tokio::join!(http, https, told);
    Ok(())
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            response_timeout: Duration::from_mins(1),
            head_timeout: Duration::from_secs(30),
            head_bytes_max: 64 * 1024,
            connections_max: 10_000,
            drain: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod world;
