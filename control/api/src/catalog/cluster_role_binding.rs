//! Who may do everywhere what a role allows.

use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use serde_json::Value;

use super::BINDING;
use crate::rules::{self, Causes, NameRule};
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct ClusterRoleBindings;

impl Resource for ClusterRoleBindings {
    type Object = ClusterRoleBinding;

    const NAMES: &'static Names = &Names {
        group: rules::RBAC,
        version: "v1",
        kind: "ClusterRoleBinding",
        plural: "clusterrolebindings",
        singular: "clusterrolebinding",
        short: &[],
        categories: &[],
        scope: Scope::Cluster,
    };
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const COLUMNS: &'static [Column] = BINDING;

    fn default(binding: &mut ClusterRoleBinding) {
        rules::default_binding(&mut binding.role_ref, binding.subjects.as_mut());
    }

    fn validate(binding: &ClusterRoleBinding, causes: &mut Causes) {
        rules::binding(&binding.role_ref, binding.subjects.as_deref(), Scope::Cluster, causes);
    }

    fn validate_update(binding: &ClusterRoleBinding, old: &ClusterRoleBinding, causes: &mut Causes) {
        rules::same_role(&binding.role_ref, &old.role_ref, causes);
    }

    fn cells(binding: &ClusterRoleBinding, now: Timestamp) -> Vec<Value> {
        cells::binding(&binding.metadata, &binding.role_ref, binding.subjects.as_deref(), now)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::testing::*;
    use crate::kinds::CLUSTER_ROLE_BINDING as BINDING;

    #[test]
    fn what_breaks_a_rule_is_told() {
        let subjects = json!([{"kind": "ServiceAccount", "name": "robot", "namespace": "shop"}]);
        let binding = || json!({"metadata": {"name": "readers"}, "roleRef": {"kind": "ClusterRole", "name": "reader"}, "subjects": subjects});
        let check =
            |path: &str, wrong: Value, expect: &str| assert_eq!(refusal(BINDING, binding(), path, wrong), expect);
        assert_eq!(row(BINDING, &completed(BINDING, binding()))[1], json!("ClusterRole/reader"));
        check(
            "/roleRef/kind",
            json!("Role"),
            "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"",
        );
        check("/subjects/0/namespace", json!(""), "subjects[0].namespace: Required value");
        check(
            "/subjects/0/name",
            json!("Robot"),
            "subjects[0].name: Invalid value: \"Robot\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        );
    }
}
