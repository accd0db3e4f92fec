//! What cells of several tables have in common.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::api::rbac::v1::{RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde_json::Value;

use crate::duration;

/// What stands for nothing.
pub(crate) const NONE: &str = "<none>";

/// The object's name.
pub(crate) fn name(metadata: &ObjectMeta) -> Value {
    metadata.name.as_deref().unwrap_or_default().into()
}

/// The time since the object was created.
pub(crate) fn age(metadata: &ObjectMeta, now: Timestamp) -> Value {
    duration::age_of(metadata.creation_timestamp.as_ref(), now).into()
}

/// Text, or `<none>`.
pub(crate) fn text(text: Option<&str>) -> Value {
    text.filter(|text| !text.is_empty()).unwrap_or(NONE).into()
}

/// Texts between commas, or `<none>`.
pub(crate) fn joined(texts: impl IntoIterator<Item = impl Into<String>>) -> Value {
    let texts: Vec<String> = texts.into_iter().map(Into::into).collect();
    text(Some(&texts.join(",")))
}

/// The first three texts between commas, and how many more there are.
pub(crate) fn first_three(texts: &[String], nothing: &str) -> Value {
    const SHOWN: usize = 3;
    match texts.len() {
        0 => nothing.into(),
        all if all > SHOWN => format!("{} + {} more...", texts[..SHOWN].join(","), all - SHOWN).into(),
        _ => texts.join(",").into(),
    }
}

/// `key=value` pairs between commas, or `<none>`.
pub(crate) fn pairs(pairs: Option<&BTreeMap<String, String>>) -> Value {
    joined(pairs.into_iter().flatten().map(|(key, value)| format!("{key}={value}")))
}

/// A selector as one would type it, or `<none>`.
pub(crate) fn selector(selector: &LabelSelector) -> Value {
    let selector = crate::selector::LabelSelector::try_from(selector).map(|selector| selector.to_string());
    text(selector.ok().as_deref())
}

/// The names of the containers, and their images.
pub(crate) fn containers(spec: Option<&PodSpec>) -> [Value; 2] {
    let containers = || spec.into_iter().flat_map(|spec| &spec.containers);
    let joined = |texts: Vec<&str>| Value::from(texts.join(","));
    [
        joined(containers().map(|container| container.name.as_str()).collect()),
        joined(containers().map(|container| container.image.as_deref().unwrap_or_default()).collect()),
    ]
}

/// Who controls the object, such as `statefulset.apps/db`.
pub(crate) fn controller(metadata: &ObjectMeta) -> Option<String> {
    let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    let group = owner.api_version.split_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
    Some(format!("{}{group}/{}", owner.kind.to_lowercase(), owner.name))
}

/// Text, or `<unset>`.
pub(crate) fn set(text: Option<&str>) -> Value {
    text.unwrap_or("<unset>").into()
}

/// Access modes as they are written for short.
pub(crate) fn access_modes(modes: Option<&[String]>) -> Value {
    let short =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let has = |mode: &str| modes.is_some_and(|modes| modes.iter().any(|one| one == mode));
    let found: Vec<&str> = short.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect();
    found.join(",").into()
}

/// When the object was created, for tables that do not tell its age.
pub(crate) fn created_at(metadata: &ObjectMeta) -> Value {
    metadata
        .creation_timestamp
        .as_ref()
        .map_or(Value::Null, |time| time.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into())
}

/// The row of a binding.
pub(crate) fn binding(metadata: &ObjectMeta, role: &RoleRef, given: Option<&[Subject]>, now: Timestamp) -> Vec<Value> {
    let [users, groups, accounts] = subjects(given);
    vec![name(metadata), format!("{}/{}", role.kind, role.name).into(), age(metadata, now), users, groups, accounts]
}

/// The users, groups and accounts among subjects.
fn subjects(subjects: Option<&[Subject]>) -> [Value; 3] {
    let of = |kind: &str| {
        let named = subjects.into_iter().flatten().filter(|subject| subject.kind == kind);
        let names: Vec<String> = named
            .map(|subject| match subject.kind.as_str() {
                "ServiceAccount" => format!("{}/{}", subject.namespace.as_deref().unwrap_or_default(), subject.name),
                _ => subject.name.clone(),
            })
            .collect();
        names.join(", ").into()
    };
    [of("User"), of("Group"), of("ServiceAccount")]
}
