//! Storage that there is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeSpec};
use serde_json::{Map, Value};

use super::{AGE, NAME, text, wide};
use crate::quantity::Quantity;
use crate::rules::{self, Causes};
use crate::storage::VOLUME_PROTECTION;
use crate::{Column, Names, Resource, Scope, Subresource, cells, schema};

/// The kind.
#[derive(Debug)]
pub struct PersistentVolumes;

const RECLAIM: &[&str] = &["Delete", "Recycle", "Retain"];

impl Resource for PersistentVolumes {
    type Object = PersistentVolume;

    const NAMES: &'static Names = &Names {
        group: "",
        version: "v1",
        kind: "PersistentVolume",
        plural: "persistentvolumes",
        singular: "persistentvolume",
        short: &["pv"],
        categories: &[],
        scope: Scope::Cluster,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column] = &[
        NAME,
        text("Capacity", "How much it holds."),
        text("Access Modes", "Who may use it at one time."),
        text("Reclaim Policy", "What becomes of it when nobody claims it any more."),
        text("Status", "Whether somebody has it."),
        text("Claim", "Whose it is."),
        text("StorageClass", "What kind of storage it is."),
        text("VolumeAttributesClass", "What its storage is like."),
        text("Reason", "Why it is in this state."),
        AGE,
        wide(text("VolumeMode", "Whether it is a file system or a block device.")),
    ];

    fn default(volume: &mut PersistentVolume) {
        let spec = volume.spec.get_or_insert_default();
        spec.persistent_volume_reclaim_policy.get_or_insert_with(|| "Retain".into());
        spec.volume_mode.get_or_insert_with(|| "Filesystem".into());
        if let Some(host) = &mut spec.host_path {
            host.type_.get_or_insert_default();
        }
        volume.status.get_or_insert_default().phase.get_or_insert_with(|| "Pending".into());
    }

    fn prepare_create(volume: &mut PersistentVolume) {
        let finalizers = volume.metadata.finalizers.get_or_insert_default();
        if !finalizers.iter().any(|finalizer| finalizer == VOLUME_PROTECTION) {
            finalizers.push(VOLUME_PROTECTION.into());
        }
    }

    fn validate(volume: &PersistentVolume, causes: &mut Causes) {
        let none = PersistentVolumeSpec::default();
        let spec = volume.spec.as_ref().unwrap_or(&none);
        rules::access_modes("spec.accessModes", spec.access_modes.as_deref(), "", causes);
        let capacity = spec.capacity.as_ref();
        if capacity.is_none_or(BTreeMap::is_empty) {
            causes.required("spec.capacity", "");
            causes.unsupported_go("spec.capacity", "core.ResourceList(nil)", &["storage"]);
        } else if capacity.is_some_and(|capacity| capacity.len() > 1 || !capacity.contains_key("storage")) {
            causes.unsupported("spec.capacity", capacity, &["storage"]);
        }
        for (name, amount) in capacity.into_iter().flatten() {
            if Quantity::of(amount) <= Quantity::ZERO {
                causes.invalid(format!("spec.capacity[{name}]"), &amount.0, "must be greater than zero");
            }
        }
        let policy = spec.persistent_volume_reclaim_policy.as_deref();
        if let Some(policy) = policy.filter(|policy| !RECLAIM.contains(policy)) {
            causes.unsupported("spec.persistentVolumeReclaimPolicy", policy, RECLAIM);
        }
        validate_source(spec, causes);
        if let Some(class) = spec.storage_class_name.as_deref().filter(|class| !class.is_empty()) {
            rules::NameRule::Subdomain.check("spec.storageClassName", class, causes);
        }
        rules::volume_mode("spec.volumeMode", spec.volume_mode.as_deref(), causes);
    }

    fn validate_update(volume: &PersistentVolume, old: &PersistentVolume, causes: &mut Causes) {
        let (Some(spec), Some(before)) = (&volume.spec, &old.spec) else { return };
        if sources(spec) != sources(before) {
            let detail = "spec.persistentvolumesource is immutable after creation";
            causes.forbidden("spec.persistentvolumesource", detail);
        }
        causes.immutable("spec.volumeMode", &spec.volume_mode, &before.volume_mode);
        if before.node_affinity.is_some() {
            causes.immutable("spec.nodeAffinity", &spec.node_affinity, &before.node_affinity);
        }
    }

    fn cells(volume: &PersistentVolume, now: Timestamp) -> Vec<Value> {
        let spec = volume.spec.as_ref();
        let status = volume.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or_default();
        let phase = if volume.metadata.deletion_timestamp.is_some() { "Terminating" } else { phase };
        let capacity = spec.and_then(|spec| spec.capacity.as_ref()?.get("storage"));
        let claim = spec.and_then(|spec| spec.claim_ref.as_ref()).map(|claim| {
            format!("{}/{}", claim.namespace.as_deref().unwrap_or_default(), claim.name.as_deref().unwrap_or_default())
        });
        let of_spec = |field: fn(&PersistentVolumeSpec) -> Option<&str>| spec.and_then(field);
        vec![
            cells::name(&volume.metadata),
            capacity.map_or("", |capacity| capacity.0.as_str()).into(),
            cells::access_modes(spec.and_then(|spec| spec.access_modes.as_deref())),
            of_spec(|spec| spec.persistent_volume_reclaim_policy.as_deref()).unwrap_or_default().into(),
            phase.into(),
            claim.unwrap_or_default().into(),
            of_spec(|spec| spec.storage_class_name.as_deref()).unwrap_or_default().into(),
            cells::set(of_spec(|spec| spec.volume_attributes_class_name.as_deref())),
            status.and_then(|status| status.reason.as_deref()).unwrap_or_default().into(),
            cells::age(&volume.metadata, now),
            cells::set(of_spec(|spec| spec.volume_mode.as_deref())),
        ]
    }
}

/// Where the storage is: the members of the spec that are sources of volumes.
fn sources(spec: &PersistentVolumeSpec) -> Map<String, Value> {
    let known = schema::message("api.core.v1.PersistentVolumeSource");
    let is_source = |name: &str| known.is_some_and(|message| message.member(name).is_some());
    let members = match serde_json::to_value(spec) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    members.into_iter().filter(|(name, _)| is_source(name)).collect()
}

fn validate_source(spec: &PersistentVolumeSpec, causes: &mut Causes) {
    let sources = sources(spec);
    if sources.is_empty() {
        causes.required("spec", "must specify a volume type");
    }
    for other in sources.keys().skip(1) {
        causes.forbidden(format!("spec.{other}"), "may not specify more than 1 volume type");
    }
    if let Some(host) = &spec.host_path {
        if host.path.is_empty() {
            causes.required("spec.hostPath.path", "");
        } else if host.path.split('/').any(|part| part == "..") {
            causes.invalid("spec.hostPath.path", &host.path, "must not contain '..'");
        }
    }
    if let Some(local) = &spec.local {
        if local.path.is_empty() {
            causes.required("spec.local.path", "");
        }
        if spec.node_affinity.is_none() {
            causes.required("spec.nodeAffinity", "Local volume requires node affinity");
        }
    }
    for (field, value) in [
        ("nfs.server", spec.nfs.as_ref().map(|nfs| &nfs.server)),
        ("nfs.path", spec.nfs.as_ref().map(|nfs| &nfs.path)),
        ("csi.driver", spec.csi.as_ref().map(|csi| &csi.driver)),
        ("csi.volumeHandle", spec.csi.as_ref().map(|csi| &csi.volume_handle)),
    ] {
        if value.is_some_and(String::is_empty) {
            causes.required(format!("spec.{field}"), "");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::PERSISTENT_VOLUME as VOLUME;

    fn volume() -> Value {
        json!({"metadata": {"name": "disk"}, "spec": {"capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/data"}, "storageClassName": "fast"}})
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let stored = completed(VOLUME, volume());
        assert_eq!(stored["status"], json!({"phase": "Pending"}));
        assert_eq!(
            row(VOLUME, &stored),
            json!(["disk", "5Gi", "RWO", "Retain", "Pending", "", "fast", "<unset>", "", "5m3s", "Filesystem"])
        );
        let claimed = plus(stored, "/spec/claimRef", json!({"namespace": "shop", "name": "data"}));
        assert_eq!(row(VOLUME, &claimed)[5], json!("shop/data"));
    }

    #[test]
    fn what_breaks_a_rule_is_told() {
        let check = |path: &str, wrong: Value, expect: &str| assert_eq!(refusal(VOLUME, volume(), path, wrong), expect);
        check("/spec/accessModes", json!([]), "spec.accessModes: Required value");
        check(
            "/spec/capacity",
            json!({}),
            "[spec.capacity: Required value, spec.capacity: Unsupported value: core.ResourceList(nil): supported values: \"storage\"]",
        );
        check(
            "/spec/capacity/storage",
            json!("-1Gi"),
            "spec.capacity[storage]: Invalid value: \"-1Gi\": must be greater than zero",
        );
        check("/spec/hostPath", Value::Null, "spec: Required value: must specify a volume type");
        check(
            "/spec/nfs",
            json!({"server": "a", "path": "/"}),
            "spec.nfs: Forbidden: may not specify more than 1 volume type",
        );
        check(
            "/spec/hostPath/path",
            json!("/a/../b"),
            "spec.hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
        );
        check(
            "/spec/persistentVolumeReclaimPolicy",
            json!("Burn"),
            "spec.persistentVolumeReclaimPolicy: Unsupported value: \"Burn\": supported values: \"Delete\", \"Recycle\", \"Retain\"",
        );
        let old = created(VOLUME, volume());
        assert_eq!(
            refused_change(&old, "/spec/hostPath/path", json!("/other")),
            "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"
        );
        assert_eq!(
            refused_change(&old, "/spec/volumeMode", json!("Block")),
            "spec.volumeMode: Invalid value: \"Block\": field is immutable"
        );
        assert!(update(&old, with(&old, &[("/spec/claimRef", json!({"name": "data", "namespace": "shop"}))])).is_ok());
    }
}
