//! How long a new pod stays on a node that is lost, unless it says so itself.
//!
//! Kubernetes gives every pod five minutes, because starting a container is dear and a node that reboots is soon back. A component
//! starts in milliseconds, so a pod that a replica set replaces has no reason to wait: it goes as soon as its node counts as
//! unreachable, which is itself a matter of some patience, and within seconds where the node has said that it stops. A pod that
//! nobody would replace, or of which there must never be two, or that does a piece of work once, keeps the five minutes: for it, to
//! be sent off by a short outage is worse than to wait it out. Whoever configures a number of seconds means all pods.

use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration};

use crate::{Object, StatusError, kinds};

/// A node that says it is not ready.
pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// A node that says nothing.
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Kubernetes' own figure.
const SECONDS: i64 = 300;
/// A node that stops in order to be started anew is back within this.
const REPLACED_NOT_READY_SECONDS: i64 = 10;
/// Whoever calls a node unreachable has waited already.
const REPLACED_UNREACHABLE_SECONDS: i64 = 0;

/// What a cluster is told about it; what is not said follows from who would replace the pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outages {
    /// The seconds on a node that is not ready.
    pub not_ready_seconds: Option<u32>,
    /// The seconds on a node that cannot be reached.
    pub unreachable_seconds: Option<u32>,
}

// === impl Outages ===

impl Outages {
    /// A new pod that says for how long it stays.
    pub fn tolerated_by(self, pod: Object) -> Result<Object, StatusError> {
        let before = pod.decode::<Pod>().map_err(StatusError::internal)?;
        let is_replaced = pod.meta().controller().is_some_and(|owner| owner.kind == "ReplicaSet");
        let mut after = Pod::clone(&before);
        let spec = after.spec.get_or_insert_default();
        for (key, seconds) in [(NOT_READY, self.not_ready(is_replaced)), (UNREACHABLE, self.unreachable(is_replaced))] {
            if !is_spoken_of(spec, key) {
                spec.tolerations.get_or_insert_default().push(Toleration {
                    key: Some(key.into()),
                    operator: Some("Exists".into()),
                    effect: Some("NoExecute".into()),
                    toleration_seconds: Some(seconds),
                    value: None,
                });
            }
        }
        if after == *before {
            return Ok(pod);
        }
        after.metadata.resource_version = None;
        Object::from_typed(kinds::POD, &after).map_err(StatusError::internal)
    }

    fn not_ready(self, is_replaced: bool) -> i64 {
        let chosen = if is_replaced { REPLACED_NOT_READY_SECONDS } else { SECONDS };
        self.not_ready_seconds.map_or(chosen, i64::from)
    }

    fn unreachable(self, is_replaced: bool) -> i64 {
        let chosen = if is_replaced { REPLACED_UNREACHABLE_SECONDS } else { SECONDS };
        self.unreachable_seconds.map_or(chosen, i64::from)
    }
}

/// What was given to a pod when it was new stays where a client that replaces the whole pod leaves it out.
pub fn keep(spec: &mut PodSpec, old: &PodSpec) {
    for key in [NOT_READY, UNREACHABLE] {
        let given = old.tolerations.iter().flatten().find(|one| one.key.as_deref() == Some(key) && evicts(one));
        if let Some(given) = given.filter(|_| !is_spoken_of(spec, key)) {
            spec.tolerations.get_or_insert_default().push(given.clone());
        }
    }
}

fn is_spoken_of(spec: &PodSpec, key: &str) -> bool {
    let covers = |one: &Toleration| one.key.as_deref().is_none_or(|known| known.is_empty() || known == key);
    spec.tolerations.iter().flatten().any(|one| covers(one) && evicts(one))
}

fn evicts(toleration: &Toleration) -> bool {
    toleration.effect.as_deref().is_none_or(|effect| effect.is_empty() || effect == "NoExecute")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// How long a pod of this owner stays that tolerates this: on a node not ready, and on one unreachable.
    #[track_caller]
    fn check(outages: Outages, owner: Option<&str>, tolerations: Value, expect: [Option<i64>; 2]) {
        let owners = owner
            .map(|kind| json!([{"apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "o", "controller": true}]));
        let value = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "default", "ownerReferences": owners.unwrap_or(json!([]))},
            "spec": {"containers": [], "tolerations": tolerations},
        });
        let pod = Object::from_value(kinds::POD, &value).expect("a pod");
        let pod = outages.tolerated_by(pod).expect("a pod").decode::<Pod>().expect("a pod");
        let all = pod.spec.as_ref().and_then(|spec| spec.tolerations.clone()).unwrap_or_default();
        let seconds = |key: &str| all.iter().find(|one| one.key.as_deref() == Some(key))?.toleration_seconds;
        assert_eq!([seconds(NOT_READY), seconds(UNREACHABLE)], expect, "{owner:?}");
    }

    #[test]
    fn who_is_replaced_goes_soon_and_others_stay() {
        let default = Outages::default();
        check(default, Some("ReplicaSet"), json!([]), [Some(10), Some(0)]);
        for owner in [None, Some("StatefulSet"), Some("Job")] {
            check(default, owner, json!([]), [Some(300), Some(300)]);
        }
    }

    #[test]
    fn what_a_pod_or_the_cluster_says_counts() {
        let said = Outages { not_ready_seconds: Some(7), unreachable_seconds: Some(8) };
        check(said, None, json!([]), [Some(7), Some(8)]);
        check(said, Some("ReplicaSet"), json!([]), [Some(7), Some(8)]);
        check(said, None, json!([{"operator": "Exists"}]), [None, None]);
        let own = json!([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}]);
        check(said, None, own, [Some(7), Some(60)]);
        let other = json!([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoSchedule"}]);
        let value = json!({"containers": [], "tolerations": other});
        let spec: PodSpec = serde_json::from_value(value).expect("a spec");
        assert!(!is_spoken_of(&spec, UNREACHABLE), "it says nothing of being sent off");
    }

    #[test]
    fn what_was_given_stays() {
        let given = json!([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}]);
        let spec = |tolerations: &Value| {
            serde_json::from_value::<PodSpec>(json!({"containers": [], "tolerations": tolerations}))
        };
        let (mut new, old) = (spec(&json!([])).expect("a spec"), spec(&given).expect("a spec"));
        keep(&mut new, &old);
        assert_eq!(new, old);
    }
}
