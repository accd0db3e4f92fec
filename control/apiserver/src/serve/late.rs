//! Nodes whose certificate has ended while they were away.
//!
//! A certificate is short, and a node at the edge may be cut off for longer. So the handshake goes on with one that has ended, for a
//! while; what its holder may do is to ask for the next, and nothing else: see [`Identity::of_certificate`].
//!
//! [`Identity::of_certificate`]: crate::identity::Identity::of_certificate

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, Error};
use trust::{Judge, Shown, Trust};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::{LATE_MAX, NODES};

/// Judges as those do who are trusted, but for the time.
#[derive(Debug)]
pub(super) struct Late(pub(super) Arc<Trust>);

/// When the certificate of a node ended; none if it is not one of a node.
fn ended(leaf: &CertificateDer<'_>) -> Option<UnixTime> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let is_node = certificate.subject().iter_organization().any(|group| group.as_str() == Ok(NODES));
    let at = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    is_node.then(|| UnixTime::since_unix_epoch(Duration::from_secs(at)))
}

impl Judge for Late {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), Error> {
        let refused = match self.0.judge(shown) {
            Err(Error::InvalidCertificate(
                why @ (CertificateError::Expired | CertificateError::ExpiredContext { .. }),
            )) => why,
            judged => return judged,
        };
        match ended(shown.leaf) {
            Some(at) if shown.now.as_secs().saturating_sub(at.as_secs()) <= LATE_MAX.as_secs() => {
                self.0.judge(&Shown { now: at, ..*shown })
            }
            _ => Err(refused.into()),
        }
    }

    /// Those without a certificate get in too: they may ask for the version, and join with a token.
    fn is_mandatory(&self) -> bool {
        false
    }
}
