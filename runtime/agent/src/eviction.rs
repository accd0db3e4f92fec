//! When a node is short of memory or disk, and which pod goes then.
//!
//! Pure: what there is and what is used comes in, and what should be done comes out, in the words of a kubelet. Pods that use more
//! than they asked for go first, among those the ones that matter less, and among those the ones that use the most beyond what they
//! asked for.

mod storage;
#[cfg(test)]
mod tests;
mod thresholds;

use std::cmp::Reverse;

use k8s_openapi::api::core::v1::{Pod, Toleration};

pub use thresholds::{Amount, InvalidThreshold, Thresholds};

pub(crate) use storage::{StorageUsed, has_limit, request as storage_request, storage_excess};

use crate::desired::Uid;
use crate::pod::qos_class;

/// What a node can be short of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scarce {
    Memory,
    Disk,
}

/// How much there is of something, in bytes or in pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) available: u64,
    pub(crate) capacity: u64,
}

/// What a node has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signals {
    pub(crate) memory: Level,
    pub(crate) disk: Level,
    pub(crate) inodes: Level,
}

/// A threshold that is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Met {
    pub(crate) scarce: Scarce,
    threshold: u64,
    available: u64,
}

/// What a node tells that it is short of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pressures {
    pub(crate) memory: bool,
    pub(crate) disk: bool,
}

/// A pod that could go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) uid: Uid,
    pub(crate) priority: i32,
    /// What its containers use of what is scarce, and asked for.
    pub(crate) containers: Vec<(String, u64, u64)>,
    /// What the pod uses beside its containers.
    pub(crate) beside: u64,
}

/// Pods of this priority keep the cluster running.
const CRITICAL_PRIORITY: i32 = 2_000_000_000;

const MEMORY_PRESSURE_TAINT: &str = "node.kubernetes.io/memory-pressure";

// === impl Scarce ===

impl Scarce {
    pub(crate) fn resource(self) -> &'static str {
        match self {
            Scarce::Memory => "memory",
            Scarce::Disk => "ephemeral-storage",
        }
    }
}

// === impl Met ===

impl Met {
    /// Why a pod goes.
    pub(crate) fn message(&self, pod: &Candidate) -> String {
        let (resource, threshold, available) = (self.scarce.resource(), binary(self.threshold), binary(self.available));
        let short = format!(
            "The node was low on resource: {resource}. Threshold quantity: {threshold}, available: {available}. "
        );
        let greedy = pod.containers.iter().filter(|(_, used, asked)| used > asked).map(|(name, used, asked)| {
            let (used, asked) = (binary(*used), binary(*asked));
            format!("Container {name} was using {used}, request is {asked}, has larger consumption of {resource}. ")
        });
        std::iter::once(short).chain(greedy).collect()
    }
}

// === impl Candidate ===

impl Candidate {
    fn used(&self) -> u64 {
        self.containers.iter().map(|(_, used, _)| used).sum::<u64>() + self.beside
    }

    fn asked(&self) -> u64 {
        self.containers.iter().map(|(_, _, asked)| asked).sum()
    }
}

/// Whether the cluster cannot do without a pod.
pub(crate) fn is_critical(pod: &Pod) -> bool {
    priority(pod) >= CRITICAL_PRIORITY
}

pub(crate) fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)
}

/// Whose turn it is to go: the first of them.
pub(crate) fn first_to_go(candidates: &[Candidate]) -> Option<&Candidate> {
    candidates.iter().filter(|pod| pod.used() > 0).min_by_key(|pod| {
        let (used, asked) = (pod.used(), pod.asked());
        (used <= asked, pod.priority, Reverse(used.saturating_sub(asked)))
    })
}

/// Why a pod may not begin on a node that is short of something.
pub(crate) fn refusal(pressures: Pressures, pod: &Pod) -> Option<String> {
    let told = [(pressures.memory, "MemoryPressure"), (pressures.disk, "DiskPressure")];
    let told: Vec<&str> = told.into_iter().filter(|(holds, _)| *holds).map(|(_, name)| name).collect();
    let is_free_to_come = is_critical(pod) || (!pressures.disk && bears_memory_pressure(pod));
    (!told.is_empty() && !is_free_to_come)
        .then(|| format!("Pod was rejected: The node had condition: [{}]. ", told.join(" ")))
}

/// Who was promised memory has it; who was promised none must say that he bears it.
fn bears_memory_pressure(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let bears = |toleration: &Toleration| {
        let key = toleration.key.as_deref().is_none_or(|key| key.is_empty() || key == MEMORY_PRESSURE_TAINT);
        let effect = toleration.effect.as_deref().is_none_or(|effect| effect.is_empty() || effect == "NoSchedule");
        let exists = toleration.operator.as_deref() == Some("Exists");
        key && effect && (exists || toleration.value.as_deref().unwrap_or_default().is_empty())
    };
    qos_class(spec) != "BestEffort" || spec.tolerations.iter().flatten().any(bears)
}

/// Bytes as Kubernetes writes them, in the largest unit that leaves no rest.
pub(crate) fn binary(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["", "Ki", "Mi", "Gi", "Ti"];
    let zeros = if bytes == 0 { 0 } else { bytes.trailing_zeros() as usize };
    let unit = (zeros / 10).min(UNITS.len() - 1);
    format!("{}{}", bytes >> (10 * unit), UNITS[unit])
}
