//! A group of containers with one address.

mod resize;
mod status;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus, Toleration};
use serde_json::Value;

use super::{AGE, NAME, text, wide};
use crate::pod_spec::{self, outages};
use crate::rules::Causes;
use crate::{Column, Names, Resource, Scope, Subresource, cells};
use crate::{blobstore, instances};

/// The kind.
#[derive(Debug)]
pub struct Pods;

const FROZEN: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

impl Resource for Pods {
    type Object = Pod;

    const NAMES: &'static Names = &Names {
        group: "",
        version: "v1",
        kind: "Pod",
        plural: "pods",
        singular: "pod",
        short: &["po"],
        categories: &["all"],
        scope: Scope::Namespaced,
    };
    const SUBRESOURCES: &'static [Subresource] = &[
        Subresource::Status,
        Subresource::Log,
        Subresource::Binding,
        Subresource::Eviction,
        Subresource::PortForward,
        Subresource::Proxy,
        Subresource::Exec,
        Subresource::Attach,
        Subresource::EphemeralContainers,
        Subresource::Resize,
    ];
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = &[
        NAME,
        text("Ready", "How many containers are ready, of how many there are."),
        text("Status", "What it is doing."),
        text("Restarts", "How often its containers were started again, and when last."),
        AGE,
        wide(text("IP", "Its address.")),
        wide(text("Node", "Where it runs.")),
        wide(text("Nominated Node", "Where it may run once others have made room.")),
        wide(text("Readiness Gates", "How many further conditions hold, of how many it asks for.")),
    ];
    const SELECTABLE: &'static [&'static str] = &[
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ];

    fn default(pod: &mut Pod) {
        pod_spec::default(pod.spec.get_or_insert_default());
    }

    fn prepare_create(pod: &mut Pod) {
        let class = pod_spec::quality(pod.spec.get_or_insert_default());
        let spec = pod.spec.get_or_insert_default();
        spec.priority.get_or_insert(0);
        spec.preemption_policy.get_or_insert_with(|| "PreemptLowerPriority".into());
        spec.service_account_name.get_or_insert_with(|| "default".into());
        spec.service_account.clone_from(&spec.service_account_name);
        pod.status =
            Some(PodStatus { phase: Some("Pending".into()), qos_class: Some(class.into()), ..PodStatus::default() });
    }

    fn prepare_update(pod: &mut Pod, old: &Pod) {
        // What the server filled in at creation stays where a client that replaces the whole pod leaves it out.
        let (Some(spec), Some(old)) = (&mut pod.spec, &old.spec) else { return };
        spec.priority = spec.priority.or(old.priority);
        spec.preemption_policy = spec.preemption_policy.take().or_else(|| old.preemption_policy.clone());
        spec.service_account_name = spec.service_account_name.take().or_else(|| old.service_account_name.clone());
        spec.service_account.clone_from(&spec.service_account_name);
        spec.node_name = spec.node_name.take().or_else(|| old.node_name.clone());
        outages::keep(spec, old);
    }

    fn validate(pod: &Pod, causes: &mut Causes) {
        let none = PodSpec::default();
        pod_spec::validate("spec", pod.spec.as_ref().unwrap_or(&none), causes);
        // A template may leave it open which images are mounted, a pod may not.
        for (index, volume) in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).enumerate() {
            if volume.image.as_ref().is_some_and(|image| image.reference.as_deref().is_none_or(str::is_empty)) {
                causes.required(format!("spec.volumes[{index}].image.reference"), "");
            }
        }
        instances::validate("metadata.annotations", pod.metadata.annotations.as_ref(), causes);
        blobstore::validate("metadata.annotations", pod.metadata.annotations.as_ref(), pod.spec.as_ref(), causes);
    }

    fn validate_create(pod: &Pod, causes: &mut Causes) {
        let debuggers = pod.spec.as_ref().and_then(|spec| spec.ephemeral_containers.as_deref());
        if debuggers.is_some_and(|debuggers| !debuggers.is_empty()) {
            causes.forbidden("spec.ephemeralContainers", "cannot be set on create");
        }
    }

    fn validate_update(pod: &Pod, old: &Pod, causes: &mut Causes) {
        let (Some(new), Some(old)) = (&pod.spec, &old.spec) else { return };
        let count = |containers: &Option<Vec<_>>| containers.as_ref().map_or(0, Vec::len);
        for (field, same) in [
            ("containers", new.containers.len() == old.containers.len()),
            ("initContainers", count(&new.init_containers) == count(&old.init_containers)),
        ] {
            if !same {
                return causes.forbidden(format!("spec.{field}"), "pod updates may not add or remove containers");
            }
        }
        validate_tolerations(new.tolerations.as_deref(), old.tolerations.as_deref(), causes);
        if thawed(new, old) != *old {
            causes.forbidden("spec", FROZEN);
        }
    }

    fn prepare_resize(pod: &mut Pod, old: &Pod) {
        resize::prepare(pod, old);
    }

    fn validate_resize(pod: &Pod, old: &Pod, causes: &mut Causes) {
        resize::validate(pod, old, causes);
    }

    fn warnings(pod: &Pod) -> Vec<String> {
        pod.spec.as_ref().map(|spec| pod_spec::warnings("spec", spec)).unwrap_or_default()
    }

    fn cells(pod: &Pod, now: Timestamp) -> Vec<Value> {
        let shown = status::shown(pod, now);
        let spec = pod.spec.as_ref();
        let status = pod.status.as_ref();
        let addresses = status.into_iter().flat_map(|status| status.pod_ips.iter().flatten());
        let address = addresses.map(|address| address.ip.as_str()).next();
        let address = address.or_else(|| status.and_then(|status| status.pod_ip.as_deref()));
        vec![
            cells::name(&pod.metadata),
            shown.ready.into(),
            shown.status.into(),
            shown.restarts.into(),
            cells::age(&pod.metadata, now),
            cells::text(address),
            cells::text(spec.and_then(|spec| spec.node_name.as_deref())),
            cells::text(status.and_then(|status| status.nominated_node_name.as_deref())),
            cells::text(shown.gates.as_deref()),
        ]
    }

    fn fields(pod: &Pod) -> Vec<(&'static str, String)> {
        let spec = |field: fn(&PodSpec) -> &Option<String>| pod.spec.as_ref().and_then(|spec| field(spec).clone());
        let status = |field: fn(&PodStatus) -> &Option<String>| pod.status.as_ref().and_then(|one| field(one).clone());
        let host = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or_default();
        let addresses = pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten());
        let addresses: Vec<&str> = addresses.map(|address| address.ip.as_str()).collect();
        vec![
            ("spec.nodeName", spec(|spec| &spec.node_name).unwrap_or_default()),
            ("spec.restartPolicy", spec(|spec| &spec.restart_policy).unwrap_or_default()),
            ("spec.schedulerName", spec(|spec| &spec.scheduler_name).unwrap_or_default()),
            ("spec.serviceAccountName", spec(|spec| &spec.service_account_name).unwrap_or_default()),
            ("spec.hostNetwork", host.to_string()),
            ("status.phase", status(|status| &status.phase).unwrap_or_default()),
            ("status.podIP", status(|status| &status.pod_ip).unwrap_or_default()),
            ("status.podIPs", addresses.join(",")),
            ("status.nominatedNodeName", status(|status| &status.nominated_node_name).unwrap_or_default()),
        ]
    }
}

/// The new spec with everything that may change put back to what it was.
fn thawed(new: &PodSpec, old: &PodSpec) -> PodSpec {
    let mut thawed = new.clone();
    let pairs = thawed.containers.iter_mut().zip(&old.containers);
    let more = thawed.init_containers.iter_mut().flatten().zip(old.init_containers.iter().flatten());
    for (container, old) in pairs.chain(more) {
        container.image.clone_from(&old.image);
        // It follows from the image where the client does not say.
        container.image_pull_policy.clone_from(&old.image_pull_policy);
    }
    thawed.active_deadline_seconds = old.active_deadline_seconds;
    thawed.tolerations.clone_from(&old.tolerations);
    if old.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0)
        && new.termination_grace_period_seconds == Some(1)
    {
        thawed.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    // A pod that waits for a scheduler may be told where, or have its gates lifted.
    if old.node_name.is_none() && old.scheduling_gates.is_some() {
        thawed.scheduling_gates.clone_from(&old.scheduling_gates);
        thawed.node_selector.clone_from(&old.node_selector);
        thawed.affinity.clone_from(&old.affinity);
    }
    thawed
}

fn validate_tolerations(new: Option<&[Toleration]>, old: Option<&[Toleration]>, causes: &mut Causes) {
    let plain = |toleration: &Toleration| Toleration { toleration_seconds: None, ..toleration.clone() };
    let new: Vec<Toleration> = new.unwrap_or_default().iter().map(plain).collect();
    if old.unwrap_or_default().iter().any(|toleration| !new.contains(&plain(toleration))) {
        causes.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds");
    }
}
