//! Objects do not outlive all their owners, unless they are set free.
//!
//! - An object whose owners are all gone is deleted: that is background deletion, and tidies what a crash left.
//! - An owner that is deleted in the foreground waits until the dependents that block it are gone.
//! - An owner that is deleted as an orphan-maker strips its name from its dependents, then goes.

use api::{Key, Object};
use serde_json::json;
use state::{Event, Snapshot, Txn};

use crate::deletion::{FOREGROUND, ORPHAN, Propagation, delete, without_finalizer};
use crate::edit::edited_tree;
use crate::{Controller, Look, Plan};

/// The controller that collects garbage.
pub(crate) struct GarbageCollection;

/// What has become of an owner.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is there and may go on owning.
    Solid,
    /// It is on its way out and waits for its dependents.
    Waiting,
    /// It is not there, or another object has its name.
    Absent,
}

// === impl GarbageCollection ===

impl Controller for GarbageCollection {
    fn name(&self) -> &'static str {
        "garbage-collection"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        let latest = event.latest();
        let keys = |objects: &mut dyn Iterator<Item = &Object>| objects.map(|it| it.key().clone()).collect::<Vec<_>>();
        if is_same(event) {
            return Vec::new();
        }
        let mut affected = Vec::new();
        affected.extend(event.after().filter(|after| concerns(after)).map(|after| after.key().clone()));
        // An owner on its way out may wait for this dependent no longer.
        let kept = |uid: &str| {
            event.after().is_some_and(|it| it.meta().owner_references.iter().any(|owner| &*owner.uid == uid))
        };
        let lost =
            event.before().into_iter().flat_map(|it| &it.meta().owner_references).filter(|owner| !kept(&owner.uid));
        affected.extend(keys(&mut lost.filter_map(|owner| view.by_uid(&owner.uid))));
        if event.after().is_none_or(|after| after.meta().is_terminating()) {
            affected.extend(keys(&mut view.owned_by(&latest.meta().uid)));
        }
        affected
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key) else { return Plan::nothing() };
        let holds = |finalizer: &str| object.meta().finalizers.iter().any(|it| it == finalizer);
        if object.meta().is_terminating() && holds(ORPHAN) {
            set_free(object, view)
        } else if object.meta().is_terminating() && holds(FOREGROUND) {
            take_along(object, view, look)
        } else if object.meta().is_terminating() {
            Plan::nothing()
        } else {
            Plan::of(judge(object, view, look))
        }
    }
}

fn concerns(object: &Object) -> bool {
    let meta = object.meta();
    let ours = |finalizer: &String| finalizer == FOREGROUND || finalizer == ORPHAN;
    !meta.owner_references.is_empty() || (meta.is_terminating() && meta.finalizers.iter().any(ours))
}

/// Whether the change left everything as it was that is looked at here: most changes do.
fn is_same(event: &Event) -> bool {
    let facts = |object: &Object| {
        let meta = object.meta();
        (meta.owner_references.clone(), meta.finalizers.clone(), meta.is_terminating())
    };
    event.before().zip(event.after()).is_some_and(|(before, after)| facts(before) == facts(after))
}

fn set_free(owner: &Object, view: &Snapshot) -> Plan {
    let dependents: Vec<&Object> = view.owned_by(&owner.meta().uid).collect();
    if dependents.is_empty() {
        return Plan::of(without_finalizer(owner, ORPHAN));
    }
    dependents.into_iter().map(|dependent| without_owners(dependent, |uid| uid == &*owner.meta().uid)).collect()
}

fn take_along(owner: &Object, view: &Snapshot, look: Look<'_>) -> Plan {
    let uid = &owner.meta().uid;
    let blocks = |it: &&Object| {
        it.meta().owner_references.iter().any(|reference| reference.uid == *uid && reference.block_owner_deletion)
    };
    let blocking: Vec<&Object> = view.owned_by(uid).filter(blocks).collect();
    if blocking.is_empty() {
        return Plan::of(without_finalizer(owner, FOREGROUND));
    }
    blocking.into_iter().filter(|it| !it.meta().is_terminating()).map(|it| judge(it, view, look)).collect()
}

/// What the fates of its owners mean for an object that is not on its way out itself.
fn judge(object: &Object, view: &Snapshot, look: Look<'_>) -> Txn {
    let owners = &object.meta().owner_references;
    let fate_of = |uid: &str| fate(object, uid, view);
    let has = |fate: Fate| owners.iter().any(|owner| fate_of(&owner.uid) == fate);
    if owners.is_empty() {
        Txn::default()
    } else if has(Fate::Solid) {
        if has(Fate::Absent) || has(Fate::Waiting) {
            without_owners(object, |uid| fate_of(uid) != Fate::Solid)
        } else {
            Txn::default()
        }
    } else if has(Fate::Waiting) && view.owned_by(&object.meta().uid).next().is_some() {
        delete(object, Propagation::Foreground, look.now)
    } else {
        delete(object, Propagation::Background, look.now)
    }
}

fn fate(object: &Object, uid: &str, view: &Snapshot) -> Fate {
    let within_reach =
        |owner: &&Object| matches!(owner.key().namespace(), "") || owner.key().namespace() == object.key().namespace();
    match view.by_uid(uid).filter(within_reach) {
        None => Fate::Absent,
        Some(owner) if owner.meta().is_terminating() && owner.meta().finalizers.iter().any(|it| it == FOREGROUND) => {
            Fate::Waiting
        }
        Some(_) => Fate::Solid,
    }
}

fn without_owners(object: &Object, gone: impl Fn(&str) -> bool) -> Txn {
    let after = edited_tree(object, |value| {
        let references = value.pointer("/metadata/ownerReferences").and_then(|list| list.as_array()).cloned();
        let mut references = references.unwrap_or_default();
        references.retain(|reference| !reference["uid"].as_str().is_some_and(&gone));
        if references.is_empty() {
            value["metadata"].as_object_mut().map(|metadata| metadata.remove("ownerReferences"));
        } else {
            value["metadata"]["ownerReferences"] = json!(references);
        }
    });
    after.map_or_else(Txn::default, |after| Txn::replace(object, after))
}

#[cfg(test)]
mod tests;
