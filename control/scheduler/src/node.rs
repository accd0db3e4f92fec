//! A node as the scheduler sees it: what it is called and labelled, and how much of it is left.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use api::Key;
use k8s_openapi::api::core::v1;

use crate::ports::HostPort;
use crate::resident::Resident;
use crate::{NodeName, Resources};

/// What a pod without requests is taken to need when nodes are compared, so that such pods spread too; the figures are
/// Kubernetes' own.
const CPU_MILLI_ASSUMED: i64 = 100;
const MEMORY_BYTES_ASSUMED: i64 = 200 << 20;

/// A node, its room and what is taken of it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) name: NodeName,
    pub(crate) allocatable: Resources,
    /// The requests of the pods on it.
    pub(crate) taken: Resources,
    /// The same, with the assumed needs of pods that ask nothing: cpu, memory.
    pub(crate) weight: (i64, i64),
    /// The ports that the pods on it have taken.
    pub(crate) ports: Vec<HostPort>,
    /// The pods on it.
    pub(crate) residents: Vec<Resident>,
    /// Beside what is left of it, since every decision asks every node for these; for the rest it goes to the object.
    is_cordoned: bool,
    taints: Vec<v1::Taint>,
    typed: Arc<v1::Node>,
}

// === impl Node ===

impl Node {
    pub(crate) fn new(name: &str, typed: Arc<v1::Node>) -> Self {
        Self {
            name: NodeName::from(name),
            allocatable: room(&typed),
            taken: Resources::default(),
            weight: (0, 0),
            ports: Vec::new(),
            residents: Vec::new(),
            is_cordoned: typed.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)),
            taints: typed.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default(),
            typed,
        }
    }

    pub(crate) fn take(&mut self, pod: Resident) {
        self.ports.extend(pod.ports());
        let (cpu, memory) = weight(pod.resources());
        self.weight = (self.weight.0.saturating_add(cpu), self.weight.1.saturating_add(memory));
        self.taken.add(pod.resources());
        self.residents.push(pod);
    }

    /// The pod is not on it any more; that pod, if it was.
    pub(crate) fn release(&mut self, pod: &Key) -> Option<Resident> {
        let at = self.residents.iter().position(|there| there.key() == pod)?;
        let released = self.residents.swap_remove(at);
        (self.taken, self.weight) = (Resources::default(), (0, 0));
        self.ports.clear();
        for there in std::mem::take(&mut self.residents) {
            self.take(there);
        }
        Some(released)
    }

    /// A pod on it says something else of itself, if it takes no more and no less than it did; whether that is so.
    pub(crate) fn exchange(&mut self, pod: &Resident) -> bool {
        let there = self.residents.iter_mut().find(|there| there.key() == pod.key());
        let Some(there) = there.filter(|there| there.takes_as(pod) && there.owner() == pod.owner()) else {
            return false;
        };
        *there = pod.clone();
        true
    }

    /// The node says something else of itself from now on; whether that is something that pods ask about.
    pub(crate) fn describe(&mut self, typed: Arc<v1::Node>) -> bool {
        let described = Self::new(self.name.as_str(), typed);
        let facts =
            |node: &Self| (node.allocatable.clone(), node.is_cordoned, node.taints.clone(), node.labels().clone());
        let is_news = facts(self) != facts(&described);
        let Self { allocatable, is_cordoned, taints, typed, .. } = described;
        (self.allocatable, self.is_cordoned, self.taints, self.typed) = (allocatable, is_cordoned, taints, typed);
        is_news
    }

    /// The same node, if none were on it but those who `stays` tells.
    pub(crate) fn with_only(&self, stays: impl Fn(&Resident) -> bool) -> Self {
        let mut node = Self::new(self.name.as_str(), self.typed.clone());
        self.residents.iter().filter(|there| stays(there)).for_each(|there| node.take(there.clone()));
        node
    }

    pub(crate) fn labels(&self) -> &BTreeMap<String, String> {
        static NONE: LazyLock<BTreeMap<String, String>> = LazyLock::new(BTreeMap::new);
        self.typed.metadata.labels.as_ref().unwrap_or(&NONE)
    }

    pub(crate) fn taints(&self) -> &[v1::Taint] {
        &self.taints
    }

    pub(crate) fn is_cordoned(&self) -> bool {
        self.is_cordoned
    }
}

/// What pods may be given of it.
fn room(node: &v1::Node) -> Resources {
    let status = node.status.as_ref();
    let room = status.and_then(|status| status.allocatable.as_ref().or(status.capacity.as_ref()));
    room.map(Resources::of).unwrap_or_default()
}

/// How heavy a pod is when nodes are compared: cpu, memory.
pub(crate) fn weight(asked: &Resources) -> (i64, i64) {
    let or = |asked: i64, assumed: i64| if asked == 0 { assumed } else { asked };
    (or(asked.cpu_milli, CPU_MILLI_ASSUMED), or(asked.memory_bytes, MEMORY_BYTES_ASSUMED))
}
