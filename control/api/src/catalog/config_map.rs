//! Configuration.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

use super::{AGE, NAME, integer};
use crate::rules::{self, Causes};
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct ConfigMaps;

impl Resource for ConfigMaps {
    type Object = ConfigMap;

    const NAMES: &'static Names = &Names {
        group: "",
        version: "v1",
        kind: "ConfigMap",
        plural: "configmaps",
        singular: "configmap",
        short: &["cm"],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const COLUMNS: &'static [Column] = &[NAME, integer("Data", "How many keys it has."), AGE];

    fn validate(map: &ConfigMap, causes: &mut Causes) {
        let texts = map.data.iter().flatten().map(|(key, text)| (key, text.len()));
        let bytes = map.binary_data.iter().flatten().map(|(key, bytes)| (key, bytes.0.len()));
        rules::data_keys("data", map.data.iter().flat_map(|data| data.keys()), causes);
        rules::data_keys("binaryData", map.binary_data.iter().flat_map(|data| data.keys()), causes);
        for key in map.binary_data.iter().flat_map(|data| data.keys()) {
            if map.data.as_ref().is_some_and(|data| data.contains_key(key)) {
                causes.invalid(format!("data[{key}]"), key, "duplicate of key present in binaryData");
            }
        }
        rules::data_size("", texts.chain(bytes).map(|(_, size)| size).sum(), causes);
    }

    fn validate_update(map: &ConfigMap, old: &ConfigMap, causes: &mut Causes) {
        if old.immutable != Some(true) {
            return;
        }
        if map.immutable != Some(true) {
            causes.forbidden("immutable", "field is immutable when `immutable` is set");
        }
        if map.data != old.data {
            causes.forbidden("data", "field is immutable when `immutable` is set");
        }
        if map.binary_data != old.binary_data {
            causes.forbidden("binaryData", "field is immutable when `immutable` is set");
        }
    }

    fn cells(map: &ConfigMap, now: Timestamp) -> Vec<Value> {
        let keys = map.data.as_ref().map_or(0, BTreeMap::len) + map.binary_data.as_ref().map_or(0, BTreeMap::len);
        vec![cells::name(&map.metadata), keys.into(), cells::age(&map.metadata, now)]
    }
}
