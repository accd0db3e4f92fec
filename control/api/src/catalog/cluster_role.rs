//! What may be done in every namespace, and with what is in none.

use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::ClusterRole;
use serde_json::Value;

use super::{CREATED_AT, NAME};
use crate::rules::{self, Causes, NameRule};
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct ClusterRoles;

impl Resource for ClusterRoles {
    type Object = ClusterRole;

    const NAMES: &'static Names = &Names {
        group: rules::RBAC,
        version: "v1",
        kind: "ClusterRole",
        plural: "clusterroles",
        singular: "clusterrole",
        short: &[],
        categories: &[],
        scope: Scope::Cluster,
    };
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const COLUMNS: &'static [Column] = &[NAME, CREATED_AT];

    fn validate(role: &ClusterRole, causes: &mut Causes) {
        rules::policy_rules(role.rules.as_deref(), Scope::Cluster, causes);
        let parts = role.aggregation_rule.as_ref().and_then(|rule| rule.cluster_role_selectors.as_deref());
        if role.aggregation_rule.is_some() && parts.is_none_or(<[_]>::is_empty) {
            let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            causes.required("aggregationRule.clusterRoleSelectors", detail);
        }
        for (index, selector) in parts.into_iter().flatten().enumerate() {
            rules::selector(&format!("aggregationRule.clusterRoleSelectors[{index}]"), selector, causes);
        }
    }

    fn cells(role: &ClusterRole, _now: Timestamp) -> Vec<Value> {
        vec![cells::name(&role.metadata), cells::created_at(&role.metadata)]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::CLUSTER_ROLE;

    #[test]
    fn what_breaks_a_rule_is_told() {
        let role = || json!({"metadata": {"name": "all"}, "rules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]});
        let check =
            |path: &str, wrong: Value, expect: &str| assert_eq!(refusal(CLUSTER_ROLE, role(), path, wrong), expect);
        assert_eq!(completed(CLUSTER_ROLE, role())["metadata"].get("namespace"), None);
        check(
            "/rules/0/resources",
            json!(["pods"]),
            "rules[0].nonResourceURLs: Invalid value: []string{\"*\"}: rules cannot apply to both regular resources and non-resource URLs",
        );
        check(
            "/aggregationRule",
            json!({}),
            "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil",
        );
    }
}
