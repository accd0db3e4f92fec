//! Claims, volumes and classes of storage: the words that they are marked with, and plain questions about them.
//!
//! Said once for those who bind (`controllers`), place (`scheduler`), mount (`agent`) and let in (`apiserver`).

pub mod s3;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::Object;
use crate::quantity::Quantity;

/// Who makes volumes that are directories of a node; also the driver that such a volume names, and the finalizer with which the
/// node holds a volume until its directory is seen to.
pub const LOCAL_PATH: &str = "coracle.dev/local-path";
pub use s3::S3;
/// The class of such volumes that a new cluster has.
pub const LOCAL_PATH_CLASS: &str = "local-path";
/// The label of such a volume that tells its node, for the node to watch by.
pub const NODE_LABEL: &str = "coracle.dev/node";
/// The class that nobody makes volumes of.
pub const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// Holds a claim that pods use.
pub const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
/// Holds a volume that a claim has.
pub const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";

/// The annotation of a claim that has its volume for good.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The annotation of a claim or a volume whose partner was chosen for it.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// The annotation of a volume that tells who made it.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// The annotation of a claim that tells the node of its first consumer.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// The annotation of a volume that tells what it is filled from.
pub const FILLED_FROM: &str = "coracle.dev/filled-from";
/// The annotation of a claim that was brought back without its volume, and tells what the next one is filled from: what a backup
/// held, as [`Saved`](crate::snapshots::Saved) is written.
pub const RESTORED_FROM: &str = "coracle.dev/restored-from";
/// The annotation of such a claim that tells what became of its volume once nobody had it any more.
pub const RESTORED_POLICY: &str = "coracle.dev/restored-reclaim-policy";
/// The finalizer of a volume that is yet to be filled.
pub const UNFILLED: &str = "coracle.dev/unfilled";
/// The annotations of a claim that tell who is to make its volume.
pub const STORAGE_PROVISIONER: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
/// How a claim or a volume named its class before there was a field for it.
pub const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// Marks the class of claims that name none.
pub const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// The access mode of a claim that one pod at a time may use.
pub const ONE_POD: &str = "ReadWriteOncePod";
/// A directory of one node can be used from one node.
const LOCAL_PATH_MODES: &[&str] = &["ReadWriteOnce", ONE_POD];
/// Objects are written from one node at a time, and read from as many as like.
const S3_MODES: &[&str] = &["ReadWriteOnce", ONE_POD, READ_ONLY];
/// The access mode of a claim that nobody writes to.
pub const READ_ONLY: &str = "ReadOnlyMany";

/// The class that a claim names; an empty one is a name, too.
pub fn class_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    let noted = claim.metadata.annotations.as_ref().and_then(|annotations| annotations.get(OLD_CLASS));
    noted.or(claim.spec.as_ref()?.storage_class_name.as_ref()).map(String::as_str)
}

/// The class that a volume is of, empty if none.
pub fn class_of_volume(volume: &PersistentVolume) -> &str {
    let noted = volume.metadata.annotations.as_ref().and_then(|annotations| annotations.get(OLD_CLASS));
    let said = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    noted.or(said).map_or("", String::as_str)
}

/// The class of claims that name none: of several that are marked the newest, as Kubernetes has it.
pub fn default_class<'a>(classes: impl Iterator<Item = &'a Object>) -> Option<&'a Object> {
    let marked = classes.filter(|class| class.meta().annotations.get(DEFAULT_CLASS).is_some_and(|is| is == "true"));
    marked.max_by_key(|class| (class.meta().creation_timestamp, std::cmp::Reverse(class.key().name().to_owned())))
}

/// Whether a claim of this class waits for a pod that uses it.
pub fn waits_for_consumer(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
}

/// The claim behind a volume of a pod, if it is one of a claim.
pub fn claim_name(pod: &Pod, volume: &Volume) -> Option<String> {
    if let Some(source) = &volume.persistent_volume_claim {
        return Some(source.claim_name.clone());
    }
    volume.ephemeral.as_ref()?;
    Some(format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name))
}

/// The claims that a pod uses.
pub fn claim_names(pod: &Pod) -> impl Iterator<Item = String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| claim_name(pod, volume))
}

/// Those of them that are made for the pod alone, out of templates in it.
pub fn brought_names(pod: &Pod) -> impl Iterator<Item = String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter(|volume| volume.ephemeral.is_some()).filter_map(|volume| claim_name(pod, volume))
}

/// How much a claim asks for.
pub fn wanted(claim: &PersistentVolumeClaim) -> Quantity {
    let requests = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    requests.and_then(|requests| requests.get("storage")).map(Quantity::of).unwrap_or_default()
}

/// How much a volume holds.
pub fn capacity(volume: &PersistentVolume) -> Quantity {
    let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
    capacity.and_then(|capacity| capacity.get("storage")).map(Quantity::of).unwrap_or_default()
}

/// The volume that a claim names, if it names one.
pub fn volume_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

/// Whether a claim has its volume for good.
pub fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let noted = claim.metadata.annotations.as_ref();
    volume_of(claim).is_some() && noted.is_some_and(|noted| noted.contains_key(BIND_COMPLETED))
}

/// Whether a volume is kept for this claim: one that was named before it was there is known by its name alone.
pub fn is_kept_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let Some(kept) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else { return false };
    let (meta, uid) = (&claim.metadata, kept.uid.as_deref().unwrap_or_default());
    (&kept.namespace, &kept.name) == (&meta.namespace, &meta.name)
        && (uid.is_empty() || Some(uid) == meta.uid.as_deref())
}

/// Whether a claim or a volume says that it is of this access mode and no other.
pub fn is_only(modes: Option<&[String]>, mode: &str) -> bool {
    matches!(modes, Some([only]) if only == mode)
}

/// Whether volumes of this provisioner are made here.
pub fn is_ours(provisioner: &str) -> bool {
    ours(provisioner).is_some()
}

/// The provisioner of this name, if it is one of this cluster's own.
pub fn ours(provisioner: &str) -> Option<&'static str> {
    [LOCAL_PATH, S3].into_iter().find(|ours| *ours == provisioner)
}

/// Why such a volume may not be used in one of these ways, if that is so.
pub fn unsuited(driver: &str, modes: Option<&[String]>) -> Option<String> {
    let (known, why) = match driver {
        S3 => (S3_MODES, "objects are written from one node at a time (ReadWriteOnce, ReadWriteOncePod) or only read"),
        _ => (LOCAL_PATH_MODES, "a directory of one node is ReadWriteOnce or ReadWriteOncePod"),
    };
    let mode = modes.into_iter().flatten().find(|mode| !known.contains(&mode.as_str()))?;
    Some(format!("{mode} is not supported: {why}"))
}

/// Why this provisioner of ours cannot make what the claim asks for, if that is so.
pub fn unmakeable(provisioner: &str, claim: &PersistentVolumeClaim) -> Option<String> {
    let spec = claim.spec.as_ref()?;
    if let Some(why) = unsuited(provisioner, spec.access_modes.as_deref()) {
        return Some(why);
    }
    if spec.volume_mode.as_deref() == Some("Block") {
        return Some("block volume provisioning is not supported".into());
    }
    if spec.selector.is_some() {
        return Some("claim.Spec.Selector is not supported".into());
    }
    let source = spec.data_source_ref.as_ref()?;
    if provisioner == LOCAL_PATH && crate::snapshots::source_of(claim).is_some() {
        return None;
    }
    let place = source.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    let place = place.map(|namespace| format!(" of namespace \"{namespace}\"")).unwrap_or_default();
    Some(format!("a volume cannot be filled from {} \"{}\"{place}", source.kind, source.name))
}

/// Whether a volume is yet to be filled.
pub fn is_unfilled(volume: &Object) -> bool {
    volume.meta().finalizers.iter().any(|one| one == UNFILLED)
}

/// Whether pods of one node at a time may use what the claim has: it can be reached from all of them, and is written.
pub fn is_for_one_node(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let driver = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref()).map(|source| source.driver.as_str());
    let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref());
    driver == Some(S3) && !is_only(modes, READ_ONLY)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_volume_is_kept_for_a_claim_by_name_until_it_knows_more() {
        let check = |kept: serde_json::Value, expect: bool| {
            let volume = json!({"metadata": {"name": "v"}, "spec": {"claimRef": kept}});
            let claim = json!({"metadata": {"name": "data", "namespace": "shop", "uid": "u1"}, "spec": {}});
            let volume = serde_json::from_value(volume).expect("a volume");
            let claim = serde_json::from_value(claim).expect("a claim");
            assert_eq!(is_kept_for(&volume, &claim), expect, "{kept}");
        };
        check(json!({"namespace": "shop", "name": "data"}), true);
        check(json!({"namespace": "shop", "name": "data", "uid": "u1"}), true);
        check(json!({"namespace": "shop", "name": "data", "uid": "u0"}), false);
        check(json!({"namespace": "farm", "name": "data"}), false);
    }

    #[test]
    fn a_pod_uses_claims_by_name_and_some_of_its_own() {
        let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [], "volumes": [
            {"name": "a", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "b", "emptyDir": {}},
            {"name": "c", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]}});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        assert_eq!(claim_names(&pod).collect::<Vec<_>>(), ["data", "web-c"]);
    }
}
