//! Who a node is to others, and how it knows them.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::NODE;

/// What the user name of a node begins with.
const NODE_USER: &str = "system:node:";
/// The group of all nodes.
const NODES: &str = "system:nodes";

/// The certificate that the cluster gave a node, and the authority that it knows others by. Cloning shares it.
#[derive(Clone)]
pub struct Identity {
    node: Arc<str>,
    papers: Arc<dyn Papers>,
    roots: Arc<RootCertStore>,
    /// Whether a certificate is one of the cluster's, made to identify somebody.
    authority: Arc<dyn ClientCertVerifier>,
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
    authority: Arc<dyn ClientCertVerifier>,
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
        Self::new(node, Arc::new(SingleCertAndKey::from(key)), authority)
    }

    /// A node that shows what its papers are at the time; the authority's certificate is PEM.
    pub fn new(node: impl Into<Arc<str>>, papers: Arc<dyn Papers>, authority: &str) -> Result<Self, IdentityError> {
        let unusable = |error: Error| IdentityError::Unusable(error.into());
        let mut roots = RootCertStore::empty();
        for certificate in read("authority", authority)? {
            roots.add(certificate).map_err(unusable)?;
        }
        let roots = Arc::new(roots);
        let authority = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider()).build();
        let authority = authority.map_err(|error| IdentityError::Unusable(error.into()))?;
        Ok(Self { node: node.into(), papers, roots, authority })
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
        let verifier = Arc::new(Is { node: node.clone(), authority: self.authority.clone() });
        self.dialling(verifier, NODE)
    }

    /// For dialling a server, by the name that is dialled.
    pub(super) fn dialling_server(&self, protocol: &'static [u8]) -> Result<ClientConfig, Error> {
        let verifier = WebPkiServerVerifier::builder_with_provider(self.roots.clone(), provider()).build();
        self.dialling(verifier.map_err(|error| Error::General(error.to_string()))?, protocol)
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
        let mut config = builder.with_client_cert_verifier(self.authority.clone()).with_cert_resolver(papers);
        config.alpn_protocols = vec![NODE.to_vec()];
        Ok(config)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("node", &self.node).finish_non_exhaustive()
    }
}

// === impl Is ===

impl ServerCertVerifier for Is {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // A node's certificate says who it is, not that it is a server of some name.
        self.authority.verify_client_cert(leaf, intermediates, now)?;
        if node_of(leaf).as_deref() == Some(&*self.node) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authority.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authority.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authority.supported_verify_schemes()
    }
}
