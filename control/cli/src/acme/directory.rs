//! The way to a directory: HTTPS, with limits, and an ear for how long it wants to be left alone.

use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use jiff::{SignedDuration, Timestamp};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use rustls_platform_verifier::BuilderVerifierExt;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Chains of certificates are the largest answers, of some kilobytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A directory, and by whom it is trusted.
#[derive(Clone)]
pub(crate) struct Directory {
    url: String,
    /// The machine's own roots where there are none.
    roots: Option<Arc<RootCertStore>>,
}

/// A conversation with a directory. Clones share it.
#[derive(Clone)]
pub(crate) struct Conversation {
    http: legacy::Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    not_before: Arc<Mutex<Option<Timestamp>>>,
}

// === impl Directory ===

impl Directory {
    /// The directory at `url`, trusted by the certificates of a file, or as this machine trusts others.
    pub(crate) fn new(url: &str, ca: Option<&Path>) -> anyhow::Result<Self> {
        Ok(Self { url: url.to_owned(), roots: ca.map(roots).transpose()?.map(Arc::new) })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn speak(&self) -> anyhow::Result<Conversation> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?;
        let builder = match &self.roots {
            Some(roots) => builder.with_root_certificates(roots.clone()),
            None => {
                builder.with_platform_verifier().context("this machine trusts nobody; name a file with --acme-ca")?
            }
        };
        let tls = builder.with_no_client_auth();
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().enable_http2().build();
        let http = legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Conversation { http, not_before: Arc::default() })
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("url", &self.url).finish_non_exhaustive()
    }
}

fn roots(file: &Path) -> anyhow::Result<RootCertStore> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.with_context(|| format!("{} is not PEM", file.display()))?;
        roots.add(certificate).with_context(|| format!("a certificate of {} cannot be used", file.display()))?;
    }
    if roots.is_empty() {
        bail!("{} holds no certificate", file.display());
    }
    Ok(roots)
}

// === impl Conversation ===

impl Conversation {
    /// Before when the directory does not want to be asked again, if it said so.
    pub(crate) fn not_before(&self) -> Option<Timestamp> {
        *self.not_before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpClient for Conversation {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (answer, heard) = (self.http.request(request), self.not_before.clone());
        let read = async move {
            let (head, body) = answer.await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((head, body))
        };
        Box::pin(async move {
            let read = tokio::time::timeout(PATIENCE, read).await;
            let (head, body) = read
                .map_err(|_| Error::Other(io::Error::from(io::ErrorKind::TimedOut).into()))?
                .map_err(Error::Other)?;
            if !head.status.is_success() {
                let told = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let told = told.and_then(|value| retry_after(value, Timestamp::now()));
                *heard.lock().unwrap_or_else(PoisonError::into_inner) = told;
                // What stands before a directory speaks no ACME.
                if serde_json::from_slice::<serde_json::Value>(&body).is_err() {
                    return Err(Error::Other(format!("the directory answers {}", head.status).into()));
                }
            }
            Ok(BytesResponse::from(http::Response::from_parts(head, Full::new(body))))
        })
    }
}

/// The moment that a `Retry-After` field names, by seconds or by date.
fn retry_after(value: &str, now: Timestamp) -> Option<Timestamp> {
    match value.trim().parse::<u32>() {
        Ok(seconds) => now.checked_add(SignedDuration::from_secs(seconds.into())).ok(),
        Err(_) => Some(jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_says_when_to_come_again() {
        let now = Timestamp::UNIX_EPOCH;
        let at = |seconds: i64| Timestamp::from_second(seconds).ok();
        assert_eq!(retry_after("120", now), at(120));
        assert_eq!(retry_after(" 0 ", now), at(0));
        assert_eq!(retry_after("Thu, 01 Jan 1970 01:00:00 GMT", now), at(3600));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("", now), None);
    }

    #[test]
    fn a_file_without_certificates_is_told_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        let told = |file: &Path| Directory::new("https://acme.example/", Some(file)).expect_err("refused").to_string();
        assert!(told(&file).starts_with("cannot read "));
        std::fs::write(&file, "nothing").expect("written");
        assert!(told(&file).ends_with(" holds no certificate"));
    }
}
