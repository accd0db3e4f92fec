//! A deployment and its sets on the table: what is there, what the steps make of it, and the transaction between the two.

use std::sync::Arc;

use api::{Object, kinds};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde_json::Value;
use state::{Guard, Snapshot, Txn};

use super::bounds::Bounds;
use super::{COMPONENT, sets_of};
use crate::charge::Tab;
use crate::created::{created, created_for};
use crate::deletion::{Propagation, delete};
use crate::edit::written;
use crate::pods::{self, Availability};
use crate::record::{Tale, Tone, told};
use crate::{Look, Plan, owners, refusal, template};

/// How many replicas the deployment wanted when the set was last scaled.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// How many pods there might be in all then.
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// A deployment in the middle of whatever it is doing.
pub(super) struct Rollout<'a> {
    pub(super) object: &'a Object,
    pub(super) spec: &'a DeploymentSpec,
    pub(super) replicas: i32,
    pub(super) bounds: Bounds,
    pub(super) view: &'a Snapshot,
    pub(super) look: Look<'a>,
    /// The deployment as it will be.
    pub(super) after: Deployment,
    /// Its sets, oldest first.
    pub(super) sets: Vec<Set>,
    /// Which of them has the template that is wanted.
    pub(super) newest: Option<usize>,
    /// When something changes by itself.
    pub(super) again: Option<Timestamp>,
    canonical: Value,
    before: &'a Deployment,
    tales: Vec<(Tone, &'static str, String)>,
    /// What the new set costs.
    charges: Txn,
}

/// One of its ReplicaSets.
pub(super) struct Set {
    /// The set as it is; nothing if this look makes it.
    pub(super) object: Option<Object>,
    /// The set as it will be.
    pub(super) after: ReplicaSet,
    /// Pods that count as replicas.
    pub(super) active: i32,
    /// Those of them that are ready.
    pub(super) ready: i32,
    /// Those of them that are available.
    pub(super) available: i32,
    /// Pods that have not ended, on their way out or not.
    pub(super) running: i32,
    /// The set has served its time.
    pub(super) is_deleted: bool,
    before: Option<Arc<ReplicaSet>>,
}

// === impl Rollout ===

impl<'a> Rollout<'a> {
    /// Lays the deployment and its sets out.
    pub(super) fn read(object: &'a Object, before: &'a Deployment, view: &'a Snapshot, look: Look<'a>) -> Self {
        let spec = before.spec.as_ref().expect("reconcile returns early for a deployment without a spec");
        let seconds = spec.min_ready_seconds.unwrap_or(0);
        let mut again = None;
        let mut sets: Vec<Set> = Vec::new();
        for (object, set, replicas) in sets_of(object, view) {
            let count = |which: &dyn Fn(&crate::replica_set::Replica<'_>) -> bool| {
                count(replicas.iter().filter(|it| which(it)).count())
            };
            let availability = |pod: &Pod| pods::availability(pod, seconds, look.now);
            for replica in &replicas {
                if let Availability::From(due) = availability(&replica.pod) {
                    again = Some(again.map_or(due, |known: Timestamp| known.min(due)));
                }
            }
            sets.push(Set {
                object: Some(object.clone()),
                after: ReplicaSet::clone(&set),
                active: count(&|it| pods::is_active(&it.pod)),
                ready: count(&|it| pods::is_active(&it.pod) && pods::is_ready(&it.pod)),
                available: count(&|it| pods::is_active(&it.pod) && availability(&it.pod) == Availability::Available),
                running: count(&|it| !pods::has_ended(&it.pod)),
                is_deleted: false,
                before: Some(set),
            });
        }
        sets.sort_by_key(Set::age);
        let canonical = template::canonical(&spec.template);
        let newest = sets.iter().position(|set| set.template() == canonical);
        let mut rollout = Self {
            object,
            spec,
            replicas: spec.replicas.unwrap_or(1).max(0),
            bounds: Bounds::of(spec),
            view,
            look,
            after: before.clone(),
            sets,
            newest,
            again,
            canonical,
            before,
            tales: Vec::new(),
            charges: Txn::default(),
        };
        rollout.newest = newest.or_else(|| rollout.same_once_admitted());
        rollout
    }

    /// The place of the set that has the wanted template as admission completes it. A deployment that was stored before a
    /// default was invented lacks it, and its sets have it.
    fn same_once_admitted(&self) -> Option<usize> {
        let candidate = created(kinds::REPLICA_SET, &self.new_set("candidate", "candidate"), self.look).ok()?;
        let candidate = candidate.decode::<ReplicaSet>().ok()?;
        let completed = template::canonical(candidate.spec.as_ref()?.template.as_ref()?);
        self.sets.iter().position(|set| set.template() == completed)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.spec.paused == Some(true)
    }

    pub(super) fn is_recreate(&self) -> bool {
        self.spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
    }

    pub(super) fn status(&mut self) -> &mut DeploymentStatus {
        self.after.status.get_or_insert_default()
    }

    /// The places of the sets whose template is not the one wanted, oldest first.
    pub(super) fn old(&self) -> impl DoubleEndedIterator<Item = usize> + use<> {
        let newest = self.newest;
        (0..self.sets.len()).filter(move |place| Some(*place) != newest)
    }

    /// How many pods there may be at most.
    pub(super) fn pods_max(&self) -> i32 {
        self.replicas.saturating_add(self.bounds.surge)
    }

    /// Every pod there is or will be if nothing more is decided.
    pub(super) fn pods(&self) -> i32 {
        self.sets.iter().map(Set::pods).sum()
    }

    /// Makes the set for the wanted template, with room for `replicas`. A name that is taken counts as a collision, and the next
    /// look hashes again.
    pub(super) fn make_newest(&mut self, replicas: i32) {
        let collisions = self.status().collision_count.unwrap_or(0);
        let hash = template::hash(&self.canonical, collisions);
        let name = format!("{}-{hash}", self.object.key().name());
        if self.view.get(&self.object.key().sibling(kinds::REPLICA_SET, &name)).is_some() {
            let status = self.status();
            status.collision_count = Some(status.collision_count.unwrap_or(0).saturating_add(1));
            return;
        }
        let after = self.new_set(&name, &hash);
        let mut tab = Tab::open(self.object.key(), self.view, self.look);
        if let Err(why) = created_for(kinds::REPLICA_SET, &after, &mut tab) {
            super::progress::unmade(self, &why);
            let message = format!("Failed to create new replica set {name:?}: {why}");
            self.tales.push((Tone::Warning, "ReplicaSetCreateError", message));
            self.again = Some(self.look.now + refusal::AGAIN);
            return;
        }
        self.charges = tab.settle();
        let set =
            Set { object: None, after, active: 0, ready: 0, available: 0, running: 0, is_deleted: false, before: None };
        self.newest = Some(self.sets.len());
        self.sets.push(set);
        self.scale(self.sets.len() - 1, replicas);
        super::progress::made(self, &name);
    }

    fn new_set(&self, name: &str, hash: &str) -> ReplicaSet {
        let mut template = self.spec.template.clone();
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(template::HASH_LABEL.into(), hash.into());
        let labels = labels.clone();
        let mut selector: LabelSelector = self.spec.selector.clone();
        selector.match_labels.get_or_insert_default().insert(template::HASH_LABEL.into(), hash.into());
        ReplicaSet {
            metadata: ObjectMeta {
                name: Some(name.into()),
                namespace: Some(self.object.key().namespace().into()),
                labels: Some(labels),
                owner_references: Some(vec![owners::controlled_by(self.object)]),
                ..ObjectMeta::default()
            },
            spec: Some(ReplicaSetSpec {
                replicas: Some(0),
                min_ready_seconds: self.spec.min_ready_seconds,
                selector,
                template: Some(template),
            }),
            status: None,
        }
    }

    /// Gives the set at `place` another size, and notes for later scaling what the whole was meant to be.
    pub(super) fn scale(&mut self, place: usize, replicas: i32) {
        let (desired, max) = (self.replicas.to_string(), self.pods_max().to_string());
        let set = &mut self.sets[place];
        let known = set.wanted();
        let annotations = set.after.metadata.annotations.get_or_insert_default();
        annotations.insert(DESIRED.into(), desired);
        annotations.insert(MAX.into(), max);
        set.after.spec.get_or_insert_default().replicas = Some(replicas);
        if known != replicas {
            let name = set.after.metadata.name.clone().unwrap_or_default();
            let way = if replicas > known { "up" } else { "down" };
            let message = format!("Scaled {way} replica set {name} from {known} to {replicas}");
            self.tales.push((Tone::Normal, "ScalingReplicaSet", message));
        }
    }

    /// The transaction from what is to what was decided.
    pub(super) fn plan(self) -> Plan {
        let mut txn = self.charges.clone();
        for set in &self.sets {
            txn = txn.and(self.change(set));
        }
        if self.after != *self.before
            && let Some(after) = written(kinds::DEPLOYMENT, &self.after)
        {
            txn = txn.put(after);
        }
        if txn.is_empty() {
            return Plan::nothing().again_at(self.again);
        }
        for (tone, reason, message) in &self.tales {
            let tale = Tale { by: COMPONENT, tone: *tone, reason, message };
            txn = txn.and(told(self.view, self.look, self.object, &tale));
        }
        let unchanged = Guard::Unchanged(self.object.key().clone(), self.object.revision());
        Plan::of(txn.guard(unchanged)).again_at(self.again)
    }

    fn change(&self, set: &Set) -> Txn {
        match (&set.object, &set.before) {
            (Some(object), _) if set.is_deleted => delete(object, Propagation::Background, self.look.now),
            (Some(object), Some(before)) if **before != set.after => {
                let mut after = set.after.clone();
                if after.spec != before.spec {
                    after.metadata.generation = Some(after.metadata.generation.unwrap_or(1) + 1);
                }
                written(kinds::REPLICA_SET, &after).map_or_else(Txn::default, |after| Txn::replace(object, after))
            }
            (None, _) => match created(kinds::REPLICA_SET, &set.after, self.look) {
                Ok(object) => {
                    let home = kinds::NAMESPACE.cluster_key(object.key().namespace());
                    Txn::create(object).guard(Guard::Alive(home))
                }
                // The template was admitted with the deployment, so the set's is too.
                Err(_) => Txn::default(),
            },
            _ => Txn::default(),
        }
    }
}

fn count(pods: usize) -> i32 {
    i32::try_from(pods).unwrap_or(i32::MAX)
}

// === impl Set ===

impl Set {
    /// How many pods the set is asked for.
    pub(super) fn wanted(&self) -> i32 {
        self.after.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    /// How many pods it has or will have, whichever is more: those it has yet to delete still count.
    pub(super) fn pods(&self) -> i32 {
        self.wanted().max(self.active)
    }

    /// How many of its pods are available and may stay.
    pub(super) fn available_to_stay(&self) -> i32 {
        self.available.min(self.wanted())
    }

    /// What the deployment noted on it.
    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.after.metadata.annotations.as_ref()?.get(name).map(String::as_str)
    }

    /// A number that the deployment noted on it.
    pub(super) fn noted(&self, name: &str) -> Option<i64> {
        self.annotation(name)?.parse().ok()
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        self.after.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its age, for sorting: older is less.
    pub(super) fn age(&self) -> (Option<Timestamp>, String) {
        (self.after.metadata.creation_timestamp.as_ref().map(|time| time.0), self.name().to_owned())
    }

    fn template(&self) -> Value {
        let template = self.after.spec.as_ref().and_then(|spec| spec.template.as_ref());
        template.map(template::canonical).unwrap_or_default()
    }
}
