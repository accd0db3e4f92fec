//! What somebody wants to keep of a claim, or has.

use jiff::Timestamp;
use serde_json::Value;

use super::{AGE, NAME, text};
use crate::rules::Causes;
use crate::snapshots::VolumeSnapshot;
use crate::{Column, Names, Resource, Scope, Subresource, cells, duration};

/// The kind.
#[derive(Debug)]
pub struct VolumeSnapshots;

impl Resource for VolumeSnapshots {
    type Object = VolumeSnapshot;

    const NAMES: &'static Names = &Names {
        group: "snapshot.storage.k8s.io",
        version: "v1",
        kind: "VolumeSnapshot",
        plural: "volumesnapshots",
        singular: "volumesnapshot",
        short: &["vs"],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = &[
        NAME,
        Column { kind: "boolean", ..text("ReadyToUse", "Whether a volume can be made from it.") },
        text("SourcePVC", "The claim that it is of."),
        text("SourceSnapshotContent", "What was there already, if it is of that."),
        text("RestoreSize", "How much a volume made from it has to hold."),
        text("SnapshotClass", "How it is made."),
        text("SnapshotContent", "What holds its data."),
        text("CreationTime", "When the claim was as it is kept."),
        AGE,
    ];

    fn validate(snapshot: &VolumeSnapshot, causes: &mut Causes) {
        let source = &snapshot.spec.source;
        let claim = source.persistent_volume_claim_name.as_deref().filter(|name| !name.is_empty());
        let content = source.volume_snapshot_content_name.as_deref().filter(|name| !name.is_empty());
        match (claim, content) {
            (Some(_), Some(content)) => {
                let why = "exactly one of volumeSnapshotContentName and persistentVolumeClaimName must be set";
                causes.invalid("spec.source", content, why);
            }
            (None, None) => causes.required("spec.source.persistentVolumeClaimName", ""),
            _ => {}
        }
        if snapshot.spec.volume_snapshot_class_name.as_deref() == Some("") {
            causes.invalid("spec.volumeSnapshotClassName", "", "must not be the empty string when set");
        }
    }

    fn validate_update(snapshot: &VolumeSnapshot, old: &VolumeSnapshot, causes: &mut Causes) {
        if snapshot.spec.source != old.spec.source {
            causes.forbidden("spec.source", "is immutable");
        }
    }

    fn cells(snapshot: &VolumeSnapshot, now: Timestamp) -> Vec<Value> {
        let (source, status) = (&snapshot.spec.source, snapshot.status.clone().unwrap_or_default());
        let word = |word: &Option<String>| Value::from(word.clone().unwrap_or_default());
        let made = status.creation_time.map(|time| duration::age_of(Some(&time), now));
        vec![
            cells::name(&snapshot.metadata),
            status.ready_to_use.map_or(Value::Null, Value::from),
            word(&source.persistent_volume_claim_name),
            word(&source.volume_snapshot_content_name),
            status.restore_size.map(|size| size.0).unwrap_or_default().into(),
            word(&snapshot.spec.volume_snapshot_class_name),
            word(&status.bound_volume_snapshot_content_name),
            made.unwrap_or_default().into(),
            cells::age(&snapshot.metadata, now),
        ]
    }
}
