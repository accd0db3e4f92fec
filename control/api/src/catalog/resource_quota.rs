//! How much a namespace may have.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaSpec, ScopedResourceSelectorRequirement};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use serde_json::Value;

use super::{AGE, NAME, text};
use crate::rules::{self, Budget, Causes};
use crate::{Column, Names, Resource, Scope, Subresource, cells};

/// The kind.
#[derive(Debug)]
pub struct ResourceQuotas;

const SCOPES: &[&str] =
    &["BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating"];

impl Resource for ResourceQuotas {
    type Object = ResourceQuota;

    const NAMES: &'static Names = &Names {
        group: "",
        version: "v1",
        kind: "ResourceQuota",
        plural: "resourcequotas",
        singular: "resourcequota",
        short: &["quota"],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COLUMNS: &'static [Column] = &[
        NAME,
        text("Request", "What is used, of what may be asked for."),
        text("Limit", "What is used, of what may be had at most."),
        AGE,
    ];

    fn validate(quota: &ResourceQuota, causes: &mut Causes) {
        let Some(spec) = &quota.spec else { return };
        rules::resources("spec.hard", spec.hard.as_ref(), Budget::Quota, causes);
        let scopes = spec.scopes.as_deref().unwrap_or_default();
        let listed = listed(scopes);
        if scopes.iter().any(|scope| !SCOPES.contains(&scope.as_str())) {
            causes.invalid_go("spec.scopes", &listed, "unsupported scope");
        }
        for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
            let has = |wanted: &str| scopes.iter().any(|scope| scope == wanted);
            if has(one) && has(other) {
                causes.invalid_go("spec.scopes", &listed, "conflicting scopes");
            }
        }
        let asked = spec.scope_selector.as_ref().and_then(|selector| selector.match_expressions.as_deref());
        for (index, wanted) in asked.into_iter().flatten().enumerate() {
            validate_scope(&format!("spec.scopeSelector.matchExpressions[{index}]"), wanted, causes);
        }
    }

    fn validate_update(quota: &ResourceQuota, old: &ResourceQuota, causes: &mut Causes) {
        let sorted = |quota: &ResourceQuota| {
            let mut scopes = quota.spec.as_ref().and_then(|spec| spec.scopes.clone()).unwrap_or_default();
            scopes.sort();
            scopes
        };
        if sorted(quota) != sorted(old) {
            let scopes = quota.spec.as_ref().and_then(|spec| spec.scopes.as_deref()).unwrap_or_default();
            causes.invalid_go("spec.scopes", &listed(scopes), "field is immutable");
        }
    }

    fn cells(quota: &ResourceQuota, now: Timestamp) -> Vec<Value> {
        let (limits, requests) = shares(quota);
        vec![cells::name(&quota.metadata), requests.into(), limits.into(), cells::age(&quota.metadata, now)]
    }
}

/// Scopes as Go prints them.
fn listed(scopes: &[String]) -> String {
    let scopes: Vec<String> = scopes.iter().map(|scope| format!("{scope:?}")).collect();
    format!("[]core.ResourceQuotaScope{{{}}}", scopes.join(", "))
}

fn validate_scope(path: &str, wanted: &ScopedResourceSelectorRequirement, causes: &mut Causes) {
    if !SCOPES.contains(&wanted.scope_name.as_str()) {
        causes.invalid(format!("{path}.scopeName"), &wanted.scope_name, "unsupported scope");
    }
    let values = wanted.values.as_deref().unwrap_or_default();
    match wanted.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            causes.required(format!("{path}.values"), detail);
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector";
            causes.invalid(format!("{path}.values"), values, detail);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => causes.invalid(format!("{path}.operator"), other, "not a valid selector operator"),
    }
}

/// What is used of what there may be: `limits.…` apart from all else.
fn shares(quota: &ResourceQuota) -> (String, String) {
    let none = ResourceQuotaSpec::default();
    let status = quota.status.as_ref();
    let nothing = BTreeMap::new();
    let hard = status.and_then(|status| status.hard.as_ref());
    let hard = hard.or(quota.spec.as_ref().unwrap_or(&none).hard.as_ref()).unwrap_or(&nothing);
    let used = status.and_then(|status| status.used.as_ref()).unwrap_or(&nothing);
    let share = |(name, most): (&String, &Written)| {
        let used = used.get(name).map_or("0", |used| used.0.as_str());
        format!("{name}: {used}/{}", most.0)
    };
    let (limits, requests): (Vec<_>, Vec<_>) = hard.iter().partition(|(name, _)| name.starts_with("limits"));
    let joined = |shares: Vec<(&String, &Written)>| shares.into_iter().map(share).collect::<Vec<_>>().join(", ");
    (joined(limits), joined(requests))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::RESOURCE_QUOTA as QUOTA;

    fn quota() -> Value {
        json!({"metadata": {"name": "team"}, "spec": {"hard": {"pods": "10", "requests.cpu": "2", "limits.cpu": "4", "count/jobs.batch": "5"}}})
    }

    #[test]
    fn a_row_tells_what_is_used() {
        let stored = completed(QUOTA, quota());
        let row_of = |value: &Value| row(QUOTA, value);
        assert_eq!(
            row_of(&stored),
            json!(["team", "count/jobs.batch: 0/5, pods: 0/10, requests.cpu: 0/2", "limits.cpu: 0/4", "5m3s"])
        );
        let used = plus(stored, "/status", json!({"hard": {"pods": "10"}, "used": {"pods": "3"}}));
        assert_eq!(row_of(&used), json!(["team", "pods: 3/10", "", "5m3s"]));
    }

    #[test]
    fn what_breaks_a_rule_is_told() {
        let check = |path: &str, wrong: Value, expect: &str| assert_eq!(refusal(QUOTA, quota(), path, wrong), expect);
        check(
            "/spec/hard/pods",
            json!("-1"),
            "spec.hard[pods]: Invalid value: \"-1\": must be greater than or equal to 0",
        );
        check("/spec/hard/pods", json!("1500m"), "spec.hard[pods]: Invalid value: \"1500m\": must be an integer");
        check(
            "/spec/hard",
            json!({"unicorns": "1"}),
            "[spec.hard[unicorns]: Invalid value: \"unicorns\": must be a standard resource type or fully qualified, spec.hard[unicorns]: Invalid value: \"unicorns\": must be a standard resource for quota]",
        );
        check(
            "/spec/scopes",
            json!(["Loud"]),
            "spec.scopes: Invalid value: []core.ResourceQuotaScope{\"Loud\"}: unsupported scope",
        );
        check(
            "/spec/scopes",
            json!(["BestEffort", "NotBestEffort"]),
            "spec.scopes: Invalid value: []core.ResourceQuotaScope{\"BestEffort\", \"NotBestEffort\"}: conflicting scopes",
        );
        check(
            "/spec/scopeSelector",
            json!({"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}),
            "spec.scopeSelector.matchExpressions[0].values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
        );
        let old = created(QUOTA, quota());
        assert_eq!(
            refused_change(&old, "/spec/scopes", json!(["Terminating"])),
            "spec.scopes: Invalid value: []core.ResourceQuotaScope{\"Terminating\"}: field is immutable"
        );
    }
}
