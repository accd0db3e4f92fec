//! Names for what runs in the cluster.
//!
//! The [`Zone`] is a pure function of a snapshot: every name of the Kubernetes DNS specification, each with its records ready
//! to send. The [`Resolver`] holds the zone that was published last, and forwards what is not the cluster's, or refuses where
//! there is nobody to ask; pods in this process ask it directly, each as its [`Ask`] says. The server around it is hickory's:
//! it reads the wire, truncates, and speaks TCP. A query takes no lock.
//!
//! Nothing here calls the API.

use std::net::IpAddr;
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::NetError;
use ipnet::IpNet;
use state::Snapshot;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::time::timeout;

mod answer;
pub mod ask;
mod forward;
mod machine;
mod reply;
mod resolver;
pub mod zone;

pub use ask::Ask;
pub use machine::Machine;
pub use resolver::{LookupError, Resolver};
pub use zone::{Answer, Zone};

/// How long a TCP client may stay silent.
const TCP_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers that may wait in one TCP connection for a client that does not read.
const TCP_BUFFER_MESSAGES: usize = 64;
/// How long questions under way may take to end at shutdown.
const DRAIN: Duration = Duration::from_secs(2);

/// Where to listen.
#[derive(Debug)]
pub struct Config {
    /// Each on an address of its own: bound to the unspecified address, an answer may leave from another than was asked.
    pub udp: Vec<UdpSocket>,
    /// Usually on the addresses of `udp`.
    pub tcp: Vec<TcpListener>,
}

/// Which names are the cluster's.
#[derive(Clone, Debug)]
pub struct Authority {
    /// What the cluster's names end in.
    pub domain: String,
    /// The addresses whose reverse names are the cluster's.
    pub networks: Vec<IpNet>,
    /// The addresses of `ns.dns` within the domain: where pods find this server.
    pub nameservers: Vec<IpAddr>,
}

/// Why the server did not start or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The domain is not a DNS name.
    #[error("zone: {domain:?} is not a DNS name")]
    Domain {
        /// What was given.
        domain: String,
        /// What is wrong with it.
        #[source]
        source: hickory_proto::ProtoError,
    },
    /// The way to the upstreams could not be set up.
    #[error("upstreams cannot be used")]
    Upstreams(#[source] NetError),
    /// A socket failed for good.
    #[error("a socket failed")]
    Serve(#[source] NetError),
}

/// Answers until `shutdown`, and keeps the resolver's zone that of the latest snapshot.
pub async fn run(
    config: Config,
    resolver: Resolver,
    view: watch::Receiver<Snapshot>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let mut server = Server::new(answer::Answerer::new(resolver.clone()));
    for socket in config.udp {
        server.register_socket(socket);
    }
    for listener in config.tcp {
        server.register_listener(listener, TCP_TIMEOUT, TCP_BUFFER_MESSAGES);
    }
    tokio::select! {
        () = shutdown => (),
        end = server.block_until_done() => return end.map_err(Error::Serve),
        error = resolver.follow(view) => return Err(error),
    }
    // A client that keeps its connection open is not waited for.
    let _ = timeout(DRAIN, server.shutdown_gracefully()).await;
    Ok(())
}

// === impl Authority ===

impl Default for Authority {
    fn default() -> Self {
        let net = |text: &str| text.parse().expect("a network written here");
        Self {
            domain: "cluster.local".into(),
            networks: vec![net("10.42.0.0/16"), net("10.43.0.0/16")],
            nameservers: vec![IpAddr::from([10, 43, 0, 10])],
        }
    }
}

#[cfg(test)]
mod world;
