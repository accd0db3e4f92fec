//! Whether a node can take a pod at all.
//!
//! The rules are asked in Kubernetes' order and the first that says no speaks for the node; only resources name everything
//! that is short.

use std::collections::BTreeMap;

use api::Key;
use k8s_openapi::api::core::v1::Taint;

use crate::neighbours::Neighbours;
use crate::node::Node;
use crate::spreading::Spreading;
use crate::{Demand, NodeName, Reason, affinity, tolerates};

/// What of the world beside the node decides, where it does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Around {
    pub(crate) neighbours: Option<Neighbours>,
    pub(crate) spreading: Option<Spreading>,
}

// === impl Around ===

impl Around {
    /// Whether the node can take the pod.
    pub(crate) fn is_free(&self, node: &Node, demand: &Demand, claimed: &BTreeMap<Key, NodeName>) -> bool {
        obstacles(node, demand, self, claimed).is_empty()
    }
}

/// Every reason why `node` cannot take the pod; none if it can. `claimed` are claims for one pod that another was given just now.
pub(crate) fn obstacles(
    node: &Node,
    demand: &Demand,
    around: &Around,
    claimed: &BTreeMap<Key, NodeName>,
) -> Vec<Reason> {
    if node.is_cordoned() && !tolerates(&demand.tolerations, &cordon()) {
        return vec![Reason::Cordoned];
    }
    if demand.node_name.as_deref().is_some_and(|wanted| wanted != node.name.as_str()) {
        return vec![Reason::OtherNodeAskedFor];
    }
    if let Some(taint) = repelling(node, demand) {
        let value = taint.value.clone().unwrap_or_default();
        return vec![Reason::Tainted { key: taint.key.clone(), value }];
    }
    if !is_meant(node, demand) {
        return vec![Reason::NotSelected];
    }
    if demand.resident.ports().iter().any(|asked| node.ports.iter().any(|taken| asked.meets(*taken))) {
        return vec![Reason::PortsTaken];
    }
    let short = shortages(node, demand);
    if !short.is_empty() {
        return short;
    }
    let labels = node.labels();
    let by_volumes = || {
        let asks = !demand.volumes.is_nothing();
        asks.then(|| demand.volumes.obstacle(node.name.as_str(), labels, claimed)).flatten()
    };
    let by_spreading = || around.spreading.as_ref().and_then(|spreading| spreading.obstacle(labels));
    let by_neighbours = || around.neighbours.as_ref().and_then(|neighbours| neighbours.obstacle(labels));
    by_volumes().or_else(by_spreading).or_else(by_neighbours).into_iter().collect()
}

fn cordon() -> Taint {
    Taint { key: "node.kubernetes.io/unschedulable".into(), effect: "NoSchedule".into(), ..Taint::default() }
}

/// Whether a taint keeps the pod away.
pub(crate) fn repels(node: &Node, demand: &Demand) -> bool {
    repelling(node, demand).is_some()
}

fn repelling<'a>(node: &'a Node, demand: &Demand) -> Option<&'a Taint> {
    let hard = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    node.taints().iter().filter(hard).find(|taint| !tolerates(&demand.tolerations, taint))
}

/// Whether the pod's selector and affinity describe the node.
pub(crate) fn is_meant(node: &Node, demand: &Demand) -> bool {
    affinity::has_all(node.labels(), &demand.node_selector)
        && affinity::is_required(demand.required.as_deref(), node.name.as_str(), node.labels())
}

fn shortages(node: &Node, demand: &Demand) -> Vec<Reason> {
    let (asked, taken, room) = (demand.resident.resources(), &node.taken, &node.allocatable);
    let mut short = Vec::new();
    if taken.pods + asked.pods > room.pods {
        short.push(Reason::TooManyPods);
    }
    let mut compare = |name: &str, asked: i64, taken: i64, room: i64| {
        if asked > 0 && asked > room.saturating_sub(taken) {
            short.push(Reason::Insufficient(name.into()));
        }
    };
    compare("cpu", asked.cpu_milli, taken.cpu_milli, room.cpu_milli);
    compare("memory", asked.memory_bytes, taken.memory_bytes, room.memory_bytes);
    for (name, asked) in &asked.others {
        let of = |resources: &crate::Resources| resources.others.get(name).copied().unwrap_or(0);
        compare(name, *asked, of(taken), of(room));
    }
    short
}
