//! Which listeners there should be.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
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
    /// Which of its policies holds.
    pub traffic: Traffic,
    /// Whether the listener is one of the loopback mirror's.
    pub is_mirror: bool,
}

/// The listeners that the services want, by transport and address. Of two that want the same address the first by name has it.
pub fn wanted(table: &ServiceTable, config: &Config) -> Fronts {
    let mut services: Vec<&Arc<Service>> = table.services().collect();
    services.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    let mut fronts = Fronts::new();
    for service in &services {
        from_outside(service, config, &mut fronts);
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
                let front = Front::of(service, port.number, Traffic::Outside);
                fronts.entry((port.protocol, SocketAddr::new(*address, number))).or_insert(front);
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
            let front = Front { is_mirror: true, ..Front::of(service, port.number, Traffic::Inside) };
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
    fn of(service: &Service, port: u16, traffic: Traffic) -> Self {
        Self { namespace: service.namespace.clone(), service: service.name.clone(), port, traffic, is_mirror: false }
    }
}

impl fmt::Display for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.service, self.port)
    }
}
