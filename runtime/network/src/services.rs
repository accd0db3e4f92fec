//! Which addresses stand behind a service.
//!
//! A pure function of the Services and EndpointSlices of a snapshot and of what the node [knows](Readiness) of its own pods, but for
//! what is carried from table to table: how many requests are under way to each address, how endpoints fared, and which clients keep
//! theirs. Ports are numbers by the time
//! they are here: the slices have resolved `targetPort`, whether a number or a name. A service whose objects are the same as
//! before is not made anew.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use api::{GroupKind, kinds};
use state::{Protocol, Snapshot};
use tokio::sync::watch;

use crate::balance::{self, Clients, Health, Load, Session, Untaken};
use crate::{Client, Fabric, Fault, Handler, Latest, PriorKnowledge, Readiness, Request, Response, published_beside};

mod build;

use build::Kept;

/// The service table, kept up to date.
pub type Services = Latest<ServiceTable>;

/// What the table is made of.
const SOURCES: &[GroupKind] = &[kinds::SERVICE, kinds::ENDPOINT_SLICE];

/// Every service, by name and by address.
#[derive(Debug, Default)]
pub struct ServiceTable {
    by_name: HashMap<Arc<str>, HashMap<Arc<str>, Arc<Service>>>,
    by_address: HashMap<IpAddr, Arc<Service>>,
    /// By addresses that are not the cluster's; services may share one, each with ports of its own.
    external: HashMap<IpAddr, Vec<Arc<Service>>>,
}

/// A service and who is behind it.
#[derive(Debug)]
pub struct Service {
    /// The namespace it is in.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// How its name is to be understood.
    pub kind: ServiceKind,
    /// Its ports.
    pub ports: Vec<Port>,
    /// The addresses that may be asked, whatever the port.
    pub members: Vec<Member>,
    /// Whether it is to be reached from outside at its own ports: `type: LoadBalancer`.
    pub is_load_balancer: bool,
    /// The addresses outside the cluster at which it is reached as well, at its own ports: `externalIPs`.
    pub external: Vec<IpAddr>,
    /// Where balancers ask whether this node has endpoints.
    pub health_check: Option<u16>,
    /// How many endpoints this node has that are ready.
    pub local: usize,
    /// Whether and how clients keep their endpoint.
    pub affinity: Option<Affinity>,
    /// Whether somebody comes when it is asked and has no endpoint: whoever asks may wait for him.
    pub is_woken: bool,
}

/// `sessionAffinity: ClientIP`.
#[derive(Clone, Debug)]
pub struct Affinity {
    /// How long a silent client keeps its endpoint.
    pub timeout: Duration,
    /// The clients.
    pub clients: Arc<Clients>,
}

/// On which side of the cluster's border somebody is who asks a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Traffic {
    /// Within: `internalTrafficPolicy` holds.
    Inside,
    /// Outside, by a node port, a load balancer or an external address: `externalTrafficPolicy` holds.
    Outside,
}

/// How a service's name is to be understood.
#[derive(Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// As one of these addresses, at which the endpoints take turns.
    Cluster(Vec<IpAddr>),
    /// As the addresses of its endpoints.
    Headless,
    /// As another name.
    External(String),
}

/// A port of a service.
#[derive(Debug)]
pub struct Port {
    /// Its name; empty where the only port has none.
    pub name: Arc<str>,
    /// The number at the service's own address.
    pub number: u16,
    /// The transport.
    pub protocol: Protocol,
    /// The port of the node at which it is reached from outside.
    pub node_port: Option<u16>,
    /// What is spoken there, such as `kubernetes.io/h2c`.
    pub app_protocol: Option<Arc<str>>,
    /// Where requests from within go, by address: the ready ones, or while none is ready those that end but still serve.
    pub endpoints: Arc<[Endpoint]>,
    /// Where requests from outside go.
    pub outside: Arc<[Endpoint]>,
}

/// A port as an Ingress or a URL names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortRef<'a> {
    /// By number.
    Number(u16),
    /// By name.
    Name(&'a str),
}

/// Where a request may go.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The address and port.
    pub address: SocketAddr,
    /// How busy the address is.
    pub load: Arc<Load>,
    /// How it fared.
    pub health: Arc<Health>,
}

/// An address behind a service.
#[derive(Clone, Debug)]
pub struct Member {
    /// The address.
    pub address: IpAddr,
    /// The name it has within the service.
    pub hostname: Option<Arc<str>>,
    /// How busy the address is.
    pub load: Arc<Load>,
}

/// Keeps the service table up to date with the snapshots, as seen from no node in particular.
pub fn services(view: watch::Receiver<Snapshot>) -> Services {
    services_on(view, "", &Readiness::default())
}

/// Keeps the service table up to date with the snapshots, as seen from `node`: its endpoints are the local ones, and of those it
/// knows itself which are ready.
pub fn services_on(view: watch::Receiver<Snapshot>, node: &str, readiness: &Readiness) -> Services {
    let mut kept = Kept::on(node, readiness.clone());
    published_beside(view, SOURCES, readiness.changes(), move |view| ServiceTable::build(view, &mut kept))
}

// === impl ServiceTable ===

impl ServiceTable {
    /// The service of this name.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Arc<Service>> {
        self.by_name.get(namespace)?.get(name)
    }

    /// The service whose cluster address this is.
    pub fn at(&self, address: IpAddr) -> Option<&Arc<Service>> {
        self.by_address.get(&address)
    }

    /// The service that is reached at an address outside the cluster. Of two that have the port, the first by name.
    pub fn external(&self, protocol: Protocol, address: SocketAddr) -> Option<&Arc<Service>> {
        let mut services = self.external.get(&address.ip())?.iter();
        services.find(|service| service.numbered(protocol, address.port()).is_some())
    }

    /// Every service, in no order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.by_name.values().flat_map(HashMap::values)
    }
}

impl std::convert::From<&Snapshot> for ServiceTable {
    fn from(view: &Snapshot) -> Self {
        Self::build(view, &mut Kept::on("", Readiness::default()))
    }
}

// === impl Service ===

impl Service {
    /// The TCP port of this number or name.
    pub fn port(&self, wanted: PortRef<'_>) -> Result<&Port, Fault> {
        let is_wanted = |port: &&Port| {
            port.protocol == Protocol::Tcp
                && match wanted {
                    PortRef::Number(number) => port.number == number,
                    PortRef::Name(name) => *port.name == *name,
                }
        };
        let missing = || Fault::NoPort { service: self.to_string(), port: wanted.to_string() };
        self.ports.iter().find(is_wanted).ok_or_else(missing)
    }

    /// The port of this number and transport.
    pub fn numbered(&self, protocol: Protocol, number: u16) -> Option<&Port> {
        self.ports.iter().find(|port| port.protocol == protocol && port.number == number)
    }

    /// The session of `client` at `port`, where the service has clients keep their endpoint.
    pub fn session<'a>(&'a self, port: &Port, client: Option<IpAddr>) -> Option<Session<'a>> {
        let (affinity, client) = (self.affinity.as_ref()?, client?);
        Some(Session { clients: &affinity.clients, timeout: affinity.timeout, client, port: port.number })
    }

    /// Has `request` answered at `port` by one of its endpoints; `dial` says who answers at an address. Where it has none, and
    /// will be given one, the request waits for it in the row of `fabric`. A request that bears a [`Client`] counts as his where
    /// clients keep their endpoint.
    pub async fn send(
        &self,
        port: &Port,
        dial: impl Fn(SocketAddr) -> Result<Handler, Fault>,
        request: Request,
        fabric: &Fabric,
    ) -> Result<Response, Fault> {
        let (mut request, mut fault) = match self.offer(port, &dial, request).await {
            Ok(answer) => return answer,
            Err(Untaken { request, fault }) => (request, fault),
        };
        let (Some(mut row), number) = (fabric.row(self, !port.endpoints.is_empty()), port.number) else {
            return Err(fault);
        };
        let has_endpoint =
            move |service: &Self| service.port(PortRef::Number(number)).is_ok_and(|port| !port.endpoints.is_empty());
        while let Some(service) = row.next(has_endpoint).await {
            match service.offer(service.port(PortRef::Number(number))?, &dial, request).await {
                Ok(answer) => return answer,
                Err(untaken) => Untaken { request, fault } = untaken,
            }
        }
        Err(fault)
    }

    /// Has `request` answered by one of the endpoints that a port has now, or gives it back if none has begun with it.
    async fn offer(
        &self,
        port: &Port,
        dial: &impl Fn(SocketAddr) -> Result<Handler, Fault>,
        request: Request,
    ) -> Result<Result<Response, Fault>, Untaken> {
        let nobody = || Fault::NoEndpoint { service: format!("{self}:{}", port.number) };
        let client = request.extensions().get().map(|Client(client)| *client);
        let mut request = request;
        if port.is_http2() {
            request.extensions_mut().insert(PriorKnowledge);
        }
        balance::send(&port.endpoints, self.session(port, client), dial, request, nobody).await
    }

    /// Has `request` answered at port `number` of one of its members, as for a headless service.
    pub async fn send_to_member(
        &self,
        number: u16,
        dial: impl Fn(SocketAddr) -> Result<Handler, Fault>,
        request: Request,
        fabric: &Fabric,
    ) -> Result<Response, Fault> {
        let (mut request, mut fault) = match self.offer_to_members(number, &dial, request).await {
            Ok(answer) => return answer,
            Err(Untaken { request, fault }) => (request, fault),
        };
        let Some(mut row) = fabric.row(self, !self.members.is_empty()) else { return Err(fault) };
        while let Some(service) = row.next(|service| !service.members.is_empty()).await {
            match service.offer_to_members(number, &dial, request).await {
                Ok(answer) => return answer,
                Err(untaken) => Untaken { request, fault } = untaken,
            }
        }
        Err(fault)
    }

    async fn offer_to_members(
        &self,
        number: u16,
        dial: &impl Fn(SocketAddr) -> Result<Handler, Fault>,
        request: Request,
    ) -> Result<Result<Response, Fault>, Untaken> {
        let at = |member: &Member| Endpoint {
            address: SocketAddr::new(member.address, number),
            load: member.load.clone(),
            health: Arc::default(),
        };
        let endpoints: Vec<Endpoint> = self.members.iter().map(at).collect();
        // A headless name without endpoints is no name at all.
        balance::send(&endpoints, None, dial, request, || Fault::NoHost(self.to_string())).await
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

// === impl Port ===

impl Port {
    /// Where requests from a side go.
    pub fn endpoints_for(&self, traffic: Traffic) -> &[Endpoint] {
        match traffic {
            Traffic::Inside => &self.endpoints,
            Traffic::Outside => &self.outside,
        }
    }

    /// Whether HTTP/2 is spoken there without being asked for.
    fn is_http2(&self) -> bool {
        self.app_protocol.as_deref().is_some_and(|protocol| matches!(protocol, "kubernetes.io/h2c" | "h2c" | "grpc"))
    }
}

// === impl PortRef ===

impl fmt::Display for PortRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
