//! Pods that nobody will finish: their node is gone, or they never had one, or there are too many that have ended.

use api::{Key, Object, kinds};
use k8s_openapi::api::core::v1::Pod;
use state::{Event, Guard, Snapshot, Txn};

use crate::conditions::{Says, pod_says};
use crate::edit::edited;
use crate::{Controller, Look, Plan, deletion, pods};

/// How many ended pods are kept for people to read; Kubernetes' own figure.
const ENDED_PODS_MAX: usize = 12_500;

/// What becomes of a pod with its node.
const NODE_GONE: Says<'static> = Says {
    kind: "DisruptionTarget",
    status: "True",
    reason: "DeletionByPodGC",
    message: "PodGC: node no longer exists",
};

/// The controller that removes lost pods.
pub(crate) struct PodGarbage;

// === impl PodGarbage ===

impl Controller for PodGarbage {
    fn name(&self) -> &'static str {
        "pod-garbage"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        match event.key().kind() {
            kinds::POD if event.after().is_some() => vec![event.key().clone()],
            kinds::NODE if event.after().is_none() => {
                view.pods_on(event.key().name()).map(|pod| pod.key().clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key) else { return Plan::nothing() };
        let Ok(pod) = object.decode::<Pod>() else { return Plan::nothing() };
        let node = pods::node(&pod).map(|node| kinds::NODE.cluster_key(node));
        match node {
            None if object.meta().is_terminating() => Plan::of(remove(object, None, look)),
            Some(node) if view.get(&node).is_none() => {
                Plan::of(remove(object, Some(NODE_GONE), look).guard(Guard::Absent(node)))
            }
            _ if pods::has_ended(&pod) && is_beyond_limit(object, view) => Plan::of(deletion::remove(object, look.now)),
            _ => Plan::nothing(),
        }
    }
}

/// Removes a pod that nobody will say the end of. If somebody holds it, it says itself that it has failed.
fn remove(object: &Object, why: Option<Says<'_>>, look: Look<'_>) -> Txn {
    if object.meta().finalizers.is_empty() {
        return deletion::remove(object, look.now);
    }
    let failed = edited::<Pod>(object, |pod| {
        if !pods::has_ended(pod) {
            let status = pod.status.get_or_insert_default();
            status.phase = Some("Failed".into());
            if let Some(why) = why {
                pod_says(&mut status.conditions, why, &look.time());
            }
        }
    });
    let failed = failed.map_or_else(|| object.clone(), |failed| failed.at(object.revision()));
    deletion::remove(&failed, look.now)
}

/// Whether the pod is among the oldest of too many that have ended.
fn is_beyond_limit(object: &Object, view: &Snapshot) -> bool {
    if view.count(kinds::POD) <= ENDED_PODS_MAX {
        return false;
    }
    let ended = view.list(kinds::POD).filter(|pod| pod.decode::<Pod>().is_ok_and(|pod| pods::has_ended(&pod)));
    let age = |pod: &Object| (pod.meta().creation_timestamp, pod.key().clone());
    ended.filter(|pod| age(pod) > age(object)).count() >= ENDED_PODS_MAX
}
