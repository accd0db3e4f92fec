//! How snapshots of volumes are made.

use jiff::Timestamp;
use serde_json::Value;

use super::{AGE, NAME, text};
use crate::rules::Causes;
use crate::snapshots::VolumeSnapshotClass;
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct VolumeSnapshotClasses;

pub(super) const POLICIES: &[&str] = &["Delete", "Retain"];

impl Resource for VolumeSnapshotClasses {
    type Object = VolumeSnapshotClass;

    const NAMES: &'static Names = &Names {
        group: "snapshot.storage.k8s.io",
        version: "v1",
        kind: "VolumeSnapshotClass",
        plural: "volumesnapshotclasses",
        singular: "volumesnapshotclass",
        short: &["vsclass", "vsclasses"],
        categories: &[],
        scope: Scope::Cluster,
    };
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = &[
        NAME,
        text("Driver", "Whose volumes they are of."),
        text("DeletionPolicy", "Whether what is kept goes with the snapshot."),
        AGE,
    ];

    fn validate(class: &VolumeSnapshotClass, causes: &mut Causes) {
        if class.driver.is_empty() {
            causes.required("driver", "");
        }
        policy("deletionPolicy", &class.deletion_policy, causes);
    }

    fn cells(class: &VolumeSnapshotClass, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(&class.metadata),
            class.driver.as_str().into(),
            class.deletion_policy.as_str().into(),
            cells::age(&class.metadata, now),
        ]
    }
}

pub(super) fn policy(path: &str, policy: &str, causes: &mut Causes) {
    if policy.is_empty() {
        causes.required(path, "");
    } else if !POLICIES.contains(&policy) {
        causes.unsupported(path, policy, POLICIES);
    }
}
