//! Every node has ranges of pod addresses of its own: as many as it takes for the pods that it says it can have.
//!
//! All nodes are one key, because two nodes seen to side by side would be given the same range. What a node has it keeps.

use std::collections::BTreeSet;

use api::{GroupKind, Key, Object, kinds};
use k8s_openapi::api::core::v1::Node;
use state::{Event, Snapshot, Txn};

use crate::edit::replaced;
use crate::record::{Tale, Tone, told};
use crate::{Controller, Look, Plan};

/// `10.42.0.0/16` in ranges of 256 addresses.
const RANGES: usize = 256;
/// What pods may have of a range: all but its name, the node's own address, and that of everybody.
const PODS_PER_RANGE: usize = 253;

/// The controller that gives ranges to nodes.
pub(crate) struct PodCidrs;

fn address_plan() -> Key {
    GroupKind::new("coracle", "PodCidrs").cluster_key("nodes")
}

// === impl PodCidrs ===

impl Controller for PodCidrs {
    fn name(&self) -> &'static str {
        "pod-cidr"
    }

    fn affected(&self, event: &Event, _view: &Snapshot) -> Vec<Key> {
        let is_short = |node: &Object| node.key().kind() == kinds::NODE && lacks(node) > 0;
        let gone = event.key().kind() == kinds::NODE && event.after().is_none();
        if gone || event.after().is_some_and(is_short) { vec![address_plan()] } else { Vec::new() }
    }

    fn reconcile(&self, _key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let taken: BTreeSet<String> = view.list(kinds::NODE).flat_map(ranges).collect();
        let mut free = (0..RANGES).map(|n| format!("10.42.{n}.0/24")).filter(|range| !taken.contains(range));
        let short: Vec<&Object> = view.list(kinds::NODE).filter(|node| lacks(node) > 0).collect();
        let mut given: Vec<Vec<String>> = vec![Vec::new(); short.len()];
        // Everybody's first range comes before anybody's second.
        for (_, given) in short.iter().zip(&mut given).filter(|(node, _)| ranges(node).is_empty()) {
            given.extend(free.next());
        }
        for (node, given) in short.iter().zip(&mut given) {
            let more = lacks(node) - given.len();
            given.extend(free.by_ref().take(more));
        }
        let plans = short.into_iter().zip(given).map(|(node, given)| {
            let told = if given.len() < lacks(node) { refuse(node, view, look) } else { Txn::default() };
            if given.is_empty() { told } else { give(node, &given).and(told) }
        });
        plans.collect()
    }
}

fn ranges(node: &Object) -> Vec<String> {
    let Ok(node) = node.decode::<Node>() else { return Vec::new() };
    let Some(spec) = &node.spec else { return Vec::new() };
    let mut ranges = spec.pod_cidrs.clone().unwrap_or_default();
    ranges.extend(spec.pod_cidr.clone().filter(|one| !ranges.contains(one)));
    ranges.retain(|range| !range.is_empty());
    ranges
}

/// How many ranges more the node needs. One that has not said yet how many pods it can have needs one.
fn lacks(node: &Object) -> usize {
    let pods = node.decode::<Node>().ok().and_then(|node| {
        let pods = node.status.as_ref()?.capacity.as_ref()?.get("pods")?;
        usize::try_from(api::quantity::Quantity::of(pods).value()).ok()
    });
    let wanted = pods.unwrap_or(1).div_ceil(PODS_PER_RANGE).clamp(1, RANGES);
    wanted.saturating_sub(ranges(node).len())
}

fn give(node: &Object, more: &[String]) -> Txn {
    let all = [ranges(node), more.to_vec()].concat();
    replaced::<Node>(node, |node| {
        let spec = node.spec.get_or_insert_default();
        spec.pod_cidr = all.first().cloned();
        spec.pod_cidrs = Some(all.clone());
    })
}

fn refuse(node: &Object, view: &Snapshot, look: Look<'_>) -> Txn {
    let known = view.list_in(kinds::EVENT, "default").any(|event| {
        event.decode::<k8s_openapi::api::core::v1::Event>().is_ok_and(|event| {
            event.reason.as_deref() == Some("CIDRNotAvailable")
                && event.involved_object.uid.as_deref() == Some(&node.meta().uid)
        })
    });
    let message = format!("Node {} status is now: CIDRNotAvailable", node.key().name());
    let tale = Tale { by: "cidr-allocator", tone: Tone::Warning, reason: "CIDRNotAvailable", message: &message };
    if known { Txn::default() } else { told(view, look, node, &tale) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::notation::noon;

    /// A node that can have so many pods and has these ranges.
    fn node(name: &str, pods: Option<u32>, ranges: &[&str]) -> Object {
        let mut value = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name}, "spec": {}, "status": {}});
        if let Some(first) = ranges.first() {
            value["spec"] = json!({"podCIDR": first, "podCIDRs": ranges});
        }
        if let Some(pods) = pods {
            value["status"]["capacity"] = json!({"pods": pods.to_string()});
        }
        Object::from_value(kinds::NODE, &value).expect("a node")
    }

    fn check(nodes: &[Object], expect: &[(&str, usize, &str)]) {
        let home = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default", "uid": "default"}});
        let home = Object::from_value(kinds::NAMESPACE, &home).expect("a namespace");
        let made = nodes.iter().cloned().fold(Txn::create(home), Txn::put);
        let (view, _) = Snapshot::default().apply(&made).expect("an empty world");
        let plan = PodCidrs.reconcile(&address_plan(), &view, Look::new(noon(), 1));
        let after = plan.txns.iter().fold(view, |view, txn| view.apply(txn).expect("applies").0);
        for (name, count, last) in expect {
            let ranges = ranges(after.get(&kinds::NODE.cluster_key(name)).expect("a node"));
            assert_eq!((ranges.len(), ranges.last().map_or("", String::as_str)), (*count, *last), "{name}");
        }
        assert!(after.list(kinds::NODE).all(|node| lacks(node) == 0) || after.list(kinds::EVENT).next().is_some());
    }

    #[test]
    fn a_node_has_addresses_for_all_its_pods() {
        check(&[node("a", None, &[])], &[("a", 1, "10.42.0.0/24")]);
        check(&[node("a", Some(250), &[])], &[("a", 1, "10.42.0.0/24")]);
        check(
            &[node("a", Some(253), &[]), node("b", Some(254), &[])],
            &[("a", 1, "10.42.0.0/24"), ("b", 2, "10.42.2.0/24")],
        );
        let begun = [node("a", Some(1_000), &["10.42.1.0/24"]), node("b", Some(1), &[])];
        check(&begun, &[("a", 4, "10.42.4.0/24"), ("b", 1, "10.42.0.0/24")]);
        check(&[node("a", Some(1), &["10.42.1.0/24", "10.42.2.0/24"])], &[("a", 2, "10.42.2.0/24")]);
    }

    #[test]
    fn whoever_wants_more_than_there_is_gets_what_there_is() {
        check(
            &[node("a", Some(1_000_000), &[]), node("b", Some(10), &[])],
            &[("a", 255, "10.42.255.0/24"), ("b", 1, "10.42.1.0/24")],
        );
        check(&[node("a", Some(1_000_000), &["10.42.0.0/24"]), node("b", Some(10), &[])], &[("b", 1, "10.42.1.0/24")]);
    }
}
