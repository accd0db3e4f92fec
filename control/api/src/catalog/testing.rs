//! What the tests of kinds share: objects come in as requests, and go out as rows and refusals.

use serde_json::{Value, json};

use super::by_kind;
use crate::{Admission, Admitted, FieldValidation, GroupKind, Object, Operation, Revision, StatusError};

const NOW: &str = "2026-11-21T05:13:14.7Z";

pub(super) fn admission<'a>(operation: Operation<'a>, namespace: &'a str) -> Admission<'a> {
    let now = NOW.parse().expect("a time");
    Admission { operation, namespace, validation: FieldValidation::Strict, duplicates: &[], now }
}

fn namespace(kind: GroupKind) -> &'static str {
    match by_kind(kind).expect("in the catalog").names().scope {
        crate::Scope::Namespaced => "shop",
        crate::Scope::Cluster => "",
    }
}

pub(super) fn create(kind: GroupKind, value: Value) -> Result<Admitted, StatusError> {
    let operation = Operation::Create { uid: "u-1", seed: 1 };
    by_kind(kind).expect("in the catalog").admit(value, &admission(operation, namespace(kind)))
}

pub(super) fn created(kind: GroupKind, value: Value) -> Object {
    create(kind, value).expect("valid").object.at(Revision(5))
}

pub(super) fn update(old: &Object, value: Value) -> Result<Admitted, StatusError> {
    let kind = old.key().kind();
    by_kind(kind).expect("in the catalog").admit(value, &admission(Operation::Update { old }, namespace(kind)))
}

/// The object with members at paths replaced.
pub(super) fn with(object: &Object, changes: &[(&str, Value)]) -> Value {
    let mut value = object.to_value().expect("a tree");
    for (path, change) in changes {
        replace(&mut value, path, change.clone());
    }
    value
}

pub(super) fn tree(object: &Object) -> Value {
    object.to_value().expect("a tree")
}

pub(super) fn message(refused: Result<Admitted, StatusError>) -> String {
    refused.expect_err("refused").message
}

/// What a new object of the kind becomes.
pub(super) fn completed(kind: GroupKind, value: Value) -> Value {
    tree(&created(kind, value))
}

/// What a new object with one member replaced is refused with, without the words that every refusal begins with.
pub(super) fn refusal(kind: GroupKind, mut value: Value, path: &str, wrong: Value) -> String {
    replace(&mut value, path, wrong);
    invalid(&message(create(kind, value)))
}

/// What changes of a stored object are refused with, without the words that every refusal begins with.
pub(super) fn refused_change(old: &Object, path: &str, changed: Value) -> String {
    invalid(&message(update(old, with(old, &[(path, changed)]))))
}

fn invalid(message: &str) -> String {
    message.split_once(" is invalid: ").map_or(message, |(_, causes)| causes).to_owned()
}

fn replace(value: &mut Value, path: &str, with: Value) {
    let (parent, name) = path.rsplit_once('/').expect("a pointer");
    match value.pointer_mut(parent).unwrap_or_else(|| panic!("{parent} is not there")) {
        Value::Array(items) => items[name.parse::<usize>().expect("an index")] = with,
        parent => parent[name] = with,
    }
}

/// The row of an object, some minutes after it was made.
pub(super) fn row(kind: GroupKind, value: &Value) -> Value {
    let object = Object::from_value(kind, value).expect("an object");
    let kind = by_kind(kind).expect("in the catalog");
    let cells = kind.cells(&object, "2026-11-21T05:18:17Z".parse().expect("a time"));
    assert_eq!(cells.len(), kind.columns().len(), "a cell for every column");
    cells.into()
}

/// A template whose pods have the label `app: web`.
pub(super) fn template() -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "web:v1"}]}})
}

/// The object with one member more, or another.
pub(super) fn plus(mut value: Value, path: &str, member: Value) -> Value {
    replace(&mut value, path, member);
    value
}
