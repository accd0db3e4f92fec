//! DaemonSets: one pod on every node that is to have one.
//!
//! Which node a pod is for is said by its affinity from the start, so that it counts before the scheduler has bound it. Pods
//! come in one transaction with the status that counts them; they go one by one, each guarded by its own revision.

mod crew;
mod eligible;
mod pod;
mod status;
mod steps;
#[cfg(test)]
mod tests;
mod update;

use api::selector::LabelSelector;
use api::{Key, Object, kinds};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use state::{Event, Guard, Snapshot, Txn};

use crate::charge::{Tab, has_more_room};
use crate::created::{self, created_pod};
use crate::deletion::{Propagation, delete};
use crate::record::{Tale, Tone, told};
use crate::refusal::refused;
use crate::revisions::{self, Newest, REVISION_LABEL};
use crate::{Controller, Look, Plan, claim, owners, selector};
use crew::{Crew, Daemon};
use steps::{Steps, Why};

/// Who tells the events.
const COMPONENT: &str = "daemonset-controller";

/// The controller of DaemonSets.
pub(crate) struct DaemonSets;

// === impl DaemonSets ===

impl Controller for DaemonSets {
    fn name(&self) -> &'static str {
        "daemonset"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        let key = event.key();
        let keys = |sets: &mut dyn Iterator<Item = &Object>| sets.map(|set| set.key().clone()).collect();
        match key.kind() {
            kinds::DAEMON_SET => vec![key.clone()],
            kinds::POD | kinds::CONTROLLER_REVISION => {
                let mut keys = owners::managers(event, kinds::DAEMON_SET);
                if event.after().is_some_and(|object| object.meta().controller().is_none()) {
                    keys.extend(claim::candidates(event.latest(), kinds::DAEMON_SET, view, selector_of));
                }
                keys
            }
            kinds::NODE if is_another(event) => keys(&mut view.list(kinds::DAEMON_SET)),
            // What could not be created for want of its account, or of room, can be now.
            kinds::SERVICE_ACCOUNT if event.after().is_some() => {
                keys(&mut view.list_in(kinds::DAEMON_SET, key.namespace()))
            }
            kinds::RESOURCE_QUOTA if has_more_room(event) => {
                keys(&mut view.list_in(kinds::DAEMON_SET, key.namespace()))
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key) else { return Plan::nothing() };
        let Ok(set) = object.decode::<DaemonSet>() else { return Plan::nothing() };
        let Some(spec) = &set.spec else { return Plan::nothing() };
        let selector = selector::read(&spec.selector);
        let mut claims = claim::claims(object, &selector, kinds::POD, view, |_| true);
        claims.extend(claim::claims(object, &selector, kinds::CONTROLLER_REVISION, view, |_| true));
        if !claims.is_empty() {
            return claims.into_iter().collect();
        }
        let ends = object.meta().is_terminating() || created::home_ends(key, view);
        let history = revisions::of(object, view);
        let collisions = set.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
        let unchanged = Guard::Unchanged(key.clone(), object.revision());
        match revisions::newest(object, &spec.template, collisions, REVISION_LABEL, &history, view, look) {
            Newest::Known(update) => {
                let crew = Crew::read(object, spec, (&history, &update), view, look);
                if ends { crew.report() } else { crew.advance() }
            }
            _ if ends => Plan::nothing(),
            Newest::Due(txn) => Plan::of(txn.guard(unchanged)),
            Newest::Collides => Plan::of(status::collided(object)),
            Newest::Refused(why) => refused(COMPONENT, object, &format!("Error creating: {why}"), view, look),
        }
    }
}

fn selector_of(set: &Object) -> Option<LabelSelector> {
    let set = set.decode::<DaemonSet>().ok()?;
    Some(selector::read(&set.spec.as_ref()?.selector))
}

/// A node that is new, gone, or different in what decides whether pods are for it; heartbeats are not.
fn is_another(event: &Event) -> bool {
    let facts = |object: &Object| {
        let node = object.decode::<Node>().ok()?;
        Some((object.meta().labels.clone(), node.spec.as_ref().and_then(|spec| spec.taints.clone())))
    };
    event.before().and_then(facts) != event.after().and_then(facts)
}

// === impl Crew ===

impl Crew<'_> {
    /// What brings the pods nearer to what the set asks for.
    fn advance(&self) -> Plan {
        let mut steps = steps::next(self);
        if steps.remove.is_empty() && steps.make.is_empty() {
            update::add(self, &mut steps);
        }
        let again = [steps.again, self.next_available()].into_iter().flatten().min();
        let removed: Plan = steps.remove.iter().map(|(daemon, why)| self.remove(daemon, *why)).collect();
        if !removed.txns.is_empty() {
            return removed.again_at(again);
        }
        let plan = self.make(&steps).again_at(again);
        self.history_txns().into_iter().fold(plan, Plan::also)
    }

    fn remove(&self, daemon: &Daemon<'_>, why: Why) -> Txn {
        let (namespace, pod) = (self.object.key().namespace(), daemon.object.key().name());
        let message = format!("Deleted pod: {pod}");
        let gone = delete(daemon.object, Propagation::Background, self.look.now).guard(self.unchanged());
        let gone = gone.and(self.tells(Tone::Normal, "SuccessfulDelete", &message));
        let node = daemon.node.as_deref().unwrap_or_default();
        match why {
            Why::Excess => gone,
            Why::Failed => {
                let message = format!("Found failed daemon pod {namespace}/{pod} on node {node}, will try to kill it");
                gone.and(self.tells(Tone::Warning, "FailedDaemonPod", &message))
            }
            Why::Succeeded => {
                let message =
                    format!("Found succeeded daemon pod {namespace}/{pod} on node {node}, will try to delete it");
                gone.and(self.tells(Tone::Normal, "SucceededDaemonPod", &message))
            }
        }
    }

    /// Makes pods, in one transaction with the status that counts them.
    fn make(&self, steps: &Steps<'_, '_>) -> Plan {
        let mut txn = Txn::default();
        let mut tab = Tab::open(self.object.key(), self.view, self.look);
        let (mut made, mut refusal) = (Vec::new(), None);
        for (n, node) in steps.make.iter().enumerate() {
            match created_pod(&pod::of(self, node, n), &mut tab) {
                Ok(pod) => {
                    let message = format!("Created pod: {}", pod.key().name());
                    txn = txn.and(self.tells(Tone::Normal, "SuccessfulCreate", &message)).and(Txn::create(pod));
                    made.push((*node).to_owned());
                }
                Err(why) => {
                    refusal = Some(format!("Error creating: {why}"));
                    break;
                }
            }
        }
        if !made.is_empty() {
            txn = txn.guard(Guard::Alive(kinds::NAMESPACE.cluster_key(self.object.key().namespace())));
        }
        txn = txn.and(tab.settle());
        let txn = status::updated(self, &made).into_iter().fold(txn, Txn::put).guard(self.unchanged());
        let refused = refusal.map(|why| refused(COMPONENT, self.object, &why, self.view, self.look));
        let refused = refused.unwrap_or_default();
        let again = refused.again;
        refused.txns.into_iter().fold(Plan::of(txn), Plan::also).again_at(again)
    }

    /// Only says how things are.
    fn report(&self) -> Plan {
        let status = status::updated(self, &[]);
        Plan::of(status.into_iter().fold(Txn::default(), Txn::put).guard(self.unchanged()))
    }

    fn unchanged(&self) -> Guard {
        Guard::Unchanged(self.object.key().clone(), self.object.revision())
    }

    fn tells(&self, tone: Tone, reason: &'static str, message: &str) -> Txn {
        told(self.view, self.look, self.object, &Tale { by: COMPONENT, tone, reason, message })
    }
}
