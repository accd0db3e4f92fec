//! What controllers have signed: they decide what is to be said, and whoever holds the keys says it.

use std::fmt;
use std::sync::Arc;

use api::jwt::Claims;
use jiff::Timestamp;

/// A certificate that is to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateOrder {
    /// The request, in PEM; it says the names.
    pub request: Vec<u8>,
    /// What may be done with the certificate, in Kubernetes' words.
    pub usages: Vec<String>,
    /// When it begins.
    pub begins: Timestamp,
    /// When it ends; it may end sooner.
    pub ends: Timestamp,
}

/// Signs a certificate, in PEM; or says why not.
pub type SignCertificate = Arc<dyn Fn(&CertificateOrder) -> Result<String, String> + Send + Sync>;
/// Signs a token; or says why not.
pub type SignToken = Arc<dyn Fn(&Claims) -> Result<String, String> + Send + Sync>;

/// Those who hold the cluster's keys; without them nothing is signed.
#[derive(Clone, Default)]
pub struct Signers {
    /// The authority.
    pub certificate: Option<SignCertificate>,
    /// Whoever gives out the tokens of service accounts.
    pub token: Option<SignToken>,
}

// === impl Signers ===

impl fmt::Debug for Signers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = f.debug_struct("Signers");
        told.field("certificate", &self.certificate.is_some()).field("token", &self.token.is_some()).finish()
    }
}
