//! What a certificate says of itself.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::time::ASN1Time;

/// For whom a certificate is, and for how long.
pub(crate) struct Leaf {
    names: BTreeSet<String>,
    begins: Timestamp,
    ends: Timestamp,
}

// === impl Leaf ===

impl Leaf {
    /// The first certificate of a secret; none where there is nothing that can be read and used.
    pub(crate) fn of(secret: &Secret) -> Option<Self> {
        let member = |name: &str| secret.data.as_ref()?.get(name).map(|bytes| bytes.0.as_slice());
        member("tls.key").filter(|key| !key.is_empty())?;
        let der = CertificateDer::from_pem_slice(member("tls.crt")?).ok()?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
        let names = certificate.subject_alternative_name().ok().flatten()?;
        let names = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        });
        let at = |time: ASN1Time| Timestamp::from_second(time.timestamp()).ok();
        let validity = certificate.validity();
        Some(Self { names: names.collect(), begins: at(validity.not_before)?, ends: at(validity.not_after)? })
    }

    /// Whether it is for all of `hosts`.
    pub(crate) fn is_for(&self, hosts: &BTreeSet<String>) -> bool {
        hosts.is_subset(&self.names)
    }

    /// When two thirds of its life are over: early enough that a directory may be out of reach for long, late enough that
    /// it is not asked often.
    pub(crate) fn renewal(&self) -> Timestamp {
        let life = self.ends.duration_since(self.begins);
        self.begins.checked_add(life / 3 * 2).unwrap_or(self.begins)
    }
}
