//! Which address a pod gets: a pure function of a snapshot. Nobody keeps a list of free ones.

use std::collections::BTreeSet;
use std::net::IpAddr;

use api::kinds;
use ipnet::{IpNet, Ipv4Net};
use k8s_openapi::api::core::v1::Node;
use state::{Claim, Snapshot};

/// Why no address can be picked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAddress {
    /// The node has not been given a range yet.
    #[error("node \"{0}\" has no pod CIDR yet")]
    NoRange(String),
    /// All are taken.
    #[error("no IP addresses available in range {0}")]
    Exhausted(Ipv4Net),
}

/// The range of addresses of a node's pods.
pub fn range(view: &Snapshot, node: &str) -> Result<Ipv4Net, NoAddress> {
    let none = || NoAddress::NoRange(node.to_owned());
    let object = view.get(&kinds::NODE.cluster_key(node)).ok_or_else(none)?;
    let object = object.decode::<Node>().map_err(|_| none())?;
    let spec = object.spec.as_ref().ok_or_else(none)?;
    let mut cidrs = spec.pod_cidr.iter().chain(spec.pod_cidrs.iter().flatten());
    cidrs.find_map(|cidr| cidr.parse().ok()).ok_or_else(none)
}

/// An address of the range that nobody holds: the one preferred if it is free, else the next after `after`, going round.
/// The first address of a range is the node's own, and is not given.
pub fn pick(
    view: &Snapshot,
    range: Ipv4Net,
    preferred: Option<IpAddr>,
    after: Option<IpAddr>,
    avoid: &BTreeSet<IpAddr>,
) -> Result<IpAddr, NoAddress> {
    let first = u32::from(range.network()).saturating_add(2);
    let last = u32::from(range.broadcast()).saturating_sub(1);
    let is_free = |address: &IpAddr| !avoid.contains(address) && view.holders(&Claim::PodIp(*address)).next().is_none();
    if let Some(preferred) = preferred.filter(|address| IpNet::V4(range).contains(address) && !avoid.contains(address))
    {
        return Ok(preferred);
    }
    let start = match after {
        Some(IpAddr::V4(after)) if (first..last).contains(&u32::from(after)) => u32::from(after) + 1,
        _ => first,
    };
    let round = (start..=last).chain(first..start);
    let free = round.map(|bits| IpAddr::V4(bits.into())).find(is_free);
    free.ok_or(NoAddress::Exhausted(range))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{object, world};

    fn view(taken: &[u8]) -> Snapshot {
        let pods = taken.iter().map(|last| {
            object(&format!(
                r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p{last}","namespace":"n"}},
                    "spec":{{"nodeName":"n1"}},"status":{{"phase":"Running","podIP":"10.42.3.{last}"}}}}"#
            ))
        });
        let node = object(
            r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"},"spec":{"podCIDR":"10.42.3.0/29","podCIDRs":["10.42.3.0/29"]}}"#,
        );
        world(pods.chain([node]))
    }

    fn check(taken: &[u8], after: Option<u8>, expected: &str) {
        let view = view(taken);
        let after = after.map(|last| IpAddr::from([10, 42, 3, last]));
        let picked = range(&view, "n1").and_then(|range| pick(&view, range, None, after, &BTreeSet::new()));
        assert_eq!(picked.map_or_else(|none| none.to_string(), |address| address.to_string()), expected);
    }

    #[test]
    fn the_next_free_address_is_picked_going_round() {
        check(&[], None, "10.42.3.2");
        check(&[2, 3], None, "10.42.3.4");
        check(&[4], Some(3), "10.42.3.5");
        check(&[6], Some(5), "10.42.3.2");
        check(&[2, 3, 4, 5, 6], Some(4), "no IP addresses available in range 10.42.3.0/29");
    }

    #[test]
    fn an_old_address_is_asked_for_again() {
        let view = view(&[2]);
        let old = IpAddr::from([10, 42, 3, 2]);
        let range = range(&view, "n1").expect("a range");
        assert_eq!(pick(&view, range, Some(old), None, &BTreeSet::new()), Ok(old));
        assert_eq!(pick(&view, range, Some(old), None, &[old].into()), Ok(IpAddr::from([10, 42, 3, 3])));
    }

    #[test]
    fn a_node_without_a_range_says_so() {
        let refused = range(&world([]), "n1").map_err(|none| none.to_string());
        assert_eq!(refused, Err("node \"n1\" has no pod CIDR yet".to_owned()));
    }
}
