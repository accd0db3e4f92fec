//! Policies: with which parameters they judge a request, and what comes of it.

use std::collections::BTreeMap;

use api::policies::Asked;
use api::selector::LabelSelector;
use api::{Cause, GroupKind, Kinds, Object, Reason, Scope, SharedKind, StatusError};
use k8s_openapi::api::admissionregistration::v1::{ParamKind, ParamRef};
use serde_json::{Value, json};
use state::Snapshot;
use tracing::debug;

use super::permission::Permissions;
use super::table::{Binding, BoundPolicy, Table};

/// What policies say of a request besides letting it pass or not.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) warnings: Vec<String>,
    /// For the audit log, by policy and key; what several say is told once each.
    noted: BTreeMap<String, Vec<String>>,
    /// The first that a binding wants to have in the audit log.
    failure: Option<Value>,
}

/// As Kubernetes has it: the name of what does not hold and is let pass.
const FAILURE: &str = "validation.policy.admission.k8s.io/validation_failure";

/// Asks every policy; the first refusal counts.
pub(super) fn judge(
    table: &Table,
    asked: &Asked<'_>,
    world: &Snapshot,
    kinds: &Kinds,
    permissions: &Permissions<'_>,
    said: &mut Said,
) -> Result<(), StatusError> {
    for bound in table.policies.iter().filter(|bound| bound.policy.matcher.is_about(asked)) {
        for binding in bound.bindings.iter().filter(|binding| binding.matcher.is_about(asked)) {
            match params(bound, binding, asked, world, kinds) {
                Ok(found) if found.is_empty() => {}
                Ok(found) => {
                    for params in found {
                        judge_one(bound, binding, asked, params.as_ref(), permissions, said)?;
                    }
                }
                Err(why) if bound.policy.fails_closed => {
                    let message = format!("failed to configure binding: {why}");
                    return Err(refusal(asked, bound, binding, &message, Reason::Invalid));
                }
                Err(why) => debug!(policy = bound.name, binding = binding.name, why, "a policy is ignored"),
            }
        }
    }
    Ok(())
}

fn judge_one(
    bound: &BoundPolicy,
    binding: &Binding,
    asked: &Asked<'_>,
    params: Option<&Value>,
    permissions: &Permissions<'_>,
    said: &mut Said,
) -> Result<(), StatusError> {
    let judged = bound.policy.judge(asked, params, permissions);
    for (key, value) in judged.annotations {
        let values = said.noted.entry(format!("{}/{key}", bound.name)).or_default();
        if !values.contains(&value) {
            values.push(value);
        }
    }
    for denial in judged.denials {
        if binding.audits {
            said.failure.get_or_insert_with(|| {
                json!([{
                    "message": denial.message, "policy": bound.name, "binding": binding.name,
                    "expressionIndex": denial.place, "validationActions": binding.actions,
                }])
            });
        }
        if binding.denies {
            return Err(refusal(asked, bound, binding, &denial.message, denial.reason));
        }
        if binding.warns {
            said.warnings.push(format!(
                "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                bound.name, binding.name, denial.message
            ));
        }
    }
    Ok(())
}

// === impl Said ===

impl Said {
    /// What the audit log is told, by name.
    pub(super) fn annotations(&self) -> impl Iterator<Item = (String, String)> {
        let noted = self.noted.iter().map(|(name, values)| (name.clone(), values.join(", ")));
        noted.chain(self.failure.iter().map(|failure| (FAILURE.to_owned(), failure.to_string())))
    }
}

fn refusal(asked: &Asked<'_>, bound: &BoundPolicy, binding: &Binding, message: &str, reason: Reason) -> StatusError {
    let message =
        format!("ValidatingAdmissionPolicy '{}' with binding '{}' denied request: {message}", bound.name, binding.name);
    let mut refused = StatusError::forbidden(asked.names, asked.name, &message);
    refused.reason = reason;
    if let Some(details) = &mut refused.details {
        details.causes = vec![Cause { reason: "", message, field: String::new() }];
    }
    refused
}

/// The parameters that a policy judges with, one after the other; one that takes none judges once with none.
fn params(
    bound: &BoundPolicy,
    binding: &Binding,
    asked: &Asked<'_>,
    world: &Snapshot,
    kinds: &Kinds,
) -> Result<Vec<Option<Value>>, String> {
    let (Some(kind), Some(reference)) = (&bound.param_kind, &binding.params) else { return Ok(vec![None]) };
    let kind = kind_of(kind, kinds)?;
    let scope = kind.names().scope;
    let own = reference.namespace.as_deref().unwrap_or_default();
    let namespace = match scope {
        Scope::Cluster if !own.is_empty() => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
        }
        Scope::Namespaced if own.is_empty() && asked.namespace.is_empty() => {
            return Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".into());
        }
        Scope::Namespaced if own.is_empty() => asked.namespace,
        _ => own,
    };
    let found = chosen(reference, kind.group_kind(), namespace, world)?;
    if found.is_empty() && reference.parameter_not_found_action.as_deref() != Some("Allow") {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    found.into_iter().map(|object| kind.shown(object).to_value().map(Some).map_err(|error| error.to_string())).collect()
}

fn chosen<'w>(
    reference: &ParamRef,
    kind: GroupKind,
    namespace: &str,
    world: &'w Snapshot,
) -> Result<Vec<&'w Object>, String> {
    if let Some(name) = reference.name.as_deref().filter(|name| !name.is_empty()) {
        return Ok(world.get(&kind.key(namespace, name)).into_iter().collect());
    }
    let selector = LabelSelector::of(reference.selector.as_ref()).map_err(|error| error.to_string())?;
    let of_kind = world.list(kind).filter(|object| object.key().namespace() == namespace);
    Ok(of_kind.filter(|object| selector.matches(&object.meta().labels)).collect())
}

/// The kind that is called so.
fn kind_of(wanted: &ParamKind, kinds: &Kinds) -> Result<SharedKind, String> {
    let version = wanted.api_version.as_deref().unwrap_or_default();
    let name = wanted.kind.as_deref().unwrap_or_default();
    let found = kinds.all().iter().find(|kind| kind.names().api_version() == version && kind.names().kind == name);
    found.cloned().ok_or_else(|| format!("failed to find resource referenced by paramKind: '{version}, Kind={name}'"))
}
