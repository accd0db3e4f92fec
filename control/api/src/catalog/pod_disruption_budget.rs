//! How many pods may be missing at one time.

use jiff::Timestamp;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::{AGE, NAME, integer, text};
use crate::rules::{self, Causes};
use crate::{Column, Names, Resource, Scope, Subresource, cells};

/// The kind.
#[derive(Debug)]
pub struct PodDisruptionBudgets;

const EVICTION_POLICIES: &[&str] = &["AlwaysAllow", "IfHealthyBudget"];

impl Resource for PodDisruptionBudgets {
    type Object = PodDisruptionBudget;

    const NAMES: &'static Names = &Names {
        group: "policy",
        version: "v1",
        kind: "PodDisruptionBudget",
        plural: "poddisruptionbudgets",
        singular: "poddisruptionbudget",
        short: &["pdb"],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COUNTS_GENERATIONS: bool = true;
    const UPDATES_BLINDLY: bool = false;
    const COLUMNS: &'static [Column] = &[
        NAME,
        text("Min Available", "How many pods must be there."),
        text("Max Unavailable", "How many pods may be missing."),
        integer("Allowed Disruptions", "How many pods may go now."),
        AGE,
    ];

    fn validate(budget: &PodDisruptionBudget, causes: &mut Causes) {
        let Some(spec) = &budget.spec else { return };
        let (least, most) = (spec.min_available.as_ref(), spec.max_unavailable.as_ref());
        if least.is_some() && most.is_some() {
            causes.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set");
        }
        rules::share("spec.minAvailable", least, causes);
        rules::share("spec.maxUnavailable", most, causes);
        if let Some(selector) = &spec.selector {
            rules::selector("spec.selector", selector, causes);
        }
        let policy = spec.unhealthy_pod_eviction_policy.as_deref();
        if let Some(policy) = policy.filter(|policy| !EVICTION_POLICIES.contains(policy)) {
            causes.unsupported("spec.unhealthyPodEvictionPolicy", policy, EVICTION_POLICIES);
        }
    }

    fn cells(budget: &PodDisruptionBudget, now: Timestamp) -> Vec<Value> {
        let spec = budget.spec.as_ref();
        let allowed = budget.status.as_ref().map_or(0, |status| status.disruptions_allowed);
        vec![
            cells::name(&budget.metadata),
            written(spec.and_then(|spec| spec.min_available.as_ref())),
            written(spec.and_then(|spec| spec.max_unavailable.as_ref())),
            allowed.into(),
            cells::age(&budget.metadata, now),
        ]
    }
}

fn written(share: Option<&IntOrString>) -> Value {
    match share {
        None => "N/A".into(),
        Some(IntOrString::Int(count)) => count.to_string().into(),
        Some(IntOrString::String(text)) => text.as_str().into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::POD_DISRUPTION_BUDGET as BUDGET;

    fn budget() -> Value {
        json!({"metadata": {"name": "web"}, "spec": {"minAvailable": "50%", "selector": {"matchLabels": {"app": "web"}}}})
    }

    #[test]
    fn what_breaks_a_rule_is_told() {
        let check = |path: &str, wrong: Value, expect: &str| assert_eq!(refusal(BUDGET, budget(), path, wrong), expect);
        check(
            "/spec/minAvailable",
            json!("150%"),
            "spec.minAvailable: Invalid value: \"150%\": must not be greater than 100%",
        );
        check(
            "/spec/minAvailable",
            json!(-1),
            "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0",
        );
        check(
            "/spec/minAvailable",
            json!("half"),
            "spec.minAvailable: Invalid value: \"half\": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        );
        check(
            "/spec/unhealthyPodEvictionPolicy",
            json!("Never"),
            "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Never\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
        );
        let both = refusal(BUDGET, budget(), "/spec/maxUnavailable", json!(1));
        assert!(both.ends_with(": minAvailable and maxUnavailable cannot be both set"), "{both}");
    }

    #[test]
    fn a_row_tells_what_may_go() {
        let budget = completed(BUDGET, budget());
        assert_eq!(row(BUDGET, &budget), json!(["web", "50%", "N/A", 0, "5m3s"]));
        let most = plus(budget, "/spec", json!({"maxUnavailable": 2}));
        let told = json!({"disruptionsAllowed": 2, "currentHealthy": 3, "desiredHealthy": 1, "expectedPods": 3});
        assert_eq!(row(BUDGET, &plus(most, "/status", told)), json!(["web", "N/A", "2", 2, "5m3s"]));
    }
}
