//! One value in a bucket.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::{AGE, NAME, integer, text};
use crate::keyvalue::{BUCKET_LABEL, BucketEntry, KEY_ANNOTATION, KEY_BYTES_MAX, VALUE_BYTES_MAX, entry_name};
use crate::rules::{Causes, NameRule};
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct BucketEntries;

impl Resource for BucketEntries {
    type Object = BucketEntry;

    const NAMES: &'static Names = &Names {
        group: "coracle.dev",
        version: "v1",
        kind: "BucketEntry",
        plural: "bucketentries",
        singular: "bucketentry",
        short: &[],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const COLUMNS: &'static [Column] = &[
        NAME,
        text("Bucket", "Where it is."),
        text("Key", "What it is found by."),
        integer("Bytes", "How long the value is."),
        AGE,
    ];

    /// Whoever lists entries finds them by their bucket, and their keys without their values.
    fn default(entry: &mut BucketEntry) {
        let note = |notes: &mut Option<BTreeMap<String, String>>, name: &str, value: &str| {
            notes.get_or_insert_default().insert(name.to_owned(), value.to_owned());
        };
        note(&mut entry.metadata.labels, BUCKET_LABEL, &entry.bucket);
        note(&mut entry.metadata.annotations, KEY_ANNOTATION, &entry.key);
        entry.metadata.name.get_or_insert_with(|| entry_name(&entry.bucket, &entry.key));
    }

    fn validate(entry: &BucketEntry, causes: &mut Causes) {
        if entry.bucket.is_empty() {
            causes.required("bucket", "");
            return;
        }
        let before = causes.iter().count();
        NameRule::Label.check("bucket", &entry.bucket, causes);
        let name = entry.metadata.name.as_deref().unwrap_or_default();
        let expected = entry_name(&entry.bucket, &entry.key);
        if causes.iter().count() == before && name != expected {
            causes.invalid("metadata.name", name, &format!("must be that of its bucket and key, {expected}"));
        }
        if entry.key.len() > KEY_BYTES_MAX {
            causes.too_long("key", KEY_BYTES_MAX);
        }
        if entry.value.0.len() > VALUE_BYTES_MAX {
            causes.too_long("value", VALUE_BYTES_MAX);
        }
    }

    fn cells(entry: &BucketEntry, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(&entry.metadata),
            entry.bucket.as_str().into(),
            entry.key.as_str().into(),
            entry.value.0.len().into(),
            cells::age(&entry.metadata, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::BUCKET_ENTRY as ENTRY;

    fn entry() -> Value {
        json!({"metadata": {"name": entry_name("visits", "a")}, "bucket": "visits", "key": "a", "value": "MQ=="})
    }

    #[test]
    fn an_entry_says_where_it_is_and_by_what() {
        let told = completed(ENTRY, entry());
        assert_eq!(told["metadata"]["labels"], json!({BUCKET_LABEL: "visits"}));
        assert_eq!(told["metadata"]["annotations"], json!({KEY_ANNOTATION: "a"}));
        assert_eq!(row(ENTRY, &told), json!([entry_name("visits", "a"), "visits", "a", 1, "5m3s"]));
    }

    #[test]
    fn what_breaks_a_rule_is_told() {
        let check = |path: &str, wrong: Value, expect: &str| {
            let told = refusal(ENTRY, entry(), path, wrong);
            assert!(told.starts_with(expect), "{told}");
        };
        check("/bucket", json!(""), "bucket: Required value");
        check("/key", json!("b"), "metadata.name: Invalid value");
        let old = created(ENTRY, entry());
        let told = refused_change(&old, "/key", json!("k".repeat(KEY_BYTES_MAX + 1)));
        assert!(told.contains("may not be more than 1024 bytes"), "{told}");
    }
}
