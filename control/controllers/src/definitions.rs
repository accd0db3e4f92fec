//! Definitions of custom resources: their names are accepted unless somebody else has them, then their kind is served; when they
//! go, all objects of the kind go first.
//!
//! Two definitions that want the same name see each other: the one that is accepted keeps it, and of two that are not yet, the
//! elder one gets it.

mod names;

use api::custom::{
    CONDITION_ESTABLISHED, CONDITION_NAMES_ACCEPTED, CONDITION_TERMINATING, Condition, CustomResourceDefinition,
    DefinitionStatus,
};
use api::{GroupKind, Key, Object, catalog, kinds};
use state::{Event, Snapshot, Txn};

use crate::deletion::{Propagation, delete, without_finalizer};
use crate::edit::{edited, replaced};
use crate::{Controller, Look, Plan};

/// The finalizer that is this controller.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
const DEFINITION: GroupKind = kinds::CUSTOM_RESOURCE_DEFINITION;
/// The end of a kind with many objects takes several looks; each stays short.
const DELETIONS_PER_LOOK_MAX: usize = 500;

/// The controller of CustomResourceDefinitions.
pub(crate) struct Definitions;

// === impl Definitions ===

impl Controller for Definitions {
    fn name(&self) -> &'static str {
        "custom-resource-definition"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        let kind = event.key().kind();
        if kind == DEFINITION {
            // A name that one of a group has or gives up matters to the others of the group.
            let group = group_of(event.latest());
            let others = view.list(DEFINITION).filter(|other| group_of(other) == group);
            let mut keys: Vec<Key> = others.map(|other| other.key().clone()).collect();
            if !keys.contains(event.key()) {
                keys.push(event.key().clone());
            }
            return keys;
        }
        if event.after().is_some() || catalog::by_kind(kind).is_some() {
            return Vec::new();
        }
        let ends = |definition: &&Object| definition.meta().is_terminating() && teaches(definition) == Some(kind);
        view.list(DEFINITION).filter(ends).map(|definition| definition.key().clone()).collect()
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key) else { return Plan::nothing() };
        if !object.meta().is_terminating() {
            Plan::of(begin(object, view, look))
        } else if object.meta().finalizers.iter().any(|finalizer| finalizer == CLEANUP) {
            end(object, view, look)
        } else {
            Plan::nothing()
        }
    }
}

/// A definition's name is its plural and its group.
fn group_of(definition: &Object) -> &str {
    definition.key().name().split_once('.').map_or("", |(_, group)| group)
}

/// The kind that is the definition's own; one that the program knows by itself never is.
fn teaches(object: &Object) -> Option<GroupKind> {
    let definition = object.decode::<CustomResourceDefinition>().ok()?;
    let kind = GroupKind::learned(&definition.spec.group, &definition.spec.names.kind);
    kind.filter(|kind| catalog::by_kind(*kind).is_none())
}

fn begin(object: &Object, view: &Snapshot, look: Look<'_>) -> Txn {
    let taken = names::taken(object, view);
    replaced::<CustomResourceDefinition>(object, |definition| {
        let status = definition.status.get_or_insert_default();
        let refused = names::accept(&definition.spec.names, &mut status.accepted_names, &taken);
        let is_established =
            status.conditions.iter().any(|one| one.r#type == CONDITION_ESTABLISHED && one.status == "True");
        match refused {
            None => {
                say(status, CONDITION_NAMES_ACCEPTED, "True", "NoConflicts", "no conflicts found", look);
                let message = "the initial names have been accepted";
                say(status, CONDITION_ESTABLISHED, "True", "InitialNamesAccepted", message, look);
            }
            Some(names::Refused { reason, message }) => {
                say(status, CONDITION_NAMES_ACCEPTED, "False", reason, &message, look);
                if !is_established {
                    let message = "not all names are accepted";
                    say(status, CONDITION_ESTABLISHED, "False", "NotAccepted", message, look);
                }
            }
        }
    })
}

/// Takes all objects of the kind away, and the definition with the last of them.
fn end(object: &Object, view: &Snapshot, look: Look<'_>) -> Plan {
    let is_served = object.decode::<CustomResourceDefinition>().is_ok_and(|it| it.is(CONDITION_ESTABLISHED));
    // What never was served has no objects; a kind of the same name is somebody else's.
    let kind = teaches(object).filter(|_| is_served);
    let left: Vec<&Object> = kind.into_iter().flat_map(|kind| view.list(kind)).collect();
    if left.is_empty() {
        return Plan::of(release(object, look));
    }
    let told = replaced::<CustomResourceDefinition>(object, |definition| {
        let status = definition.status.get_or_insert_default();
        let message = "CustomResource deletion is in progress";
        say(status, CONDITION_TERMINATING, "True", "InstanceDeletionInProgress", message, look);
    });
    let deletions = left.into_iter().map(|it| delete(it, Propagation::Background, look.now));
    deletions.filter(|txn| !txn.is_empty()).take(DELETIONS_PER_LOOK_MAX).collect::<Plan>().also(told)
}

/// Takes this controller's finalizer off, and the definition with it if nobody else holds it.
fn release(object: &Object, look: Look<'_>) -> Txn {
    if object.meta().finalizers.len() == 1 {
        return without_finalizer(object, CLEANUP);
    }
    let after = edited::<CustomResourceDefinition>(object, |definition| {
        let status = definition.status.get_or_insert_default();
        say(status, CONDITION_TERMINATING, "False", "InstanceDeletionCompleted", "removed all instances", look);
        if let Some(finalizers) = &mut definition.metadata.finalizers {
            finalizers.retain(|finalizer| finalizer != CLEANUP);
        }
    });
    after.map_or_else(Txn::default, |after| Txn::replace(object, after))
}

/// Lets the status say it; the time of a condition moves only with its status.
fn say(status: &mut DefinitionStatus, kind: &str, says: &str, reason: &str, message: &str, look: Look<'_>) {
    let known = status.conditions.iter().position(|one| one.r#type == kind);
    let since = known.map(|at| &status.conditions[at]).filter(|one| one.status == says);
    let next = Condition {
        last_transition_time: since.map_or_else(|| Some(look.time()), |one| one.last_transition_time.clone()),
        message: message.into(),
        reason: reason.into(),
        status: says.into(),
        r#type: kind.into(),
    };
    match known {
        Some(at) => status.conditions[at] = next,
        None => status.conditions.push(next),
    }
}

#[cfg(test)]
mod tests;
