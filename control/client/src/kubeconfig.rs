//! The kubeconfig file: where a cluster is and who one is there.
//!
//! The format is Kubernetes' <https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/>; embedded
//! certificates and files are understood, exec plug-ins are not.
//!
//! The format knows one server of a cluster. Several are written as so many clusters, each with a context of its own, and read so,
//! too: clusters that the same authority vouches for are one.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::{ClientError, Identity, Target};

/// A kubeconfig file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kubeconfig {
    #[serde(rename = "apiVersion", default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    clusters: Vec<Named<Cluster>>,
    #[serde(default)]
    users: Vec<Named<User>>,
    #[serde(default)]
    contexts: Vec<Named<Context>>,
    #[serde(default)]
    current_context: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Named<T> {
    name: String,
    #[serde(flatten)]
    value: T,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Cluster {
    cluster: ClusterFields,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct ClusterFields {
    server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_authority_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_authority: Option<PathBuf>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct User {
    user: UserFields,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct UserFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_key_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Context {
    context: ContextFields,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ContextFields {
    cluster: String,
    user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
}

// === impl Kubeconfig ===

impl Kubeconfig {
    /// A file with one cluster, one user and one context, all of the same name. Certificates and key are PEM.
    pub fn single(name: &str, server: &str, ca: &str, certificate: &str, key: &str) -> Self {
        let cluster = ClusterFields {
            server: server.into(),
            certificate_authority_data: Some(STANDARD.encode(ca)),
            certificate_authority: None,
        };
        let user = UserFields {
            client_certificate_data: Some(STANDARD.encode(certificate)),
            client_key_data: Some(STANDARD.encode(key)),
            ..UserFields::default()
        };
        let context = ContextFields { cluster: name.into(), user: name.into(), namespace: None };
        Self {
            api_version: "v1".into(),
            kind: "Config".into(),
            clusters: vec![Named { name: name.into(), value: Cluster { cluster } }],
            users: vec![Named { name: name.into(), value: User { user } }],
            contexts: vec![Named { name: name.into(), value: Context { context } }],
            current_context: name.into(),
        }
    }

    /// The same cluster at another server, in a context named so.
    pub fn with_server(mut self, name: &str, server: &str) -> Self {
        let context = self.context().cloned().unwrap_or_default();
        let known = self.clusters.iter().find(|cluster| cluster.name == context.cluster);
        let cluster = known.map(|known| known.value.cluster.clone()).unwrap_or_default();
        let cluster = Cluster { cluster: ClusterFields { server: server.into(), ..cluster } };
        self.clusters.push(Named { name: name.into(), value: cluster });
        let context = Context { context: ContextFields { cluster: name.into(), ..context } };
        self.contexts.push(Named { name: name.into(), value: context });
        self
    }

    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self, ClientError> {
        serde_saphyr::from_str(text)
            .map_err(|error| ClientError::Request(format!("the kubeconfig cannot be read: {error}")))
    }

    /// The file's text.
    pub fn to_yaml(&self) -> Result<String, ClientError> {
        serde_saphyr::to_string(self)
            .map_err(|error| ClientError::Request(format!("the kubeconfig cannot be written: {error}")))
    }

    /// The namespace of the current context.
    pub fn namespace(&self) -> &str {
        self.context().ok().and_then(|context| context.namespace.as_deref()).unwrap_or("default")
    }

    /// Where the current context points, and after it the other servers of that cluster; relative file names are looked for beside
    /// `directory`.
    pub fn target(&self, directory: &Path) -> Result<Target, ClientError> {
        let context = self.context()?;
        let cluster = self.clusters.iter().find(|cluster| cluster.name == context.cluster);
        let cluster = &cluster.ok_or_else(|| missing("cluster", &context.cluster))?.value.cluster;
        let user = self.users.iter().find(|user| user.name == context.user);
        let user = &user.ok_or_else(|| missing("user", &context.user))?.value.user;
        let ca = material(
            cluster.certificate_authority_data.as_deref(),
            cluster.certificate_authority.as_deref(),
            directory,
        )?;
        let certificate =
            material(user.client_certificate_data.as_deref(), user.client_certificate.as_deref(), directory)?;
        let key = material(user.client_key_data.as_deref(), user.client_key.as_deref(), directory)?;
        let identity = match (certificate, key, &user.token) {
            (Some(certificate), Some(key), _) => Identity::Certificate { certificate, key },
            (_, _, Some(token)) => Identity::Token(token.clone()),
            _ => Identity::Anonymous,
        };
        let ca = ca.ok_or_else(|| ClientError::Request("the kubeconfig names no certificate authority".into()))?;
        let is_same = |other: &&Named<Cluster>| {
            let other = &other.value.cluster;
            other.server != cluster.server
                && other.certificate_authority_data == cluster.certificate_authority_data
                && other.certificate_authority == cluster.certificate_authority
        };
        let mut others = self.clusters.iter().filter(is_same);
        let target = Target::new(&cluster.server, &ca, identity)?;
        others.try_fold(target, |target, other| target.or(&other.value.cluster.server))
    }

    fn context(&self) -> Result<&ContextFields, ClientError> {
        let context = self.contexts.iter().find(|context| context.name == self.current_context);
        Ok(&context.ok_or_else(|| missing("context", &self.current_context))?.value.context)
    }
}

fn missing(what: &str, name: &str) -> ClientError {
    ClientError::Request(format!("the kubeconfig has no {what} {name:?}"))
}

fn material(data: Option<&str>, file: Option<&Path>, directory: &Path) -> Result<Option<String>, ClientError> {
    match (data, file) {
        (Some(data), _) => {
            let bytes = STANDARD
                .decode(data.trim())
                .map_err(|_| ClientError::Request("the kubeconfig holds broken base64".into()))?;
            String::from_utf8(bytes).map(Some).map_err(|_| ClientError::Request("the kubeconfig holds no PEM".into()))
        }
        (None, Some(file)) => {
            let file = directory.join(file);
            let read = std::fs::read_to_string(&file);
            read.map(Some).map_err(|error| ClientError::Request(format!("{} cannot be read: {error}", file.display())))
        }
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let text = Kubeconfig::single("c", "https://127.0.0.1:6443", "ca", "cert", "key").to_yaml().expect("writes");
        let read = Kubeconfig::parse(&text).expect("reads");
        assert_eq!(read.namespace(), "default");
        let cluster = &read.clusters[0].value.cluster;
        assert_eq!(cluster.server, "https://127.0.0.1:6443");
        let data = material(cluster.certificate_authority_data.as_deref(), None, Path::new("/")).expect("base64");
        assert_eq!(data.as_deref(), Some("ca"));
        let several = read.clone().with_server("c-2", "https://127.0.0.2:6443");
        let several = Kubeconfig::parse(&several.to_yaml().expect("writes")).expect("reads");
        let servers: Vec<(&str, &str)> = several
            .contexts
            .iter()
            .zip(&several.clusters)
            .map(|(context, cluster)| {
                assert_eq!(context.value.context.cluster, cluster.name);
                assert_eq!(context.value.context.user, "c");
                (context.name.as_str(), cluster.value.cluster.server.as_str())
            })
            .collect();
        assert_eq!(servers, [("c", "https://127.0.0.1:6443"), ("c-2", "https://127.0.0.2:6443")]);
        assert_eq!(several.current_context, "c");
        // What is no certificate is refused with the server's name, not sent.
        let error = read.target(Path::new("/")).expect_err("not PEM").to_string();
        assert!(error.starts_with("https://127.0.0.1:6443: "), "{error}");
    }

    #[test]
    fn a_context_that_is_not_there_is_named() {
        let error =
            Kubeconfig::parse("current-context: x").expect("reads").target(Path::new("/")).expect_err("no context");
        assert_eq!(error.to_string(), "the kubeconfig has no context \"x\"");
    }
}
