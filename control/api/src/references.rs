//! Which other objects an object is about: what a machine has to read to carry it out.
//!
//! Said once, for those who read and for those who decide who may read.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    Container, EnvFromSource, EnvVar, PersistentVolume, PersistentVolumeClaim, Pod, ServiceAccount, Volume,
};
use k8s_openapi::api::networking::v1::Ingress;

use crate::{Key, Object, kinds};

/// The namespace in which secrets prove to a directory of certificates whose a host is.
pub const PROOFS_NAMESPACE: &str = "kube-system";
/// Marks such a secret; its value is the challenge it is for.
pub const PROOFS_LABEL: &str = "coracle.dev/acme-challenge";

/// The secrets, config maps, claims, volumes and accounts that an object names.
pub fn of(object: &Object) -> BTreeSet<Key> {
    let namespace = object.key().namespace();
    match object.key().kind() {
        kinds::POD => {
            object.decode::<Pod>().map(|pod| of_pod(namespace, object.key().name(), &pod)).unwrap_or_default()
        }
        kinds::SERVICE_ACCOUNT => {
            let secrets = object.decode::<ServiceAccount>().ok().and_then(|account| account.image_pull_secrets.clone());
            secrets.iter().flatten().map(|secret| kinds::SECRET.key(namespace, &secret.name)).collect()
        }
        kinds::PERSISTENT_VOLUME_CLAIM => {
            let claim = object.decode::<PersistentVolumeClaim>().ok();
            let volume = claim.and_then(|claim| claim.spec.as_ref()?.volume_name.clone());
            volume.iter().map(|volume| kinds::PERSISTENT_VOLUME.cluster_key(volume)).collect()
        }
        kinds::PERSISTENT_VOLUME => {
            let volume = object.decode::<PersistentVolume>().ok();
            let secret = volume.and_then(|volume| volume.spec.as_ref()?.csi.as_ref()?.node_stage_secret_ref.clone());
            secret.and_then(|secret| Some(kinds::SECRET.key(&secret.namespace?, &secret.name?))).into_iter().collect()
        }
        kinds::INGRESS => {
            let tls = object.decode::<Ingress>().ok().and_then(|ingress| ingress.spec.as_ref()?.tls.clone());
            let names = tls.iter().flatten().filter_map(|tls| tls.secret_name.as_deref());
            names.filter(|name| !name.is_empty()).map(|name| kinds::SECRET.key(namespace, name)).collect()
        }
        _ => BTreeSet::new(),
    }
}

fn of_pod(namespace: &str, name: &str, pod: &Pod) -> BTreeSet<Key> {
    let Some(spec) = &pod.spec else { return BTreeSet::new() };
    let account = spec.service_account_name.as_deref().filter(|account| !account.is_empty()).unwrap_or("default");
    let mut keys = BTreeSet::from([kinds::SERVICE_ACCOUNT.key(namespace, account)]);
    let pulls = spec.image_pull_secrets.iter().flatten();
    keys.extend(pulls.map(|secret| kinds::SECRET.key(namespace, &secret.name)));
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        let Container { env, env_from, .. } = container;
        of_environment(namespace, env.as_deref(), env_from.as_deref(), &mut keys);
    }
    for container in spec.ephemeral_containers.iter().flatten() {
        of_environment(namespace, container.env.as_deref(), container.env_from.as_deref(), &mut keys);
    }
    for volume in spec.volumes.iter().flatten() {
        of_volume(namespace, name, volume, &mut keys);
    }
    keys.retain(|key| !key.name().is_empty());
    keys
}

fn of_environment(namespace: &str, env: Option<&[EnvVar]>, from: Option<&[EnvFromSource]>, keys: &mut BTreeSet<Key>) {
    for source in env.into_iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        keys.extend(source.config_map_key_ref.iter().map(|map| kinds::CONFIG_MAP.key(namespace, &map.name)));
        keys.extend(source.secret_key_ref.iter().map(|secret| kinds::SECRET.key(namespace, &secret.name)));
    }
    for source in from.into_iter().flatten() {
        keys.extend(source.config_map_ref.iter().map(|map| kinds::CONFIG_MAP.key(namespace, &map.name)));
        keys.extend(source.secret_ref.iter().map(|secret| kinds::SECRET.key(namespace, &secret.name)));
    }
}

fn of_volume(namespace: &str, pod: &str, volume: &Volume, keys: &mut BTreeSet<Key>) {
    keys.extend(volume.config_map.iter().map(|map| kinds::CONFIG_MAP.key(namespace, &map.name)));
    let secret = volume.secret.iter().filter_map(|source| source.secret_name.as_deref());
    keys.extend(secret.map(|name| kinds::SECRET.key(namespace, name)));
    let claim = volume.persistent_volume_claim.iter().map(|claim| claim.claim_name.clone());
    let own_claim = volume.ephemeral.iter().map(|_| format!("{pod}-{}", volume.name));
    keys.extend(claim.chain(own_claim).map(|name| kinds::PERSISTENT_VOLUME_CLAIM.key(namespace, &name)));
    for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
        keys.extend(source.config_map.iter().map(|map| kinds::CONFIG_MAP.key(namespace, &map.name)));
        keys.extend(source.secret.iter().map(|secret| kinds::SECRET.key(namespace, &secret.name)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(kind: crate::GroupKind, mut value: Value, expect: &[&str]) {
        value["apiVersion"] = crate::catalog::by_kind(kind).expect("in the catalog").names().api_version().into();
        value["kind"] = kind.kind.into();
        value["metadata"] = json!({"name": "web", "namespace": "shop"});
        let object = Object::from_value(kind, &value).expect("an object");
        let told: Vec<String> = of(&object).iter().map(|key| format!("{}/{}", key.kind(), key.name())).collect();
        assert_eq!(told, expect);
    }

    #[test]
    fn a_pod_names_what_it_mounts_reads_and_pulls_with() {
        let container = json!({
            "name": "main",
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "env", "key": "a"}}}],
            "envFrom": [{"configMapRef": {"name": "from"}}],
        });
        let volumes = json!([
            {"name": "a", "configMap": {"name": "files"}},
            {"name": "b", "secret": {"secretName": "keys"}},
            {"name": "c", "persistentVolumeClaim": {"claimName": "disk"}},
            {"name": "d", "projected": {"sources": [{"secret": {"name": "part"}}, {"serviceAccountToken": {"path": "t"}}]}},
        ]);
        let spec = json!({"containers": [container], "volumes": volumes, "imagePullSecrets": [{"name": "pull"}], "serviceAccountName": "robot"});
        check(
            kinds::POD,
            json!({"spec": spec}),
            &[
                "ConfigMap/files",
                "ConfigMap/from",
                "PersistentVolumeClaim/disk",
                "Secret/env",
                "Secret/keys",
                "Secret/part",
                "Secret/pull",
                "ServiceAccount/robot",
            ],
        );
        check(kinds::POD, json!({"spec": {"containers": []}}), &["ServiceAccount/default"]);
    }

    #[test]
    fn others_name_secrets_and_volumes() {
        check(kinds::SERVICE_ACCOUNT, json!({"imagePullSecrets": [{"name": "pull"}]}), &["Secret/pull"]);
        check(kinds::PERSISTENT_VOLUME_CLAIM, json!({"spec": {"volumeName": "v1"}}), &["PersistentVolume/v1"]);
        let csi =
            json!({"driver": "d", "volumeHandle": "h", "nodeStageSecretRef": {"name": "key", "namespace": "safe"}});
        check(kinds::PERSISTENT_VOLUME, json!({"spec": {"csi": csi}}), &["Secret/key"]);
        check(kinds::INGRESS, json!({"spec": {"tls": [{"secretName": "cert"}, {"hosts": ["a"]}]}}), &["Secret/cert"]);
        check(kinds::SERVICE, json!({"spec": {}}), &[]);
    }
}
