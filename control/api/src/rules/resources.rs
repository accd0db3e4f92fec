//! Amounts of resources, by name.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;

use super::{Causes, qualified_name};
use crate::quantity::Quantity;

/// Resources of containers that need no domain before their name.
const STANDARD: &[&str] = &["cpu", "memory", "ephemeral-storage", "storage"];
/// Resources that quotas may count.
const COUNTED: &[&str] = &[
    "configmaps",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];
/// Resources of which there are whole ones only.
const WHOLE: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

/// What amounts are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// What a namespace may have.
    Quota,
    /// What a container, a pod or a claim may have.
    Limit,
}

/// Amounts of resources at `path`.
pub fn resources(path: &str, amounts: Option<&BTreeMap<String, Written>>, budget: Budget, causes: &mut Causes) {
    for (name, written) in amounts.into_iter().flatten() {
        let path = format!("{path}[{name}]");
        resource_name(&path, name, budget, causes);
        let amount = Quantity::of(written);
        if amount.is_negative() {
            causes.invalid(&path, &written.0, "must be greater than or equal to 0");
        }
        let is_whole = WHOLE.contains(&name.as_str()) || name.starts_with("count/");
        if is_whole && amount.milli_value() % 1000 != 0 {
            causes.invalid(&path, &written.0, "must be an integer");
        }
    }
}

fn resource_name(path: &str, name: &str, budget: Budget, causes: &mut Causes) {
    for problem in qualified_name(name) {
        causes.invalid(path, name, &problem);
    }
    if name.contains('/') || STANDARD.contains(&name) {
        return;
    }
    match budget {
        Budget::Quota if COUNTED.contains(&name) => {}
        Budget::Quota => {
            causes.invalid(path, name, "must be a standard resource type or fully qualified");
            causes.invalid(path, name, "must be a standard resource for quota");
        }
        Budget::Limit => {
            causes.invalid(path, name, "must be a standard resource type or fully qualified");
            causes.invalid(path, name, "must be a standard resource for containers");
        }
    }
}
