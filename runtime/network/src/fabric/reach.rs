//! How a connection comes to stand: by a service or an address, here, on another node or outside.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use state::Protocol;
use tokio::net::TcpStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::timeout;

use super::attachment::{self, Door};
use super::space::{self, Arriving};
use super::{Bound, Fabric, bridge, canonical};
use crate::balance::{InFlight, Tries};
use crate::policy::{Direction, Peer, PortProtocol};
use crate::stream::carry;
use crate::{Origin, Port, Reach, Refused, Service, Stream, Traffic};

/// The ends of a connection that are asked whether it may be. What is on another node is asked there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    Both,
    Source,
    Target,
}

/// What was found at an address.
pub(super) enum Opened {
    /// A connection.
    Stream(Stream),
    /// Somebody who answers requests.
    Handler(Arc<Bound>),
}

/// How long a pod that policies may isolate waits to be known; its labels were written before it was started.
const SETTLING: Duration = Duration::from_secs(1);

impl Fabric {
    /// Waits until policies know a pod of this node that has only just begun, so that it does not begin by being isolated.
    pub(crate) async fn settle(&self, origin: &Origin) {
        let (Some(policy), Origin::Pod { namespace, name, .. }) = (self.shared.policy.get(), origin) else { return };
        if policy.knows(namespace, name) {
            return;
        }
        let (policy, namespace, name) = (policy.clone(), namespace.clone(), name.clone());
        // Whether it is known by then or not, the table is asked.
        let _ = self.home(async move { timeout(SETTLING, policy.known(&namespace, &name)).await }).await;
    }

    /// Connects to wherever `to` is.
    pub(super) async fn reach(
        &self,
        origin: &Origin,
        reach: Reach,
        source: SocketAddr,
        to: SocketAddr,
    ) -> Result<Stream, Refused> {
        let to = canonical(to);
        let service = self.shared.config.service_at(&self.shared.services.load(), Protocol::Tcp, to).cloned();
        let Some(service) = service else {
            let opened = self.open(origin, reach, source, to).await?;
            return Ok(self.stream_of(opened, source, to));
        };
        let port = service.numbered(Protocol::Tcp, to.port());
        let port = port.ok_or_else(|| Refused::NoPort { service: service.to_string(), port: to.port() })?;
        let (opened, in_flight) = self.through(&service, port, Traffic::Inside, origin, source).await?;
        Ok(self.stream_of(opened, source, to).seen_as(to).holding(in_flight))
    }

    /// Connects `origin` to a port of a service, as kube-proxy does for who comes in from outside.
    pub fn connect_to_service(
        &self,
        origin: &Origin,
        service: &Arc<Service>,
        port: u16,
        traffic: Traffic,
    ) -> BoxFuture<'static, Result<Stream, Refused>> {
        let (fabric, origin, service) = (self.clone(), origin.clone(), service.clone());
        Box::pin(async move {
            let found = service.numbered(Protocol::Tcp, port);
            let found = found.ok_or_else(|| Refused::NoPort { service: service.to_string(), port })?;
            let source = fabric.source(&origin, SocketAddr::new(super::GATEWAY, port));
            let (opened, in_flight) = fabric.through(&service, found, traffic, &origin, source).await?;
            Ok(fabric.stream_of(opened, source, SocketAddr::new(super::GATEWAY, port)).holding(in_flight))
        })
    }

    /// Joins a real connection of `origin` to a port of a service, and stays until both have ended.
    pub(crate) async fn join(
        &self,
        origin: &Origin,
        service: &Service,
        port: &Port,
        traffic: Traffic,
        real: TcpStream,
    ) -> Result<(), Refused> {
        let source = self.source(origin, SocketAddr::new(super::GATEWAY, port.number));
        let (opened, _in_flight) = self.through(service, port, traffic, origin, source).await?;
        match opened {
            // What answers requests reads them from the socket itself: no pipe between the two.
            Opened::Handler(bound) => bridge::serve(bound.handler.clone(), real, bound.closing.clone()).await,
            Opened::Stream(stream) => {
                if let Err(error) = carry(stream, real).await {
                    tracing::debug!(%origin, %service, error = &error as &dyn std::error::Error, "a connection broke off");
                }
            }
        }
        Ok(())
    }

    /// Finds one of the endpoints of a service, which there may have to be waited for.
    async fn through(
        &self,
        service: &Service,
        port: &Port,
        traffic: Traffic,
        origin: &Origin,
        source: SocketAddr,
    ) -> Result<(Opened, InFlight), Refused> {
        let mut refused = match self.through_now(service, port, traffic, origin, source).await {
            Err(refused) if refused.is_nobody() => refused,
            found => return found,
        };
        let has_endpoints = !port.endpoints_for(traffic).is_empty();
        let (Some(mut row), number) = (self.row(service, has_endpoints), port.number) else { return Err(refused) };
        let has_endpoint = move |service: &Service| {
            service.numbered(Protocol::Tcp, number).is_some_and(|port| !port.endpoints_for(traffic).is_empty())
        };
        while let Some(service) = row.next(has_endpoint).await {
            let Some(port) = service.numbered(Protocol::Tcp, number) else { break };
            match self.through_now(&service, port, traffic, origin, source).await {
                Err(again) if again.is_nobody() => refused = again,
                found => return found,
            }
        }
        Err(refused)
    }

    /// Finds one of the endpoints that a service has now.
    async fn through_now(
        &self,
        service: &Service,
        port: &Port,
        traffic: Traffic,
        origin: &Origin,
        source: SocketAddr,
    ) -> Result<(Opened, InFlight), Refused> {
        let mut refused = Refused::NoEndpoint { service: format!("{service}:{}", port.number) };
        let mut tries = Tries::new(port.endpoints_for(traffic), service.session(port, Some(source.ip())));
        while let Some(endpoint) = tries.next_endpoint() {
            let in_flight = endpoint.load.enter();
            // Endpoints written by hand may lie outside; they are reached as pods reach what is outside.
            match self.open(origin, Reach::Pod, source, endpoint.address).await {
                Ok(opened) => {
                    tries.succeeded(endpoint);
                    return Ok((opened, in_flight));
                }
                Err(error) if error.is_worth_another_try() => {
                    tries.failed(endpoint);
                    refused = error;
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    /// Finds who is at an address.
    async fn open(&self, origin: &Origin, reach: Reach, source: SocketAddr, to: SocketAddr) -> Result<Opened, Refused> {
        if let Some(opened) = self.open_here(origin, Ends::Both, source, to).await {
            return opened;
        }
        if let Some(remote) = self.remote(to.ip()) {
            self.permit(origin, to, Protocol::Tcp, Ends::Source)?;
            let opened = self.home(remote.stream(origin.clone(), to)).await;
            return opened.unwrap_or(Err(Refused::Unreachable(to))).map(Opened::Stream);
        }
        self.guard(origin, reach, to)?;
        self.permit_outside(origin, to)?;
        self.leave(to).await.map(Opened::Stream)
    }

    /// Finds who is at an address of this node's pods; `None`: it is not one.
    pub(super) async fn open_here(
        &self,
        origin: &Origin,
        ends: Ends,
        source: SocketAddr,
        to: SocketAddr,
    ) -> Option<Result<Opened, Refused>> {
        if let Some(listener) = self.listener(to) {
            return Some(match self.permit(origin, to, Protocol::Tcp, ends) {
                Ok(()) => self.enter(listener, source, to).await.map(Opened::Stream),
                Err(refused) => Err(refused),
            });
        }
        let bound = self.shared.handlers.load().get(&to).cloned();
        if let Some(bound) = bound {
            return Some(self.permit(origin, to, Protocol::Tcp, ends).map(|()| Opened::Handler(bound)));
        }
        let is_ours = self.shared.pods.load().contains_key(&to.ip());
        is_ours.then_some(Err(Refused::Nobody(to)))
    }

    /// A connection of `origin` to a pod of this node, or to its own loopback: what its requests are sent over.
    pub(super) async fn connect_near(&self, origin: &Origin, to: SocketAddr) -> Result<Stream, Refused> {
        if !attachment::is_own(to.ip()) {
            return self.connect_here(origin, to).await;
        }
        let listener = self.own_listener(origin, to).ok_or(Refused::Nobody(to))?;
        let port = space::any(|_| true).unwrap_or_default();
        self.enter(listener, SocketAddr::new(to.ip(), port), to).await
    }

    /// Who takes connections at an address.
    pub(super) fn listener(&self, to: SocketAddr) -> Option<Door> {
        self.shared.pods.load().get(&to.ip())?.listener(to)
    }

    /// Who takes connections at an address of the loopback of a pod of this node.
    pub(super) fn own_listener(&self, origin: &Origin, to: SocketAddr) -> Option<Door> {
        let Origin::Pod { address, .. } = origin else { return None };
        self.shared.pods.load().get(address)?.listener(to)
    }

    /// A connection to who listens, waiting where the row before the listener is full.
    pub(super) async fn enter(&self, listener: Door, source: SocketAddr, to: SocketAddr) -> Result<Stream, Refused> {
        let (near, far) = Stream::pair(source, to);
        let waiting = match listener.try_send(Arriving::new(far)) {
            Ok(()) => return Ok(near),
            Err(TrySendError::Closed(_)) => return Err(Refused::Nobody(to)),
            Err(TrySendError::Full(arriving)) => arriving,
        };
        let limit = self.shared.config.connect_timeout;
        let sent = self.home(async move { timeout(limit, listener.send(waiting)).await }).await;
        match sent {
            Some(Ok(Ok(()))) => Ok(near),
            Some(Err(_)) => Err(Refused::TimedOut { to, limit }),
            Some(Ok(Err(_))) | None => Err(Refused::Nobody(to)),
        }
    }

    /// What was found, as a connection.
    pub(super) fn stream_of(&self, opened: Opened, source: SocketAddr, to: SocketAddr) -> Stream {
        match opened {
            Opened::Stream(stream) => stream,
            Opened::Handler(bound) => self.served(&bound, source, to),
        }
    }

    /// A connection to who answers requests.
    pub(super) fn served(&self, bound: &Bound, source: SocketAddr, to: SocketAddr) -> Stream {
        let (near, far) = Stream::pair(source, to);
        self.start(bridge::serve(bound.handler.clone(), far, bound.closing.clone()));
        near
    }

    /// A connection to the world outside.
    pub(super) async fn leave(&self, to: SocketAddr) -> Result<Stream, Refused> {
        let limit = self.shared.config.connect_timeout;
        let connected = self.home(async move { timeout(limit, TcpStream::connect(to)).await }).await;
        match connected {
            Some(Ok(Ok(real))) => self.carried(real).map_err(|source| Refused::failed(to, source)),
            Some(Ok(Err(source))) => Err(Refused::failed(to, source)),
            Some(Err(_)) => Err(Refused::TimedOut { to, limit }),
            None => Err(Refused::Unreachable(to)),
        }
    }

    /// A real connection as a stream.
    pub(super) fn carried(&self, real: TcpStream) -> std::io::Result<Stream> {
        real.set_nodelay(true)?;
        let (local, remote) = (real.local_addr()?, real.peer_addr()?);
        let (near, far) = Stream::pair(local, remote);
        self.start(async move {
            if let Err(error) = carry(far, real).await {
                tracing::debug!(%remote, error = &error as &dyn std::error::Error, "a connection broke off");
            }
        });
        Ok(near)
    }

    /// Whether `origin` may reach `to`, as far as these ends are concerned: asked at every dial.
    pub(super) fn permit(
        &self,
        origin: &Origin,
        to: SocketAddr,
        protocol: Protocol,
        ends: Ends,
    ) -> Result<(), Refused> {
        self.permit_unless(origin, to, protocol, ends, |_| false)
    }

    /// Whether `origin` may reach `to`, which is not in the cluster.
    pub(crate) fn permit_outside(&self, origin: &Origin, to: SocketAddr) -> Result<(), Refused> {
        self.permit(origin, to, Protocol::Tcp, Ends::Source)
    }

    /// As [`permit`](Self::permit), but an end's no does not count where that end is excused.
    pub(super) fn permit_unless(
        &self,
        origin: &Origin,
        to: SocketAddr,
        protocol: Protocol,
        ends: Ends,
        is_excused: impl Fn(Direction) -> bool,
    ) -> Result<(), Refused> {
        let Some(policy) = self.shared.policy.get().filter(|policy| !policy.is_open()) else { return Ok(()) };
        let port = PortProtocol { number: to.port(), protocol };
        let here = self.shared.pods.load().get(&to.ip()).cloned();
        let (from, at) = (origin.peer(), here.as_ref().map_or(Peer::Address(to.ip()), |pod| pod.origin.peer()));
        for direction in ends.directions() {
            let checked = policy.check_unless(*direction, &from, &at, port, || is_excused(*direction));
            checked.map_err(|_| Refused::Denied { from: origin.to_string(), to })?;
        }
        Ok(())
    }

    /// What is closed to pods outside the cluster, whatever policies say.
    pub(super) fn guard(&self, origin: &Origin, reach: Reach, to: SocketAddr) -> Result<(), Refused> {
        if self.is_inside(to.ip()) {
            return Err(Refused::Unreachable(to));
        }
        if reach == Reach::Pod && !self.shared.config.egress.allows(to) {
            return Err(Refused::Denied { from: origin.to_string(), to });
        }
        Ok(())
    }

    /// Where a connection of `origin` to `to` comes from.
    pub(super) fn source(&self, origin: &Origin, to: SocketAddr) -> SocketAddr {
        match origin {
            Origin::Outside(address) => *address,
            Origin::Pod { address, .. } => SocketAddr::new(*address, space::any(|_| true).unwrap_or_default()),
            Origin::Ingress | Origin::Node(_) => self.shared.gateway.load().source(None, to),
        }
    }

    /// Whether an address is one of the cluster's, and so never to be looked for outside.
    pub(super) fn is_inside(&self, ip: IpAddr) -> bool {
        self.shared.config.is_inside(ip)
    }
}

// === impl Ends ===

impl Ends {
    fn directions(self) -> &'static [Direction] {
        match self {
            Self::Both => &[Direction::Egress, Direction::Ingress],
            Self::Source => &[Direction::Egress],
            Self::Target => &[Direction::Ingress],
        }
    }
}
