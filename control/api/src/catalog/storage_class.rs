//! A kind of storage, and who makes it.

use jiff::Timestamp;
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::Value;

use super::{AGE, NAME, text};
use crate::rules::{self, Causes};
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct StorageClasses;

/// The annotation of the class that claims without one get.
const IS_DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;
const RECLAIM: &[&str] = &["Delete", "Retain"];
const BINDING: &[&str] = &["Immediate", "WaitForFirstConsumer"];

impl Resource for StorageClasses {
    type Object = StorageClass;

    const NAMES: &'static Names = &Names {
        group: "storage.k8s.io",
        version: "v1",
        kind: "StorageClass",
        plural: "storageclasses",
        singular: "storageclass",
        short: &["sc"],
        categories: &[],
        scope: Scope::Cluster,
    };
    const COLUMNS: &'static [Column] = &[
        NAME,
        text("Provisioner", "Who makes its volumes."),
        text("ReclaimPolicy", "What becomes of a volume that nobody claims any more."),
        text("VolumeBindingMode", "When a volume is made."),
        Column { kind: "boolean", ..text("AllowVolumeExpansion", "Whether its volumes may grow.") },
        AGE,
    ];

    fn default(class: &mut StorageClass) {
        class.reclaim_policy.get_or_insert_with(|| "Delete".into());
        class.volume_binding_mode.get_or_insert_with(|| "Immediate".into());
    }

    fn validate(class: &StorageClass, causes: &mut Causes) {
        if class.provisioner.is_empty() {
            causes.required("provisioner", "");
        } else {
            for problem in rules::qualified_name(&class.provisioner.to_lowercase()) {
                causes.invalid("provisioner", &class.provisioner, &problem);
            }
        }
        let parameters = || class.parameters.iter().flatten();
        if parameters().count() > PARAMETERS_MAX {
            causes.too_long("parameters", PARAMETERS_MAX);
        } else {
            for _ in parameters().filter(|(name, _)| name.is_empty()) {
                causes.invalid("parameters", "", "field can not be empty.");
            }
            if parameters().map(|(name, value)| name.len() + value.len()).sum::<usize>() > PARAMETERS_BYTES_MAX {
                causes.too_long("parameters", PARAMETERS_BYTES_MAX);
            }
        }
        if let Some(policy) = class.reclaim_policy.as_deref().filter(|policy| !RECLAIM.contains(policy)) {
            causes.unsupported("reclaimPolicy", policy, RECLAIM);
        }
        if let Some(mode) = class.volume_binding_mode.as_deref().filter(|mode| !BINDING.contains(mode)) {
            causes.unsupported("volumeBindingMode", mode, BINDING);
        }
    }

    fn validate_update(class: &StorageClass, old: &StorageClass, causes: &mut Causes) {
        if class.parameters != old.parameters {
            causes.forbidden("parameters", "updates to parameters are forbidden.");
        }
        if class.provisioner != old.provisioner {
            causes.forbidden("provisioner", "updates to provisioner are forbidden.");
        }
        if class.reclaim_policy != old.reclaim_policy {
            causes.forbidden("reclaimPolicy", "updates to reclaimPolicy are forbidden.");
        }
        causes.immutable("volumeBindingMode", &class.volume_binding_mode, &old.volume_binding_mode);
    }

    fn cells(class: &StorageClass, now: Timestamp) -> Vec<Value> {
        let name = class.metadata.name.as_deref().unwrap_or_default();
        let noted = |annotation| class.metadata.annotations.as_ref()?.get(annotation);
        let is_default = IS_DEFAULT.into_iter().any(|annotation| noted(annotation).is_some_and(|told| told == "true"));
        vec![
            if is_default { format!("{name} (default)").into() } else { name.into() },
            class.provisioner.as_str().into(),
            class.reclaim_policy.as_deref().unwrap_or("Delete").into(),
            cells::set(class.volume_binding_mode.as_deref()),
            class.allow_volume_expansion.unwrap_or(false).into(),
            cells::age(&class.metadata, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::STORAGE_CLASS as CLASS;

    fn class() -> Value {
        json!({"metadata": {"name": "fast", "annotations": {IS_DEFAULT[0]: "true"}}, "provisioner": "example.com/disk"})
    }

    #[test]
    fn what_breaks_a_rule_is_told() {
        let check = |path: &str, wrong: Value, expect: &str| assert_eq!(refusal(CLASS, class(), path, wrong), expect);
        check("/provisioner", json!(""), "provisioner: Required value");
        check(
            "/reclaimPolicy",
            json!("Recycle"),
            "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
        );
        check(
            "/volumeBindingMode",
            json!("Later"),
            "volumeBindingMode: Unsupported value: \"Later\": supported values: \"Immediate\", \"WaitForFirstConsumer\"",
        );
        let old = created(CLASS, class());
        assert_eq!(
            refused_change(&old, "/provisioner", json!("other")),
            "provisioner: Forbidden: updates to provisioner are forbidden."
        );
        assert_eq!(
            refused_change(&old, "/parameters", json!({"a": "b"})),
            "parameters: Forbidden: updates to parameters are forbidden."
        );
        assert_eq!(
            refused_change(&old, "/volumeBindingMode", json!("WaitForFirstConsumer")),
            "volumeBindingMode: Invalid value: \"WaitForFirstConsumer\": field is immutable"
        );
        assert_eq!(
            row(CLASS, &tree(&old)),
            json!(["fast (default)", "example.com/disk", "Delete", "Immediate", false, "5m3s"])
        );
    }
}
