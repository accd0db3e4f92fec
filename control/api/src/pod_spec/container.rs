//! What a container must be like.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, ContainerResizePolicy, EnvFromSource, EnvVar, PodSpec, ResourceRequirements, VolumeMount,
};

use super::{probe, security};
use crate::quantity::Quantity;
use crate::rules::{self, Causes};

pub(super) const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: &[&str] = &["File", "FallbackToLogsOnError"];
const RESIZED: &[&str] = &["cpu", "memory"];
const RESIZE_POLICIES: &[&str] = &["NotRequired", "RestartContainer"];
const PROPAGATIONS: &[&str] = &["Bidirectional", "HostToContainer", "None"];

/// The containers of a pod, at `path`; `volumes` are the names of its volumes.
pub(super) fn validate_all(path: &str, spec: &PodSpec, volumes: &HashSet<String>, causes: &mut Causes) {
    if spec.containers.is_empty() {
        causes.required(format!("{path}.containers"), "");
    }
    let mut names = HashSet::new();
    let mut host_ports = HashSet::new();
    let containers =
        spec.containers.iter().enumerate().map(|(index, one)| (format!("{path}.containers[{index}]"), one));
    let inits = spec.init_containers.iter().flatten().enumerate();
    let inits = inits.map(|(index, one)| (format!("{path}.initContainers[{index}]"), one));
    for (index, (path, container)) in containers.chain(inits).enumerate() {
        let is_init = index >= spec.containers.len();
        let grace_seconds = spec.termination_grace_period_seconds.unwrap_or_default();
        validate(&path, container, &Among { is_init, volumes, grace_seconds }, causes);
        if let Some(policies) = container.resize_policy.as_deref().filter(|policies| !policies.is_empty()) {
            let path = format!("{path}.resizePolicy");
            if is_init && container.restart_policy.as_deref() != Some("Always") {
                causes.invalid(&path, policies, "must not be set for init containers");
            } else {
                validate_resize_policies(&path, policies, spec.restart_policy.as_deref(), causes);
            }
        }
        if !container.name.is_empty() && !names.insert(container.name.as_str()) {
            causes.duplicate(format!("{path}.name"), &container.name);
        }
        let ports = container.ports.iter().flatten().enumerate();
        for (at, port) in ports.filter(|_| !is_init) {
            let Some(host_port) = port.host_port else { continue };
            if !host_ports.insert((host_port, port.protocol.clone(), port.host_ip.clone())) {
                let told = format!(
                    "{}/{}/{host_port}",
                    port.host_ip.as_deref().unwrap_or_default(),
                    port.protocol.as_deref().unwrap_or("TCP")
                );
                causes.duplicate(format!("{path}.ports[{at}].hostPort"), told);
            }
            if spec.host_network == Some(true) && host_port != port.container_port {
                causes.invalid(
                    format!("{path}.ports[{at}].containerPort"),
                    port.container_port,
                    "must match `hostPort` when `hostNetwork` is true",
                );
            }
        }
    }
}

/// How containers are judged.
pub(super) struct Among<'a> {
    pub(super) is_init: bool,
    pub(super) volumes: &'a HashSet<String>,
    pub(super) grace_seconds: i64,
}

/// One container, at `path`.
pub(super) fn validate(path: &str, container: &Container, among: &Among<'_>, causes: &mut Causes) {
    let Among { is_init, volumes, grace_seconds } = *among;
    rules::dns_label(&format!("{path}.name"), &container.name, causes);
    let image = container.image.as_deref().unwrap_or_default();
    if image.is_empty() {
        causes.required(format!("{path}.image"), "");
    } else if image.trim() != image {
        causes.invalid(format!("{path}.image"), image, "must not have leading or trailing whitespace");
    }
    if let Some(policy) = &container.image_pull_policy {
        causes.one_of(format!("{path}.imagePullPolicy"), policy, PULL_POLICIES);
    }
    if let Some(policy) = &container.termination_message_policy {
        causes.one_of(format!("{path}.terminationMessagePolicy"), policy, MESSAGE_POLICIES);
    }
    if let Some(context) = &container.security_context {
        security::validate_container(&format!("{path}.securityContext"), context, causes);
    }
    validate_ports(&format!("{path}.ports"), container.ports.as_deref().unwrap_or_default(), causes);
    for (index, variable) in container.env.iter().flatten().enumerate() {
        validate_env(&format!("{path}.env[{index}]"), variable, causes);
    }
    for (index, source) in container.env_from.iter().flatten().enumerate() {
        validate_env_from(&format!("{path}.envFrom"), index, source, causes);
    }
    validate_mounts(
        &format!("{path}.volumeMounts"),
        container.volume_mounts.as_deref().unwrap_or_default(),
        volumes,
        causes,
    );
    if let Some(resources) = &container.resources {
        validate_resources(&format!("{path}.resources"), resources, causes);
    }
    let sidecar = container.restart_policy.as_deref() == Some("Always");
    if let Some(policy) = &container.restart_policy {
        if is_init {
            causes.one_of(format!("{path}.restartPolicy"), policy, &["Always"]);
        } else {
            causes.forbidden(format!("{path}.restartPolicy"), "may not be set for non-init containers");
        }
    }
    let probes = [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ];
    for (field, probed) in probes {
        let Some(probed) = probed else { continue };
        let path = format!("{path}.{field}");
        if is_init && !sidecar {
            causes.forbidden(&path, "may not be set for init containers without restartPolicy=Always");
        }
        probe::validate(&path, probed, field != "readinessProbe", causes);
    }
    if let Some(lifecycle) = &container.lifecycle {
        if is_init && !sidecar {
            causes.forbidden(
                format!("{path}.lifecycle"),
                "may not be set for init containers without restartPolicy=Always",
            );
        }
        for (field, handler) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)] {
            if let Some(handler) = handler {
                probe::validate_handler(&format!("{path}.lifecycle.{field}"), handler, grace_seconds, causes);
            }
        }
    }
}

/// What happens to a container that is resized; the pod's own policy may keep it from being restarted.
fn validate_resize_policies(
    path: &str,
    policies: &[ContainerResizePolicy],
    restart_policy: Option<&str>,
    causes: &mut Causes,
) {
    let mut named = HashSet::new();
    for (index, policy) in policies.iter().enumerate() {
        if !named.insert(&policy.resource_name) {
            causes.duplicate(format!("{path}[{index}]"), &policy.resource_name);
        }
        causes.one_of(path, &policy.resource_name, RESIZED);
        causes.one_of(path, &policy.restart_policy, RESIZE_POLICIES);
        if restart_policy == Some("Never") && policy.restart_policy != "NotRequired" {
            causes.invalid(path, &policy.restart_policy, "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
    }
}

fn validate_ports(path: &str, ports: &[ContainerPort], causes: &mut Causes) {
    let mut names = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if let Some(name) = &port.name {
            rules::port_name(&format!("{path}.name"), name, causes);
            if !names.insert(name) {
                causes.duplicate(format!("{path}.name"), name);
            }
        }
        match port.container_port {
            0 => causes.required(format!("{path}.containerPort"), ""),
            number => rules::port_number(&format!("{path}.containerPort"), number, causes),
        }
        if let Some(number) = port.host_port.filter(|number| *number != 0) {
            rules::port_number(&format!("{path}.hostPort"), number, causes);
        }
        causes.one_of(format!("{path}.protocol"), port.protocol.as_deref().unwrap_or_default(), rules::PROTOCOLS);
    }
}

fn validate_env(path: &str, variable: &EnvVar, causes: &mut Causes) {
    rules::env_name(&format!("{path}.name"), &variable.name, causes);
    let Some(source) = &variable.value_from else { return };
    let path = format!("{path}.valueFrom");
    let told = [
        source.field_ref.is_some(),
        source.resource_field_ref.is_some(),
        source.config_map_key_ref.is_some(),
        source.secret_key_ref.is_some(),
    ];
    match told.iter().filter(|told| **told).count() {
        0 => causes.invalid(
            &path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        ),
        1 => {}
        _ => causes.invalid(&path, "", "may not have more than one field specified at a time"),
    }
    if variable.value.as_ref().is_some_and(|value| !value.is_empty()) {
        causes.invalid(&path, "", "may not be specified when `value` is not empty");
    }
    if let Some(field) = &source.field_ref {
        validate_field(&format!("{path}.fieldRef"), &field.field_path, ENV_FIELDS, causes);
    }
    if let Some(reference) = &source.resource_field_ref {
        validate_resource_field(&format!("{path}.resourceFieldRef.resource"), &reference.resource, causes);
    }
    let keys = [
        ("configMapKeyRef", source.config_map_key_ref.as_ref().map(|one| (&one.name, &one.key))),
        ("secretKeyRef", source.secret_key_ref.as_ref().map(|one| (&one.name, &one.key))),
    ];
    for (field, reference) in keys {
        let Some((name, key)) = reference else { continue };
        if name.is_empty() {
            causes.required(format!("{path}.{field}.name"), "");
        }
        match rules::data_key(key) {
            _ if key.is_empty() => causes.required(format!("{path}.{field}.key"), ""),
            Some(problem) => causes.invalid(format!("{path}.{field}.key"), key, &problem),
            None => {}
        }
    }
}

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// A field of the pod that may be told to its containers.
pub(super) fn validate_field(path: &str, field: &str, fields: &[&str], causes: &mut Causes) {
    let path = format!("{path}.fieldPath");
    let keyed = ["metadata.labels['", "metadata.annotations['"];
    let is_keyed = keyed.iter().any(|prefix| field.strip_prefix(prefix).is_some_and(|rest| rest.ends_with("']")));
    if field.is_empty() {
        causes.required(path, "");
    } else if is_keyed || fields.contains(&field) {
    } else if KNOWN_FIELDS.contains(&field) || fields.iter().any(|known| field.starts_with(known)) {
        causes.unsupported(path, field, fields);
    } else {
        let detail = format!("error converting fieldPath: field label not supported: {field}");
        causes.invalid(path, field, &detail);
    }
}

/// Fields of pods that have a name for clients, whether or not they can be told to containers.
const KNOWN_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];

const RESOURCE_FIELDS: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// An amount of a container that may be told to it.
fn validate_resource_field(path: &str, field: &str, causes: &mut Causes) {
    let is_huge = ["limits.hugepages-", "requests.hugepages-"].iter().any(|prefix| field.starts_with(prefix));
    if field.is_empty() {
        causes.required(path, "");
    } else if !is_huge && !RESOURCE_FIELDS.contains(&field) {
        causes.unsupported(path, field, RESOURCE_FIELDS);
    }
}

fn validate_env_from(all: &str, index: usize, source: &EnvFromSource, causes: &mut Causes) {
    let path = format!("{all}[{index}]");
    if let Some(prefix) = source.prefix.as_ref().filter(|prefix| !prefix.is_empty()) {
        rules::env_name(&format!("{path}.prefix"), prefix, causes);
    }
    let references = [
        ("configMapRef", source.config_map_ref.as_ref().map(|one| &one.name)),
        ("secretRef", source.secret_ref.as_ref().map(|one| &one.name)),
    ];
    match references.iter().filter(|(_, name)| name.is_some()).count() {
        // Kubernetes tells these of the whole list.
        0 => causes.invalid(all, "", "must specify one of: `configMapRef` or `secretRef`"),
        1 => {}
        _ => causes.invalid(all, "", "may not have more than one field specified at a time"),
    }
    for (field, name) in references {
        if name.is_some_and(String::is_empty) {
            causes.required(format!("{path}.{field}.name"), "");
        }
    }
}

fn validate_mounts(path: &str, mounts: &[VolumeMount], volumes: &HashSet<String>, causes: &mut Causes) {
    let mut places = HashSet::new();
    for (index, mount) in mounts.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if mount.name.is_empty() {
            causes.required(format!("{path}.name"), "");
        } else if !volumes.contains(&mount.name) {
            causes.not_found(format!("{path}.name"), &mount.name);
        }
        if mount.mount_path.is_empty() {
            causes.required(format!("{path}.mountPath"), "");
        } else if !places.insert(&mount.mount_path) {
            causes.invalid(format!("{path}.mountPath"), &mount.mount_path, "must be unique");
        }
        for (field, sub) in [("subPath", &mount.sub_path), ("subPathExpr", &mount.sub_path_expr)] {
            let Some(sub) = sub else { continue };
            if sub.starts_with('/') {
                causes.invalid(format!("{path}.{field}"), sub, "must be a relative path");
            }
            if sub.split('/').any(|step| step == "..") {
                causes.invalid(format!("{path}.{field}"), sub, "must not contain '..'");
            }
        }
        if let Some(propagation) = &mount.mount_propagation {
            causes.one_of(format!("{path}.mountPropagation"), propagation, PROPAGATIONS);
        }
        if mount.sub_path.is_some() && mount.sub_path_expr.is_some() {
            causes.invalid(
                format!("{path}.subPathExpr"),
                &mount.sub_path_expr,
                "subPathExpr and subPath are mutually exclusive",
            );
        }
    }
}

fn validate_resources(path: &str, resources: &ResourceRequirements, causes: &mut Causes) {
    for (field, amounts) in [("limits", &resources.limits), ("requests", &resources.requests)] {
        for (name, written) in amounts.iter().flatten() {
            let path = format!("{path}.{field}[{name}]");
            let known =
                matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
            if !known && !name.contains('/') {
                causes.invalid(&path, name, "must be a standard resource type or fully qualified");
                causes.invalid(&path, name, "must be a standard resource for containers");
            }
            if Quantity::of(written).is_negative() {
                causes.invalid(&path, &written.0, "must be greater than or equal to 0");
            }
            if is_extended(name) && Quantity::of(written).milli_value() % 1000 != 0 {
                causes.invalid(&path, &written.0, "must be an integer");
            }
        }
    }
    for (name, request) in resources.requests.iter().flatten() {
        let limit = resources.limits.as_ref().and_then(|limits| limits.get(name));
        let whole = is_extended(name) || name.starts_with("hugepages-");
        if whole && limit.is_none() {
            causes.required(format!("{path}.limits"), "Limit must be set for non overcommitable resources");
        } else if let Some(limit) = limit.filter(|limit| whole && Quantity::of(request) != Quantity::of(limit)) {
            let detail = format!("must be equal to {name} limit of {}", limit.0);
            causes.invalid(format!("{path}.requests"), &request.0, &detail);
        } else if let Some(limit) = limit.filter(|limit| Quantity::of(request) > Quantity::of(limit)) {
            causes.invalid(
                format!("{path}.requests"),
                &request.0,
                &format!("must be less than or equal to {name} limit of {}", limit.0),
            );
        }
    }
}

/// Whether it is one of somebody's own resources, of which there are whole ones only.
fn is_extended(name: &str) -> bool {
    name.split_once('/').is_some_and(|(domain, _)| !domain.ends_with("kubernetes.io"))
}
