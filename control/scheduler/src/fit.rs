//! Whether a node can take a pod at all.
//!
//! The rules are asked in Kubernetes' order and the first that says no speaks for the node; only resources name everything
//! that is short.

use std::collections::BTreeSet;

use api::Key;
use k8s_openapi::api::core::v1::Taint;

use crate::node::Node;
use crate::{Demand, Reason, affinity, tolerates};

/// Every reason why `node` cannot take the pod; none if it can. `claimed` are claims for one pod that another was given just now.
pub(crate) fn obstacles(node: &Node, demand: &Demand, claimed: &BTreeSet<Key>) -> Vec<Reason> {
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
    if demand.ports.iter().any(|asked| node.ports.iter().any(|taken| asked.meets(*taken))) {
        return vec![Reason::PortsTaken];
    }
    let short = shortages(node, demand);
    if !short.is_empty() || demand.volumes.is_nothing() {
        return short;
    }
    demand.volumes.obstacle(node.name.as_str(), node.labels(), claimed).into_iter().collect()
}

fn cordon() -> Taint {
    Taint { key: "node.kubernetes.io/unschedulable".into(), effect: "NoSchedule".into(), ..Taint::default() }
}

fn repelling<'a>(node: &'a Node, demand: &Demand) -> Option<&'a Taint> {
    let hard = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    node.taints().iter().filter(hard).find(|taint| !tolerates(&demand.tolerations, taint))
}

fn is_meant(node: &Node, demand: &Demand) -> bool {
    affinity::has_all(node.labels(), &demand.node_selector)
        && affinity::is_required(demand.required.as_deref(), node.name.as_str(), node.labels())
}

fn shortages(node: &Node, demand: &Demand) -> Vec<Reason> {
    let (asked, taken, room) = (&demand.resources, &node.taken, &node.allocatable);
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
