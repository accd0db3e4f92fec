//! What the cluster should do next: pure looks at the world, one controller per concern.
//!
//! A controller is asked about a key and answers with a [`Plan`]: the transactions it wants, and when to look again. It gets
//! the world and never the event, so that a restart, a hint and a full scan take one path. It owns no clock and no chance:
//! both come in a [`Look`]. The scheduler is one more of them.
//!
//! The laws that all of them keep:
//! - what was read is guarded, so that a plan made on an old snapshot conflicts and changes nothing;
//! - planning again on the world that a plan made changes nothing;
//! - what a controller creates is admitted as if a client had sent it.

mod account_secrets;
mod bootstrap_tokens;
mod certificates;
mod charge;
mod claim;
mod conditions;
mod created;
mod cron_job;
mod daemon_set;
mod definitions;
mod deletion;
mod deployment;
mod disruption;
mod edit;
mod endpoints;
mod ephemeral_volume;
mod event_expiry;
mod garbage_collection;
mod horizontal_pod_autoscaler;
mod job;
mod load_balancer;
mod look;
mod namespace;
mod node_lifecycle;
mod owners;
mod plan;
mod pod_cidr;
mod pod_garbage;
mod pods;
mod policy_checks;
mod queue;
mod record;
mod refusal;
mod replica_set;
mod resource_quota;
mod restoration;
mod revisions;
mod role_aggregation;
mod root_certificate;
mod ruling;
mod scheduling;
mod selector;
mod share;
mod signers;
mod stateful_set;
mod taint_eviction;
mod template;
mod volume_binding;
mod volume_reclaim;
mod volume_snapshot;

#[cfg(test)]
mod notation;

use std::net::Ipv4Addr;
use std::sync::Arc;

use api::Key;
use ipnet::Ipv4Net;
use jiff::{SignedDuration, Timestamp};
use state::{Event, Snapshot};

pub use look::Look;
pub use plan::Plan;
pub use queue::{Outcome, Queue};
pub use restoration::{REVISIONS_APART, Restoration, restoration, revived};
pub use ruling::{Ruling, Rulings};
pub use signers::{CertificateOrder, SignCertificate, SignToken, Signers};

/// One concern of the cluster, seen to whenever something that matters to it changes.
pub trait Controller: Send + Sync {
    /// What it is called in logs.
    fn name(&self) -> &'static str;

    /// The keys to look at because of an event, in the world after it. An event that tells of an object as if it had just
    /// been added must lead to every key that the object matters to: that is how the full scan finds them.
    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key>;

    /// The pods whose figures have to lie in the world when it is looked at for a key, if any have to: they are measured first.
    fn pods_to_measure(&self, _key: &Key, _view: &Snapshot) -> Option<Vec<Key>> {
        None
    }

    /// What this world wants done about a key.
    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan;
}

/// The addresses of pods where nobody says otherwise: as many as 256 nodes are given.
pub const POD_NETWORK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 42, 0, 0), 16);

/// What the controllers are told about the cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a lease holds that nobody renews. Kubernetes' own default: four renewals missed.
    pub node_grace: SignedDuration,
    /// When this control plane began to listen: nobody is blamed for silence before that.
    pub started: Timestamp,
    /// Of which every pod's address is: no fewer than 256 addresses.
    pub pod_network: Ipv4Net,
    /// The certificate of the cluster's authority in PEM, which every namespace gets to know the API by.
    pub root_certificate: Option<Arc<str>>,
    /// Those who hold the cluster's keys.
    pub signers: Signers,
}

/// Every controller of the cluster.
pub fn all(config: &Config) -> Vec<Box<dyn Controller>> {
    vec![
        Box::new(namespace::Namespaces),
        Box::new(definitions::Definitions),
        Box::new(root_certificate::RootCertificate::new(config)),
        Box::new(role_aggregation::RoleAggregation),
        Box::new(garbage_collection::GarbageCollection),
        Box::new(deployment::Deployments),
        Box::new(replica_set::ReplicaSets),
        Box::new(job::Jobs),
        Box::new(cron_job::CronJobs),
        Box::new(stateful_set::StatefulSets),
        Box::new(daemon_set::DaemonSets),
        Box::<scheduling::Scheduling>::default(),
        Box::new(endpoints::Endpoints),
        Box::new(load_balancer::LoadBalancers),
        Box::new(node_lifecycle::NodeLifecycle::new(config)),
        Box::new(pod_cidr::PodCidrs::new(config)),
        Box::new(taint_eviction::TaintEviction::new(config)),
        Box::new(disruption::Disruptions),
        Box::new(resource_quota::ResourceQuotas),
        Box::new(horizontal_pod_autoscaler::HorizontalPodAutoscalers),
        Box::new(pod_garbage::PodGarbage),
        Box::new(ephemeral_volume::EphemeralVolumes),
        Box::new(volume_binding::VolumeBinding),
        Box::new(volume_reclaim::VolumeReclaim),
        Box::new(volume_snapshot::VolumeSnapshots),
        Box::new(event_expiry::EventExpiry),
        Box::new(policy_checks::PolicyChecks),
        Box::new(certificates::Certificates::new(config)),
        Box::new(account_secrets::AccountSecrets::new(config)),
        Box::new(bootstrap_tokens::BootstrapTokens),
    ]
}

// === impl Config ===

impl Config {
    /// The defaults, for a control plane that begins to listen at `started`.
    pub fn starting(started: Timestamp) -> Self {
        Self {
            node_grace: SignedDuration::from_secs(40),
            started,
            pod_network: POD_NETWORK,
            root_certificate: None,
            signers: Signers::default(),
        }
    }
}
