//! Everything that is configured, compiled: a function of a snapshot.

use api::policies::{Matcher, Policy};
use api::{GroupKind, Object, kinds};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ParamKind, ParamRef, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    ValidatingWebhookConfiguration,
};
use state::Snapshot;
use tracing::warn;

use super::webhook::Webhook;

/// What the table is made of.
pub(super) const SOURCES: [GroupKind; 4] =
    [kinds::VALIDATING_POLICY, kinds::VALIDATING_POLICY_BINDING, kinds::VALIDATING_WEBHOOKS, kinds::MUTATING_WEBHOOKS];

/// Everything that is configured, in the order in which it is asked: by name.
pub(super) struct Table {
    pub(super) policies: Vec<BoundPolicy>,
    pub(super) mutating: Vec<Webhook>,
    pub(super) validating: Vec<Webhook>,
}

/// A policy and where it applies.
pub(super) struct BoundPolicy {
    pub(super) name: String,
    pub(super) policy: Policy,
    pub(super) param_kind: Option<ParamKind>,
    pub(super) bindings: Vec<Binding>,
}

/// Where a policy applies.
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) matcher: Matcher,
    pub(super) params: Option<ParamRef>,
    pub(super) denies: bool,
    pub(super) warns: bool,
    pub(super) audits: bool,
    /// As the binding spells them.
    pub(super) actions: Vec<String>,
}

// === impl Table ===

impl Table {
    /// What this world has configured; nothing if that is nothing.
    pub(super) fn of(world: &Snapshot) -> Option<Self> {
        let table = Self {
            policies: world
                .list(kinds::VALIDATING_POLICY)
                .filter_map(|policy| BoundPolicy::of(policy, world))
                .collect(),
            mutating: world.list(kinds::MUTATING_WEBHOOKS).flat_map(mutating).collect(),
            validating: world.list(kinds::VALIDATING_WEBHOOKS).flat_map(validating).collect(),
        };
        let is_empty = table.policies.is_empty() && table.mutating.is_empty() && table.validating.is_empty();
        (!is_empty).then_some(table)
    }
}

fn mutating(object: &Object) -> Vec<Webhook> {
    let Ok(configuration) = object.decode::<MutatingWebhookConfiguration>() else { return Vec::new() };
    configuration.webhooks.iter().flatten().map(|webhook| Webhook::mutating(object.key().name(), webhook)).collect()
}

fn validating(object: &Object) -> Vec<Webhook> {
    let Ok(configuration) = object.decode::<ValidatingWebhookConfiguration>() else { return Vec::new() };
    configuration.webhooks.iter().flatten().map(|webhook| Webhook::validating(object.key().name(), webhook)).collect()
}

// === impl BoundPolicy ===

impl BoundPolicy {
    /// The policy, if it is bound to anything.
    fn of(object: &Object, world: &Snapshot) -> Option<Self> {
        let name = object.key().name();
        let bindings: Vec<Binding> =
            world.list(kinds::VALIDATING_POLICY_BINDING).filter_map(|binding| Binding::of(binding, name)).collect();
        if bindings.is_empty() {
            return None;
        }
        let typed = object.decode::<ValidatingAdmissionPolicy>().ok()?;
        let spec = typed.spec.as_ref()?;
        match Policy::compile(spec) {
            Ok(policy) => Some(Self { name: name.into(), policy, param_kind: spec.param_kind.clone(), bindings }),
            Err(why) => {
                // What is stored was compiled before it was: only another version of this program could have let it in.
                warn!(policy = name, why, "a stored policy does not compile and is left out");
                None
            }
        }
    }
}

// === impl Binding ===

impl Binding {
    fn of(object: &Object, policy: &str) -> Option<Self> {
        let typed = object.decode::<ValidatingAdmissionPolicyBinding>().ok()?;
        let spec = typed.spec.as_ref().filter(|spec| spec.policy_name.as_deref() == Some(policy))?;
        let takes = |action: &str| spec.validation_actions.iter().flatten().any(|one| one == action);
        Some(Self {
            name: object.key().name().into(),
            matcher: Matcher::of_binding(spec.match_resources.as_ref()).ok()?,
            params: spec.param_ref.clone(),
            denies: takes("Deny"),
            warns: takes("Warn"),
            audits: takes("Audit"),
            actions: spec.validation_actions.clone().unwrap_or_default(),
        })
    }
}
