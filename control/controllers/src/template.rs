//! Pod templates: the pods that are made of them, when two of them are one, and the hash that tells them apart in names.
//!
//! Clients send the same template in different clothes: `rollout undo` sends nulls and empty objects that the first apply
//! did not have. They are taken off before templates are compared or hashed; otherwise undo would roll out anew.

use api::{Object, kinds};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use state::Snapshot;

use crate::look::hash_letters;
use crate::{Look, owners};

/// The label that tells the pods of one template from those of another.
pub(crate) const HASH_LABEL: &str = "pod-template-hash";
const HASH_LETTERS: usize = 10;
/// The longest start of a name that leaves room for an ending.
pub(crate) const NAME_START_MAX: usize = 57;

/// A pod of the template that `owner` manages.
pub(crate) fn pod(template: PodTemplateSpec, owner: &Object, name: String) -> Pod {
    let metadata = template.metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            name: Some(name),
            generate_name: Some(format!("{}-", owner.key().name())),
            namespace: Some(owner.key().namespace().into()),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![owners::controlled_by(owner)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// The name of the `n`th new pod of this look, which nobody has: `start` with an ending.
pub(crate) fn free_name(owner: &Object, start: &str, n: usize, view: &Snapshot, look: Look<'_>) -> String {
    let start = start.get(..NAME_START_MAX).unwrap_or(start);
    let mut names =
        (0..u32::MAX).map(|turn| format!("{start}-{}", look.ending(&format!("{} {n} {turn}", owner.key()))));
    let free = names.find(|name| view.get(&owner.key().sibling(kinds::POD, name)).is_none());
    free.expect("more names than a snapshot holds objects")
}

/// The template as it is compared: without the hash label, and without what says nothing.
pub(crate) fn canonical(template: &PodTemplateSpec) -> Value {
    let mut value = serde_json::to_value(template).unwrap_or_default();
    if let Some(labels) = value.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH_LABEL);
    }
    strip(&mut value);
    value
}

/// The hash of a canonical template, made different by the collisions there were.
pub(crate) fn hash(canonical: &Value, collisions: i32) -> String {
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
