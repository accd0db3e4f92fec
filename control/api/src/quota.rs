//! What a namespace's ResourceQuotas count, and what they refuse: a pure look at values, for whoever makes objects.
//!
//! The count is the quota's own `status.used`. Whoever makes something writes it in the same transaction, guarded by the quota's
//! revision: of two who would share the last of something, one finds the quota changed and looks again. What was given back is
//! noticed by whoever counts everything anew; until then a quota rather refuses too much than too little.

mod scope;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota, ResourceQuotaStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;

use crate::quantity::Quantity;
use crate::{Names, Object, StatusError, kinds};

pub use usage::counts;

/// A kind of object, as quotas name it.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    /// The API group; the core group is the empty string.
    pub group: &'a str,
    /// The plural.
    pub plural: &'a str,
}

/// Amounts by the name of what is counted.
pub type Amounts = BTreeMap<String, Quantity>;

/// What it costs that `new` comes, instead of `old` if that is there: each quota that is charged, as it was and as it is then;
/// or the refusal of what is more than there may be.
pub fn charge<'a>(
    quotas: impl Iterator<Item = &'a Object>,
    names: &Names,
    old: Option<&Object>,
    new: &Object,
    now: Timestamp,
) -> Result<Vec<(&'a Object, Object)>, StatusError> {
    let mut charged = Vec::new();
    for object in quotas.filter(|quota| !quota.meta().is_terminating()) {
        let quota = object.decode::<ResourceQuota>().map_err(StatusError::internal)?;
        let refused = |why: String| StatusError::forbidden(names, new.key().name(), &why);
        let cost = cost(&quota, Resource { group: names.group, plural: names.plural }, old, new, now);
        if old.is_none() {
            demand(&quota, new).map_err(|why| refused(format!("failed quota: {}: {why}", object.key().name())))?;
        }
        if cost.is_empty() {
            continue;
        }
        let after = charged_with(&quota, object.key().name(), &cost).map_err(refused)?;
        charged.push((object, Object::from_typed(kinds::RESOURCE_QUOTA, &after).map_err(StatusError::internal)?));
    }
    Ok(charged)
}

/// Whether everything that the quota limits has been counted.
pub fn is_counted(quota: &Object) -> bool {
    let Ok(quota) = quota.decode::<ResourceQuota>() else { return true };
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
    let used = quota.status.as_ref().and_then(|status| status.used.as_ref());
    hard.into_iter().flat_map(|hard| hard.keys()).all(|name| used.is_some_and(|used| used.contains_key(name)))
}

/// What the quota counts of an object.
pub fn used(quota: &ResourceQuota, resource: Resource<'_>, object: &Object, now: Timestamp) -> Amounts {
    let pod = if object.key().kind() == kinds::POD { object.decode::<Pod>().ok() } else { None };
    if !scope::covers(quota, pod.as_deref()) {
        return Amounts::new();
    }
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
    let mut used = usage::of(resource, object, now);
    used.retain(|name, amount| hard.is_some_and(|hard| hard.contains_key(name)) && !amount.is_zero());
    used
}

fn cost(quota: &ResourceQuota, resource: Resource<'_>, old: Option<&Object>, new: &Object, now: Timestamp) -> Amounts {
    let mut cost = used(quota, resource, new, now);
    let Some(old) = old else { return cost };
    let before = used(quota, resource, old, now);
    for (name, amount) in &mut cost {
        *amount -= before.get(name).copied().unwrap_or_default();
    }
    cost.retain(|_, amount| *amount > Quantity::ZERO);
    cost
}

/// Where processors or memory are counted, each container has to say how much it asks for.
fn demand(quota: &ResourceQuota, new: &Object) -> Result<(), String> {
    if new.key().kind() != kinds::POD {
        return Ok(());
    }
    let Ok(pod) = new.decode::<Pod>() else { return Ok(()) };
    if !scope::covers(quota, Some(&pod)) {
        return Ok(());
    }
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
    let counted: Vec<&str> = hard.into_iter().flat_map(|hard| hard.keys()).map(String::as_str).collect();
    let missing = usage::unsaid(&pod, &counted);
    if missing.is_empty() {
        return Ok(());
    }
    let told = missing.iter().map(|(name, containers)| format!("{name} for: {}", containers.join(",")));
    Err(format!("must specify {}", told.collect::<Vec<_>>().join("; ")))
}

/// The quota with the cost in its count.
fn charged_with(quota: &ResourceQuota, name: &str, cost: &Amounts) -> Result<ResourceQuota, String> {
    let status = quota.status.clone().unwrap_or_default();
    let hard = status.hard.clone().unwrap_or_default();
    let mut used = status.used.clone().unwrap_or_default();
    let unknown: Vec<&str> =
        cost.keys().filter(|name| !hard.contains_key(*name) || !used.contains_key(*name)).map(String::as_str).collect();
    if !unknown.is_empty() {
        return Err(format!("status unknown for quota: {name}, resources: {}", unknown.join(",")));
    }
    let total = |name: &String, amount: Quantity| used.get(name).map(Quantity::of).unwrap_or_default() + amount;
    let exceeded: Vec<&String> = cost
        .iter()
        .filter(|(name, amount)| total(name, **amount) > Quantity::of(&hard[*name]))
        .map(|(name, _)| name)
        .collect();
    if !exceeded.is_empty() {
        let told = |amount: &dyn Fn(&String) -> String| {
            exceeded.iter().map(|name| format!("{name}={}", amount(name))).collect::<Vec<_>>().join(",")
        };
        return Err(format!(
            "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
            told(&|name| cost[name].to_string()),
            told(&|name| Quantity::of(&used[name]).to_string()),
            told(&|name| Quantity::of(&hard[name]).to_string()),
        ));
    }
    let sums: Vec<(String, Quantity)> =
        cost.iter().map(|(name, amount)| (name.clone(), total(name, *amount))).collect();
    used.extend(sums.into_iter().map(|(name, sum)| (name, Written(sum.to_string()))));
    let mut after = quota.clone();
    after.metadata.resource_version = None;
    after.status = Some(ResourceQuotaStatus { hard: Some(hard), used: Some(used) });
    Ok(after)
}
