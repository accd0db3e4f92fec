//! Nodes whose certificate has ended while they were away.
//!
//! A certificate is short, and a node at the edge may be cut off for longer. So the handshake goes on with one that has ended, for a
//! while; what its holder may do is to ask for the next, and nothing else: see [`Identity::of_certificate`].
//!
//! [`Identity::of_certificate`]: crate::identity::Identity::of_certificate

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::{LATE_MAX, NODES};

/// Verifies as another does, but for the time.
#[derive(Debug)]
pub(super) struct Late(pub(super) Arc<dyn ClientCertVerifier>);

/// When the certificate of a node ended; none if it is not one of a node.
fn ended(leaf: &CertificateDer<'_>) -> Option<UnixTime> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let is_node = certificate.subject().iter_organization().any(|group| group.as_str() == Ok(NODES));
    let at = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    is_node.then(|| UnixTime::since_unix_epoch(Duration::from_secs(at)))
}

impl ClientCertVerifier for Late {
    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let refused = match self.0.verify_client_cert(leaf, intermediates, now) {
            Err(Error::InvalidCertificate(
                why @ (CertificateError::Expired | CertificateError::ExpiredContext { .. }),
            )) => why,
            verified => return verified,
        };
        match ended(leaf) {
            Some(at) if now.as_secs().saturating_sub(at.as_secs()) <= LATE_MAX.as_secs() => {
                self.0.verify_client_cert(leaf, intermediates, at)
            }
            _ => Err(refused.into()),
        }
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
