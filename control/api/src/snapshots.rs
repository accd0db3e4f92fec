//! Snapshots of volumes, as the CSI project's `snapshot.storage.k8s.io/v1` has them: what people ask for, what there is, and how it
//! is made; and plain questions about them.
//!
//! A `VolumeSnapshot` is to a `VolumeSnapshotContent` what a claim is to a volume. The fields and their meaning are the project's.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The group of all three kinds.
pub const GROUP: &str = "snapshot.storage.k8s.io";
/// Group and version.
pub const VERSION: &str = "snapshot.storage.k8s.io/v1";

/// Marks the class of snapshots that name none.
pub const DEFAULT_CLASS: &str = "snapshot.storage.kubernetes.io/is-default-class";
/// Holds a snapshot that has something.
pub const BOUND_PROTECTION: &str = "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection";
/// Holds a snapshot that volumes may be made from at this moment.
pub const SOURCE_PROTECTION: &str = "snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection";
/// Holds what a snapshot has, until its archive is seen to.
pub const CONTENT_PROTECTION: &str = "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection";
/// The annotation of what a snapshot had, once that snapshot is on its way out: nobody else keeps it from being seen to.
pub const ABANDONED: &str = "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted";

/// What a claim is to be filled from: something of its own namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// A snapshot.
    Snapshot(&'a str),
    /// Another claim, as it is when the volume is made.
    Claim(&'a str),
}

/// What a volume is filled from, as its annotation tells its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An archive.
    Archive(Handle),
    /// Another volume of the same node, as the driver calls it.
    Volume(String),
    /// What a backup held; a server that has it brings it.
    Backup(Saved),
}

/// What a backup held of a volume, an archive: `NAME@sha256:HASH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The name of the volume as it was.
    pub name: String,
    /// The SHA-256 of the archive, in hexadecimal digits.
    pub hash: String,
}

/// An archive of a node, as its volumes' driver calls it: `NODE/NAME@sha256:HASH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    /// The node on which it lies.
    pub node: String,
    /// Its name there.
    pub name: String,
    /// The SHA-256 of the file, in hexadecimal digits.
    pub hash: String,
}

/// What somebody wants to keep of a claim, or has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "io.k8s.api.snapshot.v1.VolumeSnapshot")]
pub struct VolumeSnapshot {
    /// APIVersion defines the versioned schema of this representation of an object.
    #[serde(default = "version")]
    pub api_version: String,
    /// Kind is the resource that this object represents.
    #[serde(default = "snapshot")]
    pub kind: String,
    /// Standard object's metadata.
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(default)]
    pub spec: VolumeSnapshotSpec,
    /// What there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "VolumeSnapshotStatus")]
    pub status: Option<VolumeSnapshotStatus>,
}

/// What is wanted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "io.k8s.api.snapshot.v1.VolumeSnapshotSpec")]
pub struct VolumeSnapshotSpec {
    /// Of what.
    #[serde(default)]
    pub source: VolumeSnapshotSource,
    /// The class that says how; the default one of the volume's driver if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub volume_snapshot_class_name: Option<String>,
}

/// Of what a snapshot is: one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "io.k8s.api.snapshot.v1.VolumeSnapshotSource")]
pub struct VolumeSnapshotSource {
    /// A claim of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub persistent_volume_claim_name: Option<String>,
    /// Something that is there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub volume_snapshot_content_name: Option<String>,
}

/// What there is of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "io.k8s.api.snapshot.v1.VolumeSnapshotStatus")]
pub struct VolumeSnapshotStatus {
    /// What holds the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub bound_volume_snapshot_content_name: Option<String>,
    /// When it was as it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time")]
    pub creation_time: Option<Time>,
    /// Whether a volume can be made from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub ready_to_use: Option<bool>,
    /// How much a volume made from it has to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Written")]
    pub restore_size: Option<Written>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "VolumeSnapshotError")]
    pub error: Option<VolumeSnapshotError>,
}

/// Why there is no snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "io.k8s.api.snapshot.v1.VolumeSnapshotError")]
pub struct VolumeSnapshotError {
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time")]
    pub time: Option<Time>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub message: Option<String>,
}

/// How snapshots are made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "io.k8s.api.snapshot.v1.VolumeSnapshotClass")]
pub struct VolumeSnapshotClass {
    /// APIVersion defines the versioned schema of this representation of an object.
    #[serde(default = "version")]
    pub api_version: String,
    /// Kind is the resource that this object represents.
    #[serde(default = "class")]
    pub kind: String,
    /// Standard object's metadata.
    pub metadata: ObjectMeta,
    /// Whose volumes they are of.
    #[serde(default)]
    pub driver: String,
    /// What only the driver knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub parameters: Option<BTreeMap<String, String>>,
    /// Whether what is kept goes with the snapshot: Delete, or Retain.
    #[serde(default)]
    pub deletion_policy: String,
}

/// What is kept of a volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "io.k8s.api.snapshot.v1.VolumeSnapshotContent")]
pub struct VolumeSnapshotContent {
    /// APIVersion defines the versioned schema of this representation of an object.
    #[serde(default = "version")]
    pub api_version: String,
    /// Kind is the resource that this object represents.
    #[serde(default = "content")]
    pub kind: String,
    /// Standard object's metadata.
    pub metadata: ObjectMeta,
    /// What is to be kept.
    #[serde(default)]
    pub spec: VolumeSnapshotContentSpec,
    /// What is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "VolumeSnapshotContentStatus")]
    pub status: Option<VolumeSnapshotContentStatus>,
}

/// What is to be kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "io.k8s.api.snapshot.v1.VolumeSnapshotContentSpec")]
pub struct VolumeSnapshotContentSpec {
    /// Whose it is.
    #[serde(default)]
    pub volume_snapshot_ref: ObjectReference,
    /// Whether it goes with its snapshot: Delete, or Retain.
    #[serde(default)]
    pub deletion_policy: String,
    /// Whose volume it is of.
    #[serde(default)]
    pub driver: String,
    /// How it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub volume_snapshot_class_name: Option<String>,
    /// Of what: one of the two.
    #[serde(default)]
    pub source: VolumeSnapshotContentSource,
    /// Whether the volume is a file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub source_volume_mode: Option<String>,
}

/// Of what something is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "io.k8s.api.snapshot.v1.VolumeSnapshotContentSource")]
pub struct VolumeSnapshotContentSource {
    /// The volume, as its driver calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub volume_handle: Option<String>,
    /// What is there already, as the driver calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub snapshot_handle: Option<String>,
}

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "io.k8s.api.snapshot.v1.VolumeSnapshotContentStatus")]
pub struct VolumeSnapshotContentStatus {
    /// As the driver calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub snapshot_handle: Option<String>,
    /// When the volume was so, in nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub creation_time: Option<i64>,
    /// How many bytes a volume made from it has to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub restore_size: Option<i64>,
    /// Whether a volume can be made from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub ready_to_use: Option<bool>,
    /// Why there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "VolumeSnapshotError")]
    pub error: Option<VolumeSnapshotError>,
}

fn version() -> String {
    VERSION.to_owned()
}

fn snapshot() -> String {
    crate::kinds::VOLUME_SNAPSHOT.kind.to_owned()
}

fn class() -> String {
    crate::kinds::VOLUME_SNAPSHOT_CLASS.kind.to_owned()
}

fn content() -> String {
    crate::kinds::VOLUME_SNAPSHOT_CONTENT.kind.to_owned()
}

macro_rules! kind {
    ($type:ident, $plural:literal, $scope:ty) => {
        impl k8s_openapi::Resource for $type {
            const API_VERSION: &'static str = VERSION;
            const GROUP: &'static str = GROUP;
            const KIND: &'static str = stringify!($type);
            const VERSION: &'static str = "v1";
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = $scope;
        }

        impl k8s_openapi::Metadata for $type {
            type Ty = ObjectMeta;

            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

kind!(VolumeSnapshot, "volumesnapshots", NamespaceResourceScope);
kind!(VolumeSnapshotClass, "volumesnapshotclasses", ClusterResourceScope);
kind!(VolumeSnapshotContent, "volumesnapshotcontents", ClusterResourceScope);

/// What a backup held for a claim that was brought back and has no volume yet.
pub fn restored_from(claim: &PersistentVolumeClaim) -> Option<Saved> {
    claim.metadata.annotations.as_ref()?.get(crate::storage::RESTORED_FROM)?.parse().ok()
}

/// What a claim is to be filled from, if it names something that this cluster can fill one from.
pub fn source_of(claim: &PersistentVolumeClaim) -> Option<Source<'_>> {
    let spec = claim.spec.as_ref()?;
    let (group, kind, name) = match (&spec.data_source_ref, &spec.data_source) {
        (Some(source), _) if source.namespace.as_ref().is_some_and(|namespace| !namespace.is_empty()) => return None,
        (Some(source), _) => (source.api_group.as_deref(), &*source.kind, &*source.name),
        (None, Some(source)) => (source.api_group.as_deref(), &*source.kind, &*source.name),
        (None, None) => return None,
    };
    match (group.unwrap_or_default(), kind) {
        (GROUP, "VolumeSnapshot") => Some(Source::Snapshot(name)),
        ("", "PersistentVolumeClaim") => Some(Source::Claim(name)),
        _ => None,
    }
}

// === impl Origin ===

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive(handle) => write!(f, "snapshot:{handle}"),
            Self::Volume(name) => write!(f, "volume:{name}"),
            Self::Backup(saved) => write!(f, "backup:{saved}"),
        }
    }
}

impl FromStr for Origin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(':').ok_or(())? {
            ("snapshot", handle) => handle.parse().map(Self::Archive),
            ("volume", name) => Ok(Self::Volume(name.to_owned())),
            ("backup", saved) => saved.parse().map(Self::Backup),
            _ => Err(()),
        }
    }
}

// === impl Handle ===

impl Handle {
    /// Whether an archive can be called so: a DNS subdomain, which leads nowhere else.
    pub fn is_name(word: &str) -> bool {
        crate::rules::NameRule::Subdomain.problems(word).is_empty()
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@sha256:{}", self.node, self.name, self.hash)
    }
}

impl FromStr for Handle {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (node, saved) = text.split_once('/').ok_or(())?;
        let Saved { name, hash } = saved.parse()?;
        if !Self::is_name(node) {
            return Err(());
        }
        Ok(Self { node: node.to_owned(), name, hash })
    }
}

// === impl Saved ===

impl fmt::Display for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@sha256:{}", self.name, self.hash)
    }
}

impl FromStr for Saved {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (name, hash) = text.split_once("@sha256:").ok_or(())?;
        let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !Handle::is_name(name) || !is_hash {
            return Err(());
        }
        Ok(Self { name: name.to_owned(), hash: hash.to_owned() })
    }
}

// === impl VolumeSnapshot ===

impl VolumeSnapshot {
    /// What holds its data, once that is known.
    pub fn content(&self) -> Option<&str> {
        self.status.as_ref()?.bound_volume_snapshot_content_name.as_deref()
    }

    /// Whether a volume can be made from it, as it says.
    pub fn is_ready(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.ready_to_use == Some(true))
    }
}

// === impl VolumeSnapshotContent ===

impl VolumeSnapshotContent {
    /// What it is called where it lies, if it is there.
    pub fn handle(&self) -> Option<&str> {
        self.status.as_ref()?.snapshot_handle.as_deref()
    }

    /// Whether it is still being made.
    pub fn is_open(&self) -> bool {
        let has_failed = self.status.as_ref().is_some_and(|status| status.error.is_some());
        self.spec.source.volume_handle.is_some() && self.handle().is_none() && !has_failed
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_handle_is_read_as_it_is_written_and_leads_nowhere_else() {
        let hash = "0123456789abcdef".repeat(4);
        for origin in [format!("snapshot:n1/snapcontent-1@sha256:{hash}"), "volume:pvc-1".to_owned()] {
            assert_eq!(origin.parse::<Origin>().map(|origin| origin.to_string()), Ok(origin));
        }
        let bad = ["n1/../x", "n1/a/b", "/a", "n1/", "../n1/a", "a"].map(|place| format!("{place}@sha256:{hash}"));
        for handle in bad.iter().map(String::as_str).chain(["n1/a", "n1/a@sha256:12", "n1/a@md5:12"]) {
            assert_eq!(handle.parse::<Handle>(), Err(()), "{handle}");
        }
    }

    #[test]
    fn a_claim_names_what_it_is_filled_from_in_either_field() {
        let check = |spec: serde_json::Value, expected: Option<Source<'_>>| {
            let claim = json!({"metadata": {"name": "data"}, "spec": spec});
            let claim: PersistentVolumeClaim = serde_json::from_value(claim).expect("a claim");
            assert_eq!(source_of(&claim), expected, "{spec}");
        };
        let snapshot = json!({"apiGroup": GROUP, "kind": "VolumeSnapshot", "name": "s"});
        check(json!({"dataSource": snapshot}), Some(Source::Snapshot("s")));
        check(json!({"dataSourceRef": snapshot}), Some(Source::Snapshot("s")));
        check(json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "c"}}), Some(Source::Claim("c")));
        check(json!({"dataSource": {"apiGroup": "x", "kind": "VolumeSnapshot", "name": "s"}}), None);
        let mut elsewhere = snapshot.clone();
        elsewhere["namespace"] = "farm".into();
        check(json!({"dataSourceRef": elsewhere}), None);
        check(json!({}), None);
    }
}
