//! Every kind the cluster serves. A kind is one file beside this one, and one line here.

mod bucket;
mod bucket_entry;
mod certificate_signing_request;
mod cluster_role;
mod cluster_role_binding;
mod config_map;
mod controller_revision;
mod cron_job;
mod custom_resource_definition;
mod daemon_set;
mod deployment;
mod endpoint_slice;
mod endpoints;
mod event;
mod horizontal_pod_autoscaler;
mod ingress;
mod ingress_class;
mod job;
mod lease;
mod limit_range;
mod mutating_webhook_configuration;
mod namespace;
mod network_policy;
mod node;
mod persistent_volume;
mod persistent_volume_claim;
mod pod;
mod pod_disruption_budget;
mod pod_template;
mod priority_class;
mod replica_set;
mod replication_controller;
mod resource_quota;
mod role;
mod role_binding;
mod runtime_class;
mod secret;
mod service;
mod service_account;
mod stateful_set;
mod storage_class;
mod validating_admission_policy;
mod validating_admission_policy_binding;
mod validating_webhook_configuration;
mod volume_snapshot;
mod volume_snapshot_class;
mod volume_snapshot_content;

use crate::version::In;
use crate::{Column, GroupKind, Kind};

pub use bucket::Buckets;
pub use bucket_entry::BucketEntries;
pub use certificate_signing_request::{CertificateSigningRequests, judge_decision};
pub use cluster_role::ClusterRoles;
pub use cluster_role_binding::ClusterRoleBindings;
pub use config_map::ConfigMaps;
pub use controller_revision::ControllerRevisions;
pub use cron_job::CronJobs;
pub use custom_resource_definition::CustomResourceDefinitions;
pub use daemon_set::DaemonSets;
pub use deployment::Deployments;
pub use endpoint_slice::EndpointSlices;
pub use endpoints::EndpointLists;
pub use event::{Events, EventsV1};
pub use horizontal_pod_autoscaler::{HorizontalPodAutoscalers, HorizontalPodAutoscalersV1};
pub use ingress::Ingresses;
pub use ingress_class::IngressClasses;
pub use job::Jobs;
pub use lease::Leases;
pub use limit_range::LimitRanges;
pub use mutating_webhook_configuration::MutatingWebhookConfigurations;
pub use namespace::Namespaces;
pub use network_policy::NetworkPolicies;
pub use node::Nodes;
pub use persistent_volume::PersistentVolumes;
pub use persistent_volume_claim::PersistentVolumeClaims;
pub use pod::Pods;
pub use pod_disruption_budget::PodDisruptionBudgets;
pub use pod_template::PodTemplates;
pub use priority_class::{PriorityClasses, SYSTEM as SYSTEM_PRIORITIES};
pub use replica_set::ReplicaSets;
pub use replication_controller::ReplicationControllers;
pub use resource_quota::ResourceQuotas;
pub use role::Roles;
pub use role_binding::RoleBindings;
pub use runtime_class::RuntimeClasses;
pub use secret::Secrets;
pub use service::Services;
pub use service_account::ServiceAccounts;
pub use stateful_set::StatefulSets;
pub use storage_class::StorageClasses;
pub use validating_admission_policy::ValidatingAdmissionPolicies;
pub use validating_admission_policy_binding::ValidatingAdmissionPolicyBindings;
pub use validating_webhook_configuration::ValidatingWebhookConfigurations;
pub use volume_snapshot::VolumeSnapshots;
pub use volume_snapshot_class::VolumeSnapshotClasses;
pub use volume_snapshot_content::VolumeSnapshotContents;

/// In the order in which discovery lists them: within a group, as `kubectl get all` should print them.
static KINDS: &[&dyn Kind] = &[
    &Namespaces,
    &Nodes,
    &Pods,
    &ReplicationControllers,
    &Services,
    &EndpointLists,
    &ConfigMaps,
    &Secrets,
    &PersistentVolumes,
    &PersistentVolumeClaims,
    &PodTemplates,
    &ResourceQuotas,
    &LimitRanges,
    &ServiceAccounts,
    &Events,
    &CustomResourceDefinitions,
    &ControllerRevisions,
    &DaemonSets,
    &Deployments,
    &ReplicaSets,
    &StatefulSets,
    &HorizontalPodAutoscalers,
    &In::<HorizontalPodAutoscalersV1>::new(),
    &CronJobs,
    &Jobs,
    &CertificateSigningRequests,
    &Ingresses,
    &IngressClasses,
    &NetworkPolicies,
    &PodDisruptionBudgets,
    &EndpointSlices,
    &Leases,
    &In::<EventsV1>::new(),
    &RuntimeClasses,
    &ClusterRoleBindings,
    &ClusterRoles,
    &RoleBindings,
    &Roles,
    &PriorityClasses,
    &StorageClasses,
    &VolumeSnapshots,
    &VolumeSnapshotClasses,
    &VolumeSnapshotContents,
    &MutatingWebhookConfigurations,
    &ValidatingAdmissionPolicies,
    &ValidatingAdmissionPolicyBindings,
    &ValidatingWebhookConfigurations,
    &Buckets,
    &BucketEntries,
];

/// All kinds.
pub fn all() -> &'static [&'static dyn Kind] {
    KINDS
}

/// The kind of this group and name, in the version that its objects are stored in.
pub fn by_kind(kind: GroupKind) -> Option<&'static dyn Kind> {
    KINDS.iter().copied().find(|one| one.group_kind() == kind)
}

/// The kind whose objects are under `/apis/{group}/{version}/…/{plural}`; the core group is empty.
pub fn by_resource(group: &str, version: &str, plural: &str) -> Option<&'static dyn Kind> {
    KINDS.iter().copied().find(|one| {
        let names = one.names();
        names.group == group && names.version == version && names.plural == plural
    })
}

/// The object's name, in the first column.
pub(crate) const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    description: "Unique within its namespace, or in the cluster for objects outside namespaces.",
    priority: 0,
};

/// How long ago the object was created.
const AGE: Column = text("Age", "The time since the object was created.");

/// What the pods of a workload are made of, and which are its own.
const CONTAINERS: Column = wide(text("Containers", "The names of its containers."));
const IMAGES: Column = wide(text("Images", "The images of its containers."));
const SELECTOR: Column = wide(text("Selector", "Which pods are its own."));

/// What a binding gives, and to whom.
const BINDING: &[Column] = &[
    NAME,
    text("Role", "What it gives."),
    AGE,
    wide(text("Users", "The users that have it.")),
    wide(text("Groups", "The groups of users that have it.")),
    wide(text("ServiceAccounts", "The accounts that have it.")),
];

/// When the object was created, for kinds whose tables do not tell its age.
const CREATED_AT: Column = Column { kind: "date", ..text("Created At", "When the object was created.") };

pub(crate) const fn text(name: &'static str, description: &'static str) -> Column {
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
mod testing;
#[cfg(test)]
mod tests;
