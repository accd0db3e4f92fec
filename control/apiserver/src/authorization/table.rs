//! What the bindings of a world give, by who has it.
//!
//! A function of four kinds of objects. A question is answered by the few bindings that name the user or one of the groups: no
//! other is looked at, nothing is copied, and the rules are those that the snapshot holds already.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use api::{GroupKind, kinds};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use state::Snapshot;

use super::question::Question;
use super::rule;
use crate::identity::Identity;

/// The kinds that the table is made of.
pub(crate) const SOURCES: [GroupKind; 4] =
    [kinds::CLUSTER_ROLE, kinds::CLUSTER_ROLE_BINDING, kinds::ROLE, kinds::ROLE_BINDING];
/// What the user name of a service account begins with.
pub(crate) const ACCOUNT_USER: &str = "system:serviceaccount:";

/// Everything that bindings give.
#[derive(Default)]
pub(crate) struct Table {
    users: HashMap<String, Grants>,
    groups: HashMap<String, Grants>,
}

/// What one user or group has.
#[derive(Default)]
struct Grants {
    everywhere: Vec<Grant>,
    by_namespace: HashMap<String, Vec<Grant>>,
}

/// What one binding gives one of its subjects.
#[derive(Clone)]
pub(crate) struct Grant {
    binding: Binding,
    /// Which of the binding's subjects.
    subject: usize,
    rules: Rules,
}

#[derive(Clone)]
enum Binding {
    Cluster(Arc<ClusterRoleBinding>),
    Namespaced(Arc<RoleBinding>),
}

/// The rules of a role, as the snapshot holds them.
#[derive(Clone)]
pub(crate) enum Rules {
    Cluster(Arc<ClusterRole>),
    Namespaced(Arc<Role>),
    /// There is no such role.
    Missing,
}

// === impl Table ===

impl Table {
    /// What one of the bindings allows of a question, if any does.
    pub(crate) fn allows(&self, who: &Identity, question: &Question) -> Option<&Grant> {
        let mut grants = self.grants(who, question.namespace());
        grants.find(|grant| grant.rules.list().iter().any(|rule| rule::allows(rule, question)))
    }

    /// All rules that somebody has in a namespace, or of what is in none.
    pub(crate) fn rules<'t, 'q>(
        &'t self,
        who: &'q Identity,
        namespace: &'q str,
    ) -> impl Iterator<Item = &'t PolicyRule> + Clone {
        self.grants(who, namespace).flat_map(|grant| grant.rules.list())
    }

    /// The roles that somebody was given in a namespace although they are not there, each told once; empty if there are none.
    pub(crate) fn missing(&self, who: &Identity, namespace: &str) -> String {
        let mut told: Vec<String> = Vec::new();
        for grant in self.grants(who, namespace).filter(|grant| matches!(grant.rules, Rules::Missing)) {
            let missing = not_found(grant.role());
            if !told.contains(&missing) {
                told.push(missing);
            }
        }
        match told.as_slice() {
            [] => String::new(),
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        }
    }

    fn grants<'t, 'q>(&'t self, who: &'q Identity, namespace: &'q str) -> impl Iterator<Item = &'t Grant> + Clone {
        let user = self.users.get(&who.user).into_iter();
        let all = user.chain(who.groups.iter().filter_map(|group| self.groups.get(group)));
        let within = all.clone().filter_map(move |grants| grants.by_namespace.get(namespace)).flatten();
        all.flat_map(|grants| &grants.everywhere).chain(within)
    }

    fn learn(&mut self, binding: &Binding, rules: &Rules) {
        let namespace = binding.namespace();
        for (index, subject) in binding.subjects().iter().enumerate() {
            let of_account =
                subject.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or(namespace);
            let grants = match subject.kind.as_str() {
                "User" => self.users.entry(subject.name.clone()).or_default(),
                "Group" => self.groups.entry(subject.name.clone()).or_default(),
                "ServiceAccount" if !of_account.is_empty() => {
                    self.users.entry(format!("{ACCOUNT_USER}{of_account}:{}", subject.name)).or_default()
                }
                _ => continue,
            };
            let grant = Grant { binding: binding.clone(), subject: index, rules: rules.clone() };
            match binding {
                Binding::Cluster(_) => grants.everywhere.push(grant),
                Binding::Namespaced(_) => grants.by_namespace.entry(namespace.into()).or_default().push(grant),
            }
        }
    }
}

impl From<&Snapshot> for Table {
    fn from(view: &Snapshot) -> Self {
        let mut table = Self::default();
        for object in view.list(kinds::CLUSTER_ROLE_BINDING) {
            let Ok(binding) = object.decode::<ClusterRoleBinding>() else { continue };
            let rules = Rules::of(&binding.role_ref, "", view);
            table.learn(&Binding::Cluster(binding), &rules);
        }
        for object in view.list(kinds::ROLE_BINDING) {
            let Ok(binding) = object.decode::<RoleBinding>() else { continue };
            let rules = Rules::of(&binding.role_ref, object.key().namespace(), view);
            table.learn(&Binding::Namespaced(binding), &rules);
        }
        table
    }
}

// === impl Grant ===

impl Grant {
    fn role(&self) -> &RoleRef {
        match &self.binding {
            Binding::Cluster(binding) => &binding.role_ref,
            Binding::Namespaced(binding) => &binding.role_ref,
        }
    }
}

/// As reviews tell why something is allowed.
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RoleRef { kind, name: role, .. } = self.role();
        match &self.binding {
            Binding::Cluster(binding) => {
                let name = binding.metadata.name.as_deref().unwrap_or_default();
                write!(f, "ClusterRoleBinding {name:?} of {kind} {role:?} to ")?;
            }
            Binding::Namespaced(binding) => {
                let name = binding.metadata.name.as_deref().unwrap_or_default();
                let name = format!("{name}/{}", self.binding.namespace());
                write!(f, "RoleBinding {name:?} of {kind} {role:?} to ")?;
            }
        }
        let Some(Subject { kind, name, namespace, .. }) = self.binding.subjects().get(self.subject) else {
            return Ok(());
        };
        match kind.as_str() {
            "ServiceAccount" => {
                let own = namespace.as_deref().filter(|namespace| !namespace.is_empty());
                let name = format!("{name}/{}", own.unwrap_or(self.binding.namespace()));
                write!(f, "{kind} {name:?}")
            }
            _ => write!(f, "{kind} {name:?}"),
        }
    }
}

// === impl Binding ===

impl Binding {
    fn namespace(&self) -> &str {
        match self {
            Self::Cluster(_) => "",
            Self::Namespaced(binding) => binding.metadata.namespace.as_deref().unwrap_or_default(),
        }
    }

    fn subjects(&self) -> &[Subject] {
        let subjects = match self {
            Self::Cluster(binding) => &binding.subjects,
            Self::Namespaced(binding) => &binding.subjects,
        };
        subjects.as_deref().unwrap_or_default()
    }
}

// === impl Rules ===

impl Rules {
    /// The rules of the role that a binding in `namespace` gives.
    pub(crate) fn of(role: &RoleRef, namespace: &str, view: &Snapshot) -> Self {
        match role.kind.as_str() {
            "ClusterRole" => {
                let object = view.get(&kinds::CLUSTER_ROLE.cluster_key(&role.name));
                object.and_then(|object| object.decode().ok()).map_or(Self::Missing, Self::Cluster)
            }
            _ => {
                let object = view.get(&kinds::ROLE.key(namespace, &role.name));
                object.and_then(|object| object.decode().ok()).map_or(Self::Missing, Self::Namespaced)
            }
        }
    }

    /// The rules; none of a role that is not there.
    pub(crate) fn list(&self) -> &[PolicyRule] {
        let rules = match self {
            Self::Cluster(role) => &role.rules,
            Self::Namespaced(role) => &role.rules,
            Self::Missing => &None,
        };
        rules.as_deref().unwrap_or_default()
    }
}

/// As it is told that a role is not there.
pub(crate) fn not_found(role: &RoleRef) -> String {
    format!("{}.{} {:?} not found", role.kind.to_lowercase(), role.api_group, role.name)
}

#[cfg(test)]
mod tests;
