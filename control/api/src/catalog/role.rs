//! What may be done in a namespace.

use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::Role;
use serde_json::Value;

use super::{CREATED_AT, NAME};
use crate::rules::{self, Causes, NameRule};
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct Roles;

impl Resource for Roles {
    type Object = Role;

    const NAMES: &'static Names = &Names {
        group: rules::RBAC,
        version: "v1",
        kind: "Role",
        plural: "roles",
        singular: "role",
        short: &[],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const COLUMNS: &'static [Column] = &[NAME, CREATED_AT];

    fn validate(role: &Role, causes: &mut Causes) {
        rules::policy_rules(role.rules.as_deref(), Scope::Namespaced, causes);
    }

    fn cells(role: &Role, _now: Timestamp) -> Vec<Value> {
        vec![cells::name(&role.metadata), cells::created_at(&role.metadata)]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::ROLE;

    fn role() -> Value {
        json!({"metadata": {"name": "system:Reader"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]})
    }

    #[test]
    fn what_breaks_a_rule_is_told() {
        let check = |path: &str, wrong: Value, expect: &str| assert_eq!(refusal(ROLE, role(), path, wrong), expect);
        check("/rules/0/verbs", json!([]), "rules[0].verbs: Required value: verbs must contain at least one value");
        check(
            "/rules/0/apiGroups",
            json!([]),
            "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
        );
        check(
            "/rules/0/resources",
            json!([]),
            "rules[0].resources: Required value: resource rules must supply at least one resource",
        );
        check(
            "/rules/0",
            json!({"verbs": ["get"], "nonResourceURLs": ["/metrics"]}),
            "rules[0].nonResourceURLs: Invalid value: []string{\"/metrics\"}: namespaced rules cannot apply to non-resource URLs",
        );
        check("/metadata/name", json!("a/b"), "metadata.name: Invalid value: \"a/b\": may not contain '/'");
    }

    #[test]
    fn a_row_tells_when_it_was_made() {
        assert_eq!(row(ROLE, &completed(ROLE, role())), json!(["system:Reader", "2026-11-21T05:13:14Z"]));
    }
}
