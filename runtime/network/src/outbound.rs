//! Where a pod's own requests go.
//!
//! To a service, a pod or the pod itself: a call within the process, through the service table and the fabric. To anything
//! else: out of a real socket, if the egress policy lets it. A name is resolved as the pod's resolver would resolve it.
//! The scheme decides the port and nothing more within the cluster: what never leaves the node needs no TLS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri, header};
use ipnet::IpNet;
use state::Protocol;
use tokio::time::timeout;

use crate::names::{self, Meaning};
use crate::services::PortRef;
use crate::{
    Client, Fabric, Fault, Handler, Hops, Origin, Readiness, Request, Response, Service, ServiceKind, ServiceTable,
    Services, call,
};

mod egress;
mod guard;

pub use guard::EgressPolicy;
pub(crate) use guard::plain;

/// What requests from pods are subject to.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of this node.
    pub node: Arc<str>,
    /// What the cluster's names end in.
    pub domain: String,
    /// The addresses of pods and services; they are never looked for outside the fabric.
    pub cluster: Vec<IpNet>,
    /// What pods may reach outside.
    pub egress: EgressPolicy,
    /// How long a connection to the outside may take to stand.
    pub connect_timeout: Duration,
    /// How long the head of an answer may take. Guests may ask for less; this ends what they forgot.
    pub response_timeout: Duration,
    /// How many requests and connections may wait for one service that has nobody yet; more are turned away.
    pub waiting_max: usize,
    /// How long each of them waits: for a pod to be placed, its image to be pulled, and it to be ready.
    pub wait_max: Duration,
    /// Which of this node's pods are ready.
    pub readiness: Readiness,
    /// How many pods a request may come through: deep enough for real call chains, shallow enough to stop a circle.
    pub hops_max: u8,
}

/// The pod that asks.
#[derive(Clone, Debug)]
pub struct From {
    /// Its namespace: what short names are relative to.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its address: what its loopback stands for.
    pub address: IpAddr,
    /// What it may reach.
    pub reach: Reach,
}

/// How far a pod's requests go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// As far as the egress policy lets pods.
    #[default]
    Pod,
    /// As far as the node itself: `hostNetwork`.
    Node,
}

/// The way out of every pod of this node. Cloning shares it, its connections included.
#[derive(Clone)]
pub struct Outbound {
    shared: Arc<Shared>,
}

struct Shared {
    fabric: Fabric,
    services: Services,
    egress: egress::Egress,
    config: Config,
}

/// Host and port as a request names them.
struct Target {
    host: String,
    port: u16,
}

// === impl Outbound ===

impl Outbound {
    /// A way out over `fabric` and `services`. What needs real sockets is done on the caller's runtime; all else where
    /// [`send`](Self::send) is polled.
    pub fn new(fabric: Fabric, services: Services, config: Config) -> Self {
        let egress = egress::Egress::new(&config);
        Self { shared: Arc::new(Shared { fabric, services, egress, config }) }
    }

    /// Has `request` answered by whoever it names, as seen from the pod `from`.
    pub async fn send(&self, from: From, mut request: Request) -> Result<Response, Fault> {
        let config = &self.shared.config;
        let Hops(hops) = request.extensions().get().copied().unwrap_or_default();
        if hops >= config.hops_max {
            return Err(Fault::TooManyHops(config.hops_max));
        }
        request.extensions_mut().insert(Hops(hops + 1));
        request.extensions_mut().insert(Client(from.address));
        let target = Target::complete(&mut request)?;
        self.shared.fabric.settle(&from.origin()).await;
        let limit = config.response_timeout;
        timeout(limit, self.shared.send(&from, target, request)).await.unwrap_or(Err(Fault::TimedOut(limit)))
    }
}

// === impl Shared ===

impl Shared {
    async fn send(&self, from: &From, target: Target, request: Request) -> Result<Response, Fault> {
        if let Some(address) = target.address() {
            return self.send_to_address(from, SocketAddr::new(address, target.port), request).await;
        }
        if target.host == "localhost" || target.host.ends_with(".localhost") {
            let (origin, port) = (from.origin(), target.port);
            let dial = |ip: IpAddr| self.fabric.dial_own(&origin, SocketAddr::new(ip, port));
            let dialled =
                dial(Ipv4Addr::LOCALHOST.into()).or_else(|no| dial(Ipv6Addr::LOCALHOST.into()).map_err(|_| no));
            return self.send_to_itself(from, dialled, request).await;
        }
        let meaning = names::resolve(&self.services.load(), &self.config.domain, &from.namespace, &target.host);
        match meaning {
            Meaning::Service(service) if service.kind == ServiceKind::Headless => {
                service.send_to_member(target.port, |address| self.dial(from, address), request, &self.fabric).await
            }
            Meaning::Service(service) => self.send_to_service(from, &service, target.port, request).await,
            Meaning::Address(address) => {
                self.send_to_address(from, SocketAddr::new(address, target.port), request).await
            }
            Meaning::Outside(name) => self.send_outside(from, &name, rename(request, &name, target.port)?).await,
            Meaning::Nothing => Err(Fault::NoHost(target.host)),
        }
    }

    async fn send_to_service(
        &self,
        from: &From,
        service: &Service,
        port: u16,
        request: Request,
    ) -> Result<Response, Fault> {
        let port = service.port(PortRef::Number(port))?;
        service.send(port, |address| self.dial(from, address), request, &self.fabric).await
    }

    async fn send_to_address(&self, from: &From, address: SocketAddr, request: Request) -> Result<Response, Fault> {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let ip = address.ip();
        if ip.is_loopback() || ip.is_unspecified() {
            return self.send_to_itself(from, self.fabric.dial_own(&from.origin(), address), request).await;
        }
        let service = self.config.service_at(&self.services.load(), Protocol::Tcp, address).cloned();
        match service {
            Some(service) => self.send_to_service(from, &service, address.port(), request).await,
            None => call(self.dial(from, address)?, request).await,
        }
    }

    /// Sends a request to who was found on the pod's loopback, which on the node's own network is the node's.
    async fn send_to_itself(
        &self,
        from: &From,
        dialled: Result<Handler, Fault>,
        request: Request,
    ) -> Result<Response, Fault> {
        match (dialled, from.reach) {
            (Err(Fault::Unreachable(_)), Reach::Node) => self.egress.send(Reach::Node, request).await,
            (handler, _) => call(handler?, request).await,
        }
    }

    /// Who answers at an address: a pod of this node, or for an address outside the cluster the way out.
    fn dial(&self, from: &From, address: SocketAddr) -> Result<Handler, Fault> {
        let is_outside = || !self.config.is_inside(address.ip());
        match self.fabric.dial(&from.origin(), address) {
            Err(Fault::Unreachable(_)) if is_outside() => {
                self.fabric.permit_outside(&from.origin(), address)?;
                Ok(self.egress.handler(from.reach, address))
            }
            dialled => dialled,
        }
    }

    /// Sends a request to a name outside the cluster. Who is isolated has connections of its own, made to addresses that its
    /// policies let it reach.
    async fn send_outside(&self, from: &From, name: &str, request: Request) -> Result<Response, Fault> {
        let origin = from.origin();
        let policy = self.fabric.policy().filter(|_| from.reach == Reach::Pod);
        match policy.filter(|policy| policy.isolates_egress(&origin.peer())) {
            None => self.egress.send(from.reach, request).await,
            Some(policy) if policy.may_ask(&origin.peer(), name) => {
                self.egress.send_isolated(policy, &origin, request).await
            }
            Some(_) => Err(Fault::NoHost(name.to_owned())),
        }
    }
}

// === impl Target ===

impl Target {
    /// Reads who is meant, and completes the request so that URI and `Host` both say it.
    fn complete(request: &mut Request) -> Result<Self, Fault> {
        let host = request.headers().get(header::HOST);
        let scheme = request.uri().scheme().cloned().unwrap_or(Scheme::HTTP);
        let authority: Authority = match (request.uri().authority(), host) {
            (Some(authority), _) => authority.clone(),
            (None, Some(host)) => Authority::try_from(host.as_bytes()).map_err(|_| Fault::BadRequest("bad host"))?,
            (None, None) => return Err(Fault::BadRequest("no host")),
        };
        let port = match (authority.port_u16(), scheme.as_str()) {
            (Some(port), _) => port,
            (None, "http") => 80,
            (None, "https") => 443,
            (None, _) => return Err(Fault::BadRequest("unknown scheme")),
        };
        if !request.headers().contains_key(header::HOST) {
            let host = without_user(&authority);
            let host = HeaderValue::from_str(host).map_err(|_| Fault::BadRequest("bad host"))?;
            request.headers_mut().insert(header::HOST, host);
        }
        let target = Self { host: authority.host().to_ascii_lowercase(), port };
        set_authority(request, scheme, authority)?;
        Ok(target)
    }

    /// The address, where the host is one rather than a name.
    fn address(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }
}

fn without_user(authority: &Authority) -> &str {
    authority.as_str().rsplit('@').next().unwrap_or_default()
}

/// The request, sent to another name than it asked for. It goes on asking by the old one in `Host`.
fn rename(mut request: Request, name: &str, port: u16) -> Result<Request, Fault> {
    if request.uri().host() == Some(name) {
        return Ok(request);
    }
    let authority = format!("{name}:{port}").parse().map_err(|_| Fault::BadRequest("bad host"))?;
    let scheme = request.uri().scheme().cloned().unwrap_or(Scheme::HTTP);
    set_authority(&mut request, scheme, authority)?;
    Ok(request)
}

fn set_authority(request: &mut Request, scheme: Scheme, authority: Authority) -> Result<(), Fault> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    parts.path_and_query.get_or_insert_with(|| http::uri::PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Fault::BadRequest("bad address"))?;
    Ok(())
}

// === impl From ===

impl From {
    /// An ordinary pod.
    pub fn pod(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>, address: IpAddr) -> Self {
        Self { namespace: namespace.into(), name: name.into(), address, reach: Reach::Pod }
    }

    fn origin(&self) -> Origin {
        Origin::Pod { namespace: self.namespace.clone(), name: self.name.clone(), address: self.address }
    }
}

// === impl Config ===

impl Config {
    /// The service that is meant by an address: its own, or one outside the cluster at which it is reached as well. What lies
    /// in the cluster's networks is never taken for the latter, whoever writes it down.
    pub(crate) fn service_at<'a>(
        &self,
        table: &'a ServiceTable,
        protocol: Protocol,
        address: SocketAddr,
    ) -> Option<&'a Arc<Service>> {
        let external = || table.external(protocol, address).filter(|_| !self.is_inside(address.ip()));
        table.at(address.ip()).or_else(external)
    }

    /// Whether an address is one of the cluster's, in whatever clothes, and so never to be looked for outside.
    pub(crate) fn is_inside(&self, ip: IpAddr) -> bool {
        self.cluster.iter().any(|net| net.contains(&plain(ip)))
    }
}

impl Default for Config {
    fn default() -> Self {
        let net = |text: &str| text.parse().expect("a network written here");
        Self {
            node: "".into(),
            domain: "cluster.local".into(),
            cluster: vec![net("10.42.0.0/16"), net("10.43.0.0/16")],
            egress: EgressPolicy::default(),
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_mins(10),
            // A head and a task each: some megabytes.
            waiting_max: 1024,
            wait_max: Duration::from_mins(1),
            readiness: Readiness::default(),
            hops_max: 32,
        }
    }
}

#[cfg(test)]
mod tests;
