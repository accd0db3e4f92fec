//! A machine that runs pods.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeStatus, NodeSystemInfo};
use serde_json::Value;

use super::{AGE, NAME, text, wide};
use crate::rules::{self, Causes};
use crate::{Column, Names, Resource, Scope, Subresource, cells};

/// The kind.
#[derive(Debug)]
pub struct Nodes;

const ROLE_LABEL: &str = "node-role.kubernetes.io/";

impl Resource for Nodes {
    type Object = Node;

    const NAMES: &'static Names = &Names {
        group: "",
        version: "v1",
        kind: "Node",
        plural: "nodes",
        singular: "node",
        short: &["no"],
        categories: &[],
        scope: Scope::Cluster,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status, Subresource::Proxy];
    const COLUMNS: &'static [Column] = &[
        NAME,
        text("Status", "Whether it is ready, and whether it takes new pods."),
        text("Roles", "What it is for."),
        AGE,
        text("Version", "The version of its agent."),
        wide(text("Internal-IP", "Its address inside the cluster.")),
        wide(text("External-IP", "Its address outside the cluster.")),
        wide(text("OS-Image", "Its operating system.")),
        wide(text("Kernel-Version", "The version of its kernel.")),
        wide(text("Container-Runtime", "What runs its pods.")),
    ];
    const SELECTABLE: &'static [&'static str] = &["spec.unschedulable"];

    fn validate(node: &Node, causes: &mut Causes) {
        let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        let mut seen = Vec::new();
        for (index, taint) in taints.enumerate() {
            let path = format!("spec.taints[{index}]");
            for problem in rules::qualified_name(&taint.key) {
                causes.invalid(format!("{path}.key"), &taint.key, &problem);
            }
            for problem in rules::label_value(taint.value.as_deref().unwrap_or_default()) {
                causes.invalid(format!("{path}.value"), &taint.value, &problem);
            }
            causes.one_of(format!("{path}.effect"), &taint.effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
            if seen.contains(&(&taint.key, &taint.effect)) {
                causes.duplicate(path, taint);
            }
            seen.push((&taint.key, &taint.effect));
        }
    }

    fn validate_update(node: &Node, old: &Node, causes: &mut Causes) {
        let cidrs = |node: &Node| node.spec.as_ref().and_then(|spec| spec.pod_cidrs.clone()).unwrap_or_default();
        let (new, old) = (cidrs(node), cidrs(old));
        if !old.is_empty() && new != old {
            causes.forbidden("spec.podCIDRs", "node updates may not change podCIDR except from \"\" to valid");
        }
    }

    fn default(node: &mut Node) {
        let Some(spec) = &mut node.spec else { return };
        match (&spec.pod_cidr, spec.pod_cidrs.as_deref()) {
            (Some(one), None | Some([])) => spec.pod_cidrs = Some(vec![one.clone()]),
            (None, Some([first, ..])) => spec.pod_cidr = Some(first.clone()),
            _ => {}
        }
    }

    fn cells(node: &Node, now: Timestamp) -> Vec<Value> {
        let status = node.status.as_ref();
        let info = status.and_then(|status| status.node_info.as_ref());
        let known = |field: fn(&NodeSystemInfo) -> &str| {
            let text = info.map(field).unwrap_or_default();
            if text.is_empty() { "<unknown>".into() } else { text.into() }
        };
        vec![
            cells::name(&node.metadata),
            readiness(node).into(),
            roles(node),
            cells::age(&node.metadata, now),
            info.map(|info| info.kubelet_version.as_str()).unwrap_or_default().into(),
            address(status, "InternalIP"),
            address(status, "ExternalIP"),
            known(|info| &info.os_image),
            known(|info| &info.kernel_version),
            known(|info| &info.container_runtime_version),
        ]
    }

    fn fields(node: &Node) -> Vec<(&'static str, String)> {
        vec![("spec.unschedulable", is_cordoned(node).to_string())]
    }
}

fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default()
}

fn readiness(node: &Node) -> String {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.find(|condition| condition.type_ == "Ready");
    let ready = match ready.map(|condition| condition.status.as_str()) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    format!("{ready}{}", if is_cordoned(node) { ",SchedulingDisabled" } else { "" })
}

fn roles(node: &Node) -> Value {
    let labels = node.metadata.labels.iter().flatten();
    let roles = labels.filter_map(|(key, value)| match (key.strip_prefix(ROLE_LABEL), key.as_str()) {
        (Some(role), _) if !role.is_empty() => Some(role),
        (None, "kubernetes.io/role") if !value.is_empty() => Some(value.as_str()),
        _ => None,
    });
    let mut roles: Vec<&str> = roles.collect();
    roles.sort_unstable();
    roles.dedup();
    cells::joined(roles)
}

fn address(status: Option<&NodeStatus>, kind: &str) -> Value {
    let mut addresses = status.into_iter().flat_map(|status| status.addresses.iter().flatten());
    cells::text(addresses.find(|address| address.type_ == kind).map(|address| address.address.as_str()))
}
