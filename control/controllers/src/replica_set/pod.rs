//! A pod out of the set's template.

use api::{Object, kinds};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use state::Snapshot;

use crate::created::created_pod;
use crate::{Look, owners};

/// The longest start of a name that leaves room for an ending.
const NAME_START_MAX: usize = 57;

/// The `n`th new pod of this look, under a name that nobody has.
pub(super) fn create(
    object: &Object,
    set: &ReplicaSet,
    n: usize,
    view: &Snapshot,
    look: Look,
) -> Result<Object, String> {
    let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref()).cloned().unwrap_or_default();
    let metadata = template.metadata.unwrap_or_default();
    let pod = Pod {
        metadata: ObjectMeta {
            name: Some(free_name(object, n, view, look)),
            generate_name: Some(format!("{}-", object.key().name())),
            namespace: Some(object.key().namespace().into()),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![owners::controlled_by("apps/v1", object)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    };
    created_pod(&pod, view, look)
}

fn free_name(set: &Object, n: usize, view: &Snapshot, look: Look) -> String {
    let start = set.key().name();
    let start = start.get(..NAME_START_MAX).unwrap_or(start);
    let mut names = (0..u32::MAX).map(|turn| format!("{start}-{}", look.ending(&format!("{} {n} {turn}", set.key()))));
    let free = names.find(|name| view.get(&set.key().sibling(kinds::POD, name)).is_none());
    free.expect("more names than a snapshot holds objects")
}
