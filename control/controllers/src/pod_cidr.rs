//! Every node has ranges of pod addresses of its own: as many as it takes for the pods that it says it can have.
//!
//! All nodes are one key, because two nodes seen to side by side would be given the same range. What a node has it keeps.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use api::{GroupKind, Key, Object, kinds};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::{self, Node};
use state::{Event, Snapshot, Txn};

use crate::edit::replaced;
use crate::record::{Tale, Tone, told};
use crate::{Config, Controller, Look, Plan};

/// The prefix of a range: it has 256 addresses.
const RANGE_PREFIX: u8 = 24;
/// What pods may have of a range: all but its name, the node's own address, and that of everybody.
const PODS_PER_RANGE: usize = 253;

/// The controller that gives ranges to nodes.
pub(crate) struct PodCidrs {
    network: Ipv4Net,
}

fn address_plan() -> Key {
    GroupKind::new("coracle", "PodCidrs").cluster_key("nodes")
}

// === impl PodCidrs ===

impl PodCidrs {
    /// Gives what is of the configuration's network.
    pub(crate) fn new(config: &Config) -> Self {
        Self { network: config.pod_network }
    }

    /// How many ranges there are for all nodes together.
    fn ranges(&self) -> usize {
        1 << RANGE_PREFIX.saturating_sub(self.network.prefix_len())
    }

    /// How many ranges more the node needs. One that has not said yet how many pods it can have needs one.
    fn lacks(&self, node: &Object) -> usize {
        let pods = node.decode::<Node>().ok().and_then(|node| {
            let pods = node.status.as_ref()?.capacity.as_ref()?.get("pods")?;
            usize::try_from(api::quantity::Quantity::of(pods).value()).ok()
        });
        let wanted = pods.unwrap_or(1).div_ceil(PODS_PER_RANGE).clamp(1, self.ranges());
        wanted.saturating_sub(ranges(node).len())
    }
}

impl Controller for PodCidrs {
    fn name(&self) -> &'static str {
        "pod-cidr"
    }

    fn affected(&self, event: &Event, _view: &Snapshot) -> Vec<Key> {
        let is_short = |node: &Object| node.key().kind() == kinds::NODE && self.lacks(node) > 0;
        let gone = event.key().kind() == kinds::NODE && event.after().is_none();
        if gone || event.after().is_some_and(is_short) { vec![address_plan()] } else { Vec::new() }
    }

    fn reconcile(&self, _key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let taken: BTreeSet<String> = view.list(kinds::NODE).flat_map(ranges).collect();
        let all = self.network.subnets(RANGE_PREFIX).into_iter().flatten();
        let mut free = all.map(|range| range.to_string()).filter(|range| !taken.contains(range));
        let lacking = view.list(kinds::NODE).map(|node| (node, self.lacks(node)));
        let short: Vec<(&Object, usize)> = lacking.filter(|(_, lacks)| *lacks > 0).collect();
        let mut given: Vec<Vec<String>> = vec![Vec::new(); short.len()];
        // Everybody's first range comes before anybody's second.
        for ((node, _), given) in short.iter().zip(&mut given) {
            if ranges(node).is_empty() {
                given.extend(free.next());
            }
        }
        for ((_, lacks), given) in short.iter().zip(&mut given) {
            let more = lacks - given.len();
            given.extend(free.by_ref().take(more));
        }
        let refused = OnceCell::new();
        let plans = short.into_iter().zip(given).map(|((node, lacks), given)| {
            let is_told = || refused.get_or_init(|| told_already(view)).contains(&node.meta().uid);
            let told = if given.len() < lacks && !is_told() { refuse(node, view, look) } else { Txn::default() };
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

fn give(node: &Object, more: &[String]) -> Txn {
    let all = [ranges(node), more.to_vec()].concat();
    replaced::<Node>(node, |node| {
        let spec = node.spec.get_or_insert_default();
        spec.pod_cidr = all.first().cloned();
        spec.pod_cidrs = Some(all.clone());
    })
}

fn refuse(node: &Object, view: &Snapshot, look: Look<'_>) -> Txn {
    let message = format!("Node {} status is now: {REFUSED}", node.key().name());
    told(view, look, node, &Tale { by: "cidr-allocator", tone: Tone::Warning, reason: REFUSED, message: &message })
}

/// Why a node is given none.
const REFUSED: &str = "CIDRNotAvailable";

/// The uids of the nodes of which it is told that there is nothing left for them.
fn told_already(view: &Snapshot) -> HashSet<Arc<str>> {
    let events = view.list_in(kinds::EVENT, "default").filter_map(|event| event.decode::<v1::Event>().ok());
    let refusals = events.filter(|event| event.reason.as_deref() == Some(REFUSED));
    refusals.filter_map(|event| Some(event.involved_object.uid.as_deref()?.into())).collect()
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
        let cidrs = PodCidrs::new(&Config::starting(noon()));
        let plan = cidrs.reconcile(&address_plan(), &view, Look::new(noon(), 1));
        let after = plan.txns.iter().fold(view, |view, txn| view.apply(txn).expect("applies").0);
        for (name, count, last) in expect {
            let ranges = ranges(after.get(&kinds::NODE.cluster_key(name)).expect("a node"));
            assert_eq!((ranges.len(), ranges.last().map_or("", String::as_str)), (*count, *last), "{name}");
        }
        assert!(
            after.list(kinds::NODE).all(|node| cidrs.lacks(node) == 0) || after.list(kinds::EVENT).next().is_some()
        );
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
