//! Every node has a range of pod addresses of its own.
//!
//! All nodes are one key, because two nodes seen to side by side would be given the same range.

use std::collections::BTreeSet;

use api::{GroupKind, Key, Object, kinds};
use k8s_openapi::api::core::v1::Node;
use state::{Event, Snapshot, Txn};

use crate::edit::replaced;
use crate::record::{Tale, Tone, told};
use crate::{Controller, Look, Plan};

/// `10.42.0.0/16` in ranges of 256 addresses.
const RANGES: usize = 256;

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
        let lacks = |node: &Object| node.key().kind() == kinds::NODE && range(node).is_none();
        let gone = event.key().kind() == kinds::NODE && event.after().is_none();
        if gone || event.after().is_some_and(lacks) { vec![address_plan()] } else { Vec::new() }
    }

    fn reconcile(&self, _key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let taken: BTreeSet<String> = view.list(kinds::NODE).filter_map(range).collect();
        let mut free = (0..RANGES).map(|n| format!("10.42.{n}.0/24")).filter(|range| !taken.contains(range));
        let lacking = view.list(kinds::NODE).filter(|node| range(node).is_none());
        lacking.map(|node| free.next().map_or_else(|| refuse(node, view, look), |range| give(node, &range))).collect()
    }
}

fn range(node: &Object) -> Option<String> {
    let node = node.decode::<Node>().ok()?;
    node.spec.as_ref()?.pod_cidr.clone().filter(|range| !range.is_empty())
}

fn give(node: &Object, range: &str) -> Txn {
    replaced::<Node>(node, |node| {
        let spec = node.spec.get_or_insert_default();
        spec.pod_cidr = Some(range.into());
        spec.pod_cidrs = Some(vec![range.into()]);
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
