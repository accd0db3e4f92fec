//! Every kind the cluster serves. A kind is one file beside this one, and one line here.

mod config_map;
mod deployment;
mod endpoint_slice;
mod endpoints;
mod event;
mod ingress;
mod ingress_class;
mod lease;
mod namespace;
mod network_policy;
mod node;
mod pod;
mod replica_set;
mod secret;
mod service;
mod service_account;

use crate::{Column, GroupKind, Kind};

pub use config_map::ConfigMaps;
pub use deployment::Deployments;
pub use endpoint_slice::EndpointSlices;
pub use endpoints::EndpointLists;
pub use event::Events;
pub use ingress::Ingresses;
pub use ingress_class::IngressClasses;
pub use lease::Leases;
pub use namespace::Namespaces;
pub use network_policy::NetworkPolicies;
pub use node::Nodes;
pub use pod::Pods;
pub use replica_set::ReplicaSets;
pub use secret::Secrets;
pub use service::Services;
pub use service_account::ServiceAccounts;

/// In the order in which discovery lists them: within a group, as `kubectl get all` should print them.
static KINDS: [&dyn Kind; 16] = [
    &Namespaces,
    &Nodes,
    &Pods,
    &Services,
    &EndpointLists,
    &ConfigMaps,
    &Secrets,
    &ServiceAccounts,
    &Events,
    &Deployments,
    &ReplicaSets,
    &Ingresses,
    &IngressClasses,
    &NetworkPolicies,
    &EndpointSlices,
    &Leases,
];

/// All kinds.
pub fn all() -> &'static [&'static dyn Kind] {
    &KINDS
}

/// The kind of this group and name.
pub fn by_kind(kind: GroupKind) -> Option<&'static dyn Kind> {
    KINDS.into_iter().find(|one| one.group_kind() == kind)
}

/// The kind whose objects are under `/apis/{group}/{version}/…/{plural}`; the core group is empty.
pub fn by_resource(group: &str, version: &str, plural: &str) -> Option<&'static dyn Kind> {
    KINDS.into_iter().find(|one| {
        let names = one.names();
        names.group == group && names.version == version && names.plural == plural
    })
}

/// The object's name, in the first column.
const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    description: "Unique within its namespace, or in the cluster for objects outside namespaces.",
    priority: 0,
};

/// How long ago the object was created.
const AGE: Column = text("Age", "The time since the object was created.");

const fn text(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", format: "", description, priority: 0 }
}

const fn integer(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "integer", format: "", description, priority: 0 }
}

/// The same column, shown only with `-o wide`.
const fn wide(column: Column) -> Column {
    Column { priority: 1, ..column }
}

#[cfg(test)]
mod tests;
