//! The history of a workload: one ControllerRevision for each template that it had, numbered in the order of their last use.
//!
//! StatefulSets and DaemonSets keep theirs here. A template that comes back takes its old revision up again under the next
//! number, so that `kubectl rollout undo` makes no new one.

use std::collections::HashSet;
use std::sync::Arc;

use api::{Key, Object, kinds};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde::Deserialize;
use serde_json::{Value, json};
use state::{Guard, Snapshot, Txn};

use crate::created::created;
use crate::deletion::{Propagation, delete};
use crate::edit::replaced;
use crate::{Look, owners, template};

/// The label by which a pod tells the revision that it was made of.
pub(crate) const REVISION_LABEL: &str = "controller-revision-hash";
/// The note of tools that repeats what the history tells.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// One template that the workload had.
#[derive(Clone)]
pub(crate) struct Revision<'a> {
    pub(crate) object: &'a Object,
    pub(crate) typed: Arc<ControllerRevision>,
}

/// Where the template that is wanted now stands in the history.
pub(crate) enum Newest<'a> {
    /// It is the latest.
    Known(Revision<'a>),
    /// It will be, once this is done.
    Due(Txn),
    /// The name that it would have is taken: the next one is hashed with one more collision.
    Collides,
    /// It cannot be told, in words.
    Refused(String),
}

/// The workload's revisions, the latest last.
pub(crate) fn of<'a>(owner: &Object, view: &'a Snapshot) -> Vec<Revision<'a>> {
    let owned = view.owned_by(&owner.meta().uid).filter(|it| it.key().kind() == kinds::CONTROLLER_REVISION);
    let managed = owned.filter(|it| owners::is_managed_by(it.meta(), owner) && !it.meta().is_terminating());
    let mut revisions: Vec<Revision<'_>> =
        managed.filter_map(|object| Some(Revision { object, typed: object.decode().ok()? })).collect();
    revisions.sort_by_key(Revision::age);
    revisions
}

/// Where `wanted` stands among the `revisions` of `owner`. A new one carries its hash in the label `hash_label`.
pub(crate) fn newest<'a>(
    owner: &Object,
    wanted: &PodTemplateSpec,
    collisions: i32,
    hash_label: &str,
    revisions: &[Revision<'a>],
    view: &Snapshot,
    look: Look<'_>,
) -> Newest<'a> {
    let canonical = template::canonical(wanted);
    let next = revisions.last().map_or(0, |last| last.typed.revision) + 1;
    let is_it = |one: &&Revision<'_>| one.template().is_some_and(|known| template::canonical(&known) == canonical);
    match revisions.iter().rev().find(is_it) {
        Some(known) if known.typed.revision + 1 == next => Newest::Known(known.clone()),
        Some(known) => Newest::Due(replaced::<ControllerRevision>(known.object, |it| it.revision = next)),
        None => {
            let hash = template::hash(&canonical, collisions);
            let name = format!("{}-{hash}", owner.key().name());
            if view.get(&owner.key().sibling(kinds::CONTROLLER_REVISION, &name)).is_some() {
                return Newest::Collides;
            }
            match created(kinds::CONTROLLER_REVISION, &made(owner, wanted, &name, (hash_label, &hash), next), look) {
                Ok(object) => {
                    let home = kinds::NAMESPACE.cluster_key(owner.key().namespace());
                    Newest::Due(Txn::create(object).guard(Guard::Alive(home)))
                }
                Err(why) => Newest::Refused(why),
            }
        }
    }
}

/// Lets the oldest go that nobody is `live` of, if more than `limit` of those are kept.
pub(crate) fn clean_up(
    revisions: &[Revision<'_>],
    live: &HashSet<Key>,
    limit: Option<i32>,
    now: Timestamp,
) -> Vec<Txn> {
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
    let spent: Vec<&Revision<'_>> = revisions.iter().filter(|one| !live.contains(one.object.key())).collect();
    let excess = spent.len().saturating_sub(limit);
    spent.into_iter().take(excess).map(|one| delete(one.object, Propagation::Background, now)).collect()
}

fn made(owner: &Object, wanted: &PodTemplateSpec, name: &str, hash: (&str, &str), number: i64) -> ControllerRevision {
    let mut labels = wanted.metadata.as_ref().and_then(|metadata| metadata.labels.clone()).unwrap_or_default();
    labels.insert(hash.0.into(), hash.1.into());
    let mut annotations = owner.meta().annotations.clone();
    annotations.remove(LAST_APPLIED);
    let mut data = json!({"spec": {"template": wanted}});
    // What is patched with it takes the template whole.
    data["spec"]["template"]["$patch"] = "replace".into();
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: Some(owner.key().namespace().into()),
            labels: Some(labels),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            owner_references: Some(vec![owners::controlled_by(owner)]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data)),
        revision: number,
    }
}

// === impl Revision ===

impl Revision<'_> {
    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        self.object.key().name()
    }

    /// The template that it keeps.
    pub(crate) fn template(&self) -> Option<PodTemplateSpec> {
        let kept: &Value = self.typed.data.as_ref()?.0.pointer("/spec/template")?;
        PodTemplateSpec::deserialize(kept).ok()
    }

    fn age(&self) -> (i64, Option<Timestamp>, String) {
        (self.typed.revision, self.object.meta().creation_timestamp, self.name().to_owned())
    }
}
