//! Fetching manifests and blobs: from the cluster's own registry, or from any other.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use network::Body;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt;

use super::reference::{Reference, Version};
use crate::body::whole;

/// The cluster's own registry: answers `GET` of a path under `/v2/`.
pub trait ClusterRegistry: Send + Sync + 'static {
    /// The answer, whatever its status; or why there is none.
    fn get(&self, path: String, accept: &'static str) -> BoxFuture<'_, Result<Response<Body>, String>>;
}

/// Where one image is fetched from.
pub(super) enum Source {
    Cluster(Arc<dyn ClusterRegistry>),
    Outside { client: Box<oci_client::Client>, auth: RegistryAuth, registry: String },
}

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry does not have it.
    #[error("{0}: not found")]
    NotFound(String),
    /// The registry refused.
    #[error("the registry answered {0}")]
    Refused(StatusCode),
    /// The registry does not let whoever asks.
    #[error(
        "pull access denied for {0}: the registry asks who is there, or refuses the credentials of imagePullSecrets"
    )]
    Denied(String),
    /// The registry could not be talked to.
    #[error("{0}")]
    Unreachable(String),
    /// What came is not what was asked for.
    #[error("{what}: the digest is {found}")]
    OtherDigest {
        /// What was asked for.
        what: String,
        /// What came.
        found: String,
    },
    /// It is too large.
    #[error("{what} is larger than {max} bytes")]
    TooLarge {
        /// What was asked for.
        what: String,
        /// The most that is taken.
        max: u64,
    },
    /// It could not be written down.
    #[error("failed to write the image: {0}")]
    Write(#[from] std::io::Error),
}

/// A manifest lists blobs; it is small.
const MANIFEST_BYTES_MAX: usize = 4 << 20;

/// Python components are the largest known, at 20 MB; models baked into one may well be larger.
pub(super) const COMPONENT_BYTES_MAX: u64 = 512 << 20;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const READ_TIMEOUT: Duration = Duration::from_mins(1);

const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const MANIFESTS_ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

// === impl Source ===

impl Source {
    /// A registry outside the cluster. The client is made anew for each image: it remembers who it is, and the next pod is
    /// somebody else.
    pub(super) fn outside(registry: &str, auth: RegistryAuth) -> Self {
        // Fails only where a provider was chosen before: then it is that one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let protocol = if is_local(registry) { ClientProtocol::Http } else { ClientProtocol::Https };
        let config = ClientConfig {
            protocol,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: concat!("coracle/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        Self::Outside { client: Box::new(oci_client::Client::new(config)), auth, registry: registry.to_owned() }
    }

    /// A manifest by tag or digest, and its digest.
    pub(super) async fn manifest(&self, repository: &str, version: &Version) -> Result<(Bytes, String), RegistryError> {
        let (Version::Tag(word) | Version::Digest(word)) = version;
        let bytes = match self {
            Self::Cluster(registry) => {
                let path = format!("/v2/{repository}/manifests/{word}");
                let response =
                    answer(registry.as_ref(), path, MANIFESTS_ACCEPTED, &format!("{repository}:{word}")).await?;
                let body = whole(response.into_body(), MANIFEST_BYTES_MAX).await;
                body.map_err(|error| RegistryError::Unreachable(error.to_string()))?
            }
            Self::Outside { client, auth, registry } => {
                let reference = outside(registry, repository, version);
                client
                    .pull_manifest_raw(&reference, auth, &MANIFESTS)
                    .await
                    .map_err(|error| told(&error, &reference))?
                    .0
            }
        };
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
        match version {
            Version::Digest(asked) if *asked != digest => {
                Err(RegistryError::OtherDigest { what: asked.clone(), found: digest })
            }
            _ => Ok((bytes, digest)),
        }
    }

    /// Writes a blob to a file, and checks that it is the one.
    pub(super) async fn blob(&self, repository: &str, digest: &str, to: &Path) -> Result<u64, RegistryError> {
        let mut file = tokio::fs::File::create(to).await?;
        let size = match self {
            Self::Cluster(registry) => {
                let path = format!("/v2/{repository}/blobs/{digest}");
                let response = answer(registry.as_ref(), path, "*/*", digest).await?;
                write(response.into_body(), digest, &mut file).await?
            }
            Self::Outside { client, registry, .. } => {
                let reference = outside(registry, repository, &Version::Digest(digest.to_owned()));
                client.pull_blob(&reference, digest, &mut file).await.map_err(|error| told(&error, &reference))?;
                file.metadata().await?.len()
            }
        };
        file.flush().await?;
        Ok(size)
    }
}

/// Writes what somebody gives for a blob to a file, and checks that it is that.
pub(super) async fn receive(body: Body, digest: &str, to: &Path) -> Result<u64, RegistryError> {
    let mut file = tokio::fs::File::create(to).await?;
    let size = write(body, digest, &mut file).await?;
    file.flush().await?;
    Ok(size)
}

async fn answer(
    registry: &dyn ClusterRegistry,
    path: String,
    accept: &'static str,
    what: &str,
) -> Result<Response<Body>, RegistryError> {
    let response = registry.get(path, accept).await.map_err(RegistryError::Unreachable)?;
    match response.status() {
        StatusCode::NOT_FOUND => Err(RegistryError::NotFound(what.to_owned())),
        status if status.is_success() => Ok(response),
        status => Err(RegistryError::Refused(status)),
    }
}

async fn write(mut body: Body, digest: &str, file: &mut tokio::fs::File) -> Result<u64, RegistryError> {
    let mut hasher = Sha256::new();
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| RegistryError::Unreachable(error.to_string()))?;
        let Some(bytes) = frame.data_ref() else { continue };
        size += bytes.len() as u64;
        if size > COMPONENT_BYTES_MAX {
            return Err(RegistryError::TooLarge { what: digest.to_owned(), max: COMPONENT_BYTES_MAX });
        }
        hasher.update(bytes);
        file.write_all(bytes).await?;
    }
    let found = format!("sha256:{}", hex::encode(hasher.finalize()));
    if found == digest { Ok(size) } else { Err(RegistryError::OtherDigest { what: digest.to_owned(), found }) }
}

fn outside(registry: &str, repository: &str, version: &Version) -> oci_client::Reference {
    let (registry, repository) = (registry.to_owned(), repository.to_owned());
    match version {
        Version::Tag(tag) => oci_client::Reference::with_tag(registry, repository, tag.clone()),
        Version::Digest(digest) => oci_client::Reference::with_digest(registry, repository, digest.clone()),
    }
}

fn told(error: &oci_client::errors::OciDistributionError, reference: &oci_client::Reference) -> RegistryError {
    use oci_client::errors::{OciDistributionError as Error, OciErrorCode as Code};
    match error {
        Error::AuthenticationFailure(_) | Error::UnauthorizedError { .. } => {
            RegistryError::Denied(reference.to_string())
        }
        Error::RegistryError { envelope, .. }
            if envelope.errors.iter().any(|error| matches!(error.code, Code::Unauthorized | Code::Denied)) =>
        {
            RegistryError::Denied(reference.to_string())
        }
        Error::ImageManifestNotFoundError(_) => RegistryError::NotFound(reference.to_string()),
        Error::RegistryError { envelope, .. }
            if envelope.errors.iter().any(|error| {
                matches!(error.code, Code::ManifestUnknown | Code::NameUnknown | Code::BlobUnknown | Code::NotFound)
            }) =>
        {
            RegistryError::NotFound(reference.to_string())
        }
        error => RegistryError::Unreachable(error.to_string()),
    }
}

/// As Docker has it: a registry on this machine needs no TLS.
fn is_local(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Reference {
    /// Where this image is fetched from.
    pub(super) fn source(&self, cluster: &Arc<dyn ClusterRegistry>, auth: impl FnOnce(&str) -> RegistryAuth) -> Source {
        match &self.registry {
            None => Source::Cluster(cluster.clone()),
            Some(registry) => Source::outside(registry, auth(registry)),
        }
    }
}
