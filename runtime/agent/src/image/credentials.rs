//! What `imagePullSecrets` hold: user and password by registry.

use std::collections::BTreeMap;

use api::kinds;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;
use state::Snapshot;

/// Users and passwords by registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    by_registry: BTreeMap<String, (String, String)>,
}

#[derive(Deserialize)]
struct DockerConfig {
    auths: BTreeMap<String, Auth>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    username: String,
    password: String,
    /// `user:password` in base 64.
    #[serde(rename = "auth")]
    encoded: String,
}

// === impl Credentials ===

impl Credentials {
    /// Everything the pull secrets of a pod and of its service account hold. A secret that is missing or that cannot be read
    /// holds nothing, as with a kubelet: the pull then says what is wrong.
    pub fn of(pod: &Pod, view: &Snapshot) -> Self {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let spec = pod.spec.as_ref();
        let account = spec.and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
        let account = view.get(&kinds::SERVICE_ACCOUNT.key(namespace, account));
        let account = account.and_then(|object| object.decode::<ServiceAccount>().ok());
        let own = spec.and_then(|spec| spec.image_pull_secrets.clone()).unwrap_or_default();
        let of_account = account.and_then(|account| account.image_pull_secrets.clone()).unwrap_or_default();
        let mut credentials = Self::default();
        for secret in own.iter().chain(&of_account) {
            let object = view.get(&kinds::SECRET.key(namespace, &secret.name));
            if let Some(secret) = object.and_then(|object| object.decode::<Secret>().ok()) {
                credentials.learn(&secret);
            }
        }
        credentials
    }

    /// The credentials for a registry, or none.
    pub fn for_registry(&self, registry: &str) -> RegistryAuth {
        match self.by_registry.get(registry) {
            Some((user, password)) => RegistryAuth::Basic(user.clone(), password.clone()),
            None => RegistryAuth::Anonymous,
        }
    }

    fn learn(&mut self, secret: &Secret) {
        let data = secret.data.as_ref();
        let auths = if let Some(json) = data.and_then(|data| data.get(".dockerconfigjson")) {
            serde_json::from_slice::<DockerConfig>(&json.0).map(|config| config.auths)
        } else if let Some(json) = data.and_then(|data| data.get(".dockercfg")) {
            serde_json::from_slice(&json.0)
        } else {
            return;
        };
        for (registry, auth) in auths.into_iter().flatten() {
            if let Some(pair) = auth.pair() {
                self.by_registry.entry(host(&registry)).or_insert(pair);
            }
        }
    }
}

/// The registry that a key of a Docker configuration names, with or without scheme and path.
fn host(key: &str) -> String {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    match rest.split('/').next().unwrap_or_default() {
        "index.docker.io" => "docker.io".to_owned(),
        host => host.to_owned(),
    }
}

impl Auth {
    fn pair(self) -> Option<(String, String)> {
        if !self.username.is_empty() {
            return Some((self.username, self.password));
        }
        let text = String::from_utf8(STANDARD.decode(self.encoded.trim()).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        Some((user.to_owned(), password.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{object, pod, world};

    #[test]
    fn pull_secrets_of_the_pod_and_its_account_are_read() {
        let config = |registry: &str, auth: &str| STANDARD.encode(format!(r#"{{"auths":{{"{registry}":{auth}}}}}"#));
        let secret = |name: &str, config: &str| {
            object(&format!(
                r#"{{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"{name}","namespace":"shop"}},
                    "type":"kubernetes.io/dockerconfigjson","data":{{".dockerconfigjson":"{config}"}}}}"#
            ))
        };
        let account = object(
            r#"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default","namespace":"shop"},"imagePullSecrets":[{"name":"hub"}]}"#,
        );
        let view = world([
            secret("ghcr", &config("ghcr.io", r#"{"username":"u","password":"p"}"#)),
            secret(
                "hub",
                &config("https://index.docker.io/v1/", &format!(r#"{{"auth":"{}"}}"#, STANDARD.encode("me:pass"))),
            ),
            account,
        ]);
        let pod = pod(r#"{"imagePullSecrets":[{"name":"ghcr"},{"name":"missing"}],"containers":[]}"#);
        let credentials = Credentials::of(&pod, &view);
        let basic = |user: &str, password: &str| RegistryAuth::Basic(user.into(), password.into());
        assert_eq!(credentials.for_registry("ghcr.io"), basic("u", "p"));
        assert_eq!(credentials.for_registry("docker.io"), basic("me", "pass"));
        assert_eq!(credentials.for_registry("quay.io"), RegistryAuth::Anonymous);
    }
}
