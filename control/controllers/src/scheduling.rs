//! Pods get nodes.
//!
//! All pods without a node are one key: decisions made side by side on one snapshot would all see the same empty node, so one
//! look places every waiting pod in turn and remembers what it gave away. The bindings then stand alone, each guarded by its
//! pod's revision and by its node being there. With its node a pod gets its address there.
//!
//! What one look knows the next one brings up to date ([`Board`]): it costs what has changed, and not what there is.
//!
//! A pod that fits nowhere may send away others that matter less. It is promised their node (`nominatedNodeName`), and nobody who
//! matters less gets the room while they leave.

mod line;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use api::{GroupKind, Key, Object, kinds, storage};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use scheduler::volumes::Choice;
use scheduler::{Budgets, Cluster, Demand, NodeName, Request, Resources, Unplaceable};
use serde_json::json;
use state::address::{self, Ranges};
use state::{Claim, Event, Guard, Snapshot, Txn};

use crate::conditions::{Says, pod_says};
use crate::deletion::disrupt;
use crate::edit::{edited_tree, replaced};
use crate::record::{Tale, Tone, told};
use crate::volume_binding::reference;
use crate::{Controller, Look, Plan, pods};
use line::{Found, Line, Turn};

/// The scheduler that pods name when they mean this one.
const SCHEDULER: &str = "default-scheduler";
/// One transaction each; more than this wait for the next look, so that a look stays short.
const PODS_PER_LOOK_MAX: usize = 1_000;
/// Everybody is asked about anew after this, and the past is let go of, though nothing has happened that anybody knows of.
const REFRESHED_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// What the table of nodes is made of.
const PLACEMENT: [GroupKind; 3] = [kinds::NODE, kinds::POD, kinds::NAMESPACE];

/// The controller that binds pods to nodes.
#[derive(Default)]
pub(crate) struct Scheduling {
    /// The address that each node's pods were given last. A hint and no more: what is free is what the world says, and the next is
    /// looked for from here, so that an address rests after its pod has gone.
    given: Mutex<HashMap<NodeName, IpAddr>>,
    /// What the last look knew, since anybody waited first.
    board: Mutex<Option<Board>>,
}

/// The nodes and those who wait, as one look leaves them to the next. It says what one made anew would say, but for the refusals that
/// nothing has happened to change.
struct Board {
    /// The part of the world that it was made of.
    world: Snapshot,
    cluster: Cluster,
    line: Line,
    refreshed: Timestamp,
}

/// One look at all pods that wait, and what it gave away.
struct Round<'a> {
    given: &'a Mutex<HashMap<NodeName, IpAddr>>,
    /// The addresses of the nodes that pods were bound to.
    ranges: HashMap<NodeName, Ranges>,
    board: Board,
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
        let mut kept = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        let board = match kept.take() {
            Some(board) => board.follow(view, look.now),
            None if view.pods_without_node().any(|pod| waits(pod).is_some()) => Board::of(view, look.now),
            None => return Plan::nothing(),
        };
        let again = board.refreshed + REFRESHED_EVERY;
        let given = &self.given;
        let mut round = Round { given, ranges: HashMap::new(), board, view, look, budgets: OnceCell::new() };
        let txns = round.decisions();
        *kept = Some(round.board);
        txns.into_iter().collect::<Plan>().again_at(Some(again))
    }
}

// === impl Board ===

impl Board {
    fn of(view: &Snapshot, now: Timestamp) -> Self {
        let (cluster, line) = (Cluster::of(view), Line::of(view));
        Self { world: view.part(&PLACEMENT), cluster, line, refreshed: now }
    }

    /// The same of a later world.
    fn follow(mut self, view: &Snapshot, now: Timestamp) -> Self {
        let followed = self.cluster.follow(&self.world, view);
        self.line.follow(&followed.pods, followed.gives);
        self.world = view.part(&PLACEMENT);
        if self.refreshed + REFRESHED_EVERY <= now {
            self.line.refresh();
            self.refreshed = now;
        }
        self
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
    /// Decides about each whose turn it is, as many as there is room for in one look.
    fn decisions(&mut self) -> Vec<Txn> {
        let (mut txns, mut last) = (Vec::new(), None::<Turn>);
        while txns.len() < PODS_PER_LOOK_MAX {
            let Some(turn) = self.board.line.next(last.as_ref()) else { break };
            let waiting = self.view.get(turn.pod()).and_then(waits);
            if let Some((object, pod)) = waiting {
                let (request, found, txn) = self.decide(object, &pod);
                self.board.line.found(&turn, request.as_ref(), found, txn.is_empty());
                txns.extend(Some(txn).filter(|txn| !txn.is_empty()));
            }
            last = Some(turn);
        }
        txns
    }

    /// What the pod asks if others may ask the same, what was found, and what the world is to say of it.
    fn decide(&mut self, object: &Object, pod: &Pod) -> (Option<Request>, Found, Txn) {
        let (view, look) = (self.view, self.look);
        if pod.spec.as_ref().is_some_and(|spec| spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty())) {
            let message = "Scheduling is blocked due to non-empty scheduling gates";
            return (None, Found::Gated, says_waiting(object, "SchedulingGated", message, None, look));
        }
        let demand = match Demand::in_world(pod, view) {
            Ok(demand) => demand,
            Err(reasons) => {
                let told = refused(object, &reasons, None, view, look);
                return (None, Found::Refused(reasons), told);
            }
        };
        let request = if self.board.line.has_answers() { demand.request() } else { None };
        let is_promised = pod.status.as_ref().is_some_and(|status| status.nominated_node_name.is_some());
        let known = request.as_ref().filter(|_| !is_promised).and_then(|request| self.board.line.answer(request));
        if let Some(reasons) = known.cloned() {
            let told = refused(object, &reasons, None, view, look);
            return (request, Found::Refused(reasons), told);
        }
        match self.board.cluster.place(&demand, look.number(&object.meta().uid)) {
            Ok(node) => (request, Found::Taken, self.give(object, pod, &demand, &node)),
            Err(reasons) => {
                let (is_promised, told) = self.make_room(object, pod, &demand, &reasons);
                let found = if is_promised { Found::Taken } else { Found::Refused(reasons) };
                (request.or_else(|| demand.request()), found, told)
            }
        }
    }

    /// The node is the pod's, with what it has there.
    fn give(&mut self, object: &Object, pod: &Pod, demand: &Demand, node: &NodeName) -> Txn {
        let (view, look) = (self.view, self.look);
        let choices = self.board.cluster.choices(node, demand);
        self.board.cluster.assume(node, demand);
        let chosen = choices.iter().map(|(claim, choice)| chosen(claim, choice, node, view));
        let address = self.address(pod, node);
        let bound = claims(object, pod, view).fold(bind(object, node, address, view, look), Txn::guard);
        chosen.fold(bound, Txn::and)
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

    /// What a pod that fits nowhere can do about it; whether it is promised a node.
    fn make_room(&mut self, object: &Object, pod: &Pod, demand: &Demand, reasons: &Unplaceable) -> (bool, Txn) {
        let (view, look, cluster) = (self.view, self.look, &mut self.board.cluster);
        let promised = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref()).map(NodeName::from);
        if let Some(node) = promised.filter(|node| cluster.is_being_vacated(node, demand)) {
            cluster.assume(&node, demand);
            return (true, refused(object, reasons, Some(&node), view, look));
        }
        let budgets = || self.budgets.get_or_init(|| Budgets::of(view));
        let preemption = if demand.preempts() { cluster.preempt(demand, budgets()) } else { None };
        let Some(preemption) = preemption else { return (false, refused(object, reasons, None, view, look)) };
        cluster.vacate(&preemption);
        cluster.assume(&preemption.node, demand);
        let victims = preemption.victims.iter().filter_map(|victim| view.get(victim));
        let sent = victims.map(|victim| send_away(victim, object, &preemption.node, view, look));
        (true, sent.fold(refused(object, reasons, Some(&preemption.node), view, look), Txn::and))
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
