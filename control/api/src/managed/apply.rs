//! The two ways of writing: applying what a manager wants, and changing what is there.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::entry::{Entry, Managed, Manner, written};
use super::shape::{Mismatch, Shape};
use super::{FieldSet, tree};
use crate::{Cause, Details, Reason, StatusError};

/// Who writes, and by which part of the object.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The name it goes by.
    pub manager: &'a str,
    /// The version it speaks.
    pub api_version: &'a str,
    /// Such as `status`; empty for the object itself.
    pub subresource: &'a str,
}

/// What became of an apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The object, its managers left out.
    pub object: Value,
    /// Who manages what now.
    pub managed: Managed,
}

/// Why nothing came of an apply.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// The configuration is not what the schema asks for.
    Mismatch(Mismatch),
    /// Others manage what would change.
    Conflicts(Vec<Conflict>),
}

/// A field that somebody else manages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Who manages it.
    pub manager: String,
    /// Where it is, such as `.spec.replicas`.
    pub path: String,
}

/// Who managed what was there before anybody applied.
const BEFORE: &str = "before-first-apply";
/// The manager that `kubectl apply` goes by on the server's side; it takes over from its older self.
const KUBECTL: &str = "kubectl";
/// What `kubectl apply` remembers on the client's side.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Merges what `who` wants into `live`, which may not be there yet. Neither of them carries managers.
pub fn apply(
    shape: Shape<'_>,
    live: Option<&Value>,
    managed: Managed,
    config: Value,
    who: Who<'_>,
    force: bool,
    now: Timestamp,
) -> Result<Applied, Refused> {
    let nothing = Value::Object(Map::new());
    let managed = match live {
        Some(live) if managed.is_empty() => update(shape, &nothing, live, managed, Who { manager: BEFORE, ..who }, now),
        _ => managed,
    };
    let live = live.unwrap_or(&nothing);
    let config = without_nulls(config);
    let attempted = attempt(shape, live, managed.clone(), &config, who, force, now);
    let outcome = match attempted {
        Err(Refused::Conflicts(conflicts)) if who.manager == KUBECTL => {
            let known = last_applied(shape, live).paths();
            let left: Vec<_> = conflicts.into_iter().filter(|conflict| !known.contains(&conflict.path)).collect();
            if left.is_empty() {
                attempt(shape, live, managed, &config, who, true, now)
            } else {
                Err(Refused::Conflicts(left))
            }
        }
        outcome => outcome,
    };
    let mut applied = outcome?;
    if who.manager == KUBECTL {
        remember(&mut applied.object, config);
    }
    Ok(applied)
}

/// Who manages what after `before` became `after` by the hand of `who`.
pub fn update(
    shape: Shape<'_>,
    before: &Value,
    after: &Value,
    managed: Managed,
    who: Who<'_>,
    now: Timestamp,
) -> Managed {
    let mut managed = managed;
    let difference = tree::compare(shape, before, after);
    let mut changed = difference.added;
    changed.extend(&difference.modified);
    for entry in &mut managed.0 {
        entry.fields = entry.fields.difference(&difference.removed).difference(&changed);
    }
    if !changed.is_empty() {
        let entry = entry(who, Manner::Update, changed, now);
        match managed.0.iter_mut().find(|one| one.is_of(&entry)) {
            Some(own) => {
                own.fields.extend(&entry.fields);
                own.time = entry.time;
            }
            None => managed.0.push(entry),
        }
    }
    managed.tidy()
}

fn attempt(
    shape: Shape<'_>,
    live: &Value,
    mut managed: Managed,
    config: &Value,
    who: Who<'_>,
    force: bool,
    now: Timestamp,
) -> Result<Applied, Refused> {
    let set = tree::wanted(shape, config).map_err(Refused::Mismatch)?;
    let mut own = entry(who, Manner::Apply, set, now);
    let before = managed.0.iter().position(|one| one.is_of(&own)).map(|at| managed.0.remove(at));
    let mut owned = own.fields.clone();
    managed.0.iter().for_each(|other| owned.extend(&other.fields));
    let mut object = tree::merge(shape, live.clone(), config);
    if let Some(before) = &before {
        object = tree::prune(shape, object, &before.fields, &owned);
    }
    let difference = tree::compare(shape, live, &object);
    let mut changed = difference.added;
    changed.extend(&difference.modified);
    let mut conflicts = Vec::new();
    for other in &mut managed.0 {
        let taken = other.fields.intersection(&changed);
        if force {
            other.fields = other.fields.difference(&taken);
        } else {
            let told = other.told();
            conflicts.extend(taken.paths().into_iter().map(|path| Conflict { manager: told.clone(), path }));
        }
        other.fields = other.fields.difference(&difference.removed);
    }
    if !conflicts.is_empty() {
        return Err(Refused::Conflicts(conflicts));
    }
    if let Some(before) = before
        && before.fields == own.fields
        && before.api_version == own.api_version
        && changed.is_empty()
        && difference.removed.is_empty()
    {
        own.time = before.time;
    }
    managed.0.push(own);
    Ok(Applied { object, managed: managed.tidy() })
}

fn entry(who: Who<'_>, manner: Manner, fields: FieldSet, now: Timestamp) -> Entry {
    Entry {
        manager: who.manager.into(),
        manner,
        api_version: who.api_version.into(),
        subresource: who.subresource.into(),
        time: Some(written(now)),
        fields,
    }
}

/// What kubectl applied on its own side and nobody has changed since.
fn last_applied(shape: Shape<'_>, live: &Value) -> FieldSet {
    let text = live.pointer("/metadata/annotations").and_then(|annotations| annotations.get(LAST_APPLIED));
    let last = text.and_then(Value::as_str).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let Some(last) = last.map(without_nulls) else { return FieldSet::default() };
    let difference = tree::compare(shape, &last, live);
    let set = tree::everything(shape, &last);
    set.difference(&difference.modified).difference(&difference.removed)
}

/// Where kubectl remembers on the client's side what it applied, it is to find there what it applied on the server's.
fn remember(object: &mut Value, mut config: Value) {
    let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    let Some(place) = annotations.and_then(|annotations| annotations.get_mut(LAST_APPLIED)) else { return };
    if let Some(metadata) = config.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
    }
    *place = format!("{config}\n").into();
}

/// A member that is null is not said.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let told = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(told.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        scalar => scalar,
    }
}

// === impl Entry ===

impl Entry {
    /// The manager as messages name it.
    fn told(&self) -> String {
        let part = match self.subresource.as_str() {
            "" => String::new(),
            part => format!(" with subresource {part:?}"),
        };
        match self.manner {
            Manner::Apply => format!("{:?}{part}", self.manager),
            Manner::Update => format!("{:?}{part} using {}", self.manager, self.api_version),
        }
    }
}

// === impl Refused ===

impl Refused {
    /// The refusal as the API states it; `object` says which, such as `shop/web; apps/v1, Kind=Deployment`.
    pub fn into_status(self, object: &str) -> StatusError {
        match self {
            Self::Mismatch(Mismatch { path, why }) => {
                let words = format!("failed to create typed patch object ({object}): {path}: {why}");
                StatusError::new(Reason::Unknown, words)
            }
            Self::Conflicts(conflicts) => StatusError {
                reason: Reason::Conflict,
                message: told(&conflicts),
                details: Some(Box::new(Details {
                    causes: conflicts.into_iter().map(Conflict::into_cause).collect(),
                    ..Details::default()
                })),
            },
        }
    }
}

fn told(conflicts: &[Conflict]) -> String {
    if let [Conflict { manager, path }] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {manager}: {path}");
    }
    let mut by_manager: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for conflict in conflicts {
        by_manager.entry(&conflict.manager).or_default().push(format!("- {}", conflict.path));
    }
    let told: Vec<String> =
        by_manager.iter().map(|(manager, paths)| format!("conflicts with {manager}:\n{}", paths.join("\n"))).collect();
    format!("Apply failed with {} conflicts: {}", conflicts.len(), told.join("\n"))
}

// === impl Conflict ===

impl Conflict {
    fn into_cause(self) -> Cause {
        Cause { reason: "FieldManagerConflict", message: format!("conflict with {}", self.manager), field: self.path }
    }
}
