//! The conditions by which a node tells how it is, and what is said for one that tells nothing.

use k8s_openapi::api::core::v1::{Node, NodeCondition};

use crate::Look;
use crate::conditions::{Says, node_says};

/// What only the node itself can know.
const TOLD_BY_THE_NODE: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// The node's own word on whether it is ready.
pub(super) fn ready(node: &Node) -> Option<&NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == "Ready")
}

/// Whether it says it is ready.
pub(super) fn is_ready(node: &Node) -> bool {
    ready(node).is_some_and(|ready| ready.status == "True")
}

/// Nothing the node said holds any longer.
pub(super) fn give_up(node: &mut Node, look: Look<'_>) {
    let conditions = &mut node.status.get_or_insert_default().conditions;
    for kind in TOLD_BY_THE_NODE {
        let known = conditions.iter().flatten().find(|condition| condition.type_ == kind);
        let (reason, message) = match known {
            Some(known) if known.status == "Unknown" => continue,
            Some(_) => ("NodeStatusUnknown", "Node stopped posting node status."),
            None => ("NodeStatusNeverUpdated", "Node never posted node status."),
        };
        node_says(conditions, Says { kind, status: "Unknown", reason, message }, &look.time());
    }
}
