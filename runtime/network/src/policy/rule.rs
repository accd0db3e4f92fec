//! One rule: these parties, at these ports.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use state::Protocol;

use super::{Party, Pod, PortProtocol};
use crate::outbound::plain;

/// What one entry of `ingress` or `egress` lets through.
#[derive(Debug)]
pub(super) struct Rule {
    /// Anyone, if there is no list.
    pub(super) parties: Option<Vec<Parties>>,
    /// Every port, if there is none here.
    pub(super) ports: Vec<Ports>,
}

/// Who is meant.
#[derive(Debug)]
pub(super) enum Parties {
    /// Pods, by identity, in order.
    Pods(Vec<u32>),
    /// Addresses of a network, but for those of others.
    Block(IpNet, Vec<IpNet>),
}

/// Which ports are meant.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) protocol: Protocol,
    pub(super) numbers: Numbers,
}

#[derive(Debug)]
pub(super) enum Numbers {
    Range(RangeInclusive<u16>),
    /// The port that the target calls so.
    Named(String),
}

// === impl Rule ===

impl Rule {
    /// Whether `other` is let through to `port` of `target`, where that is a pod.
    pub(super) fn allows(&self, other: Party<'_>, target: Option<&Pod>, port: PortProtocol) -> bool {
        let at_port = self.ports.is_empty() || self.ports.iter().any(|ports| ports.contains(target, port));
        at_port && self.parties.as_ref().is_none_or(|parties| parties.iter().any(|parties| parties.contains(other)))
    }

    /// Whether the rule may mean somebody outside the cluster.
    pub(super) fn leads_outside(&self) -> bool {
        let is_block = |parties: &Parties| matches!(parties, Parties::Block(..));
        self.parties.as_ref().is_none_or(|parties| parties.iter().any(is_block))
    }
}

// === impl Parties ===

impl Parties {
    fn contains(&self, party: Party<'_>) -> bool {
        match self {
            Self::Pods(identities) => {
                let identity = party.pod.and_then(|pod| pod.identity);
                identity.is_some_and(|identity| identities.binary_search(&identity).is_ok())
            }
            Self::Block(net, except) => net.contains(&party.address) && !is_within(except, party.address),
        }
    }
}

/// What is left out is left out in whatever clothes an address wears.
fn is_within(nets: &[IpNet], address: IpAddr) -> bool {
    nets.iter().any(|net| net.contains(&address) || net.contains(&plain(address)))
}

// === impl Ports ===

impl Ports {
    fn contains(&self, target: Option<&Pod>, port: PortProtocol) -> bool {
        self.protocol == port.protocol
            && match &self.numbers {
                Numbers::Range(range) => range.contains(&port.number),
                Numbers::Named(name) => {
                    target.is_some_and(|pod| pod.ports.iter().any(|known| known.port == port && known.name == *name))
                }
            }
    }
}
