//! Adoption and release: who matches and has no manager is taken, who is managed and no longer matches is let go.

use api::selector::LabelSelector;
use api::{GroupKind, Key, Object};
use serde_json::{Value, json};
use state::{Guard, Snapshot, Txn};

use crate::edit::edited_tree;
use crate::owners;

/// What must change for `owner` to manage exactly those of `kind` that match its selector and are `fit`.
pub(crate) fn claims(
    owner: &Object,
    selector: &LabelSelector,
    kind: GroupKind,
    view: &Snapshot,
    fit: impl Fn(&Object) -> bool,
) -> Vec<Txn> {
    let matches = |object: &Object| selector.matches(&object.meta().labels);
    let owned = view.owned_by(&owner.meta().uid).filter(|it| it.key().kind() == kind);
    let strangers = owned.filter(|it| owners::is_managed_by(it.meta(), owner) && !matches(it));
    let mut txns: Vec<Txn> = strangers.map(|it| release(it, owner)).collect();
    if !owner.meta().is_terminating() {
        let alone = view.unmanaged(kind, owner.key().namespace()).filter(|it| !it.meta().is_terminating());
        txns.extend(alone.filter(|it| matches(it) && fit(it)).map(|it| adopt(it, owner)));
    }
    txns
}

/// The owners of `kind` that would take an object without a manager.
pub(crate) fn candidates(
    object: &Object,
    kind: GroupKind,
    view: &Snapshot,
    selector: impl Fn(&Object) -> Option<LabelSelector>,
) -> Vec<Key> {
    let owners = view.list_in(kind, object.key().namespace());
    let takes = |owner: &&Object| selector(owner).is_some_and(|selector| selector.matches(&object.meta().labels));
    owners.filter(takes).map(|owner| owner.key().clone()).collect()
}

fn release(object: &Object, owner: &Object) -> Txn {
    let after = edited_tree(object, |value| {
        let references = without(value, owner);
        if references.is_empty() {
            value["metadata"].as_object_mut().map(|metadata| metadata.remove("ownerReferences"));
        } else {
            value["metadata"]["ownerReferences"] = references.into();
        }
    });
    after.map_or_else(Txn::default, |after| Txn::replace(object, after))
}

fn adopt(object: &Object, owner: &Object) -> Txn {
    let after = edited_tree(object, |value| {
        let mut references = without(value, owner);
        references.push(json!(owners::controlled_by(owner)));
        value["metadata"]["ownerReferences"] = references.into();
    });
    after.map_or_else(Txn::default, |after| Txn::replace(object, after).guard(Guard::Alive(owner.key().clone())))
}

fn without(value: &Value, owner: &Object) -> Vec<Value> {
    let references = value.pointer("/metadata/ownerReferences").and_then(Value::as_array).cloned();
    let mut references = references.unwrap_or_default();
    references.retain(|reference| reference["uid"].as_str() != Some(&*owner.meta().uid));
    references
}
