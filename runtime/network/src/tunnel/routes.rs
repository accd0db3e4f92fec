//! Which node has which pods, and where it is dialled: a pure function of the nodes of a snapshot.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::{GroupKind, kinds};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use state::Snapshot;
use tokio::sync::watch;

use crate::{Latest, Origin, published};

/// Where a node that says so is dialled, as `address:port`, in place of its first internal address and its kubelet's port.
pub const ANNOTATION: &str = "coracle.dev/tunnel";

/// What the table is made of.
const SOURCES: &[GroupKind] = &[kinds::NODE];

/// Every node that has pods.
#[derive(Debug, Default)]
pub struct Routes {
    /// By the first address of each range; ranges do not overlap.
    by_range: BTreeMap<IpAddr, (IpNet, Arc<Peer>)>,
    by_name: HashMap<Arc<str>, Arc<Peer>>,
}

/// A node as others see it.
#[derive(Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: Arc<str>,
    /// The addresses of its pods.
    pub ranges: Vec<IpNet>,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// Where it is dialled; none where it cannot be.
    pub dial: Option<SocketAddr>,
}

/// Keeps the routes up to date with the snapshots.
pub fn routes(view: watch::Receiver<Snapshot>) -> Latest<Routes> {
    published(view, SOURCES, |view| Routes::from(view))
}

// === impl Routes ===

impl Routes {
    /// The node on which a pod of this address would be.
    pub fn node_of(&self, address: IpAddr) -> Option<&Arc<Peer>> {
        let (_, (range, peer)) = self.by_range.range(..=address).next_back()?;
        range.contains(&address).then_some(peer)
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&Arc<Peer>> {
        self.by_name.get(name)
    }

    /// Whether `node` is believed that this one asks.
    pub fn believes(&self, node: &str, origin: &Origin) -> bool {
        // A certificate outlives its node; who is no longer of the cluster is believed nothing.
        let is_known = self.by_name.contains_key(node);
        is_known
            && match origin {
                Origin::Pod { address, .. } => self.is_of(node, *address),
                Origin::Ingress => true,
                Origin::Node(name) => **name == *node,
                Origin::Outside(address) => self.node_of(address.ip()).is_none(),
            }
    }

    /// Whether `node` is believed that a datagram comes from this address.
    pub fn believes_from(&self, node: &str, origin: &Origin, from: IpAddr) -> bool {
        self.believes(node, origin) && (self.is_of(node, from) || origin.address() == Some(from))
    }

    /// Whether an address is one of the node's pods, or its own.
    fn is_of(&self, node: &str, address: IpAddr) -> bool {
        match self.node_of(address) {
            Some(peer) => *peer.name == *node,
            None => self.node(node).is_some_and(|peer| peer.addresses.contains(&address)),
        }
    }
}

impl From<&Snapshot> for Routes {
    fn from(view: &Snapshot) -> Self {
        let mut routes = Self::default();
        for object in view.list(kinds::NODE) {
            let Ok(node) = object.decode::<Node>() else {
                tracing::warn!(node = object.key().name(), "a node that cannot be read has no route");
                continue;
            };
            let peer = Arc::new(Peer::of(object.key().name(), &node));
            for range in &peer.ranges {
                routes.by_range.entry(range.network()).or_insert_with(|| (*range, peer.clone()));
            }
            routes.by_name.insert(peer.name.clone(), peer);
        }
        routes
    }
}

// === impl Peer ===

impl Peer {
    fn of(name: &str, node: &Node) -> Self {
        let spec = node.spec.as_ref();
        let many = spec.and_then(|spec| spec.pod_cidrs.as_deref()).unwrap_or_default();
        let one = spec.and_then(|spec| spec.pod_cidr.as_ref());
        let mut ranges: Vec<IpNet> = many.iter().chain(one).filter_map(|range| range.parse().ok()).collect();
        ranges.sort_unstable();
        ranges.dedup();
        let status = node.status.as_ref();
        let addresses: Vec<IpAddr> = status
            .and_then(|status| status.addresses.as_deref())
            .unwrap_or_default()
            .iter()
            .filter(|address| address.type_ == "InternalIP")
            .filter_map(|address| address.address.parse().ok())
            .collect();
        let annotated = node.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION));
        let port = status.and_then(|status| status.daemon_endpoints.as_ref()?.kubelet_endpoint.as_ref());
        let port = port.and_then(|endpoint| u16::try_from(endpoint.port).ok()).filter(|port| *port != 0);
        let dial = match annotated {
            Some(text) => text.parse().ok(),
            None => addresses.first().zip(port).map(|(address, port)| SocketAddr::new(*address, port)),
        };
        Self { name: name.into(), ranges, addresses, dial }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use api::{Object, Revision};
    use serde_json::json;

    use super::*;

    /// `name range,range address,address port [annotation]`, a line for each node; `-` for none.
    pub(in crate::tunnel) fn view(text: &str) -> Snapshot {
        let nodes = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let list = |word: &str| word.split(',').filter(|part| *part != "-").map(String::from).collect::<Vec<_>>();
            let addresses: Vec<_> =
                list(words[2]).iter().map(|address| json!({"type": "InternalIP", "address": address})).collect();
            let mut node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": words[0]},
                "spec": {"podCIDRs": list(words[1]), "podCIDR": list(words[1]).first()},
                "status": {"addresses": addresses,
                    "daemonEndpoints": {"kubeletEndpoint": {"Port": words[3].parse::<u16>().unwrap_or(0)}}}});
            if let Some(annotation) = words.get(4) {
                node["metadata"]["annotations"] = json!({ANNOTATION: annotation});
            }
            Object::from_value(kinds::NODE, &node).expect("a node")
        });
        Snapshot::load(Revision(1), nodes)
    }

    const THREE: &str = "
        a 10.42.0.0/24          192.0.2.1 6443
        b 10.42.1.0/24,fd00::/64 192.0.2.2 -
        c 10.42.2.0/24          192.0.2.3 6443 127.0.0.3:7000
        d -                     192.0.2.4 6443
    ";

    fn check(address: &str, expected: &str) {
        let routes = Routes::from(&view(THREE));
        let told = match routes.node_of(address.parse().expect("an address")) {
            None => "nowhere".to_owned(),
            Some(peer) => match peer.dial {
                None => format!("{} by relay", peer.name),
                Some(dial) => format!("{} at {dial}", peer.name),
            },
        };
        assert_eq!(told, expected, "{address}");
    }

    #[test]
    fn a_pod_is_on_the_node_whose_range_has_its_address() {
        check("10.42.0.0", "a at 192.0.2.1:6443");
        check("10.42.0.255", "a at 192.0.2.1:6443");
        check("10.42.1.7", "b by relay");
        check("fd00::7", "b by relay");
        check("10.42.2.1", "c at 127.0.0.3:7000");
        check("10.42.3.1", "nowhere");
        check("10.41.255.255", "nowhere");
        check("192.0.2.4", "nowhere");
        check("fd01::", "nowhere");
    }

    #[test]
    fn a_node_is_believed_what_it_says_of_its_own() {
        let routes = Routes::from(&view(THREE));
        let pod = |address: &str| Origin::pod("shop", "web", address.parse().expect("an address"));
        let outside = |address: &str| Origin::Outside(address.parse().expect("an address"));
        assert!(routes.believes("a", &pod("10.42.0.9")));
        assert!(routes.believes("a", &pod("192.0.2.1")), "a pod on the host's network");
        assert!(!routes.believes("a", &pod("10.42.1.9")), "another node's pod");
        assert!(!routes.believes("a", &pod("192.0.2.2")), "another node");
        assert!(!routes.believes("x", &pod("10.42.0.9")), "a node nobody knows");
        assert!(!routes.believes("x", &Origin::Ingress), "nor their edge");
        assert!(routes.believes("a", &Origin::Node("a".into())));
        assert!(!routes.believes("a", &Origin::Node("b".into())));
        assert!(routes.believes("a", &outside("198.51.100.1:40000")));
        assert!(!routes.believes("a", &outside("10.42.0.9:40000")), "a pod is not outside");
        let own = "10.42.0.1".parse().expect("an address");
        let other = "10.42.1.1".parse().expect("an address");
        assert!(routes.believes_from("a", &outside("198.51.100.1:40000"), own));
        assert!(!routes.believes_from("a", &outside("198.51.100.1:40000"), other));
    }
}
