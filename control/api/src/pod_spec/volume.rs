//! What a volume must be like.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Volume, VolumeProjection};
use serde_json::Value;

use super::container::{PULL_POLICIES, validate_field};
use crate::quantity::Quantity;
use crate::rules::{self, Causes};

const DOWNWARD_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// As Kubernetes has it, all three.
const TOKEN_SECONDS_DEFAULT: i64 = 3600;
const TOKEN_SECONDS_MIN: i64 = 10 * 60;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

/// All volumes of a pod; their names are what mounts may name.
pub(super) fn validate_all(path: &str, volumes: &[Volume], causes: &mut Causes) -> HashSet<String> {
    let mut names = HashSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = format!("{path}[{index}]");
        rules::dns_label(&format!("{path}.name"), &volume.name, causes);
        if !volume.name.is_empty() && !names.insert(volume.name.clone()) {
            causes.duplicate(format!("{path}.name"), &volume.name);
        }
        validate(&path, volume, causes);
    }
    names
}

fn validate(path: &str, volume: &Volume, causes: &mut Causes) {
    match sources(volume).as_slice() {
        [] => causes.required(path, "must specify a volume type"),
        [_] => {}
        [_, more @ ..] => {
            for source in more {
                causes.forbidden(format!("{path}.{source}"), "may not specify more than 1 volume type");
            }
        }
    }
    if let Some(map) = &volume.config_map {
        if map.name.is_empty() {
            causes.required(format!("{path}.configMap.name"), "");
        }
        mode(&format!("{path}.configMap.defaultMode"), map.default_mode, causes);
        items(&format!("{path}.configMap.items"), map.items.as_deref(), causes);
    }
    if let Some(secret) = &volume.secret {
        if secret.secret_name.as_deref().is_none_or(str::is_empty) {
            causes.required(format!("{path}.secret.secretName"), "");
        }
        mode(&format!("{path}.secret.defaultMode"), secret.default_mode, causes);
        items(&format!("{path}.secret.items"), secret.items.as_deref(), causes);
    }
    if let Some(host) = &volume.host_path {
        if host.path.is_empty() {
            causes.required(format!("{path}.hostPath.path"), "");
        } else if host.path.split('/').any(|step| step == "..") {
            causes.invalid(format!("{path}.hostPath.path"), &host.path, "must not contain '..'");
        }
        if let Some(kind) = host.type_.as_ref().filter(|kind| !kind.is_empty()) {
            causes.one_of(format!("{path}.hostPath.type"), kind, HOST_PATH_TYPES);
        }
    }
    if let Some(size) = volume.empty_dir.as_ref().and_then(|empty| empty.size_limit.as_ref())
        && Quantity::of(size).is_negative()
    {
        let detail = "SizeLimit field must be a valid resource quantity";
        causes.forbidden(format!("{path}.emptyDir.sizeLimit"), detail);
    }
    if let Some(policy) = volume.image.as_ref().and_then(|image| image.pull_policy.as_ref()) {
        causes.one_of(format!("{path}.image.pullPolicy"), policy, PULL_POLICIES);
    }
    if let Some(nfs) = &volume.nfs {
        if nfs.server.is_empty() {
            causes.required(format!("{path}.nfs.server"), "");
        }
        if nfs.path.is_empty() {
            causes.required(format!("{path}.nfs.path"), "");
        } else if !nfs.path.starts_with('/') {
            causes.invalid(format!("{path}.nfs.path"), &nfs.path, "must be an absolute path");
        }
    }
    if volume.persistent_volume_claim.as_ref().is_some_and(|claim| claim.claim_name.is_empty()) {
        causes.required(format!("{path}.persistentVolumeClaim.claimName"), "");
    }
    if let Some(downward) = &volume.downward_api {
        mode(&format!("{path}.downwardAPI.defaultMode"), downward.default_mode, causes);
        for item in downward.items.iter().flatten() {
            told(&format!("{path}.downwardAPI"), item, causes);
        }
    }
    if let Some(projected) = &volume.projected {
        mode(&format!("{path}.projected.defaultMode"), projected.default_mode, causes);
        for (index, source) in projected.sources.iter().flatten().enumerate() {
            projection(&format!("{path}.projected.sources[{index}]"), source, causes);
        }
    }
}

/// Which sources a volume names: each is a member of its JSON beside the name.
fn sources(volume: &Volume) -> Vec<String> {
    match serde_json::to_value(volume) {
        Ok(Value::Object(members)) => members.into_iter().map(|(name, _)| name).filter(|name| name != "name").collect(),
        _ => Vec::new(),
    }
}

fn projection(path: &str, source: &VolumeProjection, causes: &mut Causes) {
    if let Some(map) = &source.config_map {
        if map.name.is_empty() {
            causes.required(format!("{path}.configMap.name"), "");
        }
        items(&format!("{path}.configMap.items"), map.items.as_deref(), causes);
    }
    if let Some(secret) = &source.secret {
        if secret.name.is_empty() {
            causes.required(format!("{path}.secret.name"), "");
        }
        items(&format!("{path}.secret.items"), secret.items.as_deref(), causes);
    }
    if let Some(token) = &source.service_account_token {
        let seconds = token.expiration_seconds.unwrap_or(TOKEN_SECONDS_DEFAULT);
        let at = || format!("{path}.serviceAccountToken.expirationSeconds");
        if seconds < TOKEN_SECONDS_MIN {
            causes.invalid(at(), seconds, "may not specify a duration less than 10 minutes");
        }
        if seconds > TOKEN_SECONDS_MAX {
            causes.invalid(at(), seconds, "may not specify a duration larger than 2^32 seconds");
        }
        file(&format!("{path}.serviceAccountToken.path"), &token.path, causes);
    }
    for item in source.downward_api.iter().flat_map(|downward| downward.items.iter().flatten()) {
        told(&format!("{path}.downwardAPI"), item, causes);
    }
}

/// A file that tells a pod about itself. Kubernetes names the list in what it says, not the item.
fn told(path: &str, item: &DownwardAPIVolumeFile, causes: &mut Causes) {
    file(&format!("{path}.path"), &item.path, causes);
    match (&item.field_ref, &item.resource_field_ref) {
        (Some(_), Some(_)) => {
            causes.invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
        }
        (Some(field), None) => {
            validate_field(&format!("{path}.fieldRef"), &field.field_path, DOWNWARD_FIELDS, causes);
        }
        (None, Some(_)) => {}
        (None, None) => causes.required(path, "one of fieldRef and resourceFieldRef is required"),
    }
}

fn items(path: &str, items: Option<&[KeyToPath]>, causes: &mut Causes) {
    for (index, item) in items.unwrap_or_default().iter().enumerate() {
        let path = format!("{path}[{index}]");
        if item.key.is_empty() {
            causes.required(format!("{path}.key"), "");
        }
        file(&format!("{path}.path"), &item.path, causes);
        mode(&format!("{path}.mode"), item.mode, causes);
    }
}

fn file(path: &str, file: &str, causes: &mut Causes) {
    if file.is_empty() {
        causes.required(path, "");
    } else if file.starts_with('/') {
        causes.invalid(path, file, "must be a relative path");
    } else if file.split('/').any(|step| step == "..") {
        causes.invalid(path, file, "must not contain '..'");
    } else if file.starts_with("..") {
        causes.invalid(path, file, "must not start with '..'");
    }
}

fn mode(path: &str, mode: Option<i32>, causes: &mut Causes) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        causes.invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}
