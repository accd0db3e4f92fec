//! This node's end of the tunnels to other nodes: who it is to them, and where it stands on the pod network.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use network::tunnel::{self, Hub, Relay, Routes, Tunnel};
use network::{Fabric, Latest};
use state::Snapshot;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::pki::Credential;
use crate::running::Running;

/// A tunnel, and where others dial it.
pub(crate) struct Door {
    pub(crate) tunnel: Tunnel,
    pub(crate) address: SocketAddr,
    /// The listener of a node that does not share the API's.
    pub(crate) listener: Option<TcpListener>,
    routes: Latest<Routes>,
}

/// The tunnels of a node that has `credential`, and knows others by `authority`.
pub(crate) fn door(
    credential: &Credential,
    authority: &str,
    view: watch::Receiver<Snapshot>,
    relay: Relay,
    address: SocketAddr,
    listener: Option<TcpListener>,
) -> anyhow::Result<Door> {
    let identity = tunnel::Identity::from_pem(&credential.certificate, &credential.key, authority)?;
    let routes = tunnel::routes(view);
    let tunnel = Tunnel::new(tunnel::Config { identity, routes: routes.clone(), relay });
    Ok(Door { tunnel, address, listener, routes })
}

/// What is spoken on the API's port beside HTTP: to the node in this process, if there is one, and to the server that passes on.
pub(crate) fn protocols(hub: &Hub, node: Option<&Tunnel>) -> Vec<apiserver::Protocol> {
    let (back, relay) = (hub.clone(), hub.clone());
    let mut protocols = vec![
        apiserver::Protocol {
            name: tunnel::BACK,
            certificate: None,
            speak: Arc::new(move |stream, node| {
                let hub = back.clone();
                Box::pin(async move { hub.hold(stream, node).await })
            }),
        },
        apiserver::Protocol {
            name: tunnel::RELAY,
            certificate: None,
            speak: Arc::new(move |stream, node| {
                let hub = relay.clone();
                Box::pin(async move { hub.pass_on(stream, node).await })
            }),
        },
    ];
    if let Some(tunnel) = node.cloned() {
        protocols.push(apiserver::Protocol {
            name: tunnel::NODE,
            certificate: Some(tunnel.identity().certificate()),
            speak: Arc::new(move |stream, node| {
                let tunnel = tunnel.clone();
                Box::pin(async move { tunnel.answer(stream, node).await })
            }),
        });
    }
    protocols
}

impl Door {
    /// Joins the fabric to the tunnels, and keeps both going in `parts`.
    pub(crate) fn open(self, fabric: &Fabric, parts: &mut Running) {
        let Self { tunnel, listener, routes, .. } = self;
        fabric.reach_by(Arc::new(tunnel.clone()));
        tunnel.end_in(fabric.clone());
        if let Some(listener) = listener {
            parts.start("tunnel's listener", tunnel::listen(tunnel.clone(), listener, parts.stopping()));
        }
        let node = tunnel.identity().node().clone();
        let (running, stopping) = (tunnel::run(tunnel, parts.stopping()), parts.stopping());
        parts.start("tunnel", async move {
            running.await;
            anyhow::Ok(())
        });
        let fabric = fabric.clone();
        parts.start("node's place on the pod network", async move {
            tokio::select! {
                () = stopping => {}
                () = stand(&fabric, routes, &node) => {}
            }
            anyhow::Ok(())
        });
    }
}

/// Gives the node's own end of connections an address as soon as the node has a range; then there is nothing more to do.
async fn stand(fabric: &Fabric, mut routes: Latest<Routes>, node: &str) {
    loop {
        if let Some(address) = own_address(&routes.get(), node) {
            fabric.stand_at(address);
            return std::future::pending().await;
        }
        if !routes.changed().await {
            return std::future::pending().await;
        }
    }
}

/// The first address of the node's range, which no pod is given.
fn own_address(routes: &Routes, node: &str) -> Option<IpAddr> {
    routes.node(node)?.ranges.iter().find_map(|range| range.hosts().next())
}
