//! Who may reach whom: NetworkPolicies, asked at both ends of every dial.
//!
//! A [`PolicyTable`] is a pure function of the Pods, Namespaces and NetworkPolicies of a snapshot; a [`Policy`] is the table of
//! now, the names that pods have had resolved, and somebody to tell of what was denied. The law is Kubernetes':
//!
//! - A pod that no policy selects for a direction is open in that direction. A pod that one selects is reached, or reaches,
//!   only as some rule of some policy allows. Policies add up; none takes away what another gives, and their order is nothing.
//! - Whether a connection may be is asked once, when it begins: by its source's egress and by its target's ingress. What comes
//!   back on it is part of it.
//! - Services are no parties: rules speak of pods and of addresses, and are asked after an endpoint was chosen.
//! - A pod reaches itself, and is reached by its node: probes, `port-forward`, `exec`, and the node's ingress, which serves what
//!   the pod's own namespace told it to. Who comes in by a node port is judged by the address that he comes from.
//! - Pods on the host's network are their node: nothing isolates them, and selectors do not find them; `ipBlock` does.
//! - `ipBlock` means addresses whoever has them, pods too.
//! - Cluster names are answered to everyone, since looking one up opens nothing. A name outside is answered to an isolated pod
//!   only if some rule may lead there: a question to a stranger's name server carries words out.
//!
//! A verdict costs a look-up of each party by its address or name, and a walk over the rules that concern the one pod. Labels
//! are compared when the table is made: pods of one namespace with equal labels share an identity, which is a number, and a
//! rule knows the numbers it means.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use api::egress_names::EgressName;
use api::{GroupKind, kinds};
use state::{Protocol, Snapshot};

use rule::Rule;

mod answers;
mod build;
mod denials;
mod live;
mod rule;
#[cfg(test)]
mod tests;

pub use denials::{Denial, Denials};
pub use live::{Denied, Policy};

/// What the table is made of.
const SOURCES: &[GroupKind] = &[kinds::POD, kinds::NAMESPACE, kinds::NETWORK_POLICY];

/// Which end of a connection asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// The one that is connected to.
    Ingress,
    /// The one that connects.
    Egress,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer<'a> {
    /// A pod of this node. It is known by name before the cluster has heard of its address.
    Pod {
        /// Its namespace.
        namespace: &'a str,
        /// Its name.
        name: &'a str,
        /// The address it has.
        address: IpAddr,
    },
    /// Whoever has this address: a pod, or somebody outside the cluster.
    Address(IpAddr),
    /// The node of the pod at the other end.
    Node,
}

/// Where a connection leads, at whatever address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortProtocol {
    /// The port of the target.
    pub number: u16,
    /// The transport.
    pub protocol: Protocol,
}

/// Whether a connection may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It may.
    Allowed,
    /// It may not: no rule of these policies allows it.
    Denied(&'a Arc<str>),
}

/// Every pod, and what policies say of it.
#[derive(Debug, Default)]
pub struct PolicyTable {
    by_name: HashMap<Arc<str>, HashMap<Arc<str>, Arc<Pod>>>,
    by_address: HashMap<IpAddr, Arc<Pod>>,
    /// What a pod is told that is not known yet, by its namespace: where nobody is isolated, nothing.
    unknown: HashMap<Arc<str>, Isolations>,
}

/// A pod as policies see it.
#[derive(Debug)]
struct Pod {
    namespace: Arc<str>,
    name: Arc<str>,
    uid: Arc<str>,
    node: Arc<str>,
    /// What it shares with the pods of its namespace that have the same labels; none for pods on the host's network, which
    /// no rule means.
    identity: Option<u32>,
    /// Its ports that have names.
    ports: Vec<NamedPort>,
    isolations: Arc<Isolations>,
}

/// What policies say of pods of one identity.
#[derive(Debug, Default)]
struct Isolations {
    ingress: Option<Isolation>,
    egress: Option<Isolation>,
}

/// What is let through in one direction; all else is not.
#[derive(Debug)]
struct Isolation {
    /// The policies, as a person is told of them.
    by: Arc<str>,
    rules: Vec<Arc<Rule>>,
    names: Vec<EgressName>,
}

#[derive(Debug)]
struct NamedPort {
    name: String,
    port: PortProtocol,
}

/// One end of a connection, as far as it is known.
#[derive(Clone, Copy)]
struct Party<'a> {
    pod: Option<&'a Pod>,
    address: IpAddr,
}

// === impl PolicyTable ===

impl PolicyTable {
    /// Whether a connection may be, as far as one of its ends is concerned.
    pub fn allows(&self, direction: Direction, from: &Peer<'_>, to: &Peer<'_>, port: PortProtocol) -> Verdict<'_> {
        if self.is_open() {
            return Verdict::Allowed;
        }
        let (subject, other) = match direction {
            Direction::Ingress => (to, from),
            Direction::Egress => (from, to),
        };
        let (Some(isolation), Some(other)) = (self.isolation(direction, subject), self.party(other)) else {
            return Verdict::Allowed;
        };
        let subject = self.party(subject);
        if subject.is_some_and(|subject| subject.is(other) || subject.has_its_node_in(other)) {
            return Verdict::Allowed;
        }
        let target = match direction {
            Direction::Ingress => subject.and_then(|subject| subject.pod),
            Direction::Egress => other.pod,
        };
        let is_allowed = isolation.rules.iter().any(|rule| rule.allows(other, target, port));
        if is_allowed { Verdict::Allowed } else { Verdict::Denied(&isolation.by) }
    }

    /// Whether a pod may reach what a name outside the cluster stands for, by an annotation of its policies.
    pub fn allows_name(&self, from: &Peer<'_>, name: &str, port: u16) -> bool {
        let isolation = self.isolation(Direction::Egress, from);
        isolation.is_some_and(|it| {
            it.names.iter().any(|known| known.port.is_none_or(|known| known == port) && known.matches(name))
        })
    }

    /// Whether a pod may have a name outside the cluster looked up.
    pub fn may_ask(&self, from: &Peer<'_>, name: &str) -> bool {
        self.isolation(Direction::Egress, from).is_none_or(|it| {
            it.rules.iter().any(|rule| rule.leads_outside()) || it.names.iter().any(|known| known.matches(name))
        })
    }

    /// Whether names outside the cluster are among what a pod may reach.
    fn has_names(&self, from: &Peer<'_>) -> bool {
        self.isolation(Direction::Egress, from).is_some_and(|it| !it.names.is_empty())
    }

    /// Whether a pod of this node is known by name, so that what holds for its labels holds for it.
    pub fn knows(&self, namespace: &str, name: &str) -> bool {
        !self.unknown.contains_key(namespace) || self.pod(namespace, name).is_some()
    }

    /// Whether there is no policy at all.
    fn is_open(&self) -> bool {
        self.unknown.is_empty()
    }

    fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.by_name.get(namespace)?.get(name).map(|pod| &**pod)
    }

    /// What isolates a party, if something does.
    fn isolation(&self, direction: Direction, peer: &Peer<'_>) -> Option<&Isolation> {
        let isolations = match *peer {
            Peer::Node => return None,
            Peer::Address(address) => &*self.by_address.get(&address.to_canonical())?.isolations,
            Peer::Pod { namespace, name, .. } => match self.pod(namespace, name) {
                Some(pod) => &*pod.isolations,
                None => self.unknown.get(namespace)?,
            },
        };
        match direction {
            Direction::Ingress => isolations.ingress.as_ref(),
            Direction::Egress => isolations.egress.as_ref(),
        }
    }

    /// The party, unless it is the node, of which no rule speaks.
    fn party(&self, peer: &Peer<'_>) -> Option<Party<'_>> {
        let party = match *peer {
            Peer::Node => return None,
            Peer::Address(address) => {
                let address = address.to_canonical();
                Party { pod: self.by_address.get(&address).map(|pod| &**pod), address }
            }
            Peer::Pod { namespace, name, address } => Party { pod: self.pod(namespace, name), address },
        };
        Some(party)
    }

    /// The pod that asks, and the other party in words.
    fn told(&self, direction: Direction, from: &Peer<'_>, to: &Peer<'_>) -> Option<(Whose, String)> {
        let (subject, other) = match direction {
            Direction::Ingress => (to, from),
            Direction::Egress => (from, to),
        };
        let whose = self.whose(subject)?;
        let other = self.party(other)?;
        let words = match other.pod {
            Some(pod) => format!("{}/{} ({})", pod.namespace, pod.name, other.address),
            None => other.address.to_string(),
        };
        Some((whose, words))
    }

    fn whose(&self, peer: &Peer<'_>) -> Option<Whose> {
        let pod = self.party(peer)?.pod?;
        Some(Whose { namespace: pod.namespace.clone(), name: pod.name.clone(), uid: pod.uid.clone() })
    }
}

/// The pod that a denial is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Whose {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its uid.
    pub uid: Arc<str>,
}

impl From<&Snapshot> for PolicyTable {
    fn from(view: &Snapshot) -> Self {
        Self::build(view)
    }
}

// === impl Party ===

impl Party<'_> {
    fn is(self, other: Self) -> bool {
        match (self.pod, other.pod) {
            (Some(one), Some(other)) => std::ptr::eq(one, other),
            _ => self.address == other.address,
        }
    }

    /// Whether the other one is on the network of this one's node, and so the node itself.
    fn has_its_node_in(self, other: Self) -> bool {
        let node_of_host = other.pod.filter(|pod| pod.identity.is_none()).map(|pod| &pod.node);
        self.pod.is_some_and(|pod| node_of_host == Some(&pod.node))
    }
}

// === impl PortProtocol ===

impl PortProtocol {
    /// A TCP port.
    pub fn tcp(number: u16) -> Self {
        Self { number, protocol: Protocol::Tcp }
    }

    /// A UDP port.
    pub fn udp(number: u16) -> Self {
        Self { number, protocol: Protocol::Udp }
    }
}
