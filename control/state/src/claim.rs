//! What only one object may hold at a time: addresses and ports.
//!
//! A claim is a pure function of the object that makes it. There is no allocator: whoever wants an address picks a free one
//! from a snapshot and guards the write with [`Guard::Free`](crate::Guard::Free).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use api::{Object, kinds};
use serde::Deserialize;

/// Something that one object holds and no other may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Claim {
    /// The address of a service.
    ClusterIp(IpAddr),
    /// The address of a pod.
    PodIp(IpAddr),
    /// A port on every node.
    NodePort(Protocol, u16),
}

/// The transport protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "protocol names")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

// === impl Claim ===

impl Claim {
    /// Everything that `object` claims. A pod that has ended, or has the node's address, claims none.
    pub fn of(object: &Object) -> Vec<Self> {
        match object.key().kind() {
            kinds::SERVICE => of_service(object),
            kinds::POD => Standing::of(object).claims,
            _ => Vec::new(),
        }
    }
}

/// Where an object stands beside its name: what it claims, and for a pod the node that it is bound to, which has no name if there is
/// none.
#[derive(Default, PartialEq)]
pub(crate) struct Standing {
    pub(crate) node: Option<Arc<str>>,
    /// A pod that will never run again.
    pub(crate) is_over: bool,
    pub(crate) claims: Vec<Claim>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Service {
    spec: ServiceSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceSpec {
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    ports: Vec<ServicePort>,
    health_check_node_port: u16,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServicePort {
    protocol: String,
    node_port: u16,
}

fn of_service(object: &Object) -> Vec<Claim> {
    let Ok(Service { spec }) = object.read() else { return Vec::new() };
    let mut addresses: Vec<IpAddr> =
        spec.cluster_ips.iter().chain([&spec.cluster_ip]).filter_map(|address| address.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let ports = spec.ports.iter().filter(|port| port.node_port != 0);
    let ports = ports.map(|port| Claim::NodePort(Protocol::named(&port.protocol), port.node_port));
    let health = Some(spec.health_check_node_port).filter(|port| *port != 0);
    let health = health.map(|port| Claim::NodePort(Protocol::Tcp, port));
    addresses.into_iter().map(Claim::ClusterIp).chain(ports).chain(health).collect()
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Pod {
    spec: PodSpec,
    status: PodStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    host_network: bool,
    node_name: Option<Arc<str>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClusterIp(address) => write!(f, "cluster IP {address}"),
            Self::PodIp(address) => write!(f, "pod IP {address}"),
            Self::NodePort(protocol, port) => write!(f, "node port {port}/{protocol}"),
        }
    }
}

// === impl Protocol ===

impl Protocol {
    /// The protocol of this name; TCP where none is named, as Kubernetes has it.
    pub fn named(name: &str) -> Self {
        match name {
            "UDP" => Self::Udp,
            "SCTP" => Self::Sctp,
            _ => Self::Tcp,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

// === impl Standing ===

impl Standing {
    pub(crate) fn of(object: &Object) -> Self {
        if object.key().kind() != kinds::POD {
            return Self { node: None, is_over: false, claims: Claim::of(object) };
        }
        let Pod { spec, status } = object.read().unwrap_or_default();
        let is_over = matches!(status.phase.as_str(), "Succeeded" | "Failed");
        let claims = match status.pod_ip.parse() {
            Ok(address) if !is_over && !spec.host_network => vec![Claim::PodIp(address)],
            _ => Vec::new(),
        };
        Self { node: Some(spec.node_name.unwrap_or_default()), is_over, claims }
    }
}
