//! Namespaces: what every one has when it begins, and nothing left of it when it ends.
//!
//! New content is guarded by the namespace being alive, so once it is terminating its content only shrinks.

mod remains;

use api::{GroupKind, Key, Object, kinds};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use state::{Event, Guard, Snapshot, Txn};

use crate::created::created;
use crate::deletion::{Propagation, delete};
use crate::edit::{edited, replaced};
use crate::{Controller, Look, Plan};
use remains::Remains;

/// The finalizer that is this controller.
const KUBERNETES: &str = "kubernetes";
/// The identity that pods have if they ask for no other.
const DEFAULT_ACCOUNT: &str = "default";
/// The end of a large namespace takes several looks; each stays short.
const DELETIONS_PER_LOOK_MAX: usize = 500;

/// The controller of Namespaces.
pub(crate) struct Namespaces;

// === impl Namespaces ===

impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        "namespace"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        if event.key().kind() == kinds::NAMESPACE {
            return vec![event.key().clone()];
        }
        let home = kinds::NAMESPACE.cluster_key(event.key().namespace());
        let ends = view.get(&home).is_some_and(|namespace| namespace.meta().is_terminating());
        let lost_account = event.after().is_none() && *event.key() == default_account(home.name());
        if ends || lost_account { vec![home] } else { Vec::new() }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key) else { return Plan::nothing() };
        if object.meta().is_terminating() { end(object, view, look) } else { begin(object, view, look) }
    }
}

fn default_account(namespace: &str) -> Key {
    kinds::SERVICE_ACCOUNT.key(namespace, DEFAULT_ACCOUNT)
}

fn begin(object: &Object, view: &Snapshot, look: Look<'_>) -> Plan {
    let name = object.key().name();
    let active = replaced::<Namespace>(object, |namespace| {
        namespace.status.get_or_insert_default().phase.get_or_insert_with(|| "Active".into());
    });
    let plan = Plan::of(active);
    if view.get(&default_account(name)).is_some() {
        return plan;
    }
    let metadata =
        ObjectMeta { name: Some(DEFAULT_ACCOUNT.into()), namespace: Some(name.into()), ..ObjectMeta::default() };
    let account = ServiceAccount { metadata, ..ServiceAccount::default() };
    match created(kinds::SERVICE_ACCOUNT, &account, look) {
        Ok(account) => plan.also(Txn::create(account).guard(Guard::Alive(object.key().clone()))),
        Err(_) => plan,
    }
}

fn end(object: &Object, view: &Snapshot, look: Look<'_>) -> Plan {
    let known: Vec<GroupKind> = view.kinds().collect();
    let content: Vec<&Object> = known.iter().flat_map(|kind| view.list_in(*kind, object.key().name())).collect();
    if content.is_empty() {
        return Plan::of(release(object, view, look));
    }
    let txns = content.into_iter().map(|it| delete(it, Propagation::Background, look.now));
    let deletions: Plan = txns.filter(|txn| !txn.is_empty()).take(DELETIONS_PER_LOOK_MAX).collect();
    // Told is what stays when these deletions are done: most content goes without a trace.
    let after = deletions.txns.iter().fold(view.clone(), |world, txn| match world.apply(txn) {
        Ok((next, _)) => next,
        Err(_) => world,
    });
    let terminating = replaced::<Namespace>(object, |namespace| terminating(namespace, &after, look));
    deletions.also(terminating)
}

fn terminating(namespace: &mut Namespace, after: &Snapshot, look: Look<'_>) {
    let remains = Remains::of(namespace.metadata.name.as_deref().unwrap_or_default(), after);
    namespace.status.get_or_insert_default().phase = Some("Terminating".into());
    remains.tell(namespace, look);
}

/// Takes this controller's finalizer off, and the namespace with it if nobody else holds it.
fn release(object: &Object, view: &Snapshot, look: Look<'_>) -> Txn {
    let after = edited::<Namespace>(object, |namespace| {
        terminating(namespace, view, look);
        if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
            finalizers.retain(|finalizer| finalizer != KUBERNETES);
        }
    });
    let held = |object: &Object| {
        let spec = object.decode::<Namespace>().ok().and_then(|namespace| namespace.spec.clone());
        let others = spec.and_then(|spec| spec.finalizers).is_some_and(|finalizers| !finalizers.is_empty());
        others || !object.meta().finalizers.is_empty()
    };
    match after {
        Some(after) if held(&after) => Txn::replace(object, after),
        None if held(object) => Txn::default(),
        _ => Txn::delete(object),
    }
}

#[cfg(test)]
mod tests;
