//! Who must go for a pod that fits nowhere and matters more: on one node, as few and as unimportant as will do.
//!
//! As Kubernetes has it: first a budget that is broken counts, then how much the most important of those who go matters, then all
//! of them together, then how many they are; of pods that matter alike those go that came last.

use std::cmp::Reverse;

use api::selector::LabelSelector;
use api::{Key, kinds};
use jiff::Timestamp;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use state::Snapshot;

use crate::node::Node;
use crate::resident::Resident;
use crate::{Cluster, Demand, NodeName};

/// A node for a pod, once others have left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preemption {
    /// The node.
    pub node: NodeName,
    /// The pods that must go.
    pub victims: Vec<Key>,
}

/// How many pods may be disturbed that a budget covers.
#[derive(Clone, Debug, Default)]
pub struct Budgets(Vec<Budget>);

#[derive(Clone, Debug)]
struct Budget {
    namespace: String,
    pods: LabelSelector,
    allowed: i32,
}

/// What makes one node's victims a smaller loss than another's.
type Loss = (usize, i32, i64, usize, Reverse<Option<Timestamp>>);

/// As Kubernetes has it: of so many nodes that would do the best is good enough.
const CANDIDATES_MAX: usize = 100;

// === impl Budgets ===

impl Budgets {
    /// Those of a world.
    pub fn of(view: &Snapshot) -> Self {
        let budgets = view.list(kinds::POD_DISRUPTION_BUDGET).filter_map(|object| {
            let budget = object.decode::<PodDisruptionBudget>().ok()?;
            let pods = LabelSelector::of(budget.spec.as_ref()?.selector.as_ref()).ok()?;
            let allowed = budget.status.as_ref().map_or(0, |status| status.disruptions_allowed);
            Some(Budget { namespace: object.key().namespace().to_owned(), pods, allowed })
        });
        Self(budgets.collect())
    }

    /// Which of the pods, taken in order, would break one.
    fn broken_by(&self, pods: &[Resident]) -> Vec<bool> {
        let mut left: Vec<i32> = self.0.iter().map(|budget| budget.allowed).collect();
        let breaks = |pod: &Resident| {
            let covering = self.0.iter().zip(&mut left).filter(|(budget, _)| budget.covers(pod));
            covering.fold(false, |breaks, (_, left)| {
                *left -= 1;
                breaks || *left < 0
            })
        };
        pods.iter().map(breaks).collect()
    }
}

// === impl Budget ===

impl Budget {
    fn covers(&self, pod: &Resident) -> bool {
        self.namespace == pod.namespace() && self.pods.matches(pod.labels())
    }
}

// === impl Cluster ===

impl Cluster {
    /// Where a pod that fits nowhere would fit, if pods that matter less went; nowhere if that does not help.
    pub fn preempt(&self, demand: &Demand, budgets: &Budgets) -> Option<Preemption> {
        let possible = (0..self.nodes.len()).filter_map(|place| self.vacated(place, demand, budgets));
        let (_, preemption) = possible.take(CANDIDATES_MAX).min_by(|(one, _), (other, _)| one.cmp(other))?;
        Some(preemption)
    }

    /// Whether pods that matter less are on their way out of a node that was promised to the pod.
    pub fn is_being_vacated(&self, node: &NodeName, demand: &Demand) -> bool {
        let found = self.index.get(node).map(|place| &self.nodes[*place]);
        let leaves = |there: &Resident| there.is_leaving() && there.priority() < demand.resident.priority();
        found.is_some_and(|node| node.residents.iter().any(leaves))
    }

    /// Takes a preemption as carried out, so that the next decision knows of it.
    pub fn vacate(&mut self, preemption: &Preemption) {
        preemption.victims.iter().for_each(|victim| self.dismiss(victim));
    }

    fn vacated(&self, place: usize, demand: &Demand, budgets: &Budgets) -> Option<(Loss, Preemption)> {
        let node = &self.nodes[place];
        let priority = demand.resident.priority();
        let matters_less = |there: &Resident| there.priority() < priority;
        let lesser: Vec<Resident> =
            node.residents.iter().filter(|there| matters_less(there) && !there.is_leaving()).cloned().collect();
        if lesser.is_empty() {
            return None;
        }
        let mut kept = node.with_only(|there| !matters_less(there));
        if !self.would_fit(place, &kept, demand) {
            return None;
        }
        let mut spared = most_important_first(lesser, budgets);
        spared.retain(|(pod, _)| {
            let mut with = kept.clone();
            with.take(pod.clone());
            let fits = self.would_fit(place, &with, demand);
            if fits {
                kept = with;
            }
            !fits
        });
        let victims = spared;
        // Those who leave anyway make room enough.
        let highest = victims.iter().map(|(pod, _)| pod.priority()).max()?;
        let started = victims.iter().filter(|(pod, _)| pod.priority() == highest).map(|(pod, _)| pod.started()).min();
        let loss = (
            victims.iter().filter(|(_, breaks)| *breaks).count(),
            highest,
            victims.iter().map(|(pod, _)| i64::from(pod.priority()) - i64::from(i32::MIN)).sum(),
            victims.len(),
            Reverse(started.flatten()),
        );
        let victims = victims.iter().map(|(pod, _)| pod.key().clone()).collect();
        Some((loss, Preemption { node: node.name.clone(), victims }))
    }

    /// Whether the pod would fit on a node if it were like this.
    fn would_fit(&self, place: usize, node: &Node, demand: &Demand) -> bool {
        let nodes = || self.nodes.iter().enumerate().map(|(at, it)| if at == place { node } else { it });
        self.survey(demand, nodes).is_free(node, demand, &self.claimed)
    }
}

/// Those whom a budget protects before all others, and with each whether it does.
fn most_important_first(mut pods: Vec<Resident>, budgets: &Budgets) -> Vec<(Resident, bool)> {
    fn turn(pod: &Resident) -> (Reverse<i32>, Option<Timestamp>, &Key) {
        (Reverse(pod.priority()), pod.started(), pod.key())
    }
    pods.sort_by(|one, other| turn(one).cmp(&turn(other)));
    let breaks = budgets.broken_by(&pods);
    let mut ordered: Vec<(Resident, bool)> = pods.into_iter().zip(breaks).collect();
    ordered.sort_by_key(|(_, breaks)| !breaks);
    ordered
}

#[cfg(test)]
mod tests;
