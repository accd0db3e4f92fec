//! How many pods a budget expects, and how many of them have to be well.

use std::collections::BTreeMap;

use api::{Object, kinds};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;
use state::Snapshot;

/// What a budget counts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// Pods that there should be.
    pub(super) pods: i32,
    /// How many of them have to be well.
    pub(super) healthy: i32,
}

/// What `budget` counts on, of which `pods` are there; or why that cannot be told.
pub(super) fn of(budget: &PodDisruptionBudget, pods: &[&Object], view: &Snapshot) -> Result<Expected, String> {
    let there = i32::try_from(pods.len()).unwrap_or(i32::MAX);
    let Some(spec) = &budget.spec else { return Ok(Expected { pods: there, healthy: 0 }) };
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => {
            let wanted = wanted(pods, view)?;
            Ok(Expected { pods: wanted, healthy: (wanted - share(most, wanted)?).max(0) })
        }
        (None, Some(IntOrString::Int(least))) => Ok(Expected { pods: there, healthy: *least }),
        (None, Some(least)) => {
            let wanted = wanted(pods, view)?;
            Ok(Expected { pods: wanted, healthy: share(least, wanted)? })
        }
        (None, None) => Ok(Expected { pods: there, healthy: 0 }),
    }
}

/// A number, or a percentage rounded up.
fn share(share: &IntOrString, of: i32) -> Result<i32, String> {
    match share {
        IntOrString::Int(count) => Ok(*count),
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|percent| percent.parse::<i64>().ok());
            let percent =
                percent.ok_or_else(|| format!("invalid value for IntOrString: {text:?} is not a percentage"))?;
            Ok(i32::try_from((i64::from(of) * percent + 99) / 100).unwrap_or(i32::MAX))
        }
    }
}

/// How many pods those want that manage these; pods that nobody manages are not counted.
fn wanted(pods: &[&Object], view: &Snapshot) -> Result<i32, String> {
    let mut by_manager: BTreeMap<String, i32> = BTreeMap::new();
    for pod in pods {
        let Some(owner) = pod.meta().controller() else { continue };
        if by_manager.contains_key(&*owner.uid) {
            continue;
        }
        let (uid, replicas) =
            scale(pod, view).ok_or_else(|| format!("found no controllers for pod {:?}", pod.key().name()))?;
        by_manager.insert(owner.uid.to_string(), 0);
        by_manager.insert(uid, replicas);
    }
    Ok(by_manager.values().sum())
}

/// Who manages a pod in the end, and how many pods that one wants.
fn scale(pod: &Object, view: &Snapshot) -> Option<(String, i32)> {
    let owner = pod.meta().controller()?;
    let scaled = [kinds::REPLICA_SET, kinds::STATEFUL_SET, kinds::REPLICATION_CONTROLLER, kinds::DEPLOYMENT];
    let kind = scaled.into_iter().find(|kind| owner.is(*kind))?;
    let manager = view.get(&pod.key().sibling(kind, &owner.name))?;
    if *manager.meta().uid != *owner.uid {
        return None;
    }
    // What a set wants is what its deployment wants, which may be between two sets.
    let above = manager.meta().controller().filter(|above| kind == kinds::REPLICA_SET && above.is(kinds::DEPLOYMENT));
    let above = above.and_then(|above| view.get(&manager.key().sibling(kinds::DEPLOYMENT, &above.name)));
    let manager = above.unwrap_or(manager);
    let value: Value = serde_json::from_slice(manager.body()).ok()?;
    let replicas = value.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    Some((manager.meta().uid.to_string(), i32::try_from(replicas).unwrap_or(i32::MAX)))
}
