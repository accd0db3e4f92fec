//! Certificates from an ACME directory (RFC 8555): what is wanted, and what is shown while it is proved.
//!
//! Nothing here talks to a directory. Which certificates are wanted, and when, is a function of a snapshot ([`wishes`]); when
//! one that was not given may be asked for again is one of what happened ([`Attempts`]). A proof that a name is ours is a
//! secret ([`Proof`]), so that every edge of the cluster shows it, whichever of them the directory calls at.
//!
//! What an operator should know: an Ingress asks by the annotation `coracle.dev/acme`, or `cert-manager.io/cluster-issuer`,
//! for the hosts of its `tls` entries, and gets a secret of the name given there. A secret that was not made here is never
//! written to. A host belongs to the oldest Ingress that names it: none of another namespace gets a certificate for it.

mod attempts;
mod leaf;
mod proofs;
mod wishes;

pub use attempts::Attempts;
pub use proofs::{PROOFS_LABEL, PROOFS_NAMESPACE, Proof, ProofError, proofs};
pub use wishes::{Due, Wish, wishes};

pub(crate) use proofs::Proofs;
pub(crate) use wishes::{asks, refusals};

/// What certificates are a function of.
pub const SOURCES: &[api::GroupKind] = crate::routes::SOURCES;

/// Marks the secrets that are kept here, with the value `true`.
pub const LABEL: &str = "coracle.dev/acme";
/// Says, of such a secret, which directory the certificate comes from.
pub const DIRECTORY_ANNOTATION: &str = "coracle.dev/acme-directory";

/// By which cert-manager is asked; whoever moves here need not change an Ingress.
const CERT_MANAGER_ANNOTATION: &str = "cert-manager.io/cluster-issuer";

/// How it is proved that a host is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Challenge {
    /// By what is answered over HTTP (RFC 8555 §8.3).
    Http01,
    /// By the certificate that is shown over TLS (RFC 8737).
    TlsAlpn01,
}

// === impl Challenge ===

impl Challenge {
    /// As the directory calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}
