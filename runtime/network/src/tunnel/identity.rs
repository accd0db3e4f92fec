//! Who a node is to others, and how it knows them.

use std::fmt;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, Error, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use trust::{Judge, Shown, Trust, TrustError, Verifier};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::NODE;

/// What the user name of a node begins with.
const NODE_USER: &str = "system:node:";
/// The group of all nodes.
const NODES: &str = "system:nodes";

/// The certificate that the cluster gave a node, and the authorities that it knows others by. Cloning shares it.
#[derive(Clone)]
pub struct Identity {
    node: Arc<str>,
    papers: Arc<dyn Papers>,
    trust: Arc<Trust>,
}

/// What a node shows of itself, to whom it dials and to who dials it; asked at each handshake, so that it may be replaced.
pub trait Papers: ResolvesClientCert + ResolvesServerCert {}

impl<T: ResolvesClientCert + ResolvesServerCert> Papers for T {}

/// Why certificates are of no use.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A part of it is not PEM.
    #[error("the {0} is not PEM")]
    NotPem(&'static str),
    /// The certificate is somebody else's than a node's.
    #[error("the certificate is not one of a node")]
    NotNode,
    /// The certificate, its key and the authority do not go together.
    #[error("the node's certificate cannot be used")]
    Unusable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Accepts one node and nobody else.
#[derive(Debug)]
struct Is {
    node: Arc<str>,
    trust: Arc<Trust>,
}

/// The node that a certificate was made for, whoever signed it.
pub(super) fn node_of(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let is_node = subject.iter_organization().any(|group| group.as_str() == Ok(NODES));
    let user = subject.iter_common_name().find_map(|name| name.as_str().ok())?;
    user.strip_prefix(NODE_USER).filter(|name| is_node && !name.is_empty()).map(String::from)
}

fn read(what: &'static str, text: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    read.ok().filter(|read| !read.is_empty()).ok_or(IdentityError::NotPem(what))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

// === impl Identity ===

impl Identity {
    /// Reads a node's certificate, its key and the authority's certificate, all PEM.
    pub fn from_pem(certificate: &str, key: &str, authority: &str) -> Result<Self, IdentityError> {
        let unusable = |error: Error| IdentityError::Unusable(error.into());
        let chain = read("certificate", certificate)?;
        let node = chain.first().and_then(|leaf| node_of(leaf)).ok_or(IdentityError::NotNode)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| IdentityError::NotPem("key"))?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(unusable)?;
        let trust = Trust::new(authority).map_err(|error| match error {
            TrustError::NotPem => IdentityError::NotPem("authority"),
            TrustError::Unusable(error) => IdentityError::Unusable(error),
        })?;
        Ok(Self::new(node, Arc::new(SingleCertAndKey::from(key)), trust))
    }

    /// A node that shows what its papers are at the time, and believes whom it trusts then.
    pub fn new(node: impl Into<Arc<str>>, papers: Arc<dyn Papers>, trust: Arc<Trust>) -> Self {
        Self { node: node.into(), papers, trust }
    }

    /// The node's name.
    pub fn node(&self) -> &Arc<str> {
        &self.node
    }

    /// What the node shows of itself to who dials it.
    pub fn certificate(&self) -> Arc<dyn ResolvesServerCert> {
        self.papers.clone()
    }

    /// For dialling this node and no other.
    pub(super) fn dialling_node(&self, node: &Arc<str>) -> Result<ClientConfig, Error> {
        self.dialling(Verifier::new(Is { node: node.clone(), trust: self.trust.clone() }), NODE)
    }

    /// For dialling a server, by the name that is dialled.
    pub(super) fn dialling_server(&self, protocol: &'static [u8]) -> Result<ClientConfig, Error> {
        self.dialling(Verifier::new(self.trust.clone()), protocol)
    }

    fn dialling(&self, verifier: Arc<dyn ServerCertVerifier>, protocol: &'static [u8]) -> Result<ClientConfig, Error> {
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13])?;
        let papers = self.papers.clone();
        let mut config =
            builder.dangerous().with_custom_certificate_verifier(verifier).with_client_cert_resolver(papers);
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(config)
    }

    /// For being dialled by nodes alone.
    pub(super) fn answering(&self) -> Result<ServerConfig, Error> {
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13])?;
        let papers = self.papers.clone();
        let mut config =
            builder.with_client_cert_verifier(Verifier::new(self.trust.clone())).with_cert_resolver(papers);
        config.alpn_protocols = vec![NODE.to_vec()];
        // Who resumes a session is who began it, whoever is trusted by then.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("node", &self.node).finish_non_exhaustive()
    }
}

// === impl Is ===

impl Judge for Is {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), Error> {
        // A node's certificate says who it is, not that it is a server of some name.
        self.trust.judge(&Shown { name: None, ..*shown })?;
        if node_of(shown.leaf).as_deref() == Some(&*self.node) {
            Ok(())
        } else {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName))
        }
    }
}
