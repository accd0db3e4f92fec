//! Which of the nodes that can take a pod should.
//!
//! Pods of one owner go to different nodes first, because a node that fails should take as few of them as possible; then the
//! emptier node wins. Preferences that the pod states weigh as much as either.

use k8s_openapi::api::core::v1::Taint;

use crate::node::{Node, weight};
use crate::{Demand, affinity, tolerates};

/// The best a single consideration can give.
const FULL: i64 = 100;
/// Keeping siblings apart counts for more than an even load.
const SPREAD_WEIGHT: i64 = 3;

/// How much of the best some figure is, where those of all nodes lie between `least` and `most`.
pub(crate) fn share(figure: i64, least: i64, most: i64) -> i64 {
    if most == least { 0 } else { SPREAD_WEIGHT * FULL * (figure - least) / (most - least) }
}

/// How good `node` is for the pod, where it has `siblings` pods of the same owner and no node has more than `siblings_most`.
pub(crate) fn score(node: &Node, demand: &Demand, siblings: u32, siblings_most: u32) -> i64 {
    SPREAD_WEIGHT * spread(siblings, siblings_most) + least_allocated(node, demand) + preferred(node, demand)
        - repelled(node, demand)
}

fn spread(siblings: u32, siblings_most: u32) -> i64 {
    if siblings_most == 0 { FULL } else { FULL - FULL * i64::from(siblings) / i64::from(siblings_most) }
}

fn least_allocated(node: &Node, demand: &Demand) -> i64 {
    let (cpu, memory) = weight(demand.resident.resources());
    let free = |room: i64, taken: i64, asked: i64| {
        if room <= 0 { 0 } else { (room - taken - asked).max(0).saturating_mul(FULL) / room }
    };
    let cpu = free(node.allocatable.cpu_milli, node.weight.0, cpu);
    let memory = free(node.allocatable.memory_bytes, node.weight.1, memory);
    i64::midpoint(cpu, memory)
}

fn preferred(node: &Node, demand: &Demand) -> i64 {
    let of_all: i64 = demand.preferred.iter().map(|term| i64::from(term.weight)).sum();
    let met =
        demand.preferred.iter().filter(|it| affinity::describes(&it.preference, node.name.as_str(), node.labels()));
    let met: i64 = met.map(|term| i64::from(term.weight)).sum();
    if of_all == 0 { 0 } else { SPREAD_WEIGHT * FULL * met / of_all }
}

fn repelled(node: &Node, demand: &Demand) -> i64 {
    let soft = |taint: &&Taint| taint.effect == "PreferNoSchedule" && !tolerates(&demand.tolerations, taint);
    if node.taints().iter().any(|taint| soft(&taint)) { SPREAD_WEIGHT * FULL } else { 0 }
}
