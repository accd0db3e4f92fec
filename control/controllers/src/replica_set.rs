//! ReplicaSets, and the ReplicationControllers that they come from: as many pods as asked for.
//!
//! Pods come in one transaction with the status that counts them, guarded by the set's revision; they go one by one, each
//! guarded by its own, because agents write pods all the time and one that moved should not hold up the others. Pods that
//! match and have no manager are adopted; pods that are managed and no longer match are released.

mod kind;
mod ranking;
mod status;

pub(crate) use status::{REPLICA_FAILURE, number};

use std::collections::HashSet;
use std::sync::Arc;

use api::selector::LabelSelector;
use api::{GroupKind, Key, Object, kinds};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use state::{Event, Guard, Snapshot, Txn};

use crate::charge::{Tab, has_more_room};
use crate::created::{awaits_account, created_pod};
use crate::deletion::{Propagation, delete};
use crate::record::{Tale, Tone, told, told_of_many};
use crate::{Controller, Look, Plan, claim, owners, pods, refusal, selector, template};
use kind::Kind;

/// Enough for a rollout to be quick, few enough for one record of the log; as many as Kubernetes creates at a time.
const PODS_PER_LOOK_MAX: usize = 500;
/// What asks for so many pods.
const KINDS: [GroupKind; 2] = [kinds::REPLICA_SET, kinds::REPLICATION_CONTROLLER];

/// The controller of ReplicaSets and ReplicationControllers.
pub(crate) struct ReplicaSets;

/// One of the set's pods.
#[derive(Clone)]
pub(crate) struct Replica<'a> {
    pub(crate) object: &'a Object,
    pub(crate) pod: Arc<Pod>,
}

// === impl ReplicaSets ===

impl Controller for ReplicaSets {
    fn name(&self) -> &'static str {
        "replicaset"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        match event.key().kind() {
            kind if KINDS.contains(&kind) => vec![event.key().clone()],
            kinds::POD => {
                let mut keys: Vec<Key> = KINDS.iter().flat_map(|kind| owners::managers(event, *kind)).collect();
                if event.after().is_some_and(|pod| pod.meta().controller().is_none()) {
                    let takers = |kind: &GroupKind| claim::candidates(event.latest(), *kind, view, selector_of);
                    keys.extend(KINDS.iter().flat_map(takers));
                }
                keys
            }
            // What could not be created for want of its account, or of room, can be now.
            kinds::SERVICE_ACCOUNT if event.after().is_some() => sets_in(event.key().namespace(), view),
            kinds::RESOURCE_QUOTA if has_more_room(event) => sets_in(event.key().namespace(), view),
            _ => Vec::new(),
        }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key) else { return Plan::nothing() };
        let Some(set) = kind::read(object) else { return Plan::nothing() };
        let Some(spec) = &set.spec else { return Plan::nothing() };
        let claims = claim::claims(object, &selector::read(&spec.selector), kinds::POD, view, has_not_ended);
        if !claims.is_empty() {
            return claims.into_iter().collect();
        }
        let replicas = replicas(object, view);
        let active: Vec<&Replica<'_>> = replicas.iter().filter(|replica| pods::is_active(&replica.pod)).collect();
        let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
        let again = next_available(&active, spec.min_ready_seconds.unwrap_or(0), look.now);
        if active.len() > wanted && !object.meta().is_terminating() {
            return shrink(object, &active, active.len() - wanted, view, look).again_at(again);
        }
        let template = spec.template.as_ref().and_then(|template| template.spec.as_ref());
        let must_wait = object.meta().is_terminating() || awaits_account(template, object.key(), view);
        let missing = if must_wait { 0 } else { wanted - active.len() };
        grow(object, &set, &active, missing, view, look).again_at(again)
    }
}

fn selector_of(set: &Object) -> Option<LabelSelector> {
    let set = kind::read(set)?;
    Some(selector::read(&set.spec.as_ref()?.selector))
}

/// A pod that is done does not become a replica any more.
fn has_not_ended(pod: &Object) -> bool {
    pod.decode::<Pod>().is_ok_and(|pod| !pods::has_ended(&pod))
}

fn sets_in(namespace: &str, view: &Snapshot) -> Vec<Key> {
    KINDS.iter().flat_map(|kind| view.list_in(*kind, namespace)).map(|set| set.key().clone()).collect()
}

/// The pods that the set manages, whatever has become of them.
pub(crate) fn replicas<'a>(set: &Object, view: &'a Snapshot) -> Vec<Replica<'a>> {
    let owned = view.owned_by(&set.meta().uid).filter(|it| it.key().kind() == kinds::POD);
    let managed = owned.filter(|it| owners::is_managed_by(it.meta(), set));
    managed.filter_map(|object| Some(Replica { object, pod: object.decode::<Pod>().ok()? })).collect()
}

fn next_available(active: &[&Replica<'_>], seconds: i32, now: Timestamp) -> Option<Timestamp> {
    let due = |replica: &&Replica<'_>| match pods::availability(&replica.pod, seconds, now) {
        pods::Availability::From(due) => Some(due),
        _ => None,
    };
    active.iter().filter_map(due).min()
}

/// Creates what is missing and says in the same breath how many there are now.
fn grow(
    object: &Object,
    set: &ReplicaSet,
    active: &[&Replica<'_>],
    missing: usize,
    view: &Snapshot,
    look: Look<'_>,
) -> Plan {
    let mut txn = Txn::default().guard(Guard::Unchanged(object.key().clone(), object.revision()));
    let by = Kind::of(object).component();
    let mut created = Vec::new();
    let mut refused = None;
    let mut tab = Tab::open(object.key(), view, look);
    let mut names = HashSet::new();
    for n in 0..missing.min(PODS_PER_LOOK_MAX) {
        let template = set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
        let name = template::free_name(object, object.key().name(), n, view, look);
        // Two that are called the same by chance are one; the other comes with the next look.
        if !names.insert(name.clone()) {
            continue;
        }
        let pod = template::pod(template, object, name);
        match created_pod(&pod, &mut tab) {
            Ok(pod) => {
                let pod = pod.settled();
                txn = txn.guard(Guard::Absent(pod.key().clone())).put(pod.clone());
                created.push(pod);
            }
            Err(why) => {
                let message = format!("Error creating: {why}");
                let tale = Tale { by, tone: Tone::Warning, reason: "FailedCreate", message: &message };
                txn = if refused.is_none() && !status::says_refused(set, &why) {
                    txn.and(told(view, look, object, &tale))
                } else {
                    txn
                };
                refused = Some(why);
                break;
            }
        }
    }
    txn = txn.and(tab.settle());
    let messages: Vec<String> = created.iter().map(|pod| format!("Created pod: {}", pod.key().name())).collect();
    let tale = |message| Tale { by, tone: Tone::Normal, reason: "SuccessfulCreate", message };
    let tales: Vec<Tale<'_>> = messages.iter().map(|message| tale(message)).collect();
    txn = told_of_many(view, look, object, &tales).into_iter().fold(txn, Txn::and);
    if !created.is_empty() {
        txn = txn.guard(Guard::Alive(kinds::NAMESPACE.cluster_key(object.key().namespace())));
    }
    let again = refused.is_some().then(|| look.now + refusal::AGAIN);
    let status = status::updated(object, active, &created, refused.as_deref(), look);
    Plan::of(status.into_iter().fold(txn, Txn::put)).again_at(again)
}

fn shrink(object: &Object, active: &[&Replica<'_>], excess: usize, view: &Snapshot, look: Look<'_>) -> Plan {
    let doomed = ranking::doomed(object, active, excess.min(PODS_PER_LOOK_MAX), view, look.now);
    let unchanged = Guard::Unchanged(object.key().clone(), object.revision());
    let by = Kind::of(object).component();
    let messages: Vec<String> =
        doomed.iter().map(|replica| format!("Deleted pod: {}", replica.object.key().name())).collect();
    let tale = |message| Tale { by, tone: Tone::Normal, reason: "SuccessfulDelete", message };
    let tales: Vec<Tale<'_>> = messages.iter().map(|message| tale(message)).collect();
    let told = told_of_many(view, look, object, &tales);
    let txns = doomed.into_iter().zip(told).map(|(replica, told)| {
        delete(replica.object, Propagation::Background, look.now).guard(unchanged.clone()).and(told)
    });
    txns.collect()
}

#[cfg(test)]
mod tests;
