//! What components keep in the cluster by `wasi:keyvalue`: buckets, and the entries in them.
//!
//! A bucket is an object of a namespace, and so is each of its entries; so both are replicated, sealed, listed, watched and
//! collected like anything else, and a write of an entry can be bound to the version that was read. An entry goes with its bucket.
//!
//! A key is any text, and a name is not: an entry's name is its bucket's and a hash of its key, so that the entries of a bucket stand
//! beside each other.

use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{ByteString, NamespaceResourceScope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::quantity::Quantity;

/// Group and version of both kinds.
pub const VERSION: &str = "coracle.dev/v1";
/// The label of an entry that says which bucket it is in.
pub const BUCKET_LABEL: &str = "coracle.dev/bucket";
/// The annotation of an entry that says its key, for those who list nothing else.
pub const KEY_ANNOTATION: &str = "coracle.dev/key";

/// As long as keys are elsewhere.
pub const KEY_BYTES_MAX: usize = 1024;
/// As much as a secret holds; what is larger belongs in a volume.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// What a bucket holds that does not say.
pub const CAPACITY_DEFAULT: Quantity = Quantity::bytes(64 << 20);
/// Every server has every entry in memory.
pub const CAPACITY_MAX: Quantity = Quantity::bytes(1 << 30);

/// Where components keep values by keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "io.k8s.api.coracle.v1.Bucket")]
pub struct Bucket {
    /// APIVersion defines the versioned schema of this representation of an object.
    #[serde(default = "version")]
    pub api_version: String,
    /// Kind is the resource that this object represents.
    #[serde(default = "bucket")]
    pub kind: String,
    /// Standard object's metadata.
    pub metadata: ObjectMeta,
    /// What the bucket is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BucketSpec")]
    pub spec: Option<BucketSpec>,
}

/// What a bucket is to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "io.k8s.api.coracle.v1.BucketSpec")]
pub struct BucketSpec {
    /// How much its entries may take together, as they are stored. Defaults to 64Mi, at most 1Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Written")]
    pub capacity: Option<Written>,
}

/// One value in a bucket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "io.k8s.api.coracle.v1.BucketEntry")]
pub struct BucketEntry {
    /// APIVersion defines the versioned schema of this representation of an object.
    #[serde(default = "version")]
    pub api_version: String,
    /// Kind is the resource that this object represents.
    #[serde(default = "entry")]
    pub kind: String,
    /// Standard object's metadata. The name is that of the bucket, a dot, and the SHA-256 of the key in hexadecimal digits; it
    /// may be left out.
    pub metadata: ObjectMeta,
    /// The bucket, which is of the same namespace.
    #[serde(default)]
    pub bucket: String,
    /// The key, at most 1024 bytes.
    #[serde(default)]
    pub key: String,
    /// The value, at most 1 MiB.
    #[serde(default)]
    #[schemars(with = "String", extend("format" = "byte"))]
    pub value: ByteString,
}

fn version() -> String {
    VERSION.to_owned()
}

fn bucket() -> String {
    crate::kinds::BUCKET.kind.to_owned()
}

fn entry() -> String {
    crate::kinds::BUCKET_ENTRY.kind.to_owned()
}

/// The name of the entry of a key.
pub fn entry_name(bucket: &str, key: &str) -> String {
    let mut name = format!("{bucket}.");
    for byte in Sha256::digest(key.as_bytes()) {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// The bucket of the entry of a name.
pub fn bucket_of(entry: &str) -> &str {
    entry.split_once('.').map_or("", |(bucket, _)| bucket)
}

macro_rules! kind {
    ($type:ident, $plural:literal) => {
        impl k8s_openapi::Resource for $type {
            const API_VERSION: &'static str = VERSION;
            const GROUP: &'static str = "coracle.dev";
            const KIND: &'static str = stringify!($type);
            const VERSION: &'static str = "v1";
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = NamespaceResourceScope;
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

kind!(Bucket, "buckets");
kind!(BucketEntry, "bucketentries");

// === impl Bucket ===

impl Bucket {
    /// How much its entries may take together.
    pub fn capacity(&self) -> Quantity {
        self.spec.as_ref().and_then(|spec| spec.capacity.as_ref()).map_or(CAPACITY_DEFAULT, Quantity::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entries_of_a_bucket_stand_beside_each_other() {
        let name = entry_name("visits", "a/b c");
        assert_eq!(bucket_of(&name), "visits");
        assert!(crate::rules::NameRule::Subdomain.problems(&name).is_empty(), "{name}");
        assert_ne!(name, entry_name("visits", "a/b d"));
        assert_eq!(bucket_of("no-entry"), "");
    }
}
