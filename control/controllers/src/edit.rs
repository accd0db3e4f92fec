//! Changing an object through its type.
//!
//! An edit that changes nothing is no write at all, whatever order the bytes had: controllers may say what they want in full
//! each time, and settle.

use api::{GroupKind, Object};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use state::Txn;

/// The object after `edit`, or nothing if that is how it is already or if it does not have the shape.
pub(crate) fn edited<T>(object: &Object, edit: impl FnOnce(&mut T)) -> Option<Object>
where
    T: DeserializeOwned + Serialize + Clone + PartialEq + Send + Sync + 'static,
{
    let before = object.decode::<T>().ok()?;
    let mut after = T::clone(&before);
    edit(&mut after);
    if after == *before { None } else { written(object.key().kind(), &after) }
}

/// Replaces the object by its edited self; an empty transaction if nothing changes.
pub(crate) fn replaced<T>(object: &Object, edit: impl FnOnce(&mut T)) -> Txn
where
    T: DeserializeOwned + Serialize + Clone + PartialEq + Send + Sync + 'static,
{
    edited(object, edit).map_or_else(Txn::default, |after| Txn::replace(object, after))
}

/// The object that a typed value says, in canonical bytes.
pub(crate) fn written<T: Serialize>(kind: GroupKind, typed: &T) -> Option<Object> {
    // By way of a tree: its members are in order, and so bytes are equal when objects are.
    let value = serde_json::to_value(typed).ok()?;
    from_tree(kind, value)
}

/// The object that a tree says, without the version it was read at.
pub(crate) fn from_tree(kind: GroupKind, mut value: Value) -> Option<Object> {
    value.get_mut("metadata")?.as_object_mut()?.remove("resourceVersion");
    Object::from_tree(kind, value).ok()
}

/// The object after an edit of its tree, for what concerns every kind alike.
pub(crate) fn edited_tree(object: &Object, edit: impl FnOnce(&mut Value)) -> Option<Object> {
    let mut value: Value = serde_json::from_slice(object.body()).ok()?;
    edit(&mut value);
    from_tree(object.key().kind(), value)
}
