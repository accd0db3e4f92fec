//! Names for what runs in the cluster.
//!
//! The [`Zone`] is a pure function of a snapshot: every name of the Kubernetes DNS specification, each with its records ready
//! to send. The [`Resolver`] holds the zone that was published last, and forwards what is not the cluster's, or refuses where
//! there is nobody to ask; pods in this process ask it directly, each as its [`Ask`] says. The server around it is hickory's:
//! it reads the wire, truncates, and speaks TCP. A query takes no lock.
//!
//! Nothing here calls the API.

use std::net::{IpAddr, Ipv4Addr};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hickory_server::net::NetError;
use ipnet::{IpNet, Ipv4Net};
use state::Snapshot;
use tokio::sync::watch;
use tokio::task::JoinSet;

mod answer;
pub mod ask;
mod asker;
mod forward;
mod limit;
mod listener;
mod machine;
mod public;
mod reply;
mod resolver;
mod tables;
mod udp;
pub mod update;
pub mod zone;

use listener::Served;

pub use ask::Ask;
pub use asker::Neighbours;
pub use listener::Listener;
pub use machine::Machine;
pub use public::PublicZone;
pub use resolver::{LookupError, Resolver};
pub use zone::{Answer, View, Zone};

/// Where to listen, and to whom.
#[derive(Debug)]
pub struct Config {
    /// Where questions come in.
    pub listeners: Vec<Listener>,
    /// Who is told more than public names.
    pub neighbours: Neighbours,
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
    /// Where programs on the node reach services. None: nowhere, and they are told what pods are told.
    pub mirror: Option<Mirror>,
    /// What this server answers for to everybody.
    pub zones: Vec<PublicZone>,
}

/// Services' addresses, and those at which the node's own programs reach them: the same but for the network.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Of the services.
    pub cluster: Ipv4Net,
    /// Of what stands for them on the node; as large as the other.
    pub shown: Ipv4Net,
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
    /// A socket cannot be used.
    #[error("a socket cannot be used")]
    Socket(#[source] std::io::Error),
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
    let mut served = Vec::new();
    for listener in config.listeners {
        let answerer = answer::Answerer::new(resolver.clone(), config.neighbours.clone(), listener.view());
        served.push(listener.serve(answerer)?);
    }
    tokio::select! {
        () = shutdown => (),
        error = first_failure(&mut served) => return Err(error),
        error = resolver.follow(view) => return Err(error),
        () = watch_for_loops(&resolver) => {}
    }
    let mut stopping: JoinSet<()> = served.into_iter().map(Served::stop).collect();
    while stopping.join_next().await.is_some() {}
    Ok(())
}

async fn watch_for_loops(resolver: &Resolver) {
    resolver.watch_for_loops().await;
    // There is nobody to ask, and so nobody asks back.
    std::future::pending::<()>().await;
}

async fn first_failure(served: &mut [Served]) -> Error {
    let mut failures: FuturesUnordered<_> = served.iter_mut().map(Served::failed).collect();
    match failures.next().await {
        Some(error) => error,
        // Nobody listens, and so nothing fails.
        None => std::future::pending().await,
    }
}

// === impl Authority ===

impl Default for Authority {
    fn default() -> Self {
        let net = |text: &str| text.parse().expect("a network written here");
        Self {
            domain: "cluster.local".into(),
            networks: vec![net("10.42.0.0/16"), net("10.43.0.0/16")],
            nameservers: vec![IpAddr::from([10, 43, 0, 10])],
            mirror: None,
            zones: Vec::new(),
        }
    }
}

// === impl Mirror ===

impl Mirror {
    /// Where the node's programs reach `address`. None: nowhere.
    pub fn show(&self, address: IpAddr) -> Option<IpAddr> {
        let IpAddr::V4(v4) = address else { return None };
        let host = v4.to_bits() & self.cluster.hostmask().to_bits();
        let shown = self.shown.network().to_bits() | host;
        self.cluster.contains(&v4).then(|| Ipv4Addr::from_bits(shown).into())
    }
}

impl Default for Mirror {
    fn default() -> Self {
        let net = |text: &str| text.parse().expect("a network written here");
        Self { cluster: net("10.43.0.0/16"), shown: net("127.43.0.0/16") }
    }
}

#[cfg(test)]
mod world;
