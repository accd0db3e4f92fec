//! A small world in a few words, and what one look makes of it.

use api::{GroupKind, Key, Object, Revision, kinds};
use jiff::Timestamp;
use serde_json::{Value, json};
use state::{Change, Event, Snapshot};

use crate::{Config, Controller, Look};

/// Noon: the time of every look here.
pub(crate) fn noon() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().expect("a time")
}

/// What everything here is configured with: the control plane has listened since the morning.
pub(crate) fn config() -> Config {
    Config::starting("2026-11-21T08:00:00Z".parse().expect("a time"))
}

/// An object of `kind` called `namespace/name` or `name`; the rest is JSON. Its uid is its name.
pub(crate) fn object(kind: GroupKind, name: &str, rest: Value) -> Object {
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    let mut value = json!({"apiVersion": "v1", "kind": kind.kind});
    value.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
    value["metadata"]["name"] = name.into();
    value["metadata"]["uid"] = name.into();
    if !namespace.is_empty() {
        value["metadata"]["namespace"] = namespace.into();
    }
    Object::from_value(kind, &value).expect("an object")
}

/// A reference to a managing owner called `name`.
pub(crate) fn owner(kind: &str, name: &str) -> Value {
    json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": name, "controller": true, "blockOwnerDeletion": true}])
}

/// Looks once at `key` in a world of `objects` and tells what changes: one line each, in order; `show` picks what to tell.
pub(crate) fn check(
    controller: &dyn Controller,
    objects: &[Object],
    key: &Key,
    show: &[&str],
    expected: &[&str],
) -> Snapshot {
    let home = object(kinds::NAMESPACE, "default", json!({}));
    let mut view = Snapshot::load(Revision(1), objects.iter().cloned().chain([home]).map(|it| it.at(Revision(1))));
    let plan = controller.reconcile(key, &view, Look::new(noon(), 7));
    let mut told = Vec::new();
    for txn in &plan.txns {
        let (next, events) = view.apply(txn).expect("every guard holds in the world that was looked at");
        told.extend(events.iter().map(|event| tell(event, show)));
        view = next;
    }
    told.sort();
    assert_eq!(told, expected, "of {key}");
    view
}

fn tell(event: &Event, show: &[&str]) -> String {
    let how = match event.change {
        Change::Added(_) => '+',
        Change::Modified { .. } => '~',
        Change::Deleted { .. } => '-',
    };
    let value: Value = serde_json::from_slice(event.latest().body()).expect("JSON");
    let kind = event.key().kind();
    if kind == kinds::EVENT {
        return format!(
            "event {}: {}",
            value["reason"].as_str().unwrap_or(""),
            value["message"].as_str().unwrap_or("")
        );
    }
    let shown = show.iter().filter_map(|path| value.pointer(path)).map(|found| format!(" {found}"));
    format!("{how}{} {}{}", kind.kind, event.key().name(), shown.collect::<String>())
}
