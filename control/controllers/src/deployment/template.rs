//! When two pod templates are one, and the hash that tells them apart in names.
//!
//! Clients send the same template in different clothes: `rollout undo` sends nulls and empty objects that the first apply
//! did not have. They are taken off before templates are compared or hashed; otherwise undo would roll out anew.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

use crate::look::hash_letters;

/// The label that tells the pods of one template from those of another.
pub(super) const HASH_LABEL: &str = "pod-template-hash";
const HASH_LETTERS: usize = 10;

/// The template as it is compared: without the hash label, and without what says nothing.
pub(super) fn canonical(template: &PodTemplateSpec) -> Value {
    let mut value = serde_json::to_value(template).unwrap_or_default();
    if let Some(labels) = value.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH_LABEL);
    }
    strip(&mut value);
    value
}

/// The hash of a canonical template, made different by the collisions there were.
pub(super) fn hash(canonical: &Value, collisions: i32) -> String {
    let salt = if collisions == 0 { String::new() } else { collisions.to_string() };
    hash_letters(format!("{canonical}{salt}").as_bytes(), HASH_LETTERS)
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(strip);
            members.retain(|name, member| !is_silent(name, member));
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Empty objects that mean the same as nothing. Others, such as an empty label selector, do not.
fn is_silent(name: &str, member: &Value) -> bool {
    let empty = member.as_object().is_some_and(serde_json::Map::is_empty);
    let empty_means_nothing =
        matches!(name, "resources" | "securityContext" | "metadata" | "labels" | "annotations" | "limits" | "requests");
    member.is_null() || (empty && empty_means_nothing)
}
