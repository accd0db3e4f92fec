//! Which address a pod gets on a node: a pure function of a snapshot. Nobody keeps a list of free ones.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use api::kinds;
use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;

use crate::{Claim, Snapshot};

/// Why no address can be picked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAddress {
    /// The node has not been given a range yet.
    #[error("node \"{0}\" has no pod CIDR yet")]
    NoRange(String),
    /// All are taken.
    #[error("no IP addresses available in range {}", told(.0))]
    Exhausted(Vec<Ipv4Net>),
}

/// The ranges of addresses of a node's pods.
pub type Ranges = Vec<Ipv4Net>;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Node {
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(rename = "podCIDR")]
    range: Option<String>,
    #[serde(rename = "podCIDRs")]
    ranges: Option<Vec<String>>,
}

fn told(ranges: &[Ipv4Net]) -> String {
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The ranges of addresses of a node's pods: never none.
pub fn ranges(view: &Snapshot, node: &str) -> Result<Ranges, NoAddress> {
    let none = || NoAddress::NoRange(node.to_owned());
    let object = view.get(&kinds::NODE.cluster_key(node)).ok_or_else(none)?;
    let Node { spec } = object.read().map_err(|_| none())?;
    let mut ranges = Ranges::new();
    for range in spec.range.iter().chain(spec.ranges.iter().flatten()).filter_map(|range| range.parse().ok()) {
        if !ranges.contains(&range) {
            ranges.push(range);
        }
    }
    if ranges.is_empty() { Err(none()) } else { Ok(ranges) }
}

/// An address of the ranges that nobody holds: the one preferred if it is free, else the next after `after`, going round. What is
/// `avoided` is not given. The first address of a range is the node's own, and is not given either.
pub fn pick(
    view: &Snapshot,
    ranges: &[Ipv4Net],
    preferred: Option<IpAddr>,
    after: Option<IpAddr>,
    avoided: impl Fn(&IpAddr) -> bool,
) -> Result<IpAddr, NoAddress> {
    let is_ours = |address: &IpAddr| ranges.iter().any(|range| IpNet::V4(*range).contains(address));
    if let Some(preferred) = preferred.filter(|address| is_ours(address) && !avoided(address)) {
        return Ok(preferred);
    }
    let is_free = |address: &IpAddr| !avoided(address) && view.holders(&Claim::PodIp(*address)).next().is_none();
    let after = match after {
        Some(IpAddr::V4(after)) => u32::from(after),
        _ => 0,
    };
    let at = ranges.iter().position(|range| hosts(range).contains(&after)).unwrap_or(0);
    let rest =
        ranges[at..].iter().flat_map(hosts).skip_while(|bits| hosts(&ranges[at]).contains(&after) && *bits <= after);
    let round = rest.chain(ranges[..=at].iter().flat_map(hosts));
    let free = round.map(|bits| IpAddr::V4(bits.into())).find(is_free);
    free.ok_or_else(|| NoAddress::Exhausted(ranges.to_vec()))
}

/// The greatest address of the ranges that somebody holds, in their order: where the next is looked for by whoever does not know which
/// was given last.
pub fn last_held(view: &Snapshot, ranges: &[Ipv4Net]) -> Option<IpAddr> {
    let ends = |range: &Ipv4Net| (IpAddr::V4(range.network()), IpAddr::V4(range.broadcast()));
    ranges.iter().rev().map(ends).find_map(|(first, last)| view.last_pod_address(first, last))
}

/// What pods may have of a range.
fn hosts(range: &Ipv4Net) -> RangeInclusive<u32> {
    u32::from(range.network()).saturating_add(2)..=u32::from(range.broadcast()).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use api::{Object, Revision};
    use serde_json::Value;

    use super::*;

    fn object(text: &str) -> Object {
        let value: Value = serde_json::from_str(text).expect("JSON");
        let kind = if value["kind"] == "Node" { kinds::NODE } else { kinds::POD };
        Object::from_tree(kind, value).expect("an object")
    }

    fn world(objects: impl IntoIterator<Item = Object>) -> Snapshot {
        Snapshot::load(Revision(1), objects)
    }

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
        let picked = ranges(&view, "n1").and_then(|ranges| pick(&view, &ranges, None, after, |_| false));
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
    fn a_further_range_is_used_as_the_first_is() {
        let ranges = ["10.42.3.0/29", "10.42.9.0/29"].map(|range| range.parse().expect("a range"));
        let check = |taken: &[u8], after: [u8; 2], expect: [u8; 2]| {
            let of = |[third, last]: [u8; 2]| IpAddr::from([10, 42, third, last]);
            let picked = pick(&view(taken), &ranges, None, Some(of(after)), |_| false);
            assert_eq!(picked, Ok(of(expect)), "after {after:?}");
        };
        check(&[2, 3, 4, 5], [3, 5], [3, 6]);
        check(&[2, 3, 4, 5, 6], [3, 6], [9, 2]);
        check(&[2, 3, 4, 5, 6], [9, 2], [9, 3]);
        check(&[2, 4], [9, 6], [3, 3]);
    }

    #[test]
    fn an_old_address_is_asked_for_again() {
        let view = view(&[2]);
        let old = IpAddr::from([10, 42, 3, 2]);
        let ranges = ranges(&view, "n1").expect("a range");
        assert_eq!(pick(&view, &ranges, Some(old), None, |_| false), Ok(old));
        assert_eq!(pick(&view, &ranges, Some(old), None, |one| *one == old), Ok(IpAddr::from([10, 42, 3, 3])));
    }

    #[test]
    fn the_last_that_is_held_is_found_in_the_order_of_the_ranges() {
        let ranges = ["10.42.9.0/29", "10.42.3.0/29"].map(|range| range.parse().expect("a range"));
        assert_eq!(last_held(&view(&[2, 5, 3]), &ranges), Some(IpAddr::from([10, 42, 3, 5])));
        assert_eq!(last_held(&view(&[2]), &ranges[..1]), None);
    }

    #[test]
    fn a_node_without_a_range_says_so() {
        let refused = ranges(&world([]), "n1").map_err(|none| none.to_string());
        assert_eq!(refused, Err("node \"n1\" has no pod CIDR yet".to_owned()));
    }
}
