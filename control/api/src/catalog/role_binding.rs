//! Who may do in a namespace what a role allows.

use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::RoleBinding;
use serde_json::Value;

use super::BINDING;
use crate::rules::{self, Causes, NameRule};
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct RoleBindings;

impl Resource for RoleBindings {
    type Object = RoleBinding;

    const NAMES: &'static Names = &Names {
        group: rules::RBAC,
        version: "v1",
        kind: "RoleBinding",
        plural: "rolebindings",
        singular: "rolebinding",
        short: &[],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const COLUMNS: &'static [Column] = BINDING;

    fn default(binding: &mut RoleBinding) {
        rules::default_binding(&mut binding.role_ref, binding.subjects.as_mut());
    }

    fn validate(binding: &RoleBinding, causes: &mut Causes) {
        rules::binding(&binding.role_ref, binding.subjects.as_deref(), Scope::Namespaced, causes);
    }

    fn validate_update(binding: &RoleBinding, old: &RoleBinding, causes: &mut Causes) {
        rules::same_role(&binding.role_ref, &old.role_ref, causes);
    }

    fn cells(binding: &RoleBinding, now: Timestamp) -> Vec<Value> {
        cells::binding(&binding.metadata, &binding.role_ref, binding.subjects.as_deref(), now)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::ROLE_BINDING as BINDING;

    fn binding() -> Value {
        let subjects = json!([{"kind": "User", "name": "jane"}, {"kind": "ServiceAccount", "name": "robot", "namespace": "shop"}, {"kind": "Group", "name": "ops"}]);
        json!({"metadata": {"name": "readers"}, "roleRef": {"kind": "Role", "name": "reader"}, "subjects": subjects})
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let binding = completed(BINDING, binding());
        let groups: Vec<Option<&str>> =
            binding["subjects"].as_array().expect("subjects").iter().map(|one| one["apiGroup"].as_str()).collect();
        assert_eq!(
            (&binding["roleRef"]["apiGroup"], groups),
            (&json!(rules::RBAC), vec![Some(rules::RBAC), None, Some(rules::RBAC)])
        );
        assert_eq!(row(BINDING, &binding), json!(["readers", "Role/reader", "5m3s", "jane", "ops", "shop/robot"]));
    }

    #[test]
    fn what_breaks_a_rule_is_told() {
        let check =
            |path: &str, wrong: Value, expect: &str| assert_eq!(refusal(BINDING, binding(), path, wrong), expect);
        check(
            "/roleRef/kind",
            json!("User"),
            "roleRef.kind: Unsupported value: \"User\": supported values: \"Role\", \"ClusterRole\"",
        );
        check("/roleRef/name", json!(""), "roleRef.name: Required value");
        check(
            "/roleRef/apiGroup",
            json!("apps"),
            "roleRef.apiGroup: Unsupported value: \"apps\": supported values: \"rbac.authorization.k8s.io\"",
        );
        check(
            "/subjects/0/kind",
            json!("Robot"),
            "subjects[0].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
        );
        check("/subjects/0/name", json!(""), "subjects[0].name: Required value");
        let old = created(BINDING, binding());
        assert_eq!(
            refused_change(&old, "/roleRef/name", json!("writer")),
            "roleRef: Invalid value: rbac.RoleRef{APIGroup:\"rbac.authorization.k8s.io\", Kind:\"Role\", Name:\"writer\"}: cannot change roleRef"
        );
        assert!(update(&old, with(&old, &[("/subjects", json!([]))])).is_ok());
    }
}
