//! Who asks: the near end of every connection and request.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::policy::Peer;

/// Who asks. Plain words, so that they may be sent to another node along with what is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A pod.
    Pod {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
        /// Its address.
        address: IpAddr,
    },
    /// The ingress of a node, on behalf of somebody outside.
    Ingress,
    /// A node itself: probes, `kubectl port-forward`, the API server's proxy.
    Node(Arc<str>),
    /// Somebody outside the cluster who came in by a real listener, from this address.
    Outside(SocketAddr),
}

// === impl Origin ===

impl Origin {
    /// A pod.
    pub fn pod(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>, address: IpAddr) -> Self {
        Self::Pod { namespace: namespace.into(), name: name.into(), address }
    }

    /// Who this is to policies. Nodes reach their pods for reasons of their own and of those who may command them, and the
    /// ingress serves what the pods' own namespace told it to.
    pub fn peer(&self) -> Peer<'_> {
        match self {
            Self::Pod { namespace, name, address } => Peer::Pod { namespace, name, address: *address },
            Self::Ingress | Self::Node(_) => Peer::Node,
            Self::Outside(address) => Peer::Address(address.ip()),
        }
    }

    /// The address that what is asked comes from, where it has one of its own.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Pod { address, .. } => Some(*address),
            Self::Outside(address) => Some(address.ip()),
            Self::Ingress | Self::Node(_) => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod { namespace, name, .. } => write!(f, "pod {namespace}/{name}"),
            Self::Ingress => f.write_str("the ingress"),
            Self::Node(name) => write!(f, "node {name}"),
            Self::Outside(address) => address.fmt(f),
        }
    }
}
