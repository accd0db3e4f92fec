//! What a new object is given by the world, whoever makes it: a client, or a controller.

use api::pod_spec::{self, Outages, account};
use api::{Object, StatusError, default_storage, kinds};

use crate::Snapshot;

// === impl Snapshot ===

impl Snapshot {
    /// A new pod with its priority, what its runtime class says, the limits of its namespace, for how long it stays on a lost node,
    /// and what its account gives it, whose name `seed` chooses; or why there can be no such pod.
    pub fn given_to_pod(&self, pod: Object, seed: u64, outages: Outages) -> Result<Object, StatusError> {
        let pod = pod_spec::prioritize(pod, self.list(kinds::PRIORITY_CLASS))?;
        let runtime = pod_spec::runtime_class_of(&pod);
        let runtime = runtime.and_then(|name| self.get(&kinds::RUNTIME_CLASS.cluster_key(&name)));
        let pod = pod_spec::run_as(pod, runtime)?;
        let pod = outages.tolerated_by(pod)?;
        let namespace = pod.key().namespace().to_owned();
        let pod = pod_spec::limit_pod(pod, self.list_in(kinds::LIMIT_RANGE, &namespace))?;
        let account = kinds::SERVICE_ACCOUNT.key(&namespace, &account::name_of(&pod));
        account::equip(pod, self.get(&account), seed)
    }

    /// A new claim with the class of storage that it names or that is the default, within the limits of its namespace.
    pub fn given_to_claim(&self, claim: Object) -> Result<Object, StatusError> {
        let claim = default_storage::of_class(claim, self.list(kinds::STORAGE_CLASS))?;
        pod_spec::limit_claim(&claim, self.list_in(kinds::LIMIT_RANGE, claim.key().namespace()))?;
        Ok(claim)
    }
}
