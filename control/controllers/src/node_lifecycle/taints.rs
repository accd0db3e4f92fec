//! The taints that follow from a node's state: they keep new pods away, and in time send the old ones off.

use k8s_openapi::api::core::v1::{Node, Taint};

use super::outage::Eviction;
use super::{NOT_READY, UNREACHABLE, health};
use crate::Look;

const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// The node's pressures, with the taints that say so.
const PRESSURES: [(&str, &str); 3] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
];

/// Puts the taints on that the node's state calls for and takes off those it does not; foreign taints stay.
pub(super) fn update(node: &mut Node, eviction: Eviction, look: Look<'_>) {
    let wanted = wanted(node, eviction);
    if wanted.is_empty() && node.spec.as_ref().is_none_or(|spec| spec.taints.is_none()) {
        return;
    }
    let ours = |taint: &Taint| {
        let of_pressure = PRESSURES.iter().any(|(_, key)| taint.key == *key);
        of_pressure || [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&taint.key.as_str())
    };
    let is_wanted = |taint: &Taint| wanted.iter().any(|(key, effect)| taint.key == *key && taint.effect == *effect);
    let spec = node.spec.get_or_insert_default();
    let mut taints = spec.taints.take().unwrap_or_default();
    taints.retain(|taint| !ours(taint) || is_wanted(taint));
    for (key, effect) in wanted {
        if !taints.iter().any(|taint| taint.key == key && taint.effect == effect) {
            taints.push(Taint { key: key.into(), effect: effect.into(), time_added: Some(look.time()), value: None });
        }
    }
    spec.taints = Some(taints).filter(|taints| !taints.is_empty());
}

fn wanted(node: &Node, eviction: Eviction) -> Vec<(&'static str, &'static str)> {
    let mut wanted = Vec::new();
    let mut lost = |key| {
        wanted.push((key, "NoSchedule"));
        let is_told = |taint: &Taint| taint.key == key && taint.effect == "NoExecute";
        let was_told = || node.spec.as_ref().is_some_and(|spec| spec.taints.iter().flatten().any(is_told));
        if eviction == Eviction::Goes || eviction == Eviction::Pauses && was_told() {
            wanted.push((key, "NoExecute"));
        }
    };
    match health::ready(node).map(|ready| ready.status.as_str()) {
        Some("True") => {}
        Some("Unknown") => lost(UNREACHABLE),
        Some(_) => lost(NOT_READY),
        None => wanted.push((NOT_READY, "NoSchedule")),
    }
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    for condition in conditions.filter(|condition| condition.status == "True") {
        wanted.extend(
            PRESSURES.iter().filter(|(kind, _)| condition.type_ == *kind).map(|(_, taint)| (*taint, "NoSchedule")),
        );
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    wanted
}
