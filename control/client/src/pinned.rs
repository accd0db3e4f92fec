//! Trust by fingerprint: for the one connection that is made before one knows the cluster's certificate authority.
//!
//! The server sends its authorities' certificates along. If one of them has the fingerprint that one was given, it has to vouch for the
//! server's own certificate, alone or through one that it has signed; nothing else is accepted.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, Error, RootCertStore};
use trust::{Judge, Shown};

/// Says whether a certificate (DER) is the authority one was told of.
pub type Recognise = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

pub(crate) struct Pinned {
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) recognise: Recognise,
}

impl Judge for Pinned {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), Error> {
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let authority = shown.intermediates.iter().find(|certificate| (self.recognise)(certificate));
        let mut roots = RootCertStore::empty();
        roots.add(authority.ok_or_else(unknown)?.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone()).build();
        let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
        let name = shown.name.ok_or_else(unknown)?;
        verifier.verify_server_cert(shown.leaf, shown.intermediates, name, &[], shown.now).map(drop)
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pinned")
    }
}
