//! Which addresses stand behind a service.
//!
//! A pure function of the Services and EndpointSlices of a snapshot, but for one thing that is carried from table to table:
//! how many requests are under way to each address. Ports are numbers by the time they are here: the slices have resolved
//! `targetPort`, whether a number or a name.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::{GroupKind, kinds};
use state::{Protocol, Snapshot};
use tokio::sync::watch;

use crate::balance::{self, Load};
use crate::{Fault, Handler, Latest, Request, Response, published};

mod build;

/// The service table, kept up to date.
pub type Services = Latest<ServiceTable>;

/// What the table is made of.
const SOURCES: &[GroupKind] = &[kinds::SERVICE, kinds::ENDPOINT_SLICE];

/// Every service, by name and by address.
#[derive(Debug, Default)]
pub struct ServiceTable {
    by_name: HashMap<Arc<str>, HashMap<Arc<str>, Arc<Service>>>,
    by_address: HashMap<IpAddr, Arc<Service>>,
    loads: HashMap<IpAddr, Arc<Load>>,
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
    /// Where its requests go, by address: the ready ones, or while none is ready those that end but still serve.
    pub endpoints: Vec<Endpoint>,
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

/// Keeps the service table up to date with the snapshots.
pub fn services(view: watch::Receiver<Snapshot>) -> Services {
    let mut loads = HashMap::new();
    published(view, SOURCES, move |view| {
        let table = ServiceTable::build(view, &loads);
        loads.clone_from(&table.loads);
        table
    })
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

    /// Every service, in no order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.by_name.values().flat_map(HashMap::values)
    }
}

impl std::convert::From<&Snapshot> for ServiceTable {
    fn from(view: &Snapshot) -> Self {
        Self::build(view, &HashMap::new())
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

    /// The UDP port of this number.
    pub fn datagram_port(&self, number: u16) -> Option<&Port> {
        self.ports.iter().find(|port| port.protocol == Protocol::Udp && port.number == number)
    }

    /// Has `request` answered at `port` by one of its endpoints; `dial` says who answers at an address.
    pub async fn send(
        &self,
        port: &Port,
        dial: impl Fn(SocketAddr) -> Result<Handler, Fault>,
        request: Request,
    ) -> Result<Response, Fault> {
        let nobody = || Fault::NoEndpoint { service: format!("{self}:{}", port.number) };
        balance::send(&port.endpoints, dial, request).await.unwrap_or_else(|| Err(nobody()))
    }

    /// Has `request` answered at port `number` of one of its members, as for a headless service.
    pub async fn send_to_member(
        &self,
        number: u16,
        dial: impl Fn(SocketAddr) -> Result<Handler, Fault>,
        request: Request,
    ) -> Result<Response, Fault> {
        let at =
            |member: &Member| Endpoint { address: SocketAddr::new(member.address, number), load: member.load.clone() };
        let endpoints: Vec<Endpoint> = self.members.iter().map(at).collect();
        // A headless name without endpoints is no name at all.
        balance::send(&endpoints, dial, request).await.unwrap_or_else(|| Err(Fault::NoHost(self.to_string())))
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
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
