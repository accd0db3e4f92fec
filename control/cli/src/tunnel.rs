//! This node's end of the tunnels to other nodes: who it is to them, and where they find it.

use std::net::SocketAddr;
use std::sync::Arc;

use network::tunnel::{self, Hub, Identity, Relay, Tunnel};
use network::{Fabric, Latest};
use state::Snapshot;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::running::Running;

/// A tunnel, and where others dial it.
pub(crate) struct Door {
    pub(crate) tunnel: Tunnel,
    pub(crate) address: SocketAddr,
    /// The listener of a node that does not share the API's.
    listener: Option<TcpListener>,
}

/// The tunnels of a node, which answers over `servers`.
pub(crate) fn door(
    identity: Identity,
    view: watch::Receiver<Snapshot>,
    relay: Relay,
    servers: Latest<Vec<String>>,
    address: SocketAddr,
    listener: Option<TcpListener>,
) -> Door {
    let tunnel = Tunnel::new(tunnel::Config { identity, routes: tunnel::routes(view), relay, servers });
    Door { tunnel, address, listener }
}

/// What is spoken on the API's port beside HTTP: to the node in this process, if there is one, and to the server that passes on.
pub(crate) fn protocols(hub: &Hub, node: Option<&Tunnel>) -> Vec<apiserver::Protocol> {
    let (back, relay) = (hub.clone(), hub.clone());
    let mut protocols = vec![
        apiserver::Protocol {
            name: tunnel::BACK,
            certificate: None,
            who: apiserver::Speaker::Node,
            speak: Arc::new(move |stream, node| {
                let hub = back.clone();
                Box::pin(async move { hub.hold(stream, node).await })
            }),
        },
        apiserver::Protocol {
            name: tunnel::RELAY,
            certificate: None,
            who: apiserver::Speaker::Node,
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
            who: apiserver::Speaker::Node,
            speak: Arc::new(move |stream, node| {
                let tunnel = tunnel.clone();
                Box::pin(async move { tunnel.answer(stream, node).await })
            }),
        });
    }
    protocols
}

impl Door {
    /// Joins the fabric to the tunnels, and keeps them going in `parts`.
    pub(crate) fn open(self, fabric: &Fabric, parts: &mut Running) {
        let Self { tunnel, listener, .. } = self;
        fabric.reach_by(Arc::new(tunnel.clone()));
        tunnel.end_in(fabric.clone());
        if let Some(listener) = listener {
            parts.start("tunnel's listener", tunnel::listen(tunnel.clone(), listener, parts.stopping()));
        }
        let running = tunnel::run(tunnel, parts.stopping());
        parts.start("tunnel", async move {
            running.await;
            anyhow::Ok(())
        });
    }
}
