//! What a pod keeps on the node's disk beside its images and claims: what it prints, and the volumes that go with it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::binary;
use crate::quantity;

const RESOURCE: &str = "ephemeral-storage";

/// What a pod has there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StorageUsed {
    /// By the container.
    pub(crate) logs: BTreeMap<String, u64>,
    pub(crate) volumes: u64,
}

/// Whether anything limits it.
pub(crate) fn has_limit(pod: &Pod) -> bool {
    containers(pod).any(|container| limit(container).is_some())
}

/// What a container asked for.
pub(crate) fn request(container: &Container) -> u64 {
    let resources = container.resources.as_ref();
    let asked = resources.and_then(|resources| resources.requests.as_ref()?.get(RESOURCE));
    asked.and_then(quantity::units).unwrap_or(0)
}

/// Why a pod that has so much has to go, in a kubelet's words.
pub(crate) fn storage_excess(pod: &Pod, used: &StorageUsed) -> Option<String> {
    let limits: Vec<u64> = containers(pod).filter_map(limit).map(|(bytes, _)| bytes).collect();
    let (total, together) = (used.logs.values().sum::<u64>() + used.volumes, limits.iter().sum::<u64>());
    if !limits.is_empty() && total > together {
        let limit = binary(together);
        return Some(format!("Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "));
    }
    containers(pod).find_map(|container| {
        let (bytes, told) = limit(container)?;
        let logs = used.logs.get(&container.name).copied().unwrap_or(0);
        let name = &container.name;
        (logs > bytes).then(|| format!("Container {name} exceeded its local ephemeral storage limit \"{}\". ", told.0))
    })
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|spec| &spec.containers)
}

fn limit(container: &Container) -> Option<(u64, &Quantity)> {
    let told = container.resources.as_ref()?.limits.as_ref()?.get(RESOURCE)?;
    Some((quantity::units(told)?, told))
}
