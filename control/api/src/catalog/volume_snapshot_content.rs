//! What is kept of a volume.

use jiff::Timestamp;
use serde_json::Value;

use super::volume_snapshot_class::policy;
use super::{AGE, NAME, text};
use crate::rules::Causes;
use crate::snapshots::VolumeSnapshotContent;
use crate::{Column, Names, Resource, Scope, Subresource, cells};

/// The kind.
#[derive(Debug)]
pub struct VolumeSnapshotContents;

impl Resource for VolumeSnapshotContents {
    type Object = VolumeSnapshotContent;

    const NAMES: &'static Names = &Names {
        group: "snapshot.storage.k8s.io",
        version: "v1",
        kind: "VolumeSnapshotContent",
        plural: "volumesnapshotcontents",
        singular: "volumesnapshotcontent",
        short: &["vsc", "vscs"],
        categories: &[],
        scope: Scope::Cluster,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = &[
        NAME,
        Column { kind: "boolean", ..text("ReadyToUse", "Whether a volume can be made from it.") },
        Column { kind: "integer", ..text("RestoreSize", "How many bytes a volume made from it has to hold.") },
        text("DeletionPolicy", "Whether it goes with its snapshot."),
        text("Driver", "Whose volume it is of."),
        text("VolumeSnapshotClass", "How it was made."),
        text("VolumeSnapshot", "Whose it is."),
        text("VolumeSnapshotNamespace", "Where that is."),
        AGE,
    ];

    fn validate(content: &VolumeSnapshotContent, causes: &mut Causes) {
        let spec = &content.spec;
        policy("spec.deletionPolicy", &spec.deletion_policy, causes);
        if spec.driver.is_empty() {
            causes.required("spec.driver", "");
        }
        match (&spec.source.volume_handle, &spec.source.snapshot_handle) {
            (Some(_), Some(handle)) => {
                causes.invalid("spec.source", handle, "exactly one of volumeHandle and snapshotHandle must be set");
            }
            (None, None) => causes.required("spec.source", ""),
            _ => {}
        }
        let named = &spec.volume_snapshot_ref;
        for (path, word) in [("name", &named.name), ("namespace", &named.namespace)] {
            if word.as_deref().is_none_or(str::is_empty) {
                causes.required(format!("spec.volumeSnapshotRef.{path}"), "");
            }
        }
    }

    fn validate_update(content: &VolumeSnapshotContent, old: &VolumeSnapshotContent, causes: &mut Causes) {
        if content.spec.source != old.spec.source {
            causes.forbidden("spec.source", "is immutable");
        }
        causes.immutable("spec.driver", &content.spec.driver, &old.spec.driver);
    }

    fn cells(content: &VolumeSnapshotContent, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (&content.spec, content.status.clone().unwrap_or_default());
        let word = |word: &Option<String>| Value::from(word.clone().unwrap_or_default());
        vec![
            cells::name(&content.metadata),
            status.ready_to_use.map_or(Value::Null, Value::from),
            status.restore_size.map_or(Value::Null, Value::from),
            spec.deletion_policy.as_str().into(),
            spec.driver.as_str().into(),
            word(&spec.volume_snapshot_class_name),
            word(&spec.volume_snapshot_ref.name),
            word(&spec.volume_snapshot_ref.namespace),
            cells::age(&content.metadata, now),
        ]
    }
}
