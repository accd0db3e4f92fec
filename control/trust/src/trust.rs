//! The authorities that are believed at the moment.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{Error, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::verifier::{Judge, Shown, provider};

/// Authorities that are believed, and may be replaced by others.
pub struct Trust {
    current: RwLock<Arc<Authorities>>,
}

/// Those of one moment.
struct Authorities {
    /// How often they were replaced before.
    epoch: u64,
    pem: Arc<str>,
    certificates: Vec<CertificateDer<'static>>,
    servers: Arc<WebPkiServerVerifier>,
    clients: Arc<dyn ClientCertVerifier>,
}

/// Why authorities are of no use.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// They are not PEM, or there is none.
    #[error("the authority is not PEM")]
    NotPem,
    /// They are no authorities.
    #[error("the authority cannot be used")]
    Unusable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a certificate is known by: the digest of its DER, in hexadecimal.
pub fn fingerprint(certificate: &[u8]) -> String {
    hex::encode(Sha256::digest(certificate))
}

// === impl Trust ===

impl Trust {
    /// Believes the authorities of a text, PEM.
    pub fn new(pem: &str) -> Result<Arc<Self>, TrustError> {
        Ok(Arc::new(Self { current: RwLock::new(Arc::new(Authorities::read(pem, 0)?)) }))
    }

    /// Believes these from now on, and no others; if they cannot be used, those of before.
    pub fn replace(&self, pem: &str) -> Result<(), TrustError> {
        let fresh = Authorities::read(pem, self.epoch() + 1)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(())
    }

    /// Their certificates, PEM, as they were given.
    pub fn pem(&self) -> Arc<str> {
        self.now().pem.clone()
    }

    /// How often they have been replaced.
    pub fn epoch(&self) -> u64 {
        self.now().epoch
    }

    /// The fingerprint of the one that a certificate says has signed it, if it is one of them. It proves nothing.
    pub fn signer_of(&self, leaf: &[u8]) -> Option<String> {
        let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
        let is_signer = |authority: &&CertificateDer<'_>| {
            X509Certificate::from_der(authority)
                .is_ok_and(|(_, authority)| authority.subject().as_raw() == leaf.issuer().as_raw())
        };
        self.now().certificates.iter().find(is_signer).map(|authority| fingerprint(authority))
    }

    fn now(&self) -> Arc<Authorities> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Judge for Arc<Trust> {
    /// Whoever is dialled by a name shows the certificate of a server of that name, all others one of somebody.
    fn judge(&self, shown: &Shown<'_>) -> Result<(), Error> {
        let now = self.now();
        match shown.name {
            Some(name) => {
                now.servers.verify_server_cert(shown.leaf, shown.intermediates, name, &[], shown.now).map(drop)
            }
            None => now.clients.verify_client_cert(shown.leaf, shown.intermediates, shown.now).map(drop),
        }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = self.now();
        f.debug_struct("Trust").field("epoch", &now.epoch).field("authorities", &now.certificates.len()).finish()
    }
}

// === impl Authorities ===

impl Authorities {
    fn read(pem: &str, epoch: u64) -> Result<Self, TrustError> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let certificates = read.ok().filter(|read| !read.is_empty()).ok_or(TrustError::NotPem)?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            let added = roots.add(certificate.clone());
            added.map_err(|error| TrustError::Unusable(error.into()))?;
        }
        let roots = Arc::new(roots);
        let servers = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider()).build();
        let clients = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
        Ok(Self {
            epoch,
            pem: pem.into(),
            certificates,
            servers: servers.map_err(|error| TrustError::Unusable(error.into()))?,
            clients: clients.map_err(|error| TrustError::Unusable(error.into()))?,
        })
    }
}
