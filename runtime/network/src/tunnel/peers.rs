//! The ways to all other nodes, made as they are asked for, and what is sent on them.

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::bodies::Queued;
use super::failure::Failure;
use super::link::{self, Link, Unanswered};
use super::way::Way;
use super::words::{self, Kind};
use super::{Identity, RELAY, Relay, Routes};
use crate::{Latest, Request};

/// As many datagrams wait for one node before more of them get lost.
const DATAGRAMS_MAX: usize = 512;
/// A stream on which no datagram has gone for so long is ended.
const DATAGRAMS_IDLE_MAX: Duration = Duration::from_secs(30);
/// How often a request is handed to a connection that turns out to be closed before it is given back.
const SENDS_MAX: usize = 3;

/// The ways to all nodes. Cloning shares them.
#[derive(Clone)]
pub(super) struct Peers(Arc<Shared>);

struct Shared {
    identity: Identity,
    routes: Latest<Routes>,
    relay: Relay,
    /// The way to a server, which passes on what does not get there by itself.
    server: Option<Arc<Way>>,
    ways: ArcSwap<imbl::HashMap<Arc<str>, Arc<Way>>>,
    /// Where keepers live: those who ask may be anywhere.
    home: Handle,
    closing: CancellationToken,
}

/// A connection on which a node can be asked.
struct Passage {
    link: Link,
    /// Who asks, where the other side would not know it from the connection.
    asker: Option<Arc<str>>,
}

// === impl Peers ===

impl Peers {
    pub(super) fn new(
        identity: Identity,
        routes: Latest<Routes>,
        relay: Relay,
        servers: Latest<Vec<String>>,
        closing: CancellationToken,
    ) -> Self {
        let server = match &relay {
            Relay::Servers => {
                // Datagrams go to nodes; what would be sent to the server itself gets lost.
                let way = Arc::new(Way::new("(a server)".into(), mpsc::channel(1).0));
                let (kept, identity, closing) = (way.clone(), identity.clone(), closing.clone());
                tokio::spawn(async move {
                    let keeping = async {
                        loop {
                            kept.keep(|| to_server(&identity, servers.get(), &closing)).await;
                        }
                    };
                    closing.run_until_cancelled(keeping).await;
                });
                Some(way)
            }
            Relay::None | Relay::Here(_) => None,
        };
        let (ways, home) = (ArcSwap::default(), Handle::current());
        Self(Arc::new(Shared { identity, routes, relay, server, ways, home, closing }))
    }

    /// The way to the node on which a pod of this address is, if it is another node.
    pub(super) fn of(&self, address: IpAddr) -> Option<Arc<Way>> {
        let node = {
            let routes = self.0.routes.load();
            let peer = routes.node_of(address).filter(|peer| peer.name != *self.0.identity.node())?;
            if let Some(way) = self.0.ways.load().get(&peer.name) {
                return Some(way.clone());
            }
            peer.name.clone()
        };
        Some(self.employ(node))
    }

    /// The way to another node.
    pub(super) fn to(&self, node: &str) -> Option<Arc<Way>> {
        if let Some(way) = self.0.ways.load().get(node) {
            return Some(way.clone());
        }
        let name = self.0.routes.load().node(node).filter(|peer| peer.name != *self.0.identity.node())?.name.clone();
        Some(self.employ(name))
    }

    /// A way to a node that nobody has asked before.
    fn employ(&self, node: Arc<str>) -> Arc<Way> {
        let (send, datagrams) = mpsc::channel(DATAGRAMS_MAX);
        let fresh = Arc::new(Way::new(node.clone(), send));
        self.0.ways.rcu(|ways| match ways.get(&node) {
            Some(_) => ways.clone(),
            None => Arc::new(ways.update(node.clone(), fresh.clone())),
        });
        let kept = self.0.ways.load().get(&node).cloned().unwrap_or_else(|| fresh.clone());
        if Arc::ptr_eq(&kept, &fresh) {
            let peers = self.clone();
            self.0.home.spawn(async move {
                let closing = peers.0.closing.clone();
                closing.run_until_cancelled(peers.attend(fresh, datagrams)).await;
            });
        }
        kept
    }

    /// Keeps a way, and carries datagrams on it, until the node is no more.
    async fn attend(self, way: Arc<Way>, datagrams: mpsc::Receiver<Bytes>) {
        let keeping = async {
            way.keep(|| self.to_node(way.node())).await;
            while self.0.routes.load().node(way.node()).is_some() {
                way.keep(|| self.to_node(way.node())).await;
            }
            self.0.ways.rcu(|ways| ways.without(way.node()));
        };
        tokio::select! {
            () = keeping => {}
            () = self.carry(&way, datagrams) => {}
        }
    }

    async fn to_node(&self, node: &Arc<str>) -> io::Result<Link> {
        let address = self.0.routes.load().node(node).and_then(|peer| peer.dial);
        let address = address.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let tls = self.0.identity.dialling_node(node).map_err(io::Error::other)?;
        let stream = link::dial(address, &address.ip().to_string(), tls).await?;
        Link::over(stream, &self.0.closing).await.map_err(io::Error::other)
    }

    async fn passage(&self, way: &Way) -> Option<Passage> {
        if let Some(link) = way.link().await {
            return Some(Passage { link, asker: None });
        }
        match &self.0.relay {
            Relay::None => None,
            Relay::Servers => {
                let link = self.0.server.as_ref()?.link().await?;
                Some(Passage { link, asker: None })
            }
            Relay::Here(hub) => {
                let link = hub.link(way.node())?;
                Some(Passage { link, asker: Some(self.0.identity.node().clone()) })
            }
        }
    }

    /// Sends a request on the way, by whatever connection there is, and waits for the head of its answer.
    pub(super) async fn send(&self, way: &Way, mut request: Request) -> Result<http::Response<Incoming>, Unanswered> {
        words::set(request.headers_mut(), &words::NODE, way.node());
        for _ in 0..SENDS_MAX {
            let Some(Passage { link, asker }) = self.passage(way).await else { break };
            if let Some(asker) = asker {
                words::set(request.headers_mut(), &words::ASKER, &asker);
            }
            match link.ask(request).await {
                Err(Unanswered::Unsent(back)) => request = *back,
                answered => return answered,
            }
        }
        Err(Unanswered::Unsent(Box::new(request)))
    }

    /// Sends a request to a node that can be dialled, and to nobody who would pass it on.
    pub(super) async fn send_directly(
        &self,
        way: &Way,
        mut request: Request,
    ) -> Result<http::Response<Incoming>, Unanswered> {
        words::set(request.headers_mut(), &words::NODE, way.node());
        match way.link().await {
            Some(link) => link.ask(request).await,
            None => Err(Unanswered::Unsent(Box::new(request))),
        }
    }

    /// Carries datagrams for as long as there may be some; those for which there is no way get lost.
    async fn carry(&self, way: &Way, mut datagrams: mpsc::Receiver<Bytes>) {
        while let Some(first) = datagrams.recv().await {
            let (send, queue) = mpsc::channel(DATAGRAMS_MAX);
            let _ = send.try_send(first);
            let mut request = Request::new(Queued(queue).boxed_unsync());
            *request.method_mut() = http::Method::POST;
            *request.uri_mut() = http::Uri::from_static("http://datagrams/");
            words::set(request.headers_mut(), &words::KIND, &Kind::Datagrams);
            let mut sending = pin!(self.send(way, request));
            // Held so that the stream is: its answer says no more than that it goes on.
            let mut answered = None;
            loop {
                tokio::select! {
                    answer = &mut sending, if answered.is_none() => match answer {
                        Ok(answer) if Failure::told(answer.headers()).is_none() => answered = Some(answer),
                        _ => break,
                    },
                    next = timeout(DATAGRAMS_IDLE_MAX, datagrams.recv()) => match next {
                        Ok(Some(datagram)) => {
                            way.touch();
                            if let Err(mpsc::error::TrySendError::Closed(_)) = send.try_send(datagram) {
                                break;
                            }
                        }
                        Ok(None) | Err(_) => break,
                    },
                    () = send.closed() => break,
                }
            }
        }
    }
}

/// A connection to the first server that takes it.
async fn to_server(identity: &Identity, servers: Arc<Vec<String>>, closing: &CancellationToken) -> io::Result<Link> {
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for server in servers.iter() {
        let tls = identity.dialling_server(RELAY).map_err(io::Error::other)?;
        match link::dial(server, link::host(server), tls).await {
            Ok(stream) => return Link::over(stream, closing).await.map_err(io::Error::other),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
