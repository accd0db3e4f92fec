//! Where a pod's components keep objects by `wasi:blobstore`: the annotation `coracle.dev/blobstore` of pods, which names one of the
//! pod's volumes. A container that mounts it has the directories there as its containers of objects.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;

use crate::rules::Causes;

/// The annotation of pods.
pub const ANNOTATION: &str = "coracle.dev/blobstore";

/// The volume that annotations name.
pub fn volume_of(annotations: &BTreeMap<String, String>) -> Option<&str> {
    annotations.get(ANNOTATION).map(String::as_str)
}

/// Whether the volume that the annotations at `path` name is one of the pod's.
pub(crate) fn validate(
    path: &str,
    annotations: Option<&BTreeMap<String, String>>,
    spec: Option<&PodSpec>,
    causes: &mut Causes,
) {
    let Some(volume) = annotations.and_then(volume_of) else { return };
    let mut volumes = spec.into_iter().flat_map(|spec| spec.volumes.iter().flatten());
    if !volumes.any(|known| known.name == volume) {
        causes.invalid(format!("{path}[{ANNOTATION}]"), volume, "must be the name of a volume of the pod");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_a_volume_of_the_pod() {
        let spec: PodSpec =
            serde_json::from_str(r#"{"containers":[],"volumes":[{"name":"photos","emptyDir":{}}]}"#).expect("a spec");
        let check = |volume: &str, expect: &[&str]| {
            let annotations = BTreeMap::from([(ANNOTATION.to_owned(), volume.to_owned())]);
            let mut causes = Causes::default();
            validate("metadata.annotations", Some(&annotations), Some(&spec), &mut causes);
            let told: Vec<_> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
            assert_eq!(told, expect);
        };
        check("photos", &[]);
        check(
            "films",
            &[
                "metadata.annotations[coracle.dev/blobstore]: Invalid value: \"films\": must be the name of a volume of the pod",
            ],
        );
    }
}
