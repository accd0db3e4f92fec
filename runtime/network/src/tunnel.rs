//! From node to node: what a pod of one node asks of a pod of another travels in a tunnel between the two.
//!
//! A tunnel is one TLS connection that speaks HTTP/2, and everything between two nodes is a stream of it:
//!
//! ```text
//! request     the request itself, bodies streamed both ways, trailers and all          coracle-kind: request
//! connection  a POST whose body goes to the pod and whose answer's body comes from it  coracle-kind: stream
//! datagrams   a POST that never ends, each datagram a frame of its body                coracle-kind: datagrams
//! content     a GET of what a node has of a digest                                     coracle-kind: content
//! ```
//!
//! A byte stream is a pair of bodies rather than a `CONNECT`: the frames of HTTP/2 are the same, half a connection ends by
//! itself in both, but bodies hand over their bytes without a copy, and whoever stands in between passes them on unread.
//! Who asks (an [`Origin`]) and where to go are headers. HTTP/2's windows hold back whoever sends faster than the other side
//! reads: a window for each stream, and one for the connection that is larger than all of them together, so that one slow
//! reader holds up only itself.
//!
//! **Who is believed.** Both ends show the certificate that the cluster gave the node. The one who dials accepts nobody but
//! the node it means; the one who is dialled believes a node what it says of its own pods (addresses of its own range) and of
//! those outside, and nothing of other nodes' pods, and lets it reach the pods that are here and nothing else.
//!
//! **Ways.** A node is dialled at the address it tells in its object ([`routes`]). Where that does not succeed, a server
//! passes on what is asked ([`Hub`]): each node holds a connection to every server on which it answers ([`BACK`]), and asks
//! others by one of the servers on a second one ([`RELAY`]). So servers have nothing to tell each other, and any will do.
//! All of this is spoken on the API's own port, told apart by ALPN; a node without a server has a listener of its own that
//! speaks [`NODE`] alone. A way that broke is tried again with growing pauses
//! while there are those who ask, who are told at once and need not wait; an idle way is given up.
//!
//! The names in ALPN carry the version of all this, and `tunnel/golden.txt` holds every word: a change that alters it needs another
//! name, which those who do not know it refuse before anything is said.
//!
//! What is not here: which pods there are and who may reach whom. A tunnel ends in the [`Fabric`].

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::{Fabric, Fault, Latest, Origin, Refused, Remote, Request, Response, Stream};

mod ask;
mod back;
mod bodies;
mod datagrams;
mod failure;
#[cfg(test)]
mod golden;
mod hub;
mod identity;
mod link;
mod listen;
mod peers;
pub mod routes;
mod serve;
mod shelf;
mod way;
mod words;

pub use hub::Hub;
pub use identity::{Identity, IdentityError, Papers};
pub use listen::listen;
pub use routes::{Routes, routes};
pub use shelf::Shelf;

use peers::Peers;

/// The protocol that is spoken to a node, by its name in ALPN: the dialler asks, the node answers for its pods.
pub const NODE: &[u8] = b"coracle-node/1";
/// The protocol that is spoken to a server by a node that asks other nodes through it.
pub const RELAY: &[u8] = b"coracle-relay/1";
/// The protocol that is spoken to a server by a node that answers over it: the roles are changed after the handshake.
pub const BACK: &[u8] = b"coracle-back/1";

/// Where what comes through the tunnel goes: what is on this node.
pub trait Here: Send + Sync + 'static {
    /// A connection to a pod of this node.
    fn stream(&self, origin: Origin, to: SocketAddr) -> BoxFuture<'static, Result<Stream, Refused>>;

    /// Has `request` answered by a pod of this node.
    fn request(&self, origin: Origin, to: SocketAddr, request: Request) -> BoxFuture<'static, Result<Response, Fault>>;

    /// Gives a datagram to a pod of this node.
    fn datagram(&self, origin: Origin, from: SocketAddr, to: SocketAddr, datagram: Bytes);
}

/// How a node's tunnel is set up.
pub struct Config {
    /// Who this node is.
    pub identity: Identity,
    /// Which node has which pods.
    pub routes: Latest<Routes>,
    /// Who passes on what does not get there by itself.
    pub relay: Relay,
    /// The servers over which this node answers, each as `host:port`; one in this process is none of them.
    pub servers: Latest<Vec<String>>,
}

/// Who passes on what does not get there by itself.
#[derive(Clone)]
pub enum Relay {
    /// Nobody.
    None,
    /// The first of the servers that can be reached.
    Servers,
    /// This process, which is a server.
    Here(Hub),
}

/// One node's end of all its tunnels. Cloning shares it; [`run`] keeps it going.
#[derive(Clone)]
pub struct Tunnel {
    shared: Arc<Shared>,
}

struct Shared {
    identity: Identity,
    routes: Latest<Routes>,
    relay: Relay,
    servers: Latest<Vec<String>>,
    peers: Peers,
    here: OnceLock<Arc<dyn Here>>,
    shelf: OnceLock<Arc<dyn Shelf>>,
    closing: CancellationToken,
}

/// Keeps the tunnels of a node until `shutdown`: the connections to the servers over which this node answers, and the tunnels
/// that are in use.
pub async fn run(tunnel: Tunnel, shutdown: impl Future<Output = ()>) {
    tokio::select! {
        () = shutdown => {}
        () = back::keep(&tunnel) => {}
    }
    tunnel.shared.closing.cancel();
}

// === impl Tunnel ===

impl Tunnel {
    /// The tunnels of a node; they end nowhere before [`end_in`](Self::end_in) has said where.
    pub fn new(config: Config) -> Self {
        let Config { identity, routes, relay, servers } = config;
        let closing = CancellationToken::new();
        let peers = Peers::new(identity.clone(), routes.clone(), relay.clone(), servers.clone(), closing.clone());
        let (here, shelf) = (OnceLock::new(), OnceLock::new());
        let shared = Arc::new(Shared { identity, routes, relay, servers, peers, here, shelf, closing });
        if let Relay::Here(hub) = &shared.relay {
            hub.is_beside(&shared);
        }
        Self { shared }
    }

    /// What comes through the tunnel goes to `here` from now on. Only the first call counts.
    pub fn end_in(&self, here: impl Here) {
        let _ = self.shared.here.set(Arc::new(here));
    }

    /// Other nodes may have what is on this shelf from now on. Only the first call counts.
    pub fn offer(&self, shelf: impl Shelf) {
        let _ = self.shared.shelf.set(Arc::new(shelf));
    }

    /// Whether another node, which can be dialled, has the content of a digest.
    pub async fn has(&self, node: &str, digest: &str) -> bool {
        shelf::has(&self.shared.peers, node, digest).await
    }

    /// What another node, which can be dialled, gives for a digest; whether it is that is for the caller to see.
    pub async fn content(&self, node: &str, digest: &str) -> Option<Response> {
        shelf::fetch(&self.shared.peers, node, digest).await
    }

    /// Who this node is.
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// Answers `node`, which has shown its certificate and agreed on [`NODE`], until the connection ends.
    pub async fn answer<I>(&self, io: I, node: String)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        serve::node(self, io, serve::Asker::Node(node.into())).await;
    }
}

impl Remote for Tunnel {
    fn reaches(&self, address: IpAddr) -> bool {
        self.shared.routes.load().node_of(address).is_some_and(|peer| peer.name != *self.shared.identity.node())
    }

    fn stream(&self, origin: Origin, to: SocketAddr) -> BoxFuture<'static, Result<Stream, Refused>> {
        let (shared, origin) = (self.shared.clone(), self.shared.named(origin));
        Box::pin(async move { ask::stream(&shared.peers, &origin, to).await })
    }

    fn request(&self, origin: Origin, to: SocketAddr, request: Request) -> BoxFuture<'static, Result<Response, Fault>> {
        let (shared, origin) = (self.shared.clone(), self.shared.named(origin));
        Box::pin(async move { ask::request(&shared.peers, &origin, to, request).await })
    }

    fn datagram(&self, origin: Origin, from: SocketAddr, to: SocketAddr, datagram: Bytes) {
        if let Some(peer) = self.shared.peers.of(to.ip()) {
            peer.datagram(datagrams::encode(&self.shared.named(origin), from, to, &datagram));
        }
    }
}

// === impl Shared ===

impl Shared {
    /// A node speaks as a node for itself alone, whatever it is called where it need not be told.
    fn named(&self, origin: Origin) -> Origin {
        match origin {
            Origin::Node(_) => Origin::Node(self.identity.node().clone()),
            other => other,
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

// === impl Here ===

impl Here for Fabric {
    fn stream(&self, origin: Origin, to: SocketAddr) -> BoxFuture<'static, Result<Stream, Refused>> {
        self.connect_here(&origin, to)
    }

    fn request(&self, origin: Origin, to: SocketAddr, request: Request) -> BoxFuture<'static, Result<Response, Fault>> {
        let fabric = self.clone();
        Box::pin(async move { fabric.send_here(&origin, to, request).await })
    }

    fn datagram(&self, origin: Origin, from: SocketAddr, to: SocketAddr, datagram: Bytes) {
        self.deliver(&origin, from, to, datagram);
    }
}

#[cfg(test)]
mod tests;
