//! Cluster roles that are made of others: whoever labels a role makes it a part of them.
//!
//! The rules of such a role are those of every other that its selectors choose, by name, each said once. What somebody writes into
//! it by hand does not stay.

use api::selector::LabelSelector;
use api::{Key, Object, kinds};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use state::{Event, Guard, Snapshot};

use crate::edit::replaced;
use crate::{Controller, Look, Plan};

/// The controller that makes them.
pub(crate) struct RoleAggregation;

// === impl RoleAggregation ===

impl Controller for RoleAggregation {
    fn name(&self) -> &'static str {
        "role-aggregation"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        if event.key().kind() != kinds::CLUSTER_ROLE {
            return Vec::new();
        }
        view.list(kinds::CLUSTER_ROLE).filter(|role| is_aggregated(role)).map(|role| role.key().clone()).collect()
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, _look: Look<'_>) -> Plan {
        let Some(role) = view.get(key).filter(|role| is_aggregated(role) && !role.meta().is_terminating()) else {
            return Plan::nothing();
        };
        let parts = parts(role, view);
        let rules = rules(&parts);
        let txn = replaced::<ClusterRole>(role, |role| {
            if role.rules.as_deref().unwrap_or_default() != rules {
                role.rules = Some(rules);
            }
        });
        if txn.is_empty() {
            return Plan::nothing();
        }
        let read = parts.iter().map(|part| Guard::Unchanged(part.key().clone(), part.revision()));
        Plan::of(read.fold(txn, state::Txn::guard))
    }
}

fn is_aggregated(role: &Object) -> bool {
    role.decode::<ClusterRole>().is_ok_and(|role| role.aggregation_rule.is_some())
}

/// The roles that it is made of, for each selector by name, each once.
fn parts<'a>(role: &Object, view: &'a Snapshot) -> Vec<&'a Object> {
    let Ok(typed) = role.decode::<ClusterRole>() else { return Vec::new() };
    let selectors = typed.aggregation_rule.iter().flat_map(|rule| rule.cluster_role_selectors.iter().flatten());
    let mut parts: Vec<&Object> = Vec::new();
    for selector in selectors {
        let selector = LabelSelector::try_from(selector).unwrap_or_else(|_| LabelSelector::nothing());
        let others = view.list(kinds::CLUSTER_ROLE).filter(|other| other.key() != role.key());
        for part in others.filter(|other| selector.matches(&other.meta().labels)) {
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
    }
    parts
}

fn rules(parts: &[&Object]) -> Vec<PolicyRule> {
    let mut rules: Vec<PolicyRule> = Vec::new();
    for part in parts.iter().filter_map(|part| part.decode::<ClusterRole>().ok()) {
        for rule in part.rules.iter().flatten() {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notation::{check, object};
    use serde_json::{Value, json};

    fn role(name: &str, labels: Value, rules: Value) -> Object {
        let metadata = json!({"labels": labels});
        let group = "rbac.authorization.k8s.io/v1";
        object(kinds::CLUSTER_ROLE, name, json!({"apiVersion": group, "metadata": metadata, "rules": rules}))
    }

    fn aggregated(name: &str, label: &str, rules: Value) -> Object {
        let selector = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
        let mut value = role(name, json!({label: "true"}), rules).to_value().expect("JSON");
        value["aggregationRule"] = selector;
        Object::from_value(kinds::CLUSTER_ROLE, &value).expect("an object")
    }

    fn reads(resource: &str) -> Value {
        json!({"apiGroups": [""], "resources": [resource], "verbs": ["get"]})
    }

    #[test]
    fn a_role_is_made_of_those_that_its_selectors_choose() {
        let labels = || json!({"to-view": "true"});
        let whole = aggregated("view", "to-view", json!(null));
        let key = whole.key().clone();
        let parts = [
            role("b", labels(), json!([reads("pods"), reads("services")])),
            role("a", labels(), json!([reads("services")])),
            role("c", json!({}), json!([reads("secrets")])),
        ];
        let told = json!([reads("services"), reads("pods")]);
        let objects: Vec<Object> = parts.into_iter().chain([whole]).collect();
        let view = check(&RoleAggregation, &objects, &key, &["/rules"], &[&format!("~ClusterRole view {told}")]);
        let after: Vec<Object> = view.list(kinds::CLUSTER_ROLE).cloned().collect();
        check(&RoleAggregation, &after, &key, &["/rules"], &[]);
    }

    #[test]
    fn what_is_written_into_it_does_not_stay() {
        let whole = aggregated("view", "to-view", json!([reads("secrets")]));
        check(&RoleAggregation, std::slice::from_ref(&whole), whole.key(), &["/rules"], &["~ClusterRole view []"]);
        let plain = role("plain", json!({}), json!([reads("secrets")]));
        check(&RoleAggregation, std::slice::from_ref(&plain), plain.key(), &["/rules"], &[]);
    }
}
