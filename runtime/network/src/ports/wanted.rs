//! Which listeners there should be.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use state::Protocol;

use super::{Config, Fronts};
use crate::{Service, ServiceKind, ServiceTable, Traffic};

/// What a listener is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Front {
    /// The namespace of the service.
    pub namespace: Arc<str>,
    /// Its name.
    pub service: Arc<str>,
    /// Its port.
    pub port: u16,
    /// Why there is a listener.
    pub purpose: Purpose,
}

/// Why there is a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A node port, or a load balancer.
    Node,
    /// One of the service's addresses outside the cluster, which is the node's own.
    External,
    /// The loopback mirror.
    Mirror,
    /// Balancers ask here whether this node has endpoints.
    Health,
}

/// The listeners that the services want, by transport and address. Of two that want the same address the first by name has it.
pub fn wanted(table: &ServiceTable, config: &Config) -> Fronts {
    let mut services: Vec<&Arc<Service>> = table.services().collect();
    services.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    let mut fronts = Fronts::new();
    for service in &services {
        from_outside(service, config, &mut fronts);
    }
    // Without an address of its own the node is not to be reached from outside at all.
    if !config.addresses.is_empty() {
        for service in &services {
            at_external(service, &mut fronts);
        }
    }
    if config.mirror {
        let mut left = config.mirror_listeners_max;
        for service in &services {
            mirrored(service, &mut left, &mut fronts);
        }
    }
    fronts
}

/// A service's ports on the node.
fn from_outside(service: &Service, config: &Config, fronts: &mut Fronts) {
    for port in service.ports.iter().filter(|port| port.protocol != Protocol::Sctp) {
        let own = service.is_load_balancer.then_some(port.number);
        for number in port.node_port.into_iter().chain(own) {
            for address in &config.addresses {
                let front = Front::of(service, port.number, Purpose::Node);
                fronts.entry((port.protocol, SocketAddr::new(*address, number))).or_insert(front);
            }
        }
    }
    if let Some(number) = service.health_check {
        for address in &config.addresses {
            let front = Front::of(service, number, Purpose::Health);
            fronts.entry((Protocol::Tcp, SocketAddr::new(*address, number))).or_insert(front);
        }
    }
}

/// A service's ports at its addresses outside the cluster. Which of them are this node's, the attempt to listen tells.
fn at_external(service: &Service, fronts: &mut Fronts) {
    for address in &service.external {
        for port in service.ports.iter().filter(|port| port.protocol != Protocol::Sctp) {
            let any: IpAddr =
                if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            // Who listens at every address listens at this one.
            if !fronts.contains_key(&(port.protocol, SocketAddr::new(any, port.number))) {
                let front = Front::of(service, port.number, Purpose::External);
                fronts.entry((port.protocol, SocketAddr::new(*address, port.number))).or_insert(front);
            }
        }
    }
}

/// A service's ports on the loopback.
fn mirrored(service: &Service, left: &mut usize, fronts: &mut Fronts) {
    let ServiceKind::Cluster(addresses) = &service.kind else { return };
    for mirror in addresses.iter().filter_map(|address| mirror(*address)) {
        for port in service.ports.iter().filter(|port| port.protocol != Protocol::Sctp) {
            let Some(fewer) = left.checked_sub(1) else { return };
            *left = fewer;
            let front = Front::of(service, port.number, Purpose::Mirror);
            fronts.entry((port.protocol, SocketAddr::new(mirror, port.number))).or_insert(front);
        }
    }
}

/// Where a cluster address answers on the loopback: `127.43.x.y` for `10.43.x.y`.
pub(super) fn mirror(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) if v4.octets()[..2] == [10, 43] => {
            let [_, second, third, fourth] = v4.octets();
            Some(Ipv4Addr::new(127, second, third, fourth).into())
        }
        _ => None,
    }
}

// === impl Front ===

impl Front {
    fn of(service: &Service, port: u16, purpose: Purpose) -> Self {
        Self { namespace: service.namespace.clone(), service: service.name.clone(), port, purpose }
    }

    /// Which of the service's policies holds.
    pub fn traffic(&self) -> Traffic {
        if self.purpose == Purpose::Mirror { Traffic::Inside } else { Traffic::Outside }
    }
}

impl fmt::Display for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.service, self.port)
    }
}
