//! Whether a node is to have a pod of the set.

use api::Object;
use k8s_openapi::api::core::v1::{Node, PodSpec, Taint, Toleration};

/// The taints that every daemon tolerates: it belongs to the node, whatever state that is in.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// Tolerated by those that do not need the pod network.
const NO_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// What a node is to the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is to have a pod.
    Run,
    /// It is to have none; one that is there stays.
    Stay,
    /// It is to have none.
    Leave,
}

/// What the node is to pods of this spec.
pub(super) fn verdict(spec: &PodSpec, object: &Object) -> Verdict {
    let name = object.key().name();
    let other_named = spec.node_name.as_deref().is_some_and(|named| !named.is_empty() && named != name);
    if other_named || !scheduler::selects(spec, name, &object.meta().labels) {
        return Verdict::Leave;
    }
    let Ok(node) = object.decode::<Node>() else { return Verdict::Leave };
    let tolerations = tolerations(spec);
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let refuses = |taint: &&Taint| !scheduler::tolerates(&tolerations, taint);
    let refusing: Vec<&str> = taints.iter().filter(refuses).map(|taint| taint.effect.as_str()).collect();
    if refusing.contains(&"NoExecute") {
        Verdict::Leave
    } else if refusing.contains(&"NoSchedule") {
        Verdict::Stay
    } else {
        Verdict::Run
    }
}

/// What the template tolerates, and what every daemon does.
pub(super) fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut tolerations = spec.tolerations.clone().unwrap_or_default();
    let no_network = (spec.host_network == Some(true)).then_some(NO_NETWORK);
    for (key, effect) in TOLERATED.into_iter().chain(no_network) {
        let toleration = Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some(effect.into()),
            ..Toleration::default()
        };
        // One that says the same for a time says it for good now.
        let says_so = |known: &Toleration| Toleration { toleration_seconds: None, ..known.clone() } == toleration;
        tolerations.retain(|known| !says_so(known));
        tolerations.push(toleration);
    }
    tolerations
}
