//! The names of pods: made when they are asked for.
//!
//! A pod's two names, forwards and backwards, follow from its address and its namespace. So nothing is kept of ten thousand pods but
//! these, and what has changed of them since the last zone is all that the next one costs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use api::{Object, kinds};
use hickory_proto::rr::rdata::PTR;
use hickory_proto::rr::{LowerName, Name, RData, Record};
use imbl::OrdMap;
use ipnet::IpNet;
use serde::Deserialize;
use state::Snapshot;

use super::TTL;
use super::build::{address_data, below, dashed};

/// Who has pods at which address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pods {
    /// How many pods there are of an address and a namespace: those on the network of a node share its address.
    count: OrdMap<(IpAddr, Arc<str>), u32>,
}

/// The names that pods have in a zone.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodNames {
    pub(super) pods: Pods,
    /// None: pods have no names here.
    pub(super) domain: Option<Name>,
    /// Whose addresses have names.
    pub(super) networks: Arc<[IpNet]>,
}

/// What there is at a name.
#[derive(Debug, PartialEq)]
pub(crate) enum Made {
    /// A record.
    Record(Box<Record>),
    /// Nothing, but something below it.
    Above,
}

// === impl Pods ===

impl Pods {
    /// The pods of a world.
    pub(crate) fn of(world: &Snapshot) -> Self {
        let mut pods = Self::default();
        pods.follow(&Snapshot::default(), world);
        pods
    }

    /// Learns what has become of the pods since an earlier world, of which this knows.
    pub(crate) fn follow(&mut self, earlier: &Snapshot, now: &Snapshot) {
        for (before, after) in now.changes(earlier, kinds::POD) {
            let (old, new) = (before.map(addresses).unwrap_or_default(), after.map(addresses).unwrap_or_default());
            let Some(namespace) = before.or(after).map(|pod| pod.key().place().0).filter(|_| old != new) else {
                continue;
            };
            for address in old.difference(&new) {
                let place = (*address, namespace.clone());
                match self.count.get(&place) {
                    Some(more @ 2..) => drop(self.count.insert(place, more - 1)),
                    _ => drop(self.count.remove(&place)),
                }
            }
            for address in new.difference(&old) {
                *self.count.entry((*address, namespace.clone())).or_default() += 1;
            }
        }
    }

    fn has(&self, address: IpAddr, namespace: &str) -> bool {
        self.count.contains_key(&(address, namespace.into()))
    }

    /// The first namespace that has a pod from one address to another.
    fn first(&self, from: IpAddr, to: IpAddr) -> Option<&str> {
        let ((address, namespace), _) = self.count.range((from, Arc::from(""))..).next()?;
        (*address <= to).then_some(namespace)
    }
}

/// The addresses of a pod that has not ended.
fn addresses(pod: &Object) -> BTreeSet<IpAddr> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Pod {
        status: Status,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Status {
        phase: Option<String>,
        #[serde(rename = "podIP")]
        address: Option<String>,
        #[serde(rename = "podIPs")]
        addresses: Option<Vec<Told>>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Told {
        ip: String,
    }
    let Pod { status } = pod.read().unwrap_or_default();
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return BTreeSet::new();
    }
    let all = status.addresses.into_iter().flatten().map(|told| told.ip).chain(status.address);
    all.filter_map(|address| address.parse().ok()).collect()
}

// === impl PodNames ===

impl PodNames {
    /// What pods have at a name, if they have anything.
    pub(super) fn at(&self, name: &LowerName) -> Option<Made> {
        let domain = self.domain.as_ref()?;
        let name = Name::from(name);
        let record = |data| Made::Record(Box::new(Record::from_rdata(name.clone(), TTL, data)));
        if let Some(address) = self.forwards(domain, &name) {
            return Some(record(address_data(address)));
        }
        let (from, to) = reversed(&name)?;
        let is_named = |network: &IpNet| network.contains(&from) && network.contains(&to);
        let namespace = self.pods.first(from, to).filter(|_| self.networks.iter().any(is_named))?;
        if from != to {
            return Some(Made::Above);
        }
        Some(record(RData::PTR(PTR(below(domain, &[&dashed(from), namespace, "pod"])?))))
    }

    /// The address of the pods that are called so: `10-42-0-5.shop.pod` in the domain.
    fn forwards(&self, domain: &Name, name: &Name) -> Option<IpAddr> {
        if !domain.zone_of(name) || name.num_labels() != domain.num_labels() + 3 {
            return None;
        }
        let mut labels = name.iter().map(|label| std::str::from_utf8(label).unwrap_or_default());
        let (address, namespace) = (labels.next()?, labels.next()?);
        let parsed: IpAddr = match address.replace('-', ".").parse() {
            Ok(v4) => IpAddr::V4(v4),
            Err(_) => IpAddr::V6(address.replace('-', ":").parse().ok()?),
        };
        // An address has one name, however else it might be written.
        let is_one = labels.next() == Some("pod") && dashed(parsed) == address && self.pods.has(parsed, namespace);
        is_one.then_some(parsed)
    }
}

/// The first and the last address below a name backwards: of a whole one they are the same.
fn reversed(name: &Name) -> Option<(IpAddr, IpAddr)> {
    let network = name.parse_arpa_name().ok()?;
    let (from, to) = (network.network(), network.broadcast());
    // An address has one name, however else its numbers might be written.
    (from != to || Name::from(from) == *name).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use state::Txn;

    use super::*;
    use crate::world::world;

    #[derive(Clone, Debug)]
    struct Step {
        name: u8,
        address: u8,
        goes: bool,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = (0..6_u8, 0..4_u8, any::<bool>()).prop_map(|(name, address, goes)| Step { name, address, goes });
        prop::collection::vec(step, 0..40)
    }

    proptest! {
        #[test]
        fn whoever_follows_knows_what_whoever_comes_new_finds(steps in steps()) {
            let (mut now, mut pods) = (Snapshot::default(), Pods::default());
            for Step { name, address, goes } in steps {
                let earlier = now.clone();
                let namespace = if name % 2 == 0 { "a" } else { "b" };
                let txn = if goes {
                    Txn::default().remove(kinds::POD.key(namespace, &format!("p{name}")))
                } else {
                    let text = format!("pod/{namespace}/p{name} 10.42.0.{address}");
                    let pod = world(&text).objects().next().expect("a pod").clone();
                    Txn::default().put(pod)
                };
                now = now.apply(&txn).expect("no guards").0;
                pods.follow(&earlier, &now);
                prop_assert_eq!(&pods.count, &Pods::of(&now).count);
            }
        }
    }

    #[test]
    fn a_name_backwards_is_a_range_of_addresses() {
        let check = |name: &str, expected: Option<(&str, &str)>| {
            let found = reversed(&Name::from_ascii(name).expect("a name"));
            let expected =
                expected.map(|(from, to)| (from.parse().expect("an address"), to.parse().expect("an address")));
            assert_eq!(found, expected, "{name}");
        };
        check("2.0.42.10.in-addr.arpa.", Some(("10.42.0.2", "10.42.0.2")));
        check("42.10.in-addr.arpa.", Some(("10.42.0.0", "10.42.255.255")));
        check("02.0.42.10.in-addr.arpa.", None);
        check("1.2.0.42.10.in-addr.arpa.", None);
        check("web.default.svc.cluster.local.", None);
    }
}
