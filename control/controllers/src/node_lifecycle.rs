//! Nodes that fall silent are marked, and what is marked is tainted.
//!
//! A node lives as long as it renews its lease or its heartbeat. Clocks of nodes and control plane must agree to within the
//! grace; the control plane's own start counts as a sign of life, so that a restart blames nobody.

mod health;
mod taints;
mod tales;

use api::{Key, Object, kinds};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use state::{Event, Snapshot, Txn};

use crate::conditions::{Says, pod_says};
use crate::edit::{edited, replaced};
use crate::record::{Tale, Tone, told};
use crate::{Config, Controller, Look, Plan, pods};

/// The taint of a node that says it is not ready.
pub(crate) const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// The taint of a node that says nothing.
pub(crate) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Where nodes renew their leases.
const LEASES: &str = "kube-node-lease";
/// Who tells the events.
const COMPONENT: &str = "node-controller";

/// The controller of nodes' health.
pub(crate) struct NodeLifecycle {
    grace: SignedDuration,
    started: Timestamp,
}

// === impl NodeLifecycle ===

impl NodeLifecycle {
    /// Judges silence by the configuration's grace.
    pub(crate) fn new(config: &Config) -> Self {
        Self { grace: config.node_grace, started: config.started }
    }

    /// The last sign of life.
    fn last_seen(&self, node: &Node, object: &Object, view: &Snapshot) -> Timestamp {
        let lease =
            view.get(&kinds::LEASE.key(LEASES, object.key().name())).and_then(|lease| lease.decode::<Lease>().ok());
        let renewed = lease.and_then(|lease| Some(lease.spec.as_ref()?.renew_time.as_ref()?.0));
        let heartbeat = health::ready(node).and_then(|ready| Some(ready.last_heartbeat_time.as_ref()?.0));
        let signs = [renewed, heartbeat, object.meta().creation_timestamp, Some(self.started)];
        signs.into_iter().flatten().max().unwrap_or(self.started)
    }
}

impl Controller for NodeLifecycle {
    fn name(&self) -> &'static str {
        "node-lifecycle"
    }

    fn affected(&self, event: &Event, _view: &Snapshot) -> Vec<Key> {
        match (event.key().kind(), event.key().namespace()) {
            (kinds::NODE, _) if event.after().is_some() => vec![event.key().clone()],
            // A node that was given up speaks again; renewals of living nodes are found when their time is up.
            (kinds::LEASE, LEASES) if event.before().is_none() => vec![kinds::NODE.cluster_key(event.key().name())],
            _ => Vec::new(),
        }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key) else { return Plan::nothing() };
        let Ok(node) = object.decode::<Node>() else { return Plan::nothing() };
        let silent_from = self.last_seen(&node, object, view) + self.grace;
        let is_silent = silent_from <= look.now;
        let after = edited::<Node>(object, |node| {
            if is_silent {
                health::give_up(node, look);
            }
            taints::update(node, look);
        });
        let again = (!is_silent).then_some(silent_from);
        let Some(after) = after else {
            let news = tales::untold(object, &node, view, look).into_iter();
            return news.fold(unready_pods(object, &node, view, look), Plan::also).again_at(again);
        };
        let mut txn = Txn::replace(object, after.clone());
        if health::is_ready(&node) && after.decode::<Node>().is_ok_and(|after| !health::is_ready(&after)) {
            let message = format!("Node {} status is now: NodeNotReady", object.key().name());
            let tale = Tale { by: COMPONENT, tone: Tone::Normal, reason: "NodeNotReady", message: &message };
            txn = txn.and(told(view, look, object, &tale));
        }
        Plan::of(txn).again_at(again)
    }
}

/// Pods on a node that is not ready are not ready either: nobody should send them requests.
fn unready_pods(object: &Object, node: &Node, view: &Snapshot, look: Look<'_>) -> Plan {
    if health::ready(node).is_none() || health::is_ready(node) {
        return Plan::nothing();
    }
    let ready = |pod: &&Object| pod.decode::<Pod>().is_ok_and(|pod| pods::is_ready(&pod));
    let marked = view.pods_on(object.key().name()).filter(ready).map(|pod| {
        replaced::<Pod>(pod, |pod| {
            let conditions = &mut pod.status.get_or_insert_default().conditions;
            let says = Says {
                kind: "Ready",
                status: "False",
                reason: "NodeNotReady",
                message: "the node of the pod is not ready",
            };
            pod_says(conditions, says, &look.time());
        })
    });
    marked.collect()
}

#[cfg(test)]
mod tests;
