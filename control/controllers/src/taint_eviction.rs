//! Pods leave nodes whose `NoExecute` taints they do not tolerate, or tolerate only for a time.

use api::{Key, kinds};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use state::{Event, Snapshot, Txn};

use crate::deletion::disrupt;
use crate::node_lifecycle::{NOT_READY, UNREACHABLE};
use crate::record::{Tale, Tone, told};
use crate::{Config, Controller, Look, Plan, pods};

/// How long a pod that says nothing about it stays on a node that is lost: what Kubernetes' admission would have written.
const LOST_NODE_TOLERATED: SignedDuration = SignedDuration::from_secs(300);

/// The controller that evicts.
pub(crate) struct TaintEviction {
    started: Timestamp,
}

/// How long a pod may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    ForGood,
    Until(Timestamp),
}

// === impl TaintEviction ===

impl TaintEviction {
    /// Counts a pod's patience from when the control plane began to listen: until then no node could say that it is back.
    pub(crate) fn new(config: &Config) -> Self {
        Self { started: config.started }
    }
}

impl Controller for TaintEviction {
    fn name(&self) -> &'static str {
        "taint-eviction"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        match event.key().kind() {
            kinds::POD if event.after().is_some() => vec![event.key().clone()],
            kinds::NODE => {
                let taints = |object: &api::Object| object.decode::<Node>().ok().map(|node| evicting(&node));
                let same = event.before().is_some_and(|before| taints(before) == event.after().and_then(taints));
                let on_it = view.pods_on(event.key().name()).map(|pod| pod.key().clone());
                if same { Vec::new() } else { on_it.collect() }
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key).filter(|pod| !pod.meta().is_terminating()) else { return Plan::nothing() };
        let Ok(pod) = object.decode::<Pod>() else { return Plan::nothing() };
        let node = pods::node(&pod).and_then(|node| view.get(&kinds::NODE.cluster_key(node)));
        let Some(node) = node.and_then(|node| node.decode::<Node>().ok()) else { return Plan::nothing() };
        match stay(&pod, &evicting(&node), self.started, look.now) {
            Stay::ForGood => Plan::nothing(),
            Stay::Until(end) if end > look.now => Plan::nothing().again_at(Some(end)),
            Stay::Until(_) => Plan::of(evict(object, view, look)),
        }
    }
}

fn evicting(node: &Node) -> Vec<Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    taints.iter().filter(|taint| taint.effect == "NoExecute").cloned().collect()
}

fn stay(pod: &Pod, taints: &[Taint], started: Timestamp, now: Timestamp) -> Stay {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let ends = taints.iter().filter_map(|taint| {
        let since = taint.time_added.as_ref().map_or(now, |time| time.0.max(started));
        let covering: Vec<&Toleration> = tolerations.iter().filter(|it| covers(it, taint)).collect();
        let shortest = covering.iter().filter_map(|it| it.toleration_seconds).min();
        match (covering.is_empty(), shortest) {
            (true, _) if is_lost(taint) && !speaks_of(tolerations, taint) => Some(since + LOST_NODE_TOLERATED),
            (true, _) => Some(now),
            (false, Some(seconds)) => Some(since + SignedDuration::from_secs(seconds.max(0))),
            (false, None) => None,
        }
    });
    ends.min().map_or(Stay::ForGood, Stay::Until)
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    scheduler::tolerates(std::slice::from_ref(toleration), taint)
}

fn is_lost(taint: &Taint) -> bool {
    taint.key == NOT_READY || taint.key == UNREACHABLE
}

fn speaks_of(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| toleration.key.as_deref() == Some(&taint.key))
}

fn evict(object: &api::Object, view: &Snapshot, look: Look<'_>) -> Txn {
    let (namespace, name) = (object.key().namespace(), object.key().name());
    let message = format!("Marking for deletion Pod {namespace}/{name}");
    let tale =
        Tale { by: "taint-eviction-controller", tone: Tone::Normal, reason: "TaintManagerEviction", message: &message };
    let why = "Taint manager: deleting due to NoExecute taint";
    disrupt(object, "DeletionByTaintManager", why, look).and(told(view, look, object, &tale))
}
