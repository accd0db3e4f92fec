//! What roles allow, and to whom bindings give them.

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};

use super::{Causes, NameRule};
use crate::Scope;

/// The group that roles, users and groups of users are of.
pub const RBAC: &str = "rbac.authorization.k8s.io";

/// Everything wrong with the rules of a role of this scope.
pub fn policy_rules(rules: Option<&[PolicyRule]>, scope: Scope, causes: &mut Causes) {
    let is_empty = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    for (index, rule) in rules.into_iter().flatten().enumerate() {
        let path = format!("rules[{index}]");
        if rule.verbs.is_empty() {
            causes.required(format!("{path}.verbs"), "verbs must contain at least one value");
        }
        if !is_empty(&rule.non_resource_urls) {
            let path = format!("{path}.nonResourceURLs");
            if scope == Scope::Namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                causes.invalid(&path, &rule.non_resource_urls, detail);
            }
            if !is_empty(&rule.api_groups) || !is_empty(&rule.resources) || !is_empty(&rule.resource_names) {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                causes.invalid(&path, &rule.non_resource_urls, detail);
            }
            continue;
        }
        if is_empty(&rule.api_groups) {
            causes.required(format!("{path}.apiGroups"), "resource rules must supply at least one api group");
        }
        if is_empty(&rule.resources) {
            causes.required(format!("{path}.resources"), "resource rules must supply at least one resource");
        }
    }
}

/// Fills in what the role and the subjects of a binding leave out.
pub fn default_binding(role: &mut RoleRef, subjects: Option<&mut Vec<Subject>>) {
    if role.api_group.is_empty() {
        role.api_group = RBAC.into();
    }
    for subject in subjects.into_iter().flatten() {
        if matches!(subject.kind.as_str(), "User" | "Group") && subject.api_group.as_deref().is_none_or(str::is_empty) {
            subject.api_group = Some(RBAC.into());
        }
    }
}

/// Everything wrong with the role and the subjects of a binding of this scope.
pub fn binding(role: &RoleRef, subjects: Option<&[Subject]>, scope: Scope, causes: &mut Causes) {
    if role.api_group != RBAC {
        causes.unsupported("roleRef.apiGroup", &role.api_group, &[RBAC]);
    }
    let kinds: &[&str] = match scope {
        Scope::Namespaced => &["Role", "ClusterRole"],
        Scope::Cluster => &["ClusterRole"],
    };
    if !kinds.contains(&role.kind.as_str()) {
        causes.unsupported("roleRef.kind", &role.kind, kinds);
    }
    if role.name.is_empty() {
        causes.required("roleRef.name", "");
    } else {
        NameRule::PathSegment.check("roleRef.name", &role.name, causes);
    }
    for (index, subject) in subjects.into_iter().flatten().enumerate() {
        validate_subject(&format!("subjects[{index}]"), subject, scope, causes);
    }
}

fn validate_subject(path: &str, subject: &Subject, scope: Scope, causes: &mut Causes) {
    if subject.name.is_empty() {
        causes.required(format!("{path}.name"), "");
    }
    let group = subject.api_group.as_deref().unwrap_or_default();
    match subject.kind.as_str() {
        "ServiceAccount" => {
            if !subject.name.is_empty() {
                NameRule::Subdomain.check(&format!("{path}.name"), &subject.name, causes);
            }
            if !group.is_empty() {
                causes.unsupported(format!("{path}.apiGroup"), group, &[""]);
            }
            if scope == Scope::Cluster && subject.namespace.as_deref().is_none_or(str::is_empty) {
                causes.required(format!("{path}.namespace"), "");
            }
        }
        "User" | "Group" => {
            if group != RBAC {
                causes.unsupported(format!("{path}.apiGroup"), group, &[RBAC]);
            }
        }
        other => causes.unsupported(format!("{path}.kind"), other, &["ServiceAccount", "User", "Group"]),
    }
}

/// What a binding gives never changes; who has it may.
pub fn same_role(role: &RoleRef, old: &RoleRef, causes: &mut Causes) {
    if role != old {
        let told = format!("rbac.RoleRef{{APIGroup:{:?}, Kind:{:?}, Name:{:?}}}", role.api_group, role.kind, role.name);
        causes.invalid_go("roleRef", &told, "cannot change roleRef");
    }
}
