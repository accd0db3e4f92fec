//! The way in: HTTP from outside, by host and path, to the services of the cluster.
//!
//! The [`RouteTable`] is a pure function of a snapshot: Ingresses, their classes, and the secrets that hold their
//! certificates. The server around it speaks HTTP/1.1 and HTTP/2, in the clear and over TLS; a request becomes a call in
//! this process, through the service table and the fabric, and bodies stream both ways. A client that goes away calls off
//! the work done for it.
//!
//! What an operator should know: only Ingresses of the class `coracle` are served, and those without a class while it is
//! the default or nobody else is. Of a host's rules the longest path wins; what two Ingresses ask for alike belongs to the
//! older one, and [`notices`] tells the other. A host without a certificate gets one that nobody has signed; a host with one
//! is sent from `http` to `https`. Where certificates come from that an Ingress asks for is in [`acme`]. What an Ingress may ask for itself is in [`terms`], what is limited in [`Limits`], the
//! access log in [`access`].
//!
//! Nothing here is a template, and nothing is read twice: HTTP/1.1 passes a gate that lets nothing through of which there
//! are two readings, and behind it a request is a value, never text again.

use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use network::{Fabric, Services, published};
use state::Snapshot;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub mod access;
pub mod acme;
mod body;
mod certificates;
mod class;
mod connection;
mod headers;
mod limits;
mod notices;
mod proxy;
mod proxy_protocol;
pub mod routes;
mod server;
mod silence;
mod status;
mod strict;
pub mod terms;
mod upgrade;
mod wire;

pub use access::AccessLog;
pub use class::{CLASS, CONTROLLER};
pub use limits::Limits;
pub use notices::{Notice, notices};
pub use routes::{Backend, RouteTable};
pub use status::status;

/// Where to listen, whom to believe, and what clients may ask of the edge.
#[derive(Debug, Default)]
pub struct Config {
    /// For HTTP in the clear.
    pub http: Option<TcpListener>,
    /// For HTTP over TLS.
    pub https: Option<TcpListener>,
    /// Proxies in front of the edge: their word is taken for who the client is and what it spoke, in `X-Forwarded-*`,
    /// `Forwarded` and the PROXY protocol.
    pub trusted: Vec<IpNet>,
    /// Whether the connections of trusted proxies begin with a PROXY header, of version 1 or 2.
    pub proxy_protocol: bool,
    /// Whether components are told by `Forwarded` (RFC 7239) too, not by `X-Forwarded-*` alone.
    pub forwarded: bool,
    /// Where each request leaves a line.
    pub access_log: Option<AccessLog>,
    /// What clients may ask.
    pub limits: Limits,
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
    /// The access log could not be opened.
    #[error("the access log could not be opened")]
    AccessLog(#[source] std::io::Error),
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
    let (recorder, scribe) = match &config.access_log {
        Some(log) => access::open(log).await.map(|(recorder, scribe)| (Some(recorder), Some(scribe))),
        None => Ok((None, None)),
    }
    .map_err(Error::AccessLog)?;
    let port = |listener: &TcpListener| listener.local_addr().as_ref().map(SocketAddr::port).ok();
    let edge = Arc::new(proxy::Edge {
        routes,
        services,
        fabric,
        limits: config.limits,
        trusted: config.trusted,
        forwarded: config.forwarded,
        recorder,
        https_port: config.https.as_ref().and_then(port),
    });
    let stop = CancellationToken::new();
    let serving = async {
        // Moved in, so that the last recorder is gone, and the scribe done, once the listeners are.
        let edge = edge;
        let http = server::listen(config.http, None, config.proxy_protocol, &edge, &stop);
        let https = server::listen(config.https, tls, config.proxy_protocol, &edge, &stop);
        tokio::join!(http, https);
    };
    let writing = async {
        if let Some(scribe) = scribe {
            scribe.run().await;
        }
    };
    let told = async {
        shutdown.await;
        stop.cancel();
    };
    tokio::join!(serving, writing, told);
    Ok(())
}

#[cfg(test)]
mod world;
