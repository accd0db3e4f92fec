//! Who manages whom: owner references and the keys they lead to.

use api::{GroupKind, Key, Meta, Object, catalog};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use state::Event;

/// A reference that makes `owner` the manager of an object.
pub(crate) fn controlled_by(owner: &Object) -> OwnerReference {
    let rules = catalog::by_kind(owner.key().kind());
    OwnerReference {
        api_version: rules.map(|rules| rules.names().api_version()).unwrap_or_default(),
        kind: owner.key().kind().kind.into(),
        name: owner.key().name().into(),
        uid: owner.meta().uid.to_string(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The keys of the managers of kind `kind` that the object had before or has after an event.
pub(crate) fn managers(event: &Event, kind: GroupKind) -> Vec<Key> {
    let versions = [event.before(), event.after()];
    let mut keys: Vec<Key> = versions.into_iter().flatten().filter_map(|object| manager(object, kind)).collect();
    keys.dedup();
    keys
}

/// The key of the object's manager, if it is of kind `kind`.
pub(crate) fn manager(object: &Object, kind: GroupKind) -> Option<Key> {
    let owner = object.meta().controller().filter(|owner| owner.is(kind))?;
    Some(object.key().sibling(kind, &owner.name))
}

/// Whether `owner` manages the object.
pub(crate) fn is_managed_by(meta: &Meta, owner: &Object) -> bool {
    meta.controller().is_some_and(|it| it.uid == owner.meta().uid)
}
