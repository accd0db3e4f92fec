//! How much of what an object takes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, PersistentVolumeClaim, Pod, PodSpec, ResourceRequirements, Service};

use super::{Amounts, Resource};
use crate::pod_spec;
use crate::pod_spec::resize::{self, Which};
use crate::quantity::Quantity;
use crate::{Object, kinds};

/// What each container has to say something about, where it is counted.
const DEMANDED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
/// Kinds that are also counted by their name alone.
const BY_NAME: [&str; 7] =
    ["configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets", "services"];
const STORAGE_CLASS: &str = "storageclass.storage.k8s.io";

/// Everything that could be counted of an object.
pub(super) fn of(resource: Resource<'_>, object: &Object, now: Timestamp) -> Amounts {
    let mut used = Amounts::from([(count_of(resource), Quantity::units(1))]);
    match object.key().kind() {
        kinds::POD => {
            if let Some(pod) = object.decode::<Pod>().ok().filter(|pod| takes_room(pod, now)) {
                used.insert("pods".into(), Quantity::units(1));
                used.extend(of_pod(&pod));
            }
        }
        kinds::SERVICE => {
            used.insert("services".into(), Quantity::units(1));
            used.extend(object.decode::<Service>().map(|service| of_service(&service)).unwrap_or_default());
        }
        kinds::PERSISTENT_VOLUME_CLAIM => {
            used.insert("persistentvolumeclaims".into(), Quantity::units(1));
            used.extend(object.decode::<PersistentVolumeClaim>().map(|claim| of_claim(&claim)).unwrap_or_default());
        }
        _ if resource.group.is_empty() && BY_NAME.contains(&resource.plural) => {
            used.insert(resource.plural.into(), Quantity::units(1));
        }
        _ => {}
    }
    used
}

/// Whether any of these names could count objects of a kind.
pub fn counts<'a>(mut counted: impl Iterator<Item = &'a str>, resource: Resource<'_>) -> bool {
    let own = count_of(resource);
    counted.any(|name| match (resource.group, resource.plural) {
        _ if name == own => true,
        ("", "pods") => !name.starts_with("count/") && !name.contains("storage.k8s.io/"),
        ("", "services") => name.starts_with("services"),
        ("", "persistentvolumeclaims") => name.contains("storage") || name == "persistentvolumeclaims",
        ("", plural) => name == plural && BY_NAME.contains(&plural),
        _ => false,
    })
}

fn count_of(resource: Resource<'_>) -> String {
    match resource.group {
        "" => format!("count/{}", resource.plural),
        group => format!("count/{}.{group}", resource.plural),
    }
}

/// Until it has ended, or should have: what only its node has not said yet counts no more.
fn takes_room(pod: &Pod, now: Timestamp) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let gone = pod.metadata.deletion_timestamp.as_ref().zip(pod.metadata.deletion_grace_period_seconds);
    let gone = gone.is_some_and(|(at, grace)| at.0 + SignedDuration::from_secs(grace) < now);
    !matches!(phase, "Succeeded" | "Failed") && !gone
}

/// Requests count by their name and with `requests.` before it, limits with `limits.`.
fn of_pod(pod: &Pod) -> Amounts {
    let none = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&none);
    let total = |which| pod_spec::total(spec, |container| counted(pod, container, which));
    let mut used = Amounts::new();
    for (name, amount) in total(Which::Requests) {
        used.insert(format!("requests.{name}"), amount);
        used.insert(name, amount);
    }
    for (name, amount) in total(Which::Limits) {
        used.insert(format!("limits.{name}"), amount);
    }
    used
}

/// What a container of the pod counts for.
fn counted(pod: &Pod, container: &Container, which: Which) -> Amounts {
    let none = ResourceRequirements::default();
    let sizes = container.resources.as_ref().unwrap_or(&none);
    let wanted = match which {
        Which::Requests => sizes.requests.as_ref(),
        Which::Limits => sizes.limits.as_ref(),
    };
    let wanted = wanted.map_or_else(|| Cow::Owned(resize::Amounts::new()), Cow::Borrowed);
    let counted = resize::counted(pod, &container.name, which, wanted);
    counted.iter().map(|(name, amount)| (name.clone(), Quantity::of(amount))).collect()
}

fn of_service(service: &Service) -> Amounts {
    let Some(spec) = &service.spec else { return Amounts::new() };
    let ports = spec.ports.as_deref().unwrap_or_default();
    let all = i64::try_from(ports.len()).unwrap_or(i64::MAX);
    let given = ports.iter().filter(|port| port.node_port.unwrap_or(0) != 0).count();
    let given = i64::try_from(given).unwrap_or(i64::MAX);
    let (balancers, ports) = match spec.type_.as_deref() {
        Some("NodePort") => (0, all),
        Some("LoadBalancer") if spec.allocate_load_balancer_node_ports == Some(false) => (1, given),
        Some("LoadBalancer") => (1, all),
        _ => (0, 0),
    };
    let name = |name: &str| format!("services.{name}");
    Amounts::from([(name("loadbalancers"), Quantity::units(balancers)), (name("nodeports"), Quantity::units(ports))])
}

fn of_claim(claim: &PersistentVolumeClaim) -> Amounts {
    let Some(spec) = &claim.spec else { return Amounts::new() };
    let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let storage = requests.and_then(|requests| requests.get("storage")).map(Quantity::of).unwrap_or_default();
    let mut used = Amounts::from([("requests.storage".to_owned(), storage)]);
    if let Some(class) = spec.storage_class_name.as_deref().filter(|class| !class.is_empty()) {
        used.insert(format!("{class}.{STORAGE_CLASS}/requests.storage"), storage);
        used.insert(format!("{class}.{STORAGE_CLASS}/persistentvolumeclaims"), Quantity::units(1));
    }
    used
}

/// What is counted and not every container speaks of, with those that do not.
pub(super) fn unsaid(pod: &Pod, counted: &[&str]) -> BTreeMap<String, Vec<String>> {
    let mut missing = BTreeMap::<String, Vec<String>>::new();
    let spec = pod.spec.as_ref();
    let containers =
        spec.into_iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    for container in containers {
        for name in counted.iter().filter(|name| DEMANDED.contains(name)) {
            let resources = container.resources.as_ref();
            let said = match name.strip_prefix("limits.") {
                Some(_) => resources.and_then(|resources| resources.limits.as_ref()),
                None => resources.and_then(|resources| resources.requests.as_ref()),
            };
            let plain = name.split_once('.').map_or(*name, |(_, plain)| plain);
            if said.is_none_or(|said| !said.contains_key(plain)) {
                missing.entry((*name).to_owned()).or_default().push(container.name.clone());
            }
        }
    }
    for containers in missing.values_mut() {
        containers.sort();
        containers.dedup();
    }
    missing
}
