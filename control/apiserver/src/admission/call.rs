//! The call of a webhook: HTTPS to a URL, or through the pod network to a pod behind a service.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use api::kinds;
use axum::body::Body;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::admissionregistration::v1::WebhookClientConfig;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Candidate;
use crate::connect;

/// An answer of a webhook is a review with a patch: no larger than the largest object.
const ANSWER_BYTES_MAX: usize = 3 << 20;
const HTTPS_PORT: u16 = 443;

/// Where a webhook is.
pub(super) enum Place {
    /// Anywhere.
    Url { uri: Uri, host: String, port: u16 },
    /// Behind a service.
    Service { uri: Uri, namespace: String, name: String, port: u16 },
    /// Nowhere that could be reached; why.
    Nowhere(String),
}

// === impl Place ===

impl Place {
    pub(super) fn of(client: &WebhookClientConfig, timeout_seconds: i32) -> Self {
        let timed = |url: String| format!("{url}?timeout={timeout_seconds}s").parse::<Uri>();
        if let Some(service) = &client.service {
            let (namespace, name) = (service.namespace.clone(), service.name.clone());
            let port = service.port.and_then(|port| u16::try_from(port).ok()).unwrap_or(HTTPS_PORT);
            let path = service.path.as_deref().unwrap_or_default();
            return match timed(format!("https://{name}.{namespace}.svc:{port}{path}")) {
                Ok(uri) => Self::Service { uri, namespace, name, port },
                Err(error) => Self::Nowhere(error.to_string()),
            };
        }
        match timed(client.url.clone().unwrap_or_default()) {
            Ok(uri) => match uri.host().map(str::to_owned) {
                Some(host) => Self::Url { port: uri.port_u16().unwrap_or(HTTPS_PORT), host, uri },
                None => Self::Nowhere("the URL names no host".into()),
            },
            Err(error) => Self::Nowhere(error.to_string()),
        }
    }

    /// For messages.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Url { uri, .. } | Self::Service { uri, .. } => uri.to_string(),
            Self::Nowhere(_) => String::new(),
        }
    }

    /// Whose certificate the one at the other end must have.
    fn server_name(&self) -> String {
        match self {
            Self::Url { host, .. } => host.trim_matches(['[', ']']).to_owned(),
            Self::Service { namespace, name, .. } => format!("{name}.{namespace}.svc"),
            Self::Nowhere(_) => String::new(),
        }
    }
}

/// Trusts the authorities of a bundle, or those that this machine trusts.
pub(super) fn trusting(bundle: Option<&[u8]>) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let config = match bundle.filter(|bundle| !bundle.is_empty()) {
        None => builder.with_platform_verifier().map_err(|error| error.to_string())?.with_no_client_auth(),
        Some(bundle) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(bundle) {
                let certificate = certificate.map_err(|error| format!("unable to load root certificates: {error}"))?;
                roots.add(certificate).map_err(|error| format!("unable to load root certificates: {error}"))?;
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
    };
    Ok(Arc::new(config))
}

/// Sends a review, and reads what is answered, within the time there is for both.
pub(super) async fn call(
    candidate: &Candidate<'_>,
    place: &Place,
    tls: &Result<Arc<ClientConfig>, String>,
    timeout: Duration,
    review: String,
) -> Result<Bytes, String> {
    let tls = TlsConnector::from(tls.clone()?);
    let called = async {
        match place {
            Place::Url { uri, host, port } => {
                let stream = TcpStream::connect((host.trim_matches(['[', ']']), *port)).await.map_err(told)?;
                exchange(stream, &tls, place, uri, review).await
            }
            Place::Service { uri, namespace, name, port } => {
                let service = candidate.world.get(&kinds::SERVICE.key(namespace, name));
                let service = service.ok_or_else(|| format!("service {name:?} not found"))?;
                let stream = connect::dial_service(candidate.door, service, *port, candidate.world).await?;
                exchange(stream, &tls, place, uri, review).await
            }
            Place::Nowhere(why) => Err(why.clone()),
        }
    };
    tokio::time::timeout(timeout, called).await.map_err(|_| "context deadline exceeded".to_owned())?
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    tls: &TlsConnector,
    place: &Place,
    uri: &Uri,
    review: String,
) -> Result<Bytes, String> {
    let name = ServerName::try_from(place.server_name()).map_err(told)?;
    let stream =
        tls.connect(name, stream).await.map_err(|error| format!("tls: failed to verify certificate: {error}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::post(path)
        .header(HOST, uri.authority().map(ToString::to_string).unwrap_or_default())
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, */*")
        .header(USER_AGENT, "kube-apiserver-admission")
        .body(Body::from(review))
        .map_err(told)?;
    let answered = async {
        let answer = sender.send_request(request).await.map_err(told)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(told)?.to_bytes();
        if status == StatusCode::OK {
            return Ok(body);
        }
        let said: String = String::from_utf8_lossy(&body).chars().take(256).collect();
        Err(format!("the server answered {status}: {:?}", said.trim()))
    };
    // The connection lives as long as the answer is read, and no longer.
    tokio::select! {
        answered = answered => answered,
        Err(error) = connection => Err(told(error)),
    }
}

fn told(error: impl Display) -> String {
    error.to_string()
}
