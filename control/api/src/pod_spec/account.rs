//! What a new pod gets from its service account: a token to know the API by, and the secrets to pull images with.
//!
//! As Kubernetes' `ServiceAccount` admission does it, whoever makes the pod. A pod whose account is not there is refused.

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use serde_json::{Value, json};

use crate::{Names, Object, StatusError, catalog, kinds, metadata};

/// The account of pods that name none.
pub const DEFAULT: &str = "default";
/// Where a container finds its token.
const PLACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What the name of the volume begins with.
const VOLUME: &str = "kube-api-access-";
/// The config map that every namespace has, with the certificate of the cluster's authority.
const AUTHORITY: &str = "kube-root-ca.crt";
/// As Kubernetes has it: an hour, and a bit by which those who ask for exactly this are known.
const SECONDS: i64 = 60 * 60 + 7;
/// Marks a pod that mirrors one that a node runs by itself.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The account that a pod runs as.
pub fn name_of(pod: &Object) -> String {
    let pod = pod.decode::<Pod>().ok();
    let name = pod.as_ref().and_then(|pod| pod.spec.as_ref()?.service_account_name.as_deref());
    name.filter(|name| !name.is_empty()).unwrap_or(DEFAULT).to_owned()
}

/// The new pod, with what its account gives it; `account` is what is found under [`name_of`].
pub fn equip(pod: Object, account: Option<&Object>, seed: u64) -> Result<Object, StatusError> {
    if pod.meta().annotations.contains_key(MIRROR) {
        return Ok(pod);
    }
    let key = pod.key();
    let Some(account) = account else { return Err(missing(key.namespace(), &name_of(&pod), key.name())) };
    let account = account.decode::<ServiceAccount>().map_err(StatusError::internal)?;
    let mut value = pod.into_value().map_err(StatusError::internal)?;
    let spec = &mut value["spec"];
    if wants_token(spec, &account) {
        mount(spec, seed);
    }
    let has_secrets = spec["imagePullSecrets"].as_array().is_some_and(|secrets| !secrets.is_empty());
    if let (false, Some(secrets)) = (has_secrets, &account.image_pull_secrets) {
        spec["imagePullSecrets"] = serde_json::to_value(secrets).map_err(StatusError::internal)?;
    }
    Object::from_tree(kinds::POD, value).map_err(StatusError::internal)
}

/// The refusal of a pod whose account is not there.
fn missing(namespace: &str, account: &str, pod: &str) -> StatusError {
    let why = format!("error looking up service account {namespace}/{account}: serviceaccount {account:?} not found");
    let names: &Names = catalog::by_kind(kinds::POD).expect("pods are in the catalog").names();
    StatusError::forbidden(names, pod, &why)
}

/// The pod's own word counts before its account's; without any, it does.
fn wants_token(spec: &Value, account: &ServiceAccount) -> bool {
    let says = spec.get("automountServiceAccountToken").and_then(Value::as_bool);
    says.or(account.automount_service_account_token).unwrap_or(true)
}

/// Shows every container the token, but for those that mount something else there.
fn mount(spec: &mut Value, seed: u64) {
    let names = spec["volumes"].as_array().into_iter().flatten().filter_map(|volume| volume["name"].as_str());
    let known = names.filter(|name| name.starts_with(VOLUME)).map(str::to_owned).next();
    let name = known.clone().unwrap_or_else(|| metadata::generated_name(VOLUME, seed));
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let mounts = &mut container["volumeMounts"];
            if mounts.as_array().into_iter().flatten().any(|mount| mount["mountPath"] == PLACE) {
                continue;
            }
            needed = true;
            let shown = json!({"mountPath": PLACE, "name": name, "readOnly": true});
            push(mounts, shown);
        }
    }
    if known.is_none() && needed {
        push(&mut spec["volumes"], volume(&name));
    }
}

fn push(list: &mut Value, item: Value) {
    match list.as_array_mut() {
        Some(items) => items.push(item),
        None => *list = json!([item]),
    }
}

fn volume(name: &str) -> Value {
    let namespace = json!({"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}});
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": SECONDS, "path": "token"}},
        {"configMap": {"name": AUTHORITY, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: crate::GroupKind, rest: Value) -> Object {
        let mut value =
            json!({"apiVersion": "v1", "kind": kind.kind, "metadata": {"name": "web", "namespace": "shop"}});
        value.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        Object::from_value(kind, &value).expect("an object")
    }

    fn equipped(spec: Value, account: Value) -> Value {
        let account = object(kinds::SERVICE_ACCOUNT, account);
        let pod = equip(object(kinds::POD, json!({"spec": spec})), Some(&account), 7).expect("equipped");
        pod.to_value().expect("JSON")["spec"].clone()
    }

    #[test]
    fn every_container_is_shown_the_token() {
        let spec = equipped(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "c"}]}), json!({}));
        let name = spec["volumes"][0]["name"].as_str().expect("a name").to_owned();
        assert!(name.starts_with("kube-api-access-") && name.len() == 21, "{name}");
        let shown = json!([{"mountPath": PLACE, "name": name, "readOnly": true}]);
        assert_eq!(
            (&spec["initContainers"][0]["volumeMounts"], &spec["containers"][0]["volumeMounts"]),
            (&shown, &shown)
        );
        let sources = &spec["volumes"][0]["projected"]["sources"];
        assert_eq!(sources[0], json!({"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}));
        assert_eq!(sources[1]["configMap"]["name"], "kube-root-ca.crt");
        assert_eq!(sources[2]["downwardAPI"]["items"][0]["path"], "namespace");
    }

    #[test]
    fn who_does_not_want_it_or_has_something_there_does_not_get_it() {
        let bare = json!({"containers": [{"name": "c"}]});
        let no = json!({"automountServiceAccountToken": false});
        assert_eq!(equipped(bare.clone(), no.clone()), bare);
        let mut wants = bare.clone();
        wants["automountServiceAccountToken"] = true.into();
        assert!(equipped(wants, no)["volumes"].is_array(), "the pod's word counts first");
        let mut refuses = bare;
        refuses["automountServiceAccountToken"] = false.into();
        assert_eq!(equipped(refuses.clone(), json!({})), refuses);
        let has = json!({"containers": [{"name": "c", "volumeMounts": [{"name": "own", "mountPath": PLACE}]}]});
        assert_eq!(equipped(has.clone(), json!({})), has);
    }

    #[test]
    fn a_volume_that_is_there_already_is_used() {
        let has =
            json!({"containers": [{"name": "c"}], "volumes": [{"name": "kube-api-access-abcde", "emptyDir": {}}]});
        let spec = equipped(has, json!({}));
        assert_eq!(spec["volumes"].as_array().map(Vec::len), Some(1));
        assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], "kube-api-access-abcde");
    }

    #[test]
    fn secrets_to_pull_with_are_inherited() {
        let account = json!({"imagePullSecrets": [{"name": "registry"}], "automountServiceAccountToken": false});
        assert_eq!(equipped(json!({}), account.clone())["imagePullSecrets"], account["imagePullSecrets"]);
        let own = json!({"imagePullSecrets": [{"name": "own"}]});
        assert_eq!(equipped(own.clone(), account), own);
    }

    #[test]
    fn without_its_account_a_pod_is_refused() {
        let pod = object(kinds::POD, json!({"spec": {"serviceAccountName": "web"}}));
        assert_eq!(
            equip(pod, None, 7).expect_err("refused").message,
            r#"pods "web" is forbidden: error looking up service account shop/web: serviceaccount "web" not found"#
        );
    }
}
