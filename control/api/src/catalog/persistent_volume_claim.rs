//! Storage that somebody wants.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedLocalObjectReference, TypedObjectReference,
};
use serde_json::Value;

use super::{AGE, NAME, text, wide};
use crate::quantity::Quantity;
use crate::rules::{self, Causes};
use crate::storage::CLAIM_PROTECTION;
use crate::{Column, Names, Resource, Scope, Subresource, cells};

/// The kind.
#[derive(Debug)]
pub struct PersistentVolumeClaims;

const FIXED: &str =
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

/// Fills in what a claim leaves out, also as a template of claims.
pub(super) fn default(claim: &mut PersistentVolumeClaim) {
    let spec = claim.spec.get_or_insert_default();
    spec.volume_mode.get_or_insert_with(|| "Filesystem".into());
    name_source_twice(spec);
    claim.status.get_or_insert_default().phase.get_or_insert_with(|| "Pending".into());
}

/// What a claim is filled from has two fields for historical reasons; whoever says one has said the other.
fn name_source_twice(spec: &mut PersistentVolumeClaimSpec) {
    match (&spec.data_source, &spec.data_source_ref) {
        (Some(source), None) => {
            spec.data_source_ref = Some(TypedObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
                namespace: None,
            });
        }
        (None, Some(source)) if source.namespace.as_deref().is_none_or(str::is_empty) => {
            spec.data_source = Some(TypedLocalObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
            });
        }
        _ => {}
    }
}

impl Resource for PersistentVolumeClaims {
    type Object = PersistentVolumeClaim;

    const NAMES: &'static Names = &Names {
        group: "",
        version: "v1",
        kind: "PersistentVolumeClaim",
        plural: "persistentvolumeclaims",
        singular: "persistentvolumeclaim",
        short: &["pvc"],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column] = &[
        NAME,
        text("Status", "Whether it has what it wants."),
        text("Volume", "The volume it is bound to."),
        text("Capacity", "How much it has."),
        text("Access Modes", "Who may use it at one time."),
        text("StorageClass", "What kind of storage it wants."),
        text("VolumeAttributesClass", "What its storage should be like."),
        AGE,
        wide(text("VolumeMode", "Whether it is a file system or a block device.")),
    ];

    fn default(claim: &mut PersistentVolumeClaim) {
        default(claim);
    }

    fn prepare_create(claim: &mut PersistentVolumeClaim) {
        let finalizers = claim.metadata.finalizers.get_or_insert_default();
        if !finalizers.iter().any(|finalizer| finalizer == CLAIM_PROTECTION) {
            finalizers.push(CLAIM_PROTECTION.into());
        }
    }

    fn validate(claim: &PersistentVolumeClaim, causes: &mut Causes) {
        let none = PersistentVolumeClaimSpec::default();
        let spec = claim.spec.as_ref().unwrap_or(&none);
        rules::access_modes(
            "spec.accessModes",
            spec.access_modes.as_deref(),
            "at least 1 access mode is required",
            causes,
        );
        if let Some(selector) = &spec.selector {
            rules::selector("spec.selector", selector, causes);
        }
        let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        match requests.and_then(|requests| requests.get("storage")) {
            None => causes.required("spec.resources[storage]", ""),
            Some(wanted) if Quantity::of(wanted) <= Quantity::ZERO => {
                causes.invalid("spec.resources[storage]", &wanted.0, "must be greater than zero");
            }
            Some(_) => {}
        }
        if let Some(class) = spec.storage_class_name.as_deref().filter(|class| !class.is_empty()) {
            rules::NameRule::Subdomain.check("spec.storageClassName", class, causes);
        }
        rules::volume_mode("spec.volumeMode", spec.volume_mode.as_deref(), causes);
        if let Some(source) = &spec.data_source {
            for (field, value) in [("name", &source.name), ("kind", &source.kind)] {
                if value.is_empty() {
                    causes.required(format!("spec.dataSource.{field}"), "");
                }
            }
            let core = source.api_group.as_deref().is_none_or(str::is_empty);
            if core && source.kind != "PersistentVolumeClaim" {
                let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
                causes.invalid("spec.dataSource", &source.kind, detail);
            }
        }
    }

    fn validate_update(claim: &PersistentVolumeClaim, old: &PersistentVolumeClaim, causes: &mut Causes) {
        let bound = old.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
        if fixed(claim, old, bound) != fixed(old, old, bound) {
            causes.forbidden("spec", FIXED);
        }
        let had = old.status.as_ref().and_then(|status| status.capacity.as_ref()?.get("storage"));
        if let (Some(wanted), Some(before)) = (storage(claim), storage(old))
            && wanted < before
            && had.is_none_or(|had| wanted < Quantity::of(had))
        {
            causes.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity");
        }
    }

    fn cells(claim: &PersistentVolumeClaim, now: Timestamp) -> Vec<Value> {
        let spec = claim.spec.as_ref();
        let status = claim.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or_default();
        let phase = if claim.metadata.deletion_timestamp.is_some() { "Terminating" } else { phase };
        let volume = spec.and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
        let bound = !volume.is_empty();
        let capacity = status.and_then(|status| status.capacity.as_ref()?.get("storage")).filter(|_| bound);
        let modes = status.and_then(|status| status.access_modes.as_deref()).filter(|_| bound);
        let class = spec.and_then(|spec| spec.storage_class_name.as_deref());
        let attributes = spec.and_then(|spec| spec.volume_attributes_class_name.as_deref());
        vec![
            cells::name(&claim.metadata),
            phase.into(),
            volume.into(),
            capacity.map_or(String::new(), |capacity| capacity.0.clone()).into(),
            cells::access_modes(modes),
            class.unwrap_or_default().into(),
            cells::set(attributes),
            cells::age(&claim.metadata, now),
            cells::set(spec.and_then(|spec| spec.volume_mode.as_deref())),
        ]
    }
}

fn storage(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage").map(Quantity::of)
}

/// What never changes of a spec: a volume is found but once, and only what is bound may grow.
fn fixed(claim: &PersistentVolumeClaim, old: &PersistentVolumeClaim, bound: bool) -> PersistentVolumeClaimSpec {
    let mut spec = claim.spec.clone().unwrap_or_default();
    let before = old.spec.clone().unwrap_or_default();
    if before.volume_name.as_deref().is_none_or(str::is_empty) {
        spec.volume_name = None;
    }
    if before.storage_class_name.is_none() {
        spec.storage_class_name = None;
    }
    if bound {
        spec.volume_attributes_class_name = None;
        if let Some(resources) = &mut spec.resources {
            resources.requests = None;
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::PERSISTENT_VOLUME_CLAIM as CLAIM;

    fn claim() -> Value {
        json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "fast"}})
    }

    #[test]
    fn a_new_claim_is_pending_whatever_it_says() {
        let new = completed(CLAIM, plus(claim(), "/status", json!({"phase": "Bound"})));
        assert_eq!((&new["status"], &new["spec"]["volumeMode"]), (&json!({"phase": "Pending"}), &json!("Filesystem")));
        assert_eq!(row(CLAIM, &new), json!(["data", "Pending", "", "", "", "fast", "<unset>", "5m3s", "Filesystem"]));
        let bound = plus(
            plus(new, "/spec/volumeName", json!("v")),
            "/status",
            json!({"phase": "Bound", "accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "capacity": {"storage": "2Gi"}}),
        );
        assert_eq!(
            row(CLAIM, &bound),
            json!(["data", "Bound", "v", "2Gi", "RWO,ROX", "fast", "<unset>", "5m3s", "Filesystem"])
        );
    }

    #[test]
    fn what_breaks_a_rule_is_told() {
        let check = |path: &str, wrong: Value, expect: &str| assert_eq!(refusal(CLAIM, claim(), path, wrong), expect);
        check("/spec/accessModes", json!([]), "spec.accessModes: Required value: at least 1 access mode is required");
        check(
            "/spec/accessModes",
            json!(["ReadWriteAlways"]),
            "spec.accessModes: Unsupported value: \"ReadWriteAlways\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
        );
        check(
            "/spec/accessModes",
            json!(["ReadWriteOncePod", "ReadWriteOnce"]),
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
        );
        check("/spec/resources", json!({}), "spec.resources[storage]: Required value");
        check(
            "/spec/resources/requests/storage",
            json!("0"),
            "spec.resources[storage]: Invalid value: \"0\": must be greater than zero",
        );
        check(
            "/spec/volumeMode",
            json!("Tape"),
            "spec.volumeMode: Unsupported value: \"Tape\": supported values: \"Block\", \"Filesystem\"",
        );
    }

    #[test]
    fn a_claim_that_is_bound_may_grow() {
        let old = created(CLAIM, claim());
        assert_eq!(
            refused_change(&old, "/spec/resources/requests/storage", json!("2Gi")),
            format!("spec: Forbidden: {FIXED}")
        );
        assert_eq!(refused_change(&old, "/spec/storageClassName", json!("slow")), format!("spec: Forbidden: {FIXED}"));
        assert!(update(&old, with(&old, &[("/spec/volumeName", json!("v"))])).is_ok());
        let bound = plus(tree(&old), "/status", json!({"phase": "Bound", "capacity": {"storage": "1Gi"}}));
        let bound = crate::Object::from_value(CLAIM, &bound).expect("an object");
        assert!(update(&bound, with(&bound, &[("/spec/resources/requests/storage", json!("2Gi"))])).is_ok());
        assert_eq!(
            refused_change(&bound, "/spec/resources/requests/storage", json!("1Mi")),
            "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"
        );
    }
}
