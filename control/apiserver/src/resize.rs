//! A claim grows only where somebody makes it grow: once it is bound, of a class that says so. The words are Kubernetes' own.

use api::{Object, StatusError, catalog, kinds, storage};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use state::Snapshot;

const NOT_BOUND: &str = "Only bound persistent volume claims can be expanded";
const NOT_RESIZABLE: &str =
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";

/// The claim, unless it asks for more than it may.
pub(crate) fn growable(claim: Object, old: &Object, world: &Snapshot) -> Result<Object, StatusError> {
    let [after, before] = [&claim, old].map(Object::decode::<PersistentVolumeClaim>);
    let (after, before) = (after.map_err(StatusError::internal)?, before.map_err(StatusError::internal)?);
    if storage::wanted(&after) <= storage::wanted(&before) {
        return Ok(claim);
    }
    let is_bound = before.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    let class = storage::class_of(&after).filter(|name| !name.is_empty());
    let class = class.and_then(|name| world.get(&kinds::STORAGE_CLASS.cluster_key(name)));
    let class = class.and_then(|class| class.decode::<StorageClass>().ok());
    let why = match (is_bound, class.and_then(|class| class.allow_volume_expansion)) {
        (true, Some(true)) => return Ok(claim),
        (false, _) => NOT_BOUND,
        (true, _) => NOT_RESIZABLE,
    };
    match catalog::by_kind(kinds::PERSISTENT_VOLUME_CLAIM) {
        Some(kind) => Err(StatusError::forbidden(kind.names(), claim.key().name(), why)),
        None => Err(StatusError::internal("claims are not in the catalog")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Revision;
    use serde_json::json;

    fn claim(size: &str, class: &str, phase: &str) -> Object {
        let value = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "shop"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": size}}},
            "status": {"phase": phase},
        });
        Object::from_value(kinds::PERSISTENT_VOLUME_CLAIM, &value).expect("an object")
    }

    fn check(size: &str, class: &str, phase: &str, expect: Option<&str>) {
        let named = |name: &str, grows: bool| {
            let value = json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
                "provisioner": "p", "allowVolumeExpansion": grows,
            });
            Object::from_value(kinds::STORAGE_CLASS, &value).expect("an object")
        };
        let world = Snapshot::load(Revision(1), [named("soft", true), named("hard", false)]);
        let told = growable(claim(size, class, phase), &claim("1Gi", class, phase), &world).map(drop);
        let expect = expect.map(|why| format!("persistentvolumeclaims \"data\" is forbidden: {why}"));
        assert_eq!(told.map_err(|error| error.message).err(), expect, "{size} {class} {phase}");
    }

    #[test]
    fn a_claim_grows_when_it_is_bound_and_its_class_allows_it() {
        check("2Gi", "soft", "Bound", None);
        check("2Gi", "soft", "Pending", Some(NOT_BOUND));
        check("2Gi", "hard", "Bound", Some(NOT_RESIZABLE));
        check("2Gi", "", "Bound", Some(NOT_RESIZABLE));
        check("1Gi", "hard", "Pending", None);
    }
}
