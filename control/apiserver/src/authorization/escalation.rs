//! Nobody gives rights that they do not have.
//!
//! Whoever writes a role has to have all that it allows, or the right to `escalate`; whoever writes a binding has to have all that
//! its role allows, or the right to `bind` that role. An aggregated role may come to allow anything: it takes all rights there are.

use api::{Details, GroupKind, Object, Reason, StatusError, kinds};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role, RoleRef};
use serde::Deserialize;
use serde_json::Value;
use state::Snapshot;

use super::defaults::{at, on};
use super::question::{Question, Resource};
use super::rule::{Told, compact, quoted, uncovered};
use super::table::{Rules, not_found};
use super::{Authorizer, forbidden};
use crate::identity::Identity;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Whether somebody may write `new` where `old` is; none where there is nothing.
pub(crate) fn check(
    authorizer: &Authorizer,
    world: &Snapshot,
    who: &Identity,
    old: Option<&Object>,
    new: &Object,
) -> Result<(), StatusError> {
    const JUDGED: [GroupKind; 4] = [kinds::ROLE, kinds::CLUSTER_ROLE, kinds::ROLE_BINDING, kinds::CLUSTER_ROLE_BINDING];
    let kind = new.key().kind();
    if !JUDGED.contains(&kind) || who.is_master() || old.is_some_and(|old| is_same_but_for_the_collector(old, new)) {
        return Ok(());
    }
    let judge = Judge { authorizer, world, who, namespace: new.key().namespace(), name: new.key().name() };
    let named = if old.is_some() { judge.name } else { "" };
    match kind {
        kinds::ROLE if !judge.may("escalate", "roles", named) => {
            let role = new.decode::<Role>().map_err(StatusError::internal)?;
            judge.holds("roles", role.rules.as_deref().unwrap_or_default())
        }
        kinds::CLUSTER_ROLE if !judge.may("escalate", "clusterroles", named) => judge.cluster_role(old, new),
        kinds::ROLE_BINDING => judge.binding("rolebindings", new),
        kinds::CLUSTER_ROLE_BINDING => judge.binding("clusterrolebindings", new),
        _ => Ok(()),
    }
}

/// Who writes what.
struct Judge<'a> {
    authorizer: &'a Authorizer,
    world: &'a Snapshot,
    who: &'a Identity,
    namespace: &'a str,
    name: &'a str,
}

// === impl Judge ===

impl Judge<'_> {
    fn may(&self, verb: &str, resource: &str, name: &str) -> bool {
        let role = Resource::new(GROUP, resource).within(self.namespace).named(name);
        self.authorizer.decide(self.world, self.who, &Question::of_resource(verb, role)).is_yes()
    }

    fn cluster_role(&self, old: Option<&Object>, new: &Object) -> Result<(), StatusError> {
        let role = new.decode::<ClusterRole>().map_err(StatusError::internal)?;
        self.holds("clusterroles", role.rules.as_deref().unwrap_or_default())?;
        let was_aggregated =
            old.is_some_and(|old| old.decode::<ClusterRole>().is_ok_and(|old| old.aggregation_rule.is_some()));
        let everything = [on("*", "*", "*"), at("*", "*")];
        if (role.aggregation_rule.is_some() || was_aggregated) && !self.missing(&everything).is_empty() {
            let why = "must have cluster-admin privileges to use the aggregationRule";
            return Err(forbidden(GROUP, "clusterroles", self.name, why));
        }
        Ok(())
    }

    fn binding(&self, resource: &str, new: &Object) -> Result<(), StatusError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Binding {
            role_ref: RoleRef,
        }
        let Binding { role_ref } = serde_json::from_slice(new.body()).map_err(StatusError::internal)?;
        let roles = if role_ref.kind == "ClusterRole" { "clusterroles" } else { "roles" };
        if self.may("bind", roles, &role_ref.name) {
            return Ok(());
        }
        match Rules::of(&role_ref, self.namespace, self.world) {
            Rules::Missing => Err(no_role(&role_ref)),
            rules => self.holds(resource, rules.list()),
        }
    }

    fn missing(&self, wanted: &[PolicyRule]) -> Vec<PolicyRule> {
        let table = self.authorizer.table(self.world);
        uncovered(table.rules(self.who, self.namespace), wanted)
    }

    /// Refuses to give what the one who gives does not have.
    fn holds(&self, resource: &str, wanted: &[PolicyRule]) -> Result<(), StatusError> {
        let mut missing: Vec<String> =
            compact(self.missing(wanted)).iter().map(|rule| Told(rule).to_string()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        missing.sort();
        missing.dedup();
        let unresolved = match self.authorizer.table(self.world).missing(self.who, self.namespace) {
            none if none.is_empty() => none,
            roles => format!("; resolution errors: [{roles}]"),
        };
        let why = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}{unresolved}",
            self.who.user,
            quoted(&self.who.groups),
            missing.join("\n")
        );
        Err(forbidden(GROUP, resource, self.name, &why))
    }
}

/// Whoever collects garbage gives nobody anything.
fn is_same_but_for_the_collector(old: &Object, new: &Object) -> bool {
    let without = |object: &Object| {
        let mut value: Value = serde_json::from_slice(object.body()).ok()?;
        let metadata = value.get_mut("metadata")?.as_object_mut()?;
        for member in ["ownerReferences", "finalizers", "managedFields"] {
            metadata.remove(member);
        }
        Some(value)
    };
    matches!((without(old), without(new)), (Some(old), Some(new)) if old == new)
}

fn no_role(role: &RoleRef) -> StatusError {
    let details =
        Details { name: role.name.clone(), group: GROUP.into(), kind: role.kind.to_lowercase(), ..Details::default() };
    StatusError { reason: Reason::NotFound, message: not_found(role), details: Some(Box::new(details)) }
}
