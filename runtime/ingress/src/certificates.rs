//! Which certificate a client is shown.
//!
//! By the name it asks for: a host written out before a wildcard. Certificates come from secrets of type
//! `kubernetes.io/tls`; they are read when the table is made, so that a renewed one is shown from the next handshake on.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use api::{Key, Object};
use k8s_openapi::api::core::v1::Secret;
use network::Latest;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{Error, RouteTable};

/// The protocol of clients that want a host to be proved (RFC 8737).
pub(crate) const ACME_TLS: &[u8] = b"acme-tls/1";

/// Certificates by host.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    exact: HashMap<String, Owned>,
    /// By what follows the star and its dot.
    wildcard: HashMap<String, Owned>,
}

/// A certificate and the secret it comes from.
#[derive(Debug)]
struct Owned {
    from: Key,
    shown: Arc<CertifiedKey>,
}

/// Shows certificates from the latest table, and for hosts without one a certificate that nobody has signed. Who speaks
/// [`ACME_TLS`], and nothing else, is shown what proves a host, and nothing else.
pub(crate) struct Shown {
    routes: Latest<RouteTable>,
    fallback: Arc<CertifiedKey>,
}

/// Why a secret is not a certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("there is no such secret")]
    Missing,
    #[error("the secret cannot be read")]
    Unreadable(#[from] api::DecodeError),
    #[error("{0} is missing")]
    Member(&'static str),
    #[error("{member} is not PEM")]
    Pem {
        member: &'static str,
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    #[error("certificate and key are not of use")]
    Tls(#[from] rustls::Error),
}

// === impl Certificates ===

impl Certificates {
    /// Takes the certificate of the secret `from` for those of `hosts` that have none; who are left have an older one.
    pub(crate) fn add<'a>(
        &mut self,
        from: &Key,
        secret: Option<&Object>,
        hosts: &[&'a str],
    ) -> Result<Vec<(&'a str, Key)>, Unusable> {
        let shown = Arc::new(read(secret)?);
        let mut left = Vec::new();
        for host in hosts {
            let lower = host.to_ascii_lowercase();
            let (names, name) = match lower.strip_prefix("*.") {
                Some(suffix) => (&mut self.wildcard, suffix.to_owned()),
                None => (&mut self.exact, lower),
            };
            let owned = names.entry(name).or_insert_with(|| Owned { from: from.clone(), shown: shown.clone() });
            if owned.from != *from {
                left.push((*host, owned.from.clone()));
            }
        }
        Ok(left)
    }

    /// Whether somebody vouches for `host`.
    pub(crate) fn has(&self, host: &str) -> bool {
        self.of(host).is_some()
    }

    fn of(&self, host: &str) -> Option<&Arc<CertifiedKey>> {
        let owned = self.exact.get(host).or_else(|| self.wildcard.get(host.split_once('.')?.1));
        owned.map(|owned| &owned.shown)
    }
}

fn read(secret: Option<&Object>) -> Result<CertifiedKey, Unusable> {
    let (chain, key) = parts(secret.ok_or(Unusable::Missing)?)?;
    Ok(CertifiedKey::from_der(chain, key, &ring::default_provider())?)
}

/// The certificate of a secret as it is. What proves a host says something that nobody is to go on with who does not
/// understand it; TLS itself does not.
pub(crate) fn read_proof(secret: &Object) -> Result<CertifiedKey, Unusable> {
    let (chain, key) = parts(secret)?;
    Ok(CertifiedKey::new(chain, ring::sign::any_supported_type(&key)?))
}

fn parts(secret: &Object) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Unusable> {
    let secret = secret.decode::<Secret>()?;
    let member = |name: &'static str| {
        let data = secret.data.as_ref().and_then(|data| data.get(name));
        data.map(|bytes| bytes.0.as_slice()).ok_or(Unusable::Member(name))
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(member("tls.crt")?).collect();
    let chain = chain.map_err(|source| Unusable::Pem { member: "tls.crt", source })?;
    let key = PrivateKeyDer::from_pem_slice(member("tls.key")?)
        .map_err(|source| Unusable::Pem { member: "tls.key", source })?;
    if chain.is_empty() { Err(Unusable::Member("tls.crt")) } else { Ok((chain, key)) }
}

// === impl Shown ===

impl Shown {
    pub(crate) fn new(routes: Latest<RouteTable>) -> Result<Self, Error> {
        let made =
            rcgen::generate_simple_self_signed(vec!["coracle.invalid".to_owned()]).map_err(Error::Certificate)?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
        let fallback = CertifiedKey::from_der(vec![made.cert.der().clone()], key, &ring::default_provider());
        Ok(Self { routes, fallback: Arc::new(fallback.map_err(Error::Tls)?) })
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let routes = self.routes.load();
        let host = hello.server_name().map(str::to_ascii_lowercase);
        if hello.alpn().is_some_and(|protocols| protocols.eq([ACME_TLS])) {
            return routes.proofs.certificate(&host?).cloned();
        }
        let known = host.and_then(|host| routes.certificates.of(&host).cloned());
        Some(known.unwrap_or_else(|| self.fallback.clone()))
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}
