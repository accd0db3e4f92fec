//! Admission: what objects of `admissionregistration.k8s.io` have to say about requests before they are carried out.
//!
//! The order is Kubernetes': webhooks that change, then the rules of the kind, then policies, then webhooks that refuse; then the
//! proposal. Which of them a request concerns is a function of values (`api::policies`); this finds the objects that they need in a
//! snapshot and calls webhooks. Where nothing is configured a request costs the comparison of four pointers.

mod call;
mod change;
mod connect;
mod gate;
mod judge;
mod permission;
mod policies;
mod table;
mod webhook;

use std::sync::Arc;

use api::Names;
use api::policies::{Action, Asked};
use api::{Scope, kinds};
use arc_swap::ArcSwap;
use serde_json::Value;
use state::Snapshot;

use crate::Door;
use crate::audit::Trail;
use crate::identity::Identity;
pub(crate) use connect::connect;
pub use gate::Gate;
use permission::Permissions;
use table::{SOURCES, Table};

/// Keeps the compiled configuration.
#[derive(Default)]
pub(crate) struct Admission {
    known: ArcSwap<Known>,
}

/// A table, and the snapshot it was made of; no table where nothing is configured.
#[derive(Default)]
struct Known {
    world: Snapshot,
    table: Option<Arc<Table>>,
}

/// A request that is to be admitted.
pub(crate) struct Candidate<'a> {
    pub(crate) door: &'a Arc<Door>,
    pub(crate) world: &'a Snapshot,
    pub(crate) identity: &'a Identity,
    pub(crate) action: Action,
    pub(crate) names: &'a Names,
    /// Such as `status`; empty for the object itself.
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// As it is to be; null if it is to go.
    pub(crate) object: Value,
    /// As it is; null if it is new.
    pub(crate) old: Value,
    pub(crate) options: Value,
    pub(crate) is_dry_run: bool,
    /// Where it is noted what the audit log is to be told of it.
    pub(crate) trail: &'a Trail,
}

/// What a candidate's question borrows beside it.
struct Beside {
    namespace: Value,
    user: Value,
}

// === impl Admission ===

impl Admission {
    /// What this world has configured. It is compiled anew by whoever first sees that it has changed.
    fn table(&self, world: &Snapshot) -> Option<Arc<Table>> {
        let known = self.known.load();
        if SOURCES.iter().all(|kind| world.agrees(&known.world, *kind)) {
            return known.table.clone();
        }
        let table = Table::of(world).map(Arc::new);
        // Two may do this at once, and the older may be last: then the next one does it again.
        self.known.store(Arc::new(Known { world: world.clone(), table: table.clone() }));
        table
    }

    /// Whether anything is configured at all.
    pub(crate) fn is_configured(&self, world: &Snapshot) -> bool {
        self.table(world).is_some()
    }
}

// === impl Candidate ===

impl Candidate<'_> {
    fn table(&self) -> Option<Arc<Table>> {
        self.door.admission.table(self.world)
    }

    fn beside(&self) -> Beside {
        let namespace = match self.names.scope {
            Scope::Namespaced => self.world.get(&kinds::NAMESPACE.cluster_key(self.namespace)),
            Scope::Cluster => None,
        };
        let namespace = namespace.and_then(|namespace| namespace.to_value().ok()).unwrap_or_default();
        Beside { namespace, user: self.identity.told() }
    }

    /// The request in the words of rules and policies, about `object`.
    fn asked<'s>(&'s self, object: &'s Value, beside: &'s Beside) -> Asked<'s> {
        Asked {
            action: self.action,
            names: self.names,
            subresource: self.subresource,
            namespace: self.namespace,
            name: self.name,
            object,
            old: &self.old,
            namespace_object: &beside.namespace,
            user: &beside.user,
            options: &self.options,
            is_dry_run: self.is_dry_run,
        }
    }

    fn permissions(&self) -> Permissions<'_> {
        Permissions { authorizer: &self.door.authorizer, world: self.world, identity: self.identity }
    }
}
