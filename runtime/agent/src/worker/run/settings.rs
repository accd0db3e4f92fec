//! What a pod says about how its containers run.

use std::time::Duration;

use api::instances::Instances;
use host::{InstancePolicy, Limits};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};

use crate::quantity;

/// Where a server without declared ports answers.
const PORT_DEFAULT: u16 = 80;

/// A guest that forgets to free something is begun anew now and then.
const REUSED_MAX: u32 = 10_000;
/// As long as a browser keeps a connection that it may need again.
const IDLE: Duration = Duration::from_secs(60);

/// The ports at which a server answers: those that it declares, or the usual one.
pub(super) fn answered(container: &Container) -> Vec<u16> {
    let declared = container.ports.iter().flatten().filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP");
    let ports: Vec<u16> = declared.filter_map(|port| u16::try_from(port.container_port).ok()).collect();
    if ports.is_empty() { vec![PORT_DEFAULT] } else { ports }
}

/// How the instances of a pod's servers live.
pub(super) fn instances(pod: &Pod) -> InstancePolicy {
    match pod.metadata.annotations.as_ref().map(api::instances::of).unwrap_or_default() {
        Instances::Fresh => InstancePolicy::Fresh,
        Instances::Reuse => InstancePolicy::Reuse { requests_max: REUSED_MAX, idle: IDLE },
        Instances::Warm(instances) => InstancePolicy::Warm { instances },
    }
}

/// Where a container's objects are kept: at its mount of the volume that the pod names for them.
pub(super) fn blobs(pod: &Pod, container: &Container, mounts: &[host::Mount]) -> Option<host::Mount> {
    let volume = pod.metadata.annotations.as_ref().and_then(api::blobstore::volume_of)?;
    let mounted = container.volume_mounts.iter().flatten().find(|mount| mount.name == volume)?;
    mounts.iter().find(|mount| mount.guest == mounted.mount_path).cloned()
}

/// What a container, or a pod as a whole, may use.
pub(in crate::worker) fn limits(resources: Option<&ResourceRequirements>) -> Limits {
    let limit = |name: &str| resources.and_then(|resources| resources.limits.as_ref()?.get(name));
    let request = |name: &str| resources.and_then(|resources| resources.requests.as_ref()?.get(name));
    let millis = |amount: u64| u32::try_from(amount).unwrap_or(u32::MAX);
    Limits {
        memory_bytes: limit("memory").and_then(quantity::units).filter(|bytes| *bytes > 0),
        cpu_millis: limit("cpu").and_then(quantity::millis).filter(|amount| *amount > 0).map(millis),
        cpu_request_millis: request("cpu").or(limit("cpu")).and_then(quantity::millis).map_or(0, millis),
    }
}
