//! How many pods of a budget may be missing now: the figures that an eviction is judged by.
//!
//! Expected are as many pods as those that manage them want; with a plain number as `minAvailable`, as many as there are. Who is
//! being evicted counts as gone from the moment it was allowed, because its deletion takes a while to be seen; if that does not
//! come within two minutes, it did not happen.

mod expected;
#[cfg(test)]
mod tests;

use api::selector::LabelSelector;
use api::{Key, Object, kinds};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use state::{Event, Snapshot, Txn};

use crate::edit::replaced;
use crate::record::{Tale, Tone, told};
use crate::{Controller, Look, Plan, pods};
use expected::Expected;

/// The controller of budgets.
pub(crate) struct Disruptions;

/// An eviction that was allowed is believed in for so long, as in Kubernetes.
const DELETION_PATIENCE: SignedDuration = SignedDuration::from_secs(120);

const ALLOWED: &str = "DisruptionAllowed";

/// What a budget comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sum {
    expected: i32,
    desired: i32,
    healthy: i32,
    /// Why it cannot be reckoned; then nothing is allowed.
    fault: Option<String>,
}

// === impl Disruptions ===

impl Controller for Disruptions {
    fn name(&self) -> &'static str {
        "disruption"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        let key = event.key();
        let here = || view.list_in(kinds::POD_DISRUPTION_BUDGET, key.namespace());
        match key.kind() {
            kinds::POD_DISRUPTION_BUDGET => vec![key.clone()],
            kinds::POD => {
                let versions = || [event.before(), event.after()].into_iter().flatten();
                let covers = |budget: &&Object| versions().any(|pod| selector(budget).matches(&pod.meta().labels));
                here().filter(covers).map(|budget| budget.key().clone()).collect()
            }
            kinds::DEPLOYMENT | kinds::REPLICA_SET | kinds::STATEFUL_SET | kinds::REPLICATION_CONTROLLER => {
                here().map(|budget| budget.key().clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key).filter(|budget| !budget.meta().is_terminating()) else {
            return Plan::nothing();
        };
        let Ok(budget) = object.decode::<PodDisruptionBudget>() else { return Plan::nothing() };
        let selector = selector(object);
        let covered = view.list_in(kinds::POD, key.namespace()).filter(|pod| selector.matches(&pod.meta().labels));
        let covered: Vec<(&Object, std::sync::Arc<Pod>)> =
            covered.filter_map(|pod| Some((pod, pod.decode::<Pod>().ok()?))).collect();
        let Evictions { believed, until } = evictions(&budget, &covered, look.now);
        let sum = reckon(&budget, &covered, &believed, view);
        let txn = replaced::<PodDisruptionBudget>(object, |budget| tell(budget, &sum, believed, look));
        let tale = if covered.is_empty() && !txn.is_empty() {
            let tale = Tale {
                by: "controllermanager",
                tone: Tone::Normal,
                reason: "NoPods",
                message: "No matching pods found",
            };
            told(view, look, object, &tale)
        } else {
            Txn::default()
        };
        Plan::of(txn.and(tale)).again_at(until)
    }
}

fn selector(budget: &Object) -> LabelSelector {
    let budget = budget.decode::<PodDisruptionBudget>().ok();
    let selector = budget.as_ref().and_then(|budget| budget.spec.as_ref()?.selector.as_ref());
    // An empty one covers everything, which is what it is written for.
    LabelSelector::of(selector).unwrap_or_else(|_| LabelSelector::nothing())
}

type Believed = std::collections::BTreeMap<String, Time>;

/// Evictions that were allowed and are not seen yet, and when the first of them is not believed in any more.
struct Evictions {
    believed: Believed,
    until: Option<Timestamp>,
}

fn evictions(budget: &PodDisruptionBudget, covered: &[(&Object, std::sync::Arc<Pod>)], now: Timestamp) -> Evictions {
    let told = budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref());
    let is_awaited = |name: &str, since: &Time| {
        let still_there = covered.iter().any(|(pod, _)| pod.key().name() == name && !pod.meta().is_terminating());
        still_there && since.0 + DELETION_PATIENCE > now
    };
    let believed: Believed = told
        .into_iter()
        .flatten()
        .filter(|(name, since)| is_awaited(name, since))
        .map(|(name, since)| (name.clone(), since.clone()))
        .collect();
    let until = believed.values().map(|since| since.0 + DELETION_PATIENCE).min();
    Evictions { believed, until }
}

fn reckon(
    budget: &PodDisruptionBudget,
    covered: &[(&Object, std::sync::Arc<Pod>)],
    believed: &Believed,
    view: &Snapshot,
) -> Sum {
    let is_healthy = |(object, pod): &&(&Object, std::sync::Arc<Pod>)| {
        !object.meta().is_terminating() && !believed.contains_key(object.key().name()) && pods::is_ready(pod)
    };
    let healthy = count(covered.iter().filter(is_healthy).count());
    let pods: Vec<&Object> = covered.iter().map(|(pod, _)| *pod).collect();
    match expected::of(budget, &pods, view) {
        Ok(Expected { pods, healthy: desired }) => Sum { expected: pods, desired, healthy, fault: None },
        Err(fault) => Sum { expected: 0, desired: 0, healthy, fault: Some(fault) },
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn tell(budget: &mut PodDisruptionBudget, sum: &Sum, believed: Believed, look: Look<'_>) {
    let generation = budget.metadata.generation;
    let mut status = budget.status.take().unwrap_or_default();
    let (says, reason, message) = match &sum.fault {
        Some(fault) => {
            // What was reckoned before stays; only nothing is allowed on its ground.
            status.disruptions_allowed = 0;
            ("False", "SyncFailed", fault.as_str())
        }
        None => {
            let allowed = if sum.expected > 0 { (sum.healthy - sum.desired).max(0) } else { 0 };
            status = PodDisruptionBudgetStatus {
                conditions: status.conditions,
                current_healthy: sum.healthy,
                desired_healthy: sum.desired,
                disrupted_pods: Some(believed).filter(|believed| !believed.is_empty()),
                disruptions_allowed: allowed,
                expected_pods: sum.expected,
                observed_generation: generation,
            };
            if allowed > 0 { ("True", "SufficientPods", "") } else { ("False", "InsufficientPods", "") }
        }
    };
    let conditions = status.conditions.get_or_insert_default();
    let known = conditions.iter().position(|condition| condition.type_ == ALLOWED);
    let since = known.filter(|at| conditions[*at].status == says).map(|at| conditions[at].last_transition_time.clone());
    let condition = Condition {
        type_: ALLOWED.into(),
        status: says.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time: since.unwrap_or_else(|| look.time()),
    };
    match known {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
    budget.status = Some(status);
}
