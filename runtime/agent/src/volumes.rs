//! A pod's volumes: directories of the node, made from what the cluster says.
//!
//! [`plan`] decides what each volume holds, purely; [`write()`] makes it so, and makes it so again when a config map, a secret or
//! the pod's own labels changed ([`sources`] says what to watch). [`mounts`] is what a container sees of them.
//!
//! - Files lie in a directory of their own behind the link `..data`, which is swapped whole: a guest sees all of an update or
//!   nothing of it, and sees it through the directory it was given at its start.
//! - Secrets, and what holds some of them, lie in memory and not on the disk, where the machine has a file system in memory.
//! - A `subPath` is fixed when the container starts: it shows a copy of what was there, and no later update.
//! - An object that says that it is immutable is not looked at again.
//! - A token of the pod's service account is asked for before the volume is made, and replaced long before it ends ([`tokens`]).
//! - An update that cannot be made (the config map is gone) leaves what was there, and is told as an event.

mod archive;
mod claims;
pub mod host_path;
mod mounts;
pub mod quotas;
pub(crate) mod reclaim;
pub mod remote;
pub(crate) mod snapshots;
pub(crate) mod sources;
#[cfg(test)]
mod tests;
pub(crate) mod tokens;
mod write;

use std::collections::BTreeMap;
use std::path::{Component, PathBuf};

use api::quantity::Quantity;
use api::storage;
use host::Folder;
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, Pod, ServiceAccountTokenProjection, Volume, VolumeProjection,
};

use crate::environment::{Surroundings, config_map, field_of, resource_of, secret};
use crate::pod::{Blocked, NotMounted};

use host_path::HostType;
pub use mounts::{Fixed, mounts};
pub use remote::Remote;
pub use tokens::{Ask, Held, Tokens};
pub use write::{Store, write};

/// A volume and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its name in the pod.
    pub name: String,
    /// What is in it.
    pub content: Content,
    /// Whether that is for nobody's disk.
    pub secret: bool,
}

/// What a volume holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Whatever the pod writes; it goes with the pod.
    Scratch {
        /// How much that may be.
        bytes_max: Option<u64>,
    },
    /// These files.
    Files(BTreeMap<PathBuf, Vec<u8>>),
    /// A directory of the node, or a file.
    Host {
        /// Where it is.
        path: PathBuf,
        /// What has to be there.
        kind: HostType,
        /// Whether guests may only read.
        read_only: bool,
    },
    /// A directory among the node's own volumes, which outlives the pod.
    Local {
        /// Its name there.
        directory: PathBuf,
        /// How much it may hold.
        bytes_max: u64,
        /// Whether guests may only read.
        read_only: bool,
    },
    /// What a store elsewhere has.
    Remote(Remote),
}

/// Where a volume lies on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The directory, or the file.
    pub at: Folder,
    /// Whether guests may only read.
    pub read_only: bool,
    /// Whether its files are swapped under the guests, so that a subPath is a copy.
    pub is_swapped: bool,
    /// How much may be in it.
    pub quota: Option<host::Quota>,
}

/// What every volume of a pod holds.
pub fn plan(pod: &Pod, around: &Surroundings<'_>, tokens: &Tokens) -> Result<Vec<Planned>, NotMounted> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    // An image is linked to those who mount it, and has no place.
    let volumes = volumes.filter(|volume| volume.image.is_none());
    volumes.map(|volume| planned(pod, volume, around, tokens)).collect()
}

/// The same for as many volumes as can be made: those that hold files, each with what it holds or why it cannot.
pub(crate) fn updates(pod: &Pod, around: &Surroundings<'_>, tokens: &Tokens) -> Vec<Result<Planned, NotMounted>> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let holds_files = |volume: &&Volume| {
        volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.projected.is_some()
            || volume.downward_api.is_some()
    };
    volumes.filter(holds_files).map(|volume| planned(pod, volume, around, tokens)).collect()
}

/// Those of a pod's volumes that are elsewhere, as far as it is known how to reach them.
pub(crate) fn remotes(pod: &Pod, around: &Surroundings<'_>) -> Vec<(String, Remote)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let remotes = volumes.filter_map(|volume| match content(pod, volume, around, &Tokens::default()).ok()? {
        Content::Remote(remote) => Some((volume.name.clone(), remote)),
        _ => None,
    });
    remotes.collect()
}

fn planned(pod: &Pod, volume: &Volume, around: &Surroundings<'_>, tokens: &Tokens) -> Result<Planned, NotMounted> {
    let content = content(pod, volume, around, tokens)?;
    Ok(Planned { name: volume.name.clone(), content, secret: is_secret(volume) })
}

/// Whether a volume holds what should be on no disk.
fn is_secret(volume: &Volume) -> bool {
    let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    volume.secret.is_some()
        || sources.into_iter().any(|source| source.secret.is_some() || source.service_account_token.is_some())
}

fn content(pod: &Pod, volume: &Volume, around: &Surroundings<'_>, tokens: &Tokens) -> Result<Content, NotMounted> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let failed = |message: String, unsupported| NotMounted {
        volume: volume.name.clone(),
        message,
        unsupported,
        is_elsewhere: false,
    };
    let blocked = |blocked: Blocked| failed(blocked.message, false);
    let files = if let Some(source) = &volume.config_map {
        config_files(namespace, &source.name, source.items.as_deref(), source.optional, around)
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        secret_files(namespace, name, source.items.as_deref(), source.optional, around)
    } else if let Some(source) = &volume.downward_api {
        downward_files(pod, source.items.as_deref().unwrap_or_default(), around)
    } else if let Some(source) = &volume.projected {
        let mut files = BTreeMap::new();
        for projection in source.sources.iter().flatten() {
            files.extend(projected_files(pod, namespace, projection, around, tokens).map_err(|error| match error {
                Projected::Blocked(error) => blocked(error),
                Projected::Unsupported(kind) => failed(unsupported(kind), true),
            })?);
        }
        Ok(files)
    } else if let Some(source) = &volume.empty_dir {
        let limit = source.size_limit.as_ref().map(|limit| Quantity::of(limit).value());
        let bytes_max = limit.and_then(|limit| u64::try_from(limit).ok()).filter(|limit| *limit > 0);
        return Ok(Content::Scratch { bytes_max });
    } else if let Some(source) = &volume.host_path {
        let kind = HostType::named(source.type_.as_deref()).map_err(|not| failed(not.to_string(), true))?;
        return Ok(Content::Host { path: PathBuf::from(&source.path), kind, read_only: false });
    } else if let Some(name) = storage::claim_name(pod, volume) {
        let read_only = volume.persistent_volume_claim.as_ref().is_some_and(|claim| claim.read_only == Some(true));
        let content = claims::content(pod, &name, read_only, around);
        return content.map_err(|not| failed(not.message, not.unsupported));
    } else {
        return Err(failed(unsupported(&kind_of(volume)), true));
    };
    files.map(Content::Files).map_err(blocked)
}

fn unsupported(kind: &str) -> String {
    format!("volumes of type {kind} are not supported by this node")
}

/// Whether a member of a volume's spec is where its storage is.
fn is_source(name: &str) -> bool {
    api::schema::message("api.core.v1.PersistentVolumeSource").is_some_and(|message| message.member(name).is_some())
}

/// The name of a volume's source, for those that this node does not have.
fn kind_of(volume: &Volume) -> String {
    let value = serde_json::to_value(volume).unwrap_or_default();
    let members = value.as_object().into_iter().flatten();
    members.map(|(name, _)| name.clone()).find(|name| name != "name").unwrap_or_else(|| "unknown".to_owned())
}

/// Files by their path in the volume.
pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

fn config_files(
    namespace: &str,
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    around: &Surroundings<'_>,
) -> Result<Files, Blocked> {
    let Some(map) = config_map(around.view, namespace, name, optional)? else { return Ok(Files::new()) };
    let text = map.data.into_iter().flatten().map(|(key, value)| (key, value.into_bytes()));
    let binary = map.binary_data.into_iter().flatten().map(|(key, value)| (key, value.0));
    select(text.chain(binary).collect(), items, optional, "references non-existent config key")
}

fn secret_files(
    namespace: &str,
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    around: &Surroundings<'_>,
) -> Result<Files, Blocked> {
    let Some(secret) = secret(around.view, namespace, name, optional)? else { return Ok(Files::new()) };
    let data = secret.data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect();
    select(data, items, optional, "references non-existent secret key")
}

fn select(
    mut data: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    missing: &str,
) -> Result<Files, Blocked> {
    let Some(items) = items else { return Ok(data.into_iter().map(|(key, value)| (key.into(), value)).collect()) };
    let mut files = Files::new();
    for item in items {
        match data.remove(&item.key) {
            Some(value) => files.insert(inner_path(&item.path)?, value),
            None if optional == Some(true) => None,
            None => return Err(refused(format!("{missing}: {}", item.key))),
        };
    }
    Ok(files)
}

fn refused(message: String) -> Blocked {
    Blocked { reason: "CreateContainerConfigError", message }
}

fn downward_files(pod: &Pod, items: &[DownwardAPIVolumeFile], around: &Surroundings<'_>) -> Result<Files, Blocked> {
    let mut files = Files::new();
    for item in items {
        let value = if let Some(field) = &item.field_ref {
            field_of(pod, field, around)
                .ok_or_else(|| refused(format!("failed to get the field {}", field.field_path)))?
        } else if let Some(resource) = &item.resource_field_ref {
            let spec = pod.spec.as_ref();
            let first = spec.and_then(|spec| spec.containers.first());
            let first = first.ok_or_else(|| refused("the pod has no containers".to_owned()))?;
            resource_of(pod, first, resource, around)?.to_string()
        } else {
            String::new()
        };
        files.insert(inner_path(&item.path)?, value.into_bytes());
    }
    Ok(files)
}

enum Projected {
    Blocked(Blocked),
    Unsupported(&'static str),
}

fn projected_files(
    pod: &Pod,
    namespace: &str,
    projection: &VolumeProjection,
    around: &Surroundings<'_>,
    tokens: &Tokens,
) -> Result<Files, Projected> {
    let files = if let Some(source) = &projection.config_map {
        config_files(namespace, &source.name, source.items.as_deref(), source.optional, around)
    } else if let Some(source) = &projection.secret {
        secret_files(namespace, &source.name, source.items.as_deref(), source.optional, around)
    } else if let Some(source) = &projection.downward_api {
        downward_files(pod, source.items.as_deref().unwrap_or_default(), around)
    } else if let Some(source) = &projection.service_account_token {
        token_file(source, tokens)
    } else {
        return Err(Projected::Unsupported("projected clusterTrustBundle"));
    };
    files.map_err(Projected::Blocked)
}

fn token_file(source: &ServiceAccountTokenProjection, tokens: &Tokens) -> Result<Files, Blocked> {
    let token = tokens.text(&Ask::of(source)).ok_or_else(|| refused("the token was not given out yet".to_owned()))?;
    Ok([(inner_path(&source.path)?, token.as_bytes().to_vec())].into())
}

/// A path below the volume, and nowhere else.
fn inner_path(path: &str) -> Result<PathBuf, Blocked> {
    let path = PathBuf::from(path);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    if inside && path.components().next().is_some() {
        Ok(path)
    } else {
        Err(refused(format!("the path {} is not one inside the volume", path.display())))
    }
}
