//! Admission of what controllers create. They write past the API's front door, and what is configured holds for them as it holds
//! for everybody: each asks in the name of the account that Kubernetes gives to the controller of that task.

use std::fmt;
use std::sync::Arc;

use api::policies::Action;
use api::{Admission as Asking, FieldValidation, Object, Operation, SharedKind, StatusError, kinds};
use serde_json::{Value, json};
use state::Snapshot;

use super::Candidate;
use crate::audit::Trail;
use crate::identity::Identity;
use crate::{Door, complete};

/// Where service accounts of the control plane are.
const HOME: &str = "kube-system";

/// Rules about new objects of the cluster's own controllers.
pub struct Gate(pub(crate) Arc<Door>);

// === impl Gate ===

impl Gate {
    /// Whether policies or webhooks are configured in this world.
    pub fn is_guarded(&self, world: &Snapshot) -> bool {
        self.0.admission.is_configured(world)
    }

    /// What webhooks make of a new object, complete and valid; or in words why it may not be.
    pub async fn rule(&self, object: Object, world: &Snapshot) -> Result<Object, String> {
        let surface = self.0.surfaces.of(world);
        let kind = surface.kinds.all().iter().find(|kind| kind.group_kind() == object.key().kind());
        let Some(kind) = kind else { return Ok(object) };
        self.admitted(kind, object, world).await.map_err(|refusal| refusal.message)
    }

    async fn admitted(&self, kind: &SharedKind, object: Object, world: &Snapshot) -> Result<Object, StatusError> {
        let account = account(&object);
        let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{HOME}")];
        let identity = Identity::known(format!("system:serviceaccount:{HOME}:{account}"), groups);
        let trail = Trail::default();
        let key = object.key().clone();
        let candidate = |object: Value| Candidate {
            door: &self.0,
            world,
            identity: &identity,
            action: Action::Create,
            names: kind.names(),
            subresource: "",
            namespace: key.namespace(),
            name: key.name(),
            object,
            old: Value::Null,
            options: json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}),
            is_dry_run: false,
            trail: &trail,
        };
        let tree = |object: &Object| object.to_value().map_err(StatusError::internal);
        let object = match candidate(tree(&object)?).remake().await?.object {
            None => object,
            Some(remade) => self.completed(kind, &object, remade, world)?,
        };
        candidate(tree(&object)?).judge().await?;
        Ok(object)
    }

    /// What webhooks have made of an object, right by the rules of its kind again.
    fn completed(
        &self,
        kind: &SharedKind,
        before: &Object,
        remade: Value,
        world: &Snapshot,
    ) -> Result<Object, StatusError> {
        let seed = self.0.chance();
        let asking = Asking {
            operation: Operation::Create { uid: &before.meta().uid, seed },
            namespace: before.key().namespace(),
            validation: FieldValidation::Ignore,
            duplicates: &[],
            now: (self.0.clock)(),
        };
        let admitted = kind.admit(remade, &asking)?;
        if admitted.object.key() != before.key() {
            return Err(StatusError::internal(format!("a webhook calls {} otherwise", before.key())));
        }
        Ok(complete::complete(admitted.object, None, world, seed, self.0.outages)?.settled())
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

/// In whose name a controller creates an object: Kubernetes' account for whatever manages it, or for the task that makes such.
fn account(object: &Object) -> &'static str {
    let manager = object.meta().controller().map(|owner| owner.kind.as_str()).unwrap_or_default();
    match (manager, object.key().kind()) {
        ("Deployment", _) => "deployment-controller",
        ("ReplicaSet", _) => "replicaset-controller",
        ("ReplicationController", _) => "replication-controller",
        ("StatefulSet", _) | (_, kinds::PERSISTENT_VOLUME_CLAIM) => "statefulset-controller",
        ("DaemonSet", _) => "daemon-set-controller",
        ("Job", _) => "job-controller",
        ("CronJob", _) => "cronjob-controller",
        (_, kinds::ENDPOINT_SLICE) => "endpointslice-controller",
        (_, kinds::ENDPOINTS) => "endpoint-controller",
        (_, kinds::SERVICE_ACCOUNT) => "service-account-controller",
        (_, kinds::CONFIG_MAP) => "root-ca-cert-publisher",
        (_, kinds::PERSISTENT_VOLUME) => "persistent-volume-binder",
        _ => "generic-garbage-collector",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_asks_in_the_name_of_its_account() {
        let check = |kind, manager: Option<&str>, expect: &str| {
            let owners: Vec<Value> = manager
                .map(
                    |manager| json!({"apiVersion": "v1", "kind": manager, "name": "o", "uid": "u", "controller": true}),
                )
                .into_iter()
                .collect();
            let metadata = json!({"name": "n", "namespace": "d", "ownerReferences": owners});
            let value = json!({"apiVersion": "v1", "kind": "Kind", "metadata": metadata});
            let object = Object::from_value(kind, &value).expect("an object");
            assert_eq!(account(&object), expect);
        };
        check(kinds::REPLICA_SET, Some("Deployment"), "deployment-controller");
        check(kinds::POD, Some("ReplicaSet"), "replicaset-controller");
        check(kinds::POD, Some("Job"), "job-controller");
        check(kinds::CONTROLLER_REVISION, Some("DaemonSet"), "daemon-set-controller");
        check(kinds::ENDPOINT_SLICE, Some("Service"), "endpointslice-controller");
        check(kinds::PERSISTENT_VOLUME_CLAIM, None, "statefulset-controller");
        check(kinds::SERVICE_ACCOUNT, None, "service-account-controller");
    }
}
