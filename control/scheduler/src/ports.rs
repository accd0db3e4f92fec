//! Ports of a node that pods take for themselves, each once.

use std::net::{IpAddr, Ipv4Addr};

use k8s_openapi::api::core::v1::{Container, Pod};
use state::Protocol;

/// A port of a node that leads to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    ip: IpAddr,
    protocol: Protocol,
    port: u16,
}

// === impl HostPort ===

impl HostPort {
    /// The ports that `pod` takes: those of its containers and of its side-cars.
    pub(crate) fn of(pod: &Pod) -> Vec<Self> {
        let Some(spec) = &pod.spec else { return Vec::new() };
        let is_sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
        let sidecars = spec.init_containers.iter().flatten().filter(is_sidecar);
        let declared = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
        let taken = declared.filter_map(|port| {
            let number = u16::try_from(port.host_port?).ok().filter(|number| *number > 0)?;
            let ip = port.host_ip.as_deref().and_then(|ip| ip.parse().ok()).unwrap_or(EVERYWHERE);
            let protocol = Protocol::named(port.protocol.as_deref().unwrap_or_default());
            Some(Self { ip, protocol, port: number })
        });
        taken.collect()
    }

    /// Whether a node has only one of the two: the same port at the same address, or at every one.
    pub(crate) fn meets(self, other: Self) -> bool {
        let meet = self.ip == other.ip || self.ip == EVERYWHERE || other.ip == EVERYWHERE;
        meet && (self.protocol, self.port) == (other.protocol, other.port)
    }
}

const EVERYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
