//! How evenly pods of a kind lie over zones, machines or whatever labels of nodes tell apart: topology spread constraints.

use std::collections::{BTreeMap, HashMap};

use api::selector::LabelSelector;
use k8s_openapi::api::core::v1::TopologySpreadConstraint;

use crate::node::Node;
use crate::resident::Resident;
use crate::term::selector;
use crate::{Demand, Reason, fit};

/// What is counted for one pod that asks for a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spreading {
    hard: Vec<Counted>,
    soft: Vec<Counted>,
}

/// One constraint, and how the pods that it means lie.
#[derive(Clone, Debug)]
struct Counted {
    key: String,
    skew_max: i64,
    /// The fewest in any place that counts.
    fewest: i64,
    by_place: HashMap<String, i64>,
    /// Whether the pod that asks is one of them.
    own: i64,
}

// === impl Spreading ===

impl Spreading {
    /// What there is to know for the pod of `demand`.
    pub(crate) fn of<'a, Nodes: Iterator<Item = &'a Node>>(demand: &Demand, nodes: impl Fn() -> Nodes) -> Self {
        let constraints = demand.resident.constraints();
        let (hard, soft): (Vec<_>, Vec<_>) =
            constraints.iter().partition(|constraint| constraint.when_unsatisfiable == "DoNotSchedule");
        let counted = |constraints: Vec<&TopologySpreadConstraint>| {
            let keys: Vec<&str> = constraints.iter().map(|constraint| constraint.topology_key.as_str()).collect();
            constraints.iter().map(|constraint| Counted::of(constraint, &keys, demand, nodes())).collect()
        };
        Self { hard: counted(hard), soft: counted(soft) }
    }

    /// Why the pod cannot be on a node with these labels, if it cannot.
    pub(crate) fn obstacle(&self, labels: &BTreeMap<String, String>) -> Option<Reason> {
        if self.hard.iter().any(|counted| !labels.contains_key(&counted.key)) {
            return Some(Reason::NoTopology);
        }
        let is_too_many = |counted: &Counted| counted.at(labels) + counted.own - counted.fewest > counted.skew_max;
        self.hard.iter().any(is_too_many).then_some(Reason::Uneven)
    }

    /// How many are already where a node with these labels is, by the constraints that are wishes.
    pub(crate) fn crowd(&self, labels: &BTreeMap<String, String>) -> i64 {
        self.soft.iter().map(|counted| counted.at(labels)).sum()
    }
}

// === impl Counted ===

impl Counted {
    /// `keys` are those of all constraints that are as hard: a node without one of them does not count.
    fn of<'a>(
        constraint: &TopologySpreadConstraint,
        keys: &[&str],
        demand: &Demand,
        nodes: impl Iterator<Item = &'a Node>,
    ) -> Self {
        let pod = &demand.resident;
        let same = [("In", constraint.match_label_keys.clone().unwrap_or_default())];
        let meant = selector(constraint.label_selector.as_ref(), &same, pod.labels());
        let honours = |policy: &Option<String>, usually: &str| policy.as_deref().unwrap_or(usually) == "Honor";
        let by_selector = honours(&constraint.node_affinity_policy, "Honor");
        let by_taints = honours(&constraint.node_taints_policy, "Ignore");
        let mut by_place: HashMap<String, i64> = HashMap::new();
        for node in nodes {
            let counts = keys.iter().all(|key| node.labels().contains_key(*key))
                && (!by_selector || fit::is_meant(node, demand))
                && (!by_taints || !fit::repels(node, demand));
            if let Some(place) = node.labels().get(&constraint.topology_key).filter(|_| counts) {
                *by_place.entry(place.clone()).or_default() += count(node, &meant, pod);
            }
        }
        let places = by_place.len();
        let is_enough =
            constraint.min_domains.is_none_or(|least| usize::try_from(least).is_ok_and(|least| places >= least));
        Self {
            key: constraint.topology_key.clone(),
            skew_max: i64::from(constraint.max_skew),
            fewest: by_place.values().min().copied().filter(|_| is_enough).unwrap_or(0),
            by_place,
            own: i64::from(meant.matches(pod.labels())),
        }
    }

    fn at(&self, labels: &BTreeMap<String, String>) -> i64 {
        labels.get(&self.key).and_then(|place| self.by_place.get(place)).copied().unwrap_or(0)
    }
}

fn count(node: &Node, meant: &LabelSelector, pod: &Resident) -> i64 {
    let counts = |there: &&Resident| {
        !there.is_leaving() && there.namespace() == pod.namespace() && meant.matches(there.labels())
    };
    i64::try_from(node.residents.iter().filter(counts).count()).unwrap_or(i64::MAX)
}
