//! StatefulSets: pods with names and storage of their own, one at each ordinal.
//!
//! A pod's name is its ordinal's, so the store itself keeps two from being there at one time: while the old one ends, the new
//! one waits. Ordered sets take one step per look, and none before the last one is done; parallel ones take all at once. What
//! is made comes in one transaction with the status that counts it; pods go one by one, each guarded by its own revision.

mod claims;
mod ordinal;
mod pod;
mod ranks;
mod status;
mod steps;
#[cfg(test)]
mod tests;
mod update;

use api::selector::LabelSelector;
use api::{Key, Object, kinds};
use k8s_openapi::api::apps::v1::StatefulSet;
use state::{Event, Guard, Snapshot, Txn};

use crate::charge::{Tab, has_more_room};
use crate::deletion::{Propagation, delete};
use crate::record::{Tale, Tone, told};
use crate::refusal::refused;
use crate::revisions::{self, Newest};
use crate::{Controller, Look, Plan, claim, created, owners, selector};
use ranks::{Member, Ranks};
use steps::Step;

/// Who tells the events.
const COMPONENT: &str = "statefulset-controller";
/// The label by which a revision tells its hash.
const HASH_LABEL: &str = "controller.kubernetes.io/hash";

/// The controller of StatefulSets.
pub(crate) struct StatefulSets;

// === impl StatefulSets ===

impl Controller for StatefulSets {
    fn name(&self) -> &'static str {
        "statefulset"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        let key = event.key();
        let here = || view.list_in(kinds::STATEFUL_SET, key.namespace());
        match key.kind() {
            kinds::STATEFUL_SET => vec![key.clone()],
            kinds::POD => {
                let mut keys = owners::managers(event, kinds::STATEFUL_SET);
                // A stranger under a name that a set has use for matters to it too, most of all when it goes.
                let by_name = ordinal::parse(key.name()).map(|(set, _)| key.sibling(kinds::STATEFUL_SET, set));
                keys.extend(by_name.filter(|set| view.get(set).is_some() && !keys.contains(set)));
                keys
            }
            kinds::CONTROLLER_REVISION => {
                let mut keys = owners::managers(event, kinds::STATEFUL_SET);
                if event.after().is_some_and(|revision| revision.meta().controller().is_none()) {
                    keys.extend(claim::candidates(event.latest(), kinds::STATEFUL_SET, view, selector_of));
                }
                keys
            }
            kinds::PERSISTENT_VOLUME_CLAIM => {
                here().filter(|set| claims::is_of(key.name(), set)).map(|set| set.key().clone()).collect()
            }
            // What could not be created for want of its account, or of room, can be now.
            kinds::SERVICE_ACCOUNT if event.after().is_some() => here().map(|set| set.key().clone()).collect(),
            kinds::RESOURCE_QUOTA if has_more_room(event) => here().map(|set| set.key().clone()).collect(),
            _ => Vec::new(),
        }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key) else { return Plan::nothing() };
        let Ok(set) = object.decode::<StatefulSet>() else { return Plan::nothing() };
        let Some(spec) = &set.spec else { return Plan::nothing() };
        let selector = selector::read(&spec.selector);
        let has_ordinal = |pod: &Object| ordinal::of(pod, object).is_some();
        let mut claims = claim::claims(object, &selector, kinds::POD, view, has_ordinal);
        claims.extend(claim::claims(object, &selector, kinds::CONTROLLER_REVISION, view, |_| true));
        if !claims.is_empty() {
            return claims.into_iter().collect();
        }
        let ends = object.meta().is_terminating() || created::home_ends(key, view);
        let history = revisions::of(object, view);
        let collisions = set.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
        let unchanged = Guard::Unchanged(key.clone(), object.revision());
        match revisions::newest(object, &spec.template, collisions, HASH_LABEL, &history, view, look) {
            Newest::Known(update) => {
                let ranks = Ranks::read(object, &set, spec, (&history, update), view, look);
                if ends { ranks.report() } else { ranks.advance() }
            }
            _ if ends => Plan::nothing(),
            Newest::Due(txn) => Plan::of(txn.guard(unchanged)),
            Newest::Collides => Plan::of(status::collided(object)),
            Newest::Refused(why) => refused(COMPONENT, object, &format!("Error creating: {why}"), view, look),
        }
    }
}

fn selector_of(set: &Object) -> Option<LabelSelector> {
    let set = set.decode::<StatefulSet>().ok()?;
    Some(selector::read(&set.spec.as_ref()?.selector))
}

// === impl Ranks ===

impl Ranks<'_> {
    /// What brings the pods nearer to what the set asks for.
    fn advance(&self) -> Plan {
        let upkeep = claims::upkeep(self);
        if !upkeep.is_empty() {
            return upkeep.into_iter().collect();
        }
        let steps = steps::next(self);
        let changes: Plan = steps.iter().map(|step| self.change(step)).collect();
        if !changes.txns.is_empty() {
            return changes.again_at(self.next_available());
        }
        let made = steps.iter().filter_map(|step| match step {
            Step::Make(ordinal) => Some(*ordinal),
            _ => None,
        });
        let plan = self.make(made).again_at(self.next_available());
        self.history_txns().into_iter().fold(plan, Plan::also)
    }

    /// What a step makes of a pod that is there.
    fn change(&self, step: &Step<'_, '_>) -> Txn {
        match step {
            Step::Make(_) => Txn::default(),
            Step::Mend(member) => pod::mended(member).guard(self.unchanged()),
            Step::Remove(member) => self.remove(member),
            Step::Replace(member) => {
                let (namespace, name) = (self.object.key().namespace(), self.object.key().name());
                let pod = member.object.key().name();
                let failed = crate::pods::phase(&member.pod) == "Failed";
                let (tone, reason, how) = if failed {
                    (Tone::Warning, "RecreatingFailedPod", "failed")
                } else {
                    (Tone::Normal, "RecreatingTerminatedPod", "terminated")
                };
                let message = format!("StatefulSet {namespace}/{name} is recreating {how} Pod {pod}");
                let tale = Tale { by: COMPONENT, tone, reason, message: &message };
                self.remove(member).and(told(self.view, self.look, self.object, &tale))
            }
        }
    }

    fn remove(&self, member: &Member<'_>) -> Txn {
        let (pod, set) = (member.object.key().name(), self.object.key().name());
        let message = format!("delete Pod {pod} in StatefulSet {set} successful");
        let gone = delete(member.object, Propagation::Background, self.look.now);
        gone.guard(self.unchanged()).and(self.tells("SuccessfulDelete", &message))
    }

    /// Makes pods, with the claims that they lack, in one transaction with the status that counts them.
    fn make(&self, ordinals: impl Iterator<Item = i64>) -> Plan {
        let mut txn = Txn::default();
        let mut tab = Tab::open(self.object.key(), self.view, self.look);
        let (mut made, mut refusal) = (Vec::new(), None);
        for ordinal in ordinals {
            match pod::made(self, ordinal, &mut tab) {
                Ok(pod::Made { claims, pod, guards }) => {
                    txn = guards.into_iter().fold(txn, Txn::guard);
                    txn = claims.iter().fold(txn, |txn, claim| txn.and(self.tells_of_claim(claim, &pod)));
                    let (name, set) = (pod.key().name(), self.object.key().name());
                    let message = format!("create Pod {name} in StatefulSet {set} successful");
                    txn = txn.and(self.tells("SuccessfulCreate", &message));
                    for object in claims.into_iter().chain([pod.clone()]) {
                        txn = txn.and(Txn::create(object));
                    }
                    made.push(pod);
                }
                Err(why) => {
                    refusal = Some(why);
                    break;
                }
            }
        }
        if !made.is_empty() {
            txn = txn.guard(Guard::Alive(kinds::NAMESPACE.cluster_key(self.object.key().namespace())));
        }
        txn = txn.and(tab.settle());
        let txn = status::updated(self, &made).into_iter().fold(txn, Txn::put).guard(self.unchanged());
        let refused =
            refusal.map(|why| refused(COMPONENT, self.object, &why, self.view, self.look)).unwrap_or_default();
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

    fn tells(&self, reason: &'static str, message: &str) -> Txn {
        told(self.view, self.look, self.object, &Tale { by: COMPONENT, tone: Tone::Normal, reason, message })
    }

    fn tells_of_claim(&self, claim: &Object, pod: &Object) -> Txn {
        let (claim, pod, set) = (claim.key().name(), pod.key().name(), self.object.key().name());
        self.tells("SuccessfulCreate", &format!("create Claim {claim} Pod {pod} in StatefulSet {set} success"))
    }
}
