//! Pods get nodes.
//!
//! All pods without a node are one key: decisions made side by side on one snapshot would all see the same empty node, so one
//! look places every waiting pod in turn and remembers what it gave away. The bindings then stand alone, each guarded by its
//! pod's revision and by its node being there. With its node a pod gets its address there.
//!
//! A pod that fits nowhere may send away others that matter less. It is promised their node (`nominatedNodeName`), and nobody who
//! matters less gets the room while they leave.

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::{GroupKind, Key, Object, kinds, storage};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use scheduler::volumes::Choice;
use scheduler::{Budgets, Cluster, Demand, NodeName, Resources, Unplaceable};
use serde_json::json;
use state::address::{self, Ranges};
use state::{Claim, Event, Guard, Snapshot, Txn};

use crate::conditions::{Says, pod_says};
use crate::deletion::disrupt;
use crate::edit::{edited_tree, replaced};
use crate::record::{Tale, Tone, told};
use crate::volume_binding::reference;
use crate::{Controller, Look, Plan, pods};

/// The scheduler that pods name when they mean this one.
const SCHEDULER: &str = "default-scheduler";
/// One transaction each; more than this wait for the next look, so that a look stays short.
const PODS_PER_LOOK_MAX: usize = 1_000;

/// What the table of nodes is made of.
const PLACEMENT: [GroupKind; 3] = [kinds::NODE, kinds::POD, kinds::NAMESPACE];

/// The controller that binds pods to nodes.
#[derive(Default)]
pub(crate) struct Scheduling {
    /// The address that each node's pods were given last. A hint and no more: what is free is what the world says, and the next is
    /// looked for from here, so that an address rests after its pod has gone.
    given: Mutex<HashMap<NodeName, IpAddr>>,
    /// The table of the last look, and the part of the world that it was made of, as long as anybody waits: the next look only has to
    /// take up what has changed. It says what one made anew would say.
    table: Mutex<Option<(Snapshot, Cluster)>>,
}

/// One look at all pods that wait, and what it gave away.
struct Round<'a> {
    given: &'a Mutex<HashMap<NodeName, IpAddr>>,
    /// The addresses of the nodes that pods were bound to.
    ranges: HashMap<NodeName, Ranges>,
    cluster: Cluster,
    view: &'a Snapshot,
    look: Look<'a>,
    budgets: OnceCell<Budgets>,
}

/// Every pod that waits for a node.
fn waiting_room() -> Key {
    GroupKind::new("coracle", "Scheduling").cluster_key("waiting")
}

// === impl Scheduling ===

impl Controller for Scheduling {
    fn name(&self) -> &'static str {
        "scheduling"
    }

    fn affected(&self, event: &Event, _view: &Snapshot) -> Vec<Key> {
        let matters = match event.key().kind() {
            kinds::POD => pod_matters(event),
            kinds::NODE => node_matters(event),
            // What a claim has, or is to be filled from, says where it can be.
            kinds::PERSISTENT_VOLUME_CLAIM
            | kinds::PERSISTENT_VOLUME
            | kinds::STORAGE_CLASS
            | kinds::VOLUME_SNAPSHOT
            | kinds::VOLUME_SNAPSHOT_CONTENT => true,
            _ => false,
        };
        if matters { vec![waiting_room()] } else { Vec::new() }
    }

    fn reconcile(&self, _key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let mut waiting: Vec<(&Object, Arc<Pod>)> = view.pods_without_node().filter_map(waits).collect();
        if waiting.is_empty() {
            // It would keep all that is of the past from being forgotten.
            self.table().take();
            return Plan::nothing();
        }
        waiting.sort_by_key(|(object, pod)| {
            let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
            (Reverse(priority), object.meta().creation_timestamp, object.revision())
        });
        let mut round = Round {
            given: &self.given,
            ranges: HashMap::new(),
            cluster: self.cluster(view),
            view,
            look,
            budgets: OnceCell::new(),
        };
        let decisions = waiting.into_iter().map(|(object, pod)| round.decide(object, &pod));
        let plan = decisions.filter(|txn| !txn.is_empty()).take(PODS_PER_LOOK_MAX).collect();
        *self.table() = Some((view.part(&PLACEMENT), round.cluster));
        plan
    }
}

impl Scheduling {
    /// The nodes of this world.
    fn cluster(&self, view: &Snapshot) -> Cluster {
        match self.table().take() {
            Some((earlier, mut cluster)) => {
                cluster.follow(&earlier, view);
                cluster
            }
            None => Cluster::of(view),
        }
    }

    fn table(&self) -> MutexGuard<'_, Option<(Snapshot, Cluster)>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pod that waits, or that gives room back.
fn pod_matters(event: &Event) -> bool {
    let takes_room =
        |pod: &Object| pod.decode::<Pod>().is_ok_and(|pod| pods::node(&pod).is_some() && !pods::has_ended(&pod));
    let waits_now = event.after().is_some_and(|pod| waits(pod).is_some());
    // Whoever comes to a node, and whoever is called something else there, may be a neighbour that others waited for.
    let is_new = |before: &Object, after: &Object| {
        takes_room(after) && (!takes_room(before) || before.meta().labels != after.meta().labels)
    };
    let is_neighbour = event.before().zip(event.after()).is_some_and(|(before, after)| is_new(before, after));
    // One that was resized, or is not to be any more, may leave room.
    let sizes = |pod: &Object| pod.decode::<Pod>().ok().map(|pod| Resources::asked_by(&pod));
    let is_resized = event
        .before()
        .zip(event.after())
        .is_some_and(|(before, after)| takes_room(before) && takes_room(after) && sizes(before) != sizes(after));
    waits_now
        || is_neighbour
        || is_resized
        || (event.before().is_some_and(takes_room) && !event.after().is_some_and(takes_room))
}

/// A node that is new, gone, or different in what placement asks about; heartbeats are not.
fn node_matters(event: &Event) -> bool {
    let facts = |object: &Object| {
        let node = object.decode::<Node>().ok()?;
        let status = node.status.clone().unwrap_or_default();
        let spec = node.spec.clone().unwrap_or_default();
        Some((object.meta().labels.clone(), spec.taints, spec.unschedulable, status.allocatable, status.capacity))
    };
    event.before().and_then(facts) != event.after().and_then(facts)
}

fn waits(object: &Object) -> Option<(&Object, Arc<Pod>)> {
    if object.meta().is_terminating() {
        return None;
    }
    let pod = object.decode::<Pod>().ok()?;
    let spec = pod.spec.as_ref()?;
    let ours = spec.scheduler_name.as_deref().is_none_or(|name| name.is_empty() || name == SCHEDULER);
    (ours && pods::node(&pod).is_none() && !pods::has_ended(&pod)).then_some((object, pod))
}

// === impl Round ===

impl Round<'_> {
    fn decide(&mut self, object: &Object, pod: &Pod) -> Txn {
        let (view, look) = (self.view, self.look);
        if pod.spec.as_ref().is_some_and(|spec| spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty())) {
            let message = "Scheduling is blocked due to non-empty scheduling gates";
            return says_waiting(object, "SchedulingGated", message, None, look);
        }
        let demand = match Demand::in_world(pod, view) {
            Ok(demand) => demand,
            Err(reasons) => return refused(object, &reasons, None, view, look),
        };
        match self.cluster.place(&demand, look.number(&object.meta().uid)) {
            Ok(node) => {
                let choices = self.cluster.choices(&node, &demand);
                self.cluster.assume(&node, &demand);
                let chosen = choices.iter().map(|(claim, choice)| chosen(claim, choice, &node, view));
                let address = self.address(pod, &node);
                let bound = claims(object, pod, view).fold(bind(object, &node, address, view, look), Txn::guard);
                chosen.fold(bound, Txn::and)
            }
            Err(reasons) => self.make_room(object, pod, &demand, &reasons),
        }
    }

    /// An address of the node that is free, for a pod that needs one. Where none can be found the node says so.
    fn address(&mut self, pod: &Pod, node: &NodeName) -> Option<IpAddr> {
        let is_on_host = pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true));
        let has_one = pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some());
        if is_on_host || has_one {
            return None;
        }
        if !self.ranges.contains_key(node) {
            self.ranges.insert(node.clone(), address::ranges(self.view, node.as_str()).ok()?);
        }
        let ranges = &self.ranges[node];
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let last = given.get(node).copied().or_else(|| address::last_held(self.view, ranges));
        let picked = address::pick(self.view, ranges, None, last, |_| false).ok()?;
        given.insert(node.clone(), picked);
        Some(picked)
    }

    /// What a pod that fits nowhere can do about it.
    fn make_room(&mut self, object: &Object, pod: &Pod, demand: &Demand, reasons: &Unplaceable) -> Txn {
        let (view, look) = (self.view, self.look);
        let promised = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref()).map(NodeName::from);
        if let Some(node) = promised.filter(|node| self.cluster.is_being_vacated(node, demand)) {
            self.cluster.assume(&node, demand);
            return refused(object, reasons, Some(&node), view, look);
        }
        let budgets = || self.budgets.get_or_init(|| Budgets::of(view));
        let preemption = if demand.preempts() { self.cluster.preempt(demand, budgets()) } else { None };
        let Some(preemption) = preemption else { return refused(object, reasons, None, view, look) };
        self.cluster.vacate(&preemption);
        self.cluster.assume(&preemption.node, demand);
        let victims = preemption.victims.iter().filter_map(|victim| view.get(victim));
        let sent = victims.map(|victim| send_away(victim, object, &preemption.node, view, look));
        sent.fold(refused(object, reasons, Some(&preemption.node), view, look), Txn::and)
    }
}

/// Says why the pod waits, and which node it was promised.
fn refused(
    object: &Object,
    reasons: &Unplaceable,
    promised: Option<&NodeName>,
    view: &Snapshot,
    look: Look<'_>,
) -> Txn {
    let message = reasons.to_string();
    let waiting = says_waiting(object, "Unschedulable", &message, promised, look);
    let tale = Tale { by: SCHEDULER, tone: Tone::Warning, reason: "FailedScheduling", message: &message };
    if waiting.is_empty() { waiting } else { waiting.and(told(view, look, object, &tale)) }
}

/// Deletes a pod for the sake of another that matters more.
fn send_away(victim: &Object, sake: &Object, node: &NodeName, view: &Snapshot, look: Look<'_>) -> Txn {
    let message = format!("Preempted by pod {} on node {node}", sake.meta().uid);
    let tale = Tale { by: SCHEDULER, tone: Tone::Normal, reason: "Preempted", message: &message };
    let why = "default-scheduler: preempting to accommodate a higher priority pod";
    disrupt(victim, "PreemptionByScheduler", why, look).and(told(view, look, victim, &tale))
}

/// The pod with its node, and with the address that it will have there: nobody else gets that from now on, and the node need not
/// ask for one.
fn bind(object: &Object, node: &NodeName, address: Option<IpAddr>, view: &Snapshot, look: Look<'_>) -> Txn {
    // By its tree: of a whole pod, which is many times larger, nothing else is asked.
    let bound = edited_tree(object, |pod| {
        pod["spec"]["nodeName"] = node.as_str().into();
        let status = &mut pod["status"];
        if let Some(address) = address {
            let address = address.to_string();
            status["podIPs"] = json!([{"ip": address}]);
            status["podIP"] = address.into();
        }
        let mut conditions = serde_json::from_value(status["conditions"].take()).unwrap_or_default();
        let says = Says { kind: "PodScheduled", status: "True", reason: "", message: "" };
        pod_says(&mut conditions, says, &look.time());
        for condition in conditions.iter_mut().flatten().filter(|condition| condition.type_ == "PodScheduled") {
            (condition.reason, condition.message) = (None, None);
        }
        status["conditions"] = json!(conditions);
    });
    let bound = bound.map_or_else(Txn::default, |bound| Txn::replace(object, bound));
    let (namespace, name) = (object.key().namespace(), object.key().name());
    let message = format!("Successfully assigned {namespace}/{name} to {node}");
    let tale = Tale { by: SCHEDULER, tone: Tone::Normal, reason: "Scheduled", message: &message };
    let is_free = address.map(|address| Guard::Free(Claim::PodIp(address), object.key().clone()));
    let bound = is_free.into_iter().fold(bound, Txn::guard);
    bound.guard(Guard::Alive(kinds::NODE.cluster_key(node.as_str()))).and(told(view, look, object, &tale))
}

/// A pod gets a node for the claims that were looked at, or none: one that is deleted meanwhile is let go of as long as nobody
/// with a node uses it.
fn claims(object: &Object, pod: &Pod, view: &Snapshot) -> impl Iterator<Item = Guard> {
    let keys = storage::claim_names(pod).map(|name| object.key().sibling(kinds::PERSISTENT_VOLUME_CLAIM, &name));
    let claims = keys.filter_map(|key| view.get(&key));
    claims.map(|claim| Guard::Unchanged(claim.key().clone(), claim.revision()))
}

/// What becomes of a claim that waited for this pod: the node is told to whoever makes its volume, or the volume that was found
/// is kept for it. All of it happens with the binding, or nothing does.
fn chosen(claim: &Key, choice: &Choice, node: &NodeName, view: &Snapshot) -> Txn {
    let Some(object) = view.get(claim) else { return Txn::default() };
    match choice {
        Choice::Made => replaced::<PersistentVolumeClaim>(object, |claim| {
            let noted = claim.metadata.annotations.get_or_insert_default();
            noted.insert(storage::SELECTED_NODE.into(), node.to_string());
        }),
        Choice::Found(volume) => {
            let Some(volume) = view.get(volume) else { return Txn::default() };
            let kept = replaced::<PersistentVolume>(volume, |volume| {
                let spec = volume.spec.get_or_insert_default();
                if spec.claim_ref.is_none() {
                    let noted = volume.metadata.annotations.get_or_insert_default();
                    noted.insert(storage::BOUND_BY_CONTROLLER.into(), "yes".into());
                    spec.claim_ref = Some(reference(object));
                }
            });
            kept.guard(Guard::Unchanged(object.key().clone(), object.revision()))
        }
    }
}

fn says_waiting(
    object: &Object,
    reason: &'static str,
    message: &str,
    promised: Option<&NodeName>,
    look: Look<'_>,
) -> Txn {
    replaced::<Pod>(object, |pod| {
        let status = pod.status.get_or_insert_default();
        status.nominated_node_name = promised.map(ToString::to_string);
        let says = Says { kind: "PodScheduled", status: "False", reason, message };
        pod_says(&mut status.conditions, says, &look.time());
    })
}

#[cfg(test)]
mod tests;
