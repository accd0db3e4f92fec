//! Pods that nobody will finish: their node is gone, or they never had one, or there are too many that have ended.
//!
//! A node is gone when its object is. One that is only lost may still run them, unless somebody who knows says that it does not,
//! by the taint `node.kubernetes.io/out-of-service`: then what was told to leave it is over.

use api::{Key, Object, kinds};
use k8s_openapi::api::core::v1::{Node, Pod};
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

/// What becomes of a pod whose node is said to be out of service.
const OUT_OF_SERVICE: Says<'static> = Says {
    kind: "DisruptionTarget",
    status: "True",
    reason: "DeletionByPodGC",
    message: "PodGC: node is out of service",
};
/// By which somebody says so.
const OUT_OF_SERVICE_TAINT: &str = "node.kubernetes.io/out-of-service";

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
            kinds::NODE if event.after().is_none_or(is_out_of_service) => {
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
            Some(node) if object.meta().is_terminating() && view.get(&node).is_some_and(is_out_of_service) => {
                Plan::of(remove(object, Some(OUT_OF_SERVICE), look))
            }
            _ if pods::has_ended(&pod) && is_beyond_limit(object, view) => Plan::of(deletion::remove(object, look.now)),
            _ => Plan::nothing(),
        }
    }
}

/// Whether a node is not ready, and somebody says that nothing runs there.
fn is_out_of_service(node: &Object) -> bool {
    node.decode::<Node>().is_ok_and(|node| {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let is_ready = conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True");
        !is_ready && taints.iter().any(|taint| taint.key == OUT_OF_SERVICE_TAINT)
    })
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
    let surplus = view.ended_pods().len().saturating_sub(ENDED_PODS_MAX);
    view.ended_pods().take(surplus).any(|key| key == object.key())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::notation::{check, object};

    fn pod(metadata: Value) -> Object {
        object(kinds::POD, "default/p", json!({"metadata": metadata, "spec": {"nodeName": "n1", "containers": []}}))
    }

    fn node(ready: &str, taints: Value) -> Object {
        let conditions = json!([{"type": "Ready", "status": ready}]);
        object(kinds::NODE, "n1", json!({"spec": {"taints": taints}, "status": {"conditions": conditions}}))
    }

    #[track_caller]
    fn expect(pod: &Object, node: Option<Object>, told: &[&str]) {
        let objects: Vec<Object> = [pod.clone()].into_iter().chain(node).collect();
        check(&PodGarbage, &objects, pod.key(), &[], told);
    }

    #[test]
    fn a_pod_goes_with_its_node() {
        expect(&pod(json!({})), None, &["-Pod p"]);
        expect(&pod(json!({})), Some(node("True", json!([]))), &[]);
        expect(&pod(json!({})), Some(node("Unknown", json!([]))), &[]);
    }

    #[test]
    fn a_pod_that_is_to_end_is_over_when_its_node_is_said_to_be() {
        let gone = json!([{"key": OUT_OF_SERVICE_TAINT, "value": "nodeshutdown", "effect": "NoExecute"}]);
        let told = json!({"deletionTimestamp": "2026-11-21T11:59:00Z", "deletionGracePeriodSeconds": 30});
        expect(&pod(told.clone()), Some(node("Unknown", json!([]))), &[]);
        expect(&pod(told.clone()), Some(node("Unknown", gone.clone())), &["-Pod p"]);
        expect(&pod(told), Some(node("True", gone.clone())), &[]);
        expect(&pod(json!({})), Some(node("Unknown", gone)), &[]);
    }
}
