//! Real listeners: how services are reached from outside the cluster, and from programs on the node.
//!
//! A node port is a port of the node, a load balancer one of its own ports as well, an external address of a service one at
//! that address alone, where it is the node's; all lead to an endpoint as `externalTrafficPolicy` says. Where that wants local
//! endpoints, balancers may ask the node whether it has any. The loopback mirror gives programs on the node what pods have: the service at `10.43.x.y`
//! answers at `127.43.x.y`, with no right that an ordinary user lacks, except where the system keeps low ports for itself.
//!
//! Which listeners there should be is a function of the service table; the loop opens and closes the difference. A
//! connection outlives its listener, as it does its Service elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use api::{GroupKind, kinds};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use state::{Protocol, Snapshot};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Fabric, Latest, Service, ServiceTable, Services, published};
use listen::Listening;

mod health;
mod listen;
mod relay;
mod wanted;

pub use relay::relay;
pub use wanted::{Front, Purpose, wanted};

/// How long to wait before a port that could not be had is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// How long connections may go on once everything is to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Which real listeners there are.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of this node, whose range of pod addresses says where its own end of connections is.
    pub node: String,
    /// The addresses on which node ports and load balancers listen; none, no listeners for those outside.
    pub addresses: Vec<IpAddr>,
    /// Whether services are mirrored on the loopback.
    pub mirror: bool,
    /// The most listeners of the mirror: what a laptop's services need, and no table of sockets that outgrows the rest.
    pub mirror_listeners_max: usize,
}

/// What a listener is for.
type Fronts = BTreeMap<(Protocol, SocketAddr), Front>;

// === impl Config ===

impl Config {
    /// Node ports on `addresses`, and the mirror.
    pub fn new(node: &str, addresses: Vec<IpAddr>) -> Self {
        Self { node: node.to_owned(), addresses, mirror: true, mirror_listeners_max: 512 }
    }
}

/// Keeps the listeners as the services want them, until `shutdown`.
pub async fn run(
    config: Config,
    view: watch::Receiver<Snapshot>,
    mut services: Services,
    fabric: Fabric,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Infallible> {
    const NODES: &[GroupKind] = &[kinds::NODE];
    let node = config.node.clone();
    let mut gateway: Latest<Option<IpAddr>> = published(view, NODES, move |view| own_address(view, &node));
    let mut listeners = Listeners::new(fabric.clone(), services.clone());
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        if let Some(address) = **gateway.load() {
            fabric.stand_at(address);
        }
        let is_complete = listeners.follow(&wanted(&services.get(), &config)).await;
        let again = async {
            if is_complete {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(AGAIN).await;
        };
        tokio::select! {
            changed = services.changed() => if !changed { break },
            changed = gateway.changed() => if !changed { break },
            () = again => {}
            () = &mut shutdown => break,
        }
    }
    listeners.stop().await;
    Ok(())
}

/// The node's own address on the pod network: the first of its range, which no pod gets.
fn own_address(view: &Snapshot, node: &str) -> Option<IpAddr> {
    let node = view.get(&kinds::NODE.cluster_key(node))?.decode::<Node>().ok()?;
    let spec = node.spec.as_ref()?;
    let mut ranges = spec.pod_cidr.iter().chain(spec.pod_cidrs.iter().flatten());
    let range: IpNet = ranges.find_map(|range| range.parse().ok())?;
    range.hosts().next()
}

/// The listeners that there are.
struct Listeners {
    fabric: Fabric,
    services: Services,
    open: HashMap<(Protocol, SocketAddr), (Front, Listening)>,
    /// Those that could not be had, so that each is told of once.
    missing: HashMap<(Protocol, SocketAddr), Front>,
    connections: TaskTracker,
    stop: CancellationToken,
}

// === impl Listeners ===

impl Listeners {
    fn new(fabric: Fabric, services: Services) -> Self {
        Self {
            fabric,
            services,
            open: HashMap::new(),
            missing: HashMap::new(),
            connections: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Opens and closes what differs; `false` says that some could not be opened and may be later.
    async fn follow(&mut self, wanted: &Fronts) -> bool {
        self.open.retain(|at, (front, _)| wanted.get(at) == Some(front));
        self.missing.retain(|at, front| wanted.get(at) == Some(front));
        let mut is_complete = true;
        for (at, front) in wanted {
            if self.open.contains_key(at) {
                continue;
            }
            let serving = listen::Serving {
                fabric: self.fabric.clone(),
                services: self.services.clone(),
                front: front.clone(),
                connections: self.connections.clone(),
                stop: self.stop.clone(),
            };
            match Listening::open(*at, serving).await {
                Ok(listening) => {
                    self.missing.remove(at);
                    self.open.insert(*at, (front.clone(), listening));
                    tracing::info!(service = %front, address = %at.1, "listens");
                }
                Err(error) => {
                    is_complete &= error.kind() == std::io::ErrorKind::PermissionDenied;
                    if self.missing.insert(*at, front.clone()).is_none() {
                        tell(front, at.1, &error);
                    }
                }
            }
        }
        is_complete
    }

    async fn stop(mut self) {
        self.open.clear();
        self.connections.close();
        if tokio::time::timeout(GRACE, self.connections.wait()).await.is_err() {
            self.stop.cancel();
            self.connections.wait().await;
        }
    }
}

/// Says that there is no listener, as loudly as anybody misses it.
fn tell(front: &Front, address: SocketAddr, error: &std::io::Error) {
    let is_elsewhere = error.kind() == std::io::ErrorKind::AddrNotAvailable;
    let error = error as &dyn std::error::Error;
    match front.purpose {
        Purpose::Mirror => tracing::debug!(service = %front, %address, error, "is not mirrored"),
        // Another node's address, or that of something in front of the nodes; it may become this one's.
        Purpose::External if is_elsewhere => tracing::debug!(service = %front, %address, "is not this node's"),
        _ => tracing::warn!(service = %front, %address, error, "cannot listen"),
    }
}

/// The service of a listener, and its port.
fn behind<'a>(table: &'a ServiceTable, front: &Front) -> Option<&'a Arc<Service>> {
    table.service(&front.namespace, &front.service)
}

#[cfg(test)]
mod tests;
