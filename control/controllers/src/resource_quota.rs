//! ResourceQuotas: what a namespace may have, and how much of it is used.
//!
//! Whoever makes something charges the quotas for it in the same transaction, so this only finds what was given back, and what
//! nobody was charged for: here everything is counted anew. It is written as everything is, guarded by the quota's revision, and
//! a quota that was charged meanwhile is counted again.

use std::collections::BTreeMap;

use api::quantity::Quantity;
use api::quota::{self, Amounts, Resource};
use api::{GroupKind, Key, Object, catalog, kinds};
use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaStatus};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use state::{Event, Snapshot};

use crate::edit::replaced;
use crate::{Controller, Look, Plan};

/// The controller that counts.
pub(crate) struct ResourceQuotas;

// === impl ResourceQuotas ===

impl Controller for ResourceQuotas {
    fn name(&self) -> &'static str {
        "resource-quota"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        let key = event.key();
        if key.kind() == kinds::RESOURCE_QUOTA && event.after().is_some() {
            return vec![key.clone()];
        }
        let mut here = view.list_in(kinds::RESOURCE_QUOTA, key.namespace()).peekable();
        if key.namespace().is_empty() || here.peek().is_none() {
            return Vec::new();
        }
        let Some((group, plural)) = resource(key.kind(), view) else { return Vec::new() };
        let resource = Resource { group: &group, plural: &plural };
        let matters =
            |quota: &&Object| quota.decode::<ResourceQuota>().is_ok_and(|quota| is_other(&quota, resource, event));
        here.filter(matters).map(|quota| quota.key().clone()).collect()
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key) else { return Plan::nothing() };
        let Ok(quota) = object.decode::<ResourceQuota>() else { return Plan::nothing() };
        let hard = quota.spec.as_ref().and_then(|spec| spec.hard.clone()).unwrap_or_default();
        let used = counted(&quota, &hard, key.namespace(), view, look);
        Plan::of(replaced::<ResourceQuota>(object, |quota| {
            quota.status = Some(ResourceQuotaStatus { hard: Some(hard), used: Some(used) });
        }))
    }
}

/// Whether the event changed what the quota counts. Time alone gives nothing back here: the full scan finds that.
fn is_other(quota: &ResourceQuota, resource: Resource<'_>, event: &Event) -> bool {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let used =
        |object: Option<&Object>| object.map(|object| quota::used(quota, resource, object, now)).unwrap_or_default();
    used(event.before()) != used(event.after())
}

/// The sum over everything in the namespace.
fn counted(
    quota: &ResourceQuota,
    hard: &BTreeMap<String, Written>,
    namespace: &str,
    view: &Snapshot,
    look: Look<'_>,
) -> BTreeMap<String, Written> {
    let mut sum: Amounts = hard.keys().map(|name| (name.clone(), Quantity::ZERO)).collect();
    for kind in view.kinds() {
        let Some((group, plural)) = resource(kind, view) else { continue };
        let resource = Resource { group: &group, plural: &plural };
        if !quota::counts(hard.keys().map(String::as_str), resource) {
            continue;
        }
        for object in view.list_in(kind, namespace) {
            for (name, amount) in quota::used(quota, resource, object, look.now) {
                *sum.entry(name).or_default() += amount;
            }
        }
    }
    sum.into_iter().map(|(name, amount)| (name, Written(amount.to_string()))).collect()
}

/// What a kind's objects are called: its group and its plural.
fn resource(kind: GroupKind, view: &Snapshot) -> Option<(String, String)> {
    if let Some(known) = catalog::by_kind(kind) {
        return Some((known.names().group.to_owned(), known.names().plural.to_owned()));
    }
    let definitions = view.list(kinds::CUSTOM_RESOURCE_DEFINITION);
    let mut definitions = definitions.filter_map(|object| object.decode::<CustomResourceDefinition>().ok());
    let taught = definitions.find(|it| it.spec.group == kind.group && it.spec.names.kind == kind.kind)?;
    Some((taught.spec.group.clone(), taught.spec.names.plural.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::notation::{check, object};

    fn pod(name: &str, phase: &str) -> Object {
        let resources = json!({"requests": {"cpu": "300m"}});
        let spec = json!({"containers": [{"name": "c", "resources": resources}]});
        object(kinds::POD, &format!("default/{name}"), json!({"spec": spec, "status": {"phase": phase}}))
    }

    fn quota(status: Value) -> Object {
        let hard = json!({"pods": "5", "requests.cpu": "2", "count/configmaps": "1", "count/widgets.acme.io": "1"});
        object(kinds::RESOURCE_QUOTA, "default/team", json!({"spec": {"hard": hard}, "status": status}))
    }

    #[test]
    fn everything_in_the_namespace_is_counted() {
        let other = object(kinds::CONFIG_MAP, "other/c", json!({}));
        let objects = [quota(json!({})), pod("a", "Running"), pod("b", "Pending"), pod("c", "Failed"), other];
        let told = r#"~ResourceQuota team {"count/configmaps":"0","count/widgets.acme.io":"0","pods":"2","requests.cpu":"600m"}"#;
        let view = check(&ResourceQuotas, &objects, objects[0].key(), &["/status/used"], &[told]);
        let again: Vec<Object> = view.list(kinds::RESOURCE_QUOTA).chain(view.list(kinds::POD)).cloned().collect();
        check(&ResourceQuotas, &again, objects[0].key(), &[], &[]);
    }
}
