//! Nodes that fall silent are marked, and what is marked is tainted.
//!
//! A node that has a link lives as long as that does: the server that holds it writes on the node's lease when it has ended, and a
//! node that has no other soon is lost. So a killed node is known within a second, a silent one within a few, and nothing has to be
//! stored meanwhile. Behind that is what Kubernetes has: a node that renews neither its lease nor its heartbeat is lost as well,
//! whoever held its link. Clocks of nodes and control plane must agree to within that grace; the control plane's own start counts as
//! a sign of life, so that a restart or a new leader blames nobody.
//!
//! A lost node may still run its pods: a partition looks like a broken connection. Whoever may run twice is replaced at once, by its
//! owner, when its pod is told to leave; a pod of a StatefulSet keeps its name until the node itself says that it has ended, or
//! somebody who knows better: the node is deleted, or carries the taint `node.kubernetes.io/out-of-service`.

mod health;
mod outage;
mod taints;
mod tales;

use std::sync::{Mutex, PoisonError};

use api::node_link::{ENDED, Ended, LEASES, STOPPING};
use api::pod_spec::outages;
use api::{Key, Object, kinds};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use state::{Event, Snapshot, Txn};

use crate::conditions::{Says, pod_says};
use crate::edit::{edited, replaced};
use crate::record::{Tale, Tone, told};
use crate::{Config, Controller, Look, Plan, pods};
use outage::{Census, Eviction};

/// The taint of a node that says it is not ready.
pub(crate) const NOT_READY: &str = outages::NOT_READY;
/// The taint of a node that says nothing.
pub(crate) const UNREACHABLE: &str = outages::UNREACHABLE;
/// Who tells the events.
const COMPONENT: &str = "node-controller";

/// The controller of nodes' health.
pub(crate) struct NodeLifecycle {
    grace: SignedDuration,
    started: Timestamp,
    census: Mutex<Census>,
}

// === impl NodeLifecycle ===

impl NodeLifecycle {
    /// Judges silence by the configuration's grace.
    pub(crate) fn new(config: &Config) -> Self {
        Self { grace: config.node_grace, started: config.started, census: Mutex::default() }
    }

    /// From when on the node counts as lost, if it gives no further sign of life.
    fn lost_from(&self, node: &Node, object: &Object, view: &Snapshot) -> Timestamp {
        let lease = view.get(&kinds::LEASE.key(LEASES, object.key().name()));
        let silent = self.last_seen(node, object, lease) + self.grace;
        // Who said that it stops is not missed for as long.
        let is_stopping = health::ready(node).is_some_and(|ready| ready.reason.as_deref() == Some(STOPPING));
        let unlinked = lease.and_then(Ended::of).filter(|_| !is_stopping);
        unlinked.map_or(silent, |ended| silent.min(ended.lost_at()))
    }

    /// The last sign of life that is stored.
    fn last_seen(&self, node: &Node, object: &Object, lease: Option<&Object>) -> Timestamp {
        let lease = lease.and_then(|lease| lease.decode::<Lease>().ok());
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
            // A node that was given up speaks again, or its link ends; renewals of living nodes are found when their time is up.
            (kinds::LEASE, LEASES) if event.before().is_none() || is_news_of_link(event) => {
                vec![kinds::NODE.cluster_key(event.key().name())]
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key) else { return Plan::nothing() };
        let Ok(node) = object.decode::<Node>() else { return Plan::nothing() };
        let lost_from = self.lost_from(&node, object, view);
        let is_lost = lost_from <= look.now;
        let census = || self.census.lock().unwrap_or_else(PoisonError::into_inner);
        let eviction =
            if is_lost || !health::is_ready(&node) { census().eviction(object, view) } else { Eviction::Goes };
        let after = edited::<Node>(object, |node| {
            if is_lost {
                health::give_up(node, look);
            }
            taints::update(node, eviction, look);
        });
        let once_more = (eviction != Eviction::Goes).then(|| look.now + outage::again_after(view));
        let again = once_more.or((!is_lost).then_some(lost_from));
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

/// Whether it is told that the link of a node ended, or began anew.
fn is_news_of_link(event: &Event) -> bool {
    let ended = |lease: Option<&Object>| lease.and_then(|lease| lease.meta().annotations.get(ENDED).cloned());
    ended(event.before()) != ended(event.after())
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
