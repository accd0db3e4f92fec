//! What an object gets from the rest of the world before it is stored: claims for a service, classes for an ingress and for
//! storage; for a pod its priority, what its runtime class says, the limits of its namespace, a token; for an entry its bucket.

use api::pod_spec::Outages;
use api::{Object, StatusError, kinds, pod_spec};
use state::Snapshot;

use crate::{claims, keyvalue, resize};

/// Marks the class of ingresses that name none.
const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
/// How an ingress named its class before there was a field for it.
const OLD_CLASS: &str = "kubernetes.io/ingress.class";

/// Completes an object; `old` is what is stored now, if anything is.
pub(crate) fn complete(
    object: Object,
    old: Option<&Object>,
    world: &Snapshot,
    seed: u64,
    outages: Outages,
) -> Result<Object, StatusError> {
    match (object.key().kind(), old) {
        (kinds::SERVICE, old) => claims::complete(object, old, world, seed),
        (kinds::INGRESS, None) => classified(object, world),
        (kinds::POD, None) => world.given_to_pod(object, seed, outages),
        (kinds::POD, Some(old)) => {
            pod_spec::limit_resized(&object, old, world.list_in(kinds::LIMIT_RANGE, object.key().namespace()))?;
            Ok(object)
        }
        (kinds::PERSISTENT_VOLUME_CLAIM, None) => world.given_to_claim(object),
        (kinds::PERSISTENT_VOLUME_CLAIM, Some(old)) => {
            let claim = resize::growable(object, old, world)?;
            pod_spec::limit_claim(&claim, world.list_in(kinds::LIMIT_RANGE, claim.key().namespace()))?;
            Ok(claim)
        }
        (kinds::BUCKET_ENTRY, old) => keyvalue::kept(object, old, world),
        _ => Ok(object),
    }
}

/// A new ingress that names no class is of the default one; of several the newest, as Kubernetes has it.
fn classified(object: Object, world: &Snapshot) -> Result<Object, StatusError> {
    if object.meta().annotations.contains_key(OLD_CLASS) {
        return Ok(object);
    }
    let is_default = |class: &&Object| class.meta().annotations.get(DEFAULT_CLASS).is_some_and(|is| is == "true");
    let defaults = world.list(kinds::INGRESS_CLASS).filter(is_default);
    let class = defaults.max_by_key(|class| (class.meta().creation_timestamp, std::cmp::Reverse(class.key().name())));
    let Some(class) = class else { return Ok(object) };
    let mut value = object.to_value().map_err(StatusError::internal)?;
    if value["spec"]["ingressClassName"].is_string() {
        return Ok(object);
    }
    value["spec"]["ingressClassName"] = class.key().name().into();
    Object::from_tree(kinds::INGRESS, value).map_err(StatusError::internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::seed;
    use jiff::Timestamp;
    use serde_json::{Value, json};

    fn check(metadata: Value, spec: Value, expect: Option<&str>) {
        let txn = seed(&Snapshot::default(), Timestamp::UNIX_EPOCH, String::new);
        let (world, _) = Snapshot::default().apply(&txn).expect("an empty world");
        let mut value =
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec});
        value["metadata"]["name"] = "i".into();
        let ingress = Object::from_value(kinds::INGRESS, &value).expect("an object");
        let completed =
            complete(ingress, None, &world, 0, Outages::default()).expect("completed").to_value().expect("JSON");
        assert_eq!(completed["spec"]["ingressClassName"].as_str(), expect);
    }

    #[test]
    fn an_ingress_without_a_class_gets_the_default_one() {
        check(json!({}), json!({}), Some("coracle"));
        check(json!({}), json!({"ingressClassName": "other"}), Some("other"));
        check(json!({"annotations": {OLD_CLASS: "other"}}), json!({}), None);
    }
}
