//! How much: of cpu, memory, pods and whatever else nodes have.

use std::borrow::Cow;
use std::collections::BTreeMap;

use api::pod_spec::resize::{self, Which};
use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;

/// An amount of everything a node has to give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_milli: i64,
    /// Bytes of memory.
    pub memory_bytes: i64,
    /// Pods.
    pub pods: i64,
    /// Everything else, by name.
    pub others: BTreeMap<String, i64>,
}

// === impl Resources ===

impl Resources {
    /// What a list of quantities amounts to.
    pub fn of(list: &BTreeMap<String, Written>) -> Self {
        let mut resources = Self::default();
        for (name, quantity) in list {
            match name.as_str() {
                "cpu" => resources.cpu_milli = Quantity::of(quantity).milli_value(),
                "memory" => resources.memory_bytes = Quantity::of(quantity).value(),
                "pods" => resources.pods = Quantity::of(quantity).value(),
                _ => {
                    resources.others.insert(name.clone(), Quantity::of(quantity).value());
                }
            }
        }
        resources
    }

    /// What a pod asks of its node: its containers together with its side-cars, or its greediest init container, and one pod.
    pub fn asked_by(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self { pods: 1, ..Self::default() } };
        let mut running = Self::default();
        for container in &spec.containers {
            running.add(&requests(pod, container));
        }
        let mut sidecars = Self::default();
        let mut starting = Self::default();
        for container in spec.init_containers.iter().flatten() {
            let mut asked = requests(pod, container);
            if container.restart_policy.as_deref() == Some("Always") {
                sidecars.add(&asked);
                starting.raise_to(&sidecars);
            } else {
                asked.add(&sidecars);
                starting.raise_to(&asked);
            }
        }
        running.add(&sidecars);
        running.raise_to(&starting);
        if let Some(overhead) = &spec.overhead {
            running.add(&Self::of(overhead));
        }
        running.pods = 1;
        running
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.cpu_milli = self.cpu_milli.saturating_add(other.cpu_milli);
        self.memory_bytes = self.memory_bytes.saturating_add(other.memory_bytes);
        self.pods = self.pods.saturating_add(other.pods);
        for (name, amount) in &other.others {
            let sum = self.others.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }

    fn raise_to(&mut self, other: &Self) {
        self.cpu_milli = self.cpu_milli.max(other.cpu_milli);
        self.memory_bytes = self.memory_bytes.max(other.memory_bytes);
        for (name, amount) in &other.others {
            let most = self.others.entry(name.clone()).or_default();
            *most = (*most).max(*amount);
        }
    }
}

/// A limit without a request is a request too, as Kubernetes has it; a pod that is resized counts for the most that it wants or has.
fn requests(pod: &Pod, container: &Container) -> Resources {
    let Some(resources) = &container.resources else { return Resources::default() };
    let asked = match (&resources.requests, &resources.limits) {
        (Some(requests), Some(limits)) if limits.keys().any(|name| !requests.contains_key(name)) => {
            let mut asked = limits.clone();
            asked.extend(requests.iter().map(|(name, quantity)| (name.clone(), quantity.clone())));
            Cow::Owned(asked)
        }
        (Some(asked), _) | (None, Some(asked)) => Cow::Borrowed(asked),
        (None, None) => Cow::Owned(BTreeMap::new()),
    };
    Resources::of(&resize::counted(pod, &container.name, Which::Requests, asked))
}
