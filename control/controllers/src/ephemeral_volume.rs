//! Claims that pods bring with them: each volume of kind `ephemeral` gets the claim that its template describes.
//!
//! The claim is named after pod and volume and managed by the pod, so it goes when the pod does. A claim of that name which is
//! somebody else's is left alone, and the pod waits.

use api::{Key, Object, kinds, storage};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimTemplate, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use state::{Event, Guard, Snapshot, Txn};

use crate::charge::{Tab, has_more_room};
use crate::created::{created_claim, home_ends};
use crate::refusal::refused;
use crate::{Controller, Look, Plan, owners, pods};

/// Who tells the events.
const COMPONENT: &str = "ephemeral-volume-controller";

/// The controller of the claims that pods bring.
pub(crate) struct EphemeralVolumes;

// === impl EphemeralVolumes ===

impl Controller for EphemeralVolumes {
    fn name(&self) -> &'static str {
        "ephemeral-volume"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        match event.key().kind() {
            kinds::POD if event.after().is_some_and(brings_claims) => vec![event.key().clone()],
            kinds::PERSISTENT_VOLUME_CLAIM if event.after().is_none() => owners::managers(event, kinds::POD),
            kinds::RESOURCE_QUOTA if has_more_room(event) => {
                let pods = view.list_in(kinds::POD, event.key().namespace());
                pods.filter(|pod| brings_claims(pod)).map(|pod| pod.key().clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key).filter(|pod| !pod.meta().is_terminating()) else { return Plan::nothing() };
        let Ok(pod) = object.decode::<Pod>() else { return Plan::nothing() };
        if pods::has_ended(&pod) || home_ends(key, view) {
            return Plan::nothing();
        }
        let mut tab = Tab::open(key, view, look);
        let mut txn = Txn::default();
        for claim in missing(object, &pod, view) {
            match created_claim(&claim, &mut tab) {
                Ok(claim) => txn = txn.and(Txn::create(claim)),
                Err(why) => {
                    let message = format!("Error creating claim: {why}");
                    return refused(COMPONENT, object, &message, view, look);
                }
            }
        }
        if txn.is_empty() {
            return Plan::nothing();
        }
        let home = Guard::Alive(kinds::NAMESPACE.cluster_key(key.namespace()));
        Plan::of(txn.and(tab.settle()).guard(Guard::Alive(key.clone())).guard(home))
    }
}

fn brings_claims(pod: &Object) -> bool {
    let pod = pod.decode::<Pod>().ok();
    let volumes = pod.as_ref().and_then(|pod| pod.spec.as_ref()?.volumes.as_deref()).unwrap_or_default();
    volumes.iter().any(|volume| volume.ephemeral.is_some())
}

/// The claims of a pod that are not there.
fn missing(object: &Object, pod: &Pod, view: &Snapshot) -> Vec<PersistentVolumeClaim> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let wanted = volumes.filter_map(|volume| {
        let template = volume.ephemeral.as_ref()?.volume_claim_template.as_ref()?;
        Some(claim(object, &storage::claim_name(pod, volume)?, template))
    });
    let is_missing = |claim: &PersistentVolumeClaim| {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        view.get(&object.key().sibling(kinds::PERSISTENT_VOLUME_CLAIM, name)).is_none()
    };
    wanted.filter(is_missing).collect()
}

fn claim(pod: &Object, name: &str, template: &PersistentVolumeClaimTemplate) -> PersistentVolumeClaim {
    let metadata = template.metadata.clone().unwrap_or_default();
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: Some(pod.key().namespace().into()),
            labels: metadata.labels,
            annotations: metadata.annotations,
            owner_references: Some(vec![owners::controlled_by(pod)]),
            ..ObjectMeta::default()
        },
        spec: Some(template.spec.clone()),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::notation::{check, object};

    /// A pod with a volume `data` that brings its claim.
    fn pod(more: Value) -> Object {
        let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        let template = json!({"metadata": {"labels": {"of": "pod"}}, "spec": spec});
        let volumes = json!([{"name": "data", "ephemeral": {"volumeClaimTemplate": template}}]);
        let mut value = json!({"spec": {"containers": [{"name": "c"}], "volumes": volumes}});
        value.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        object(kinds::POD, "default/web", value)
    }

    #[test]
    fn a_pod_gets_the_claims_that_it_brings() {
        let show = ["/metadata/labels", "/metadata/ownerReferences/0/name", "/spec/resources/requests/storage"];
        let check = |more: Value, others: &[Object], expected: &[&str]| {
            let objects: Vec<Object> = [pod(more)].into_iter().chain(others.iter().cloned()).collect();
            check(&EphemeralVolumes, &objects, objects[0].key(), &show, expected);
        };
        let made = r#"+PersistentVolumeClaim web-data {"of":"pod"} "web" "1Gi""#;
        check(json!({}), &[], &[made]);
        check(json!({"status": {"phase": "Succeeded"}}), &[], &[]);
        let others = object(kinds::PERSISTENT_VOLUME_CLAIM, "default/web-data", json!({"spec": {}}));
        check(json!({}), &[others], &[]);
        let hard = json!({"persistentvolumeclaims": "0"});
        let quota = json!({"spec": {"hard": hard}, "status": {"hard": hard, "used": {"persistentvolumeclaims": "0"}}});
        let why = "event FailedCreate: Error creating claim: persistentvolumeclaims \"web-data\" is forbidden: exceeded quota: team, \
                   requested: persistentvolumeclaims=1, used: persistentvolumeclaims=0, limited: persistentvolumeclaims=0";
        check(json!({}), &[object(kinds::RESOURCE_QUOTA, "default/team", quota)], &[why]);
    }
}
