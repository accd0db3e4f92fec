//! What a pod's author may leave out.

use k8s_openapi::api::core::v1::{Container, EnvVar, LifecycleHandler, PodSpec, Probe, Volume, VolumeProjection};

/// `rw-r--r--`, the mode of files in volumes.
const FILE_MODE: i32 = 0o644;
/// How long a projected token lives.
const TOKEN_SECONDS: i64 = 3600;

/// Fills in what a pod's spec leaves out. Doing it again changes nothing, so that equal templates stay equal.
pub fn default(spec: &mut PodSpec) {
    spec.restart_policy.get_or_insert_with(|| "Always".into());
    spec.dns_policy.get_or_insert_with(|| "ClusterFirst".into());
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.scheduler_name.get_or_insert_with(|| "default-scheduler".into());
    spec.security_context.get_or_insert_default();
    // Two names of one thing: the old one follows the new one.
    if spec.service_account_name.is_none() {
        spec.service_account_name.clone_from(&spec.service_account);
    }
    spec.service_account.clone_from(&spec.service_account_name);
    spec.enable_service_links.get_or_insert(true);
    let host_network = spec.host_network == Some(true);
    for init in spec.init_containers.iter_mut().flatten() {
        container(init, host_network);
    }
    for one in &mut spec.containers {
        container(one, host_network);
    }
    for one in spec.volumes.iter_mut().flatten() {
        volume(one);
    }
    for spread in spec.topology_spread_constraints.iter_mut().flatten() {
        spread.node_affinity_policy.get_or_insert_with(|| "Honor".into());
        spread.node_taints_policy.get_or_insert_with(|| "Ignore".into());
    }
}

fn container(container: &mut Container, host_network: bool) {
    let image = container.image.as_deref().unwrap_or_default();
    let policy = pull_policy(image);
    container.image_pull_policy.get_or_insert_with(|| policy.into());
    container.termination_message_path.get_or_insert_with(|| "/dev/termination-log".into());
    container.termination_message_policy.get_or_insert_with(|| "File".into());
    let resources = container.resources.get_or_insert_default();
    if let Some(limits) = &resources.limits {
        let requests = resources.requests.get_or_insert_default();
        for (name, limit) in limits {
            requests.entry(name.clone()).or_insert_with(|| limit.clone());
        }
    }
    for port in container.ports.iter_mut().flatten() {
        port.protocol.get_or_insert_with(|| "TCP".into());
        if host_network {
            port.host_port.get_or_insert(port.container_port);
        }
    }
    container.env.iter_mut().flatten().for_each(env);
    let probes = [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe];
    probes.into_iter().flatten().for_each(probe);
    if let Some(lifecycle) = &mut container.lifecycle {
        for handler in [&mut lifecycle.post_start, &mut lifecycle.pre_stop].into_iter().flatten() {
            let LifecycleHandler { http_get, .. } = handler;
            if let Some(get) = http_get {
                get.path.get_or_insert_with(|| "/".into());
                get.scheme.get_or_insert_with(|| "HTTP".into());
            }
        }
    }
}

/// When an image is pulled that does not say.
pub(super) fn pull_policy(image: &str) -> &'static str {
    if is_moving(image) { "Always" } else { "IfNotPresent" }
}

/// Whether the image's name may mean another image tomorrow: no tag, or `latest`, and no digest.
fn is_moving(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn env(variable: &mut EnvVar) {
    if let Some(source) = variable.value_from.as_mut().and_then(|source| source.field_ref.as_mut()) {
        source.api_version.get_or_insert_with(|| "v1".into());
    }
}

fn probe(probe: &mut Probe) {
    probe.timeout_seconds.get_or_insert(1);
    probe.period_seconds.get_or_insert(10);
    probe.success_threshold.get_or_insert(1);
    probe.failure_threshold.get_or_insert(3);
    if let Some(get) = &mut probe.http_get {
        get.path.get_or_insert_with(|| "/".into());
        get.scheme.get_or_insert_with(|| "HTTP".into());
    }
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn volume(volume: &mut Volume) {
    if let Some(map) = &mut volume.config_map {
        map.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(secret) = &mut volume.secret {
        secret.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(image) = &mut volume.image {
        let policy = pull_policy(image.reference.as_deref().unwrap_or_default());
        image.pull_policy.get_or_insert_with(|| policy.into());
    }
    if let Some(host) = &mut volume.host_path {
        host.type_.get_or_insert_default();
    }
    if let Some(downward) = &mut volume.downward_api {
        downward.default_mode.get_or_insert(FILE_MODE);
        for field in downward.items.iter_mut().flatten().filter_map(|item| item.field_ref.as_mut()) {
            field.api_version.get_or_insert_with(|| "v1".into());
        }
    }
    if let Some(projected) = &mut volume.projected {
        projected.default_mode.get_or_insert(FILE_MODE);
        projected.sources.iter_mut().flatten().for_each(projection);
    }
}

fn projection(source: &mut VolumeProjection) {
    if let Some(token) = &mut source.service_account_token {
        token.expiration_seconds.get_or_insert(TOKEN_SECONDS);
    }
    let items = source.downward_api.iter_mut().flat_map(|downward| downward.items.iter_mut().flatten());
    for field in items.filter_map(|item| item.field_ref.as_mut()) {
        field.api_version.get_or_insert_with(|| "v1".into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_may_move_are_always_pulled() {
        let check = |image: &str, moving: bool| assert_eq!(is_moving(image), moving, "{image}");
        check("hello", true);
        check("hello:latest", true);
        check("hello:v1", false);
        check("localhost:5000/hello", true);
        check("localhost:5000/hello:v1", false);
        check("hello@sha256:0", false);
    }
}
