//! Proofs that a host is ours: secrets that every edge of the cluster shows to whoever asks the right way.
//!
//! They count in one namespace only, where tenants have no business: whoever could write one elsewhere could prove hosts of
//! others to a directory, and get certificates for them.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use api::{Key, NotAnObject, Object, kinds};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::sign::CertifiedKey;
use state::Snapshot;

use super::Challenge;
use crate::certificates;

pub use api::references::{PROOFS_LABEL, PROOFS_NAMESPACE};

/// Under which path a directory looks for what it is to be answered.
const PATH: &str = "/.well-known/acme-challenge/";

/// What proves to a directory that a host is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// What to answer to whom asks the host for a token.
    Http {
        /// The host.
        host: String,
        /// What is asked for.
        token: String,
        /// The answer.
        answer: String,
    },
    /// What the certificate has to say that is shown for the host.
    Tls {
        /// The host.
        host: String,
        /// The SHA-256 of what would be answered over HTTP.
        digest: [u8; 32],
    },
}

/// Why a proof could not be put into a secret.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// There is no such certificate.
    #[error("the certificate that proves {host} cannot be made")]
    Certificate {
        /// The host.
        host: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// There is no such secret.
    #[error("the proof is no object")]
    Object(#[from] NotAnObject),
}

/// The proofs of a snapshot.
#[derive(Debug, Default)]
pub(crate) struct Proofs {
    /// Answers by host and token.
    answers: HashMap<String, HashMap<String, String>>,
    /// Certificates by host.
    certificates: HashMap<String, Arc<CertifiedKey>>,
}

// === impl Proof ===

impl Proof {
    /// The secret that holds it, named after what it says.
    pub fn secret(&self) -> Result<Object, ProofError> {
        let (challenge, host, members) = match self {
            Self::Http { host, token, answer } => {
                (Challenge::Http01, host, [("token", token.clone()), ("answer", answer.clone())])
            }
            Self::Tls { host, digest } => {
                let (certificate, key) = certificate(host, digest)
                    .map_err(|source| ProofError::Certificate { host: host.clone(), source })?;
                (Challenge::TlsAlpn01, host, [("tls.crt", certificate), ("tls.key", key)])
            }
        };
        let members: BTreeMap<&str, String> = members.into_iter().chain([("host", host.clone())]).collect();
        let mut hasher = DefaultHasher::new();
        (challenge, &members).hash(&mut hasher);
        let bytes = |(name, text): (&str, String)| (name.to_owned(), ByteString(text.into_bytes()));
        let data = members.into_iter().map(bytes).collect();
        let metadata = ObjectMeta {
            name: Some(format!("coracle-acme-challenge-{:016x}", hasher.finish())),
            namespace: Some(PROOFS_NAMESPACE.into()),
            labels: Some([(PROOFS_LABEL.to_owned(), challenge.name().to_owned())].into()),
            ..ObjectMeta::default()
        };
        let type_ = Some("Opaque".to_owned());
        Ok(Object::from_typed(kinds::SECRET, &Secret { metadata, data: Some(data), type_, ..Secret::default() })?)
    }
}

/// A certificate for `host` that says what is to be proved, signed by nobody but itself (RFC 8737 §3), and its key.
fn certificate(host: &str, digest: &[u8; 32]) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(vec![host.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

// === impl Proofs ===

impl Proofs {
    /// What to answer on `host` for `path`, if that is a directory's question.
    pub(crate) fn answer(&self, host: &str, path: &str) -> Option<&str> {
        let token = path.strip_prefix(PATH)?;
        self.answers.get(host)?.get(token).map(String::as_str)
    }

    /// The certificate that proves `host`.
    pub(crate) fn certificate(&self, host: &str) -> Option<&Arc<CertifiedKey>> {
        self.certificates.get(host)
    }

    fn take(&mut self, object: &Object, challenge: &str) {
        let Ok(secret) = object.decode::<Secret>() else { return };
        let member = |name: &str| {
            let bytes = secret.data.as_ref()?.get(name)?;
            String::from_utf8(bytes.0.clone()).ok()
        };
        let Some(host) = member("host") else { return };
        if challenge == Challenge::Http01.name() {
            if let (Some(token), Some(answer)) = (member("token"), member("answer")) {
                self.answers.entry(host).or_default().insert(token, answer);
            }
        } else if challenge == Challenge::TlsAlpn01.name()
            && let Ok(shown) = certificates::read_proof(object)
        {
            self.certificates.insert(host, Arc::new(shown));
        }
    }
}

impl From<&Snapshot> for Proofs {
    fn from(view: &Snapshot) -> Self {
        let mut proofs = Self::default();
        for object in view.list_in(kinds::SECRET, PROOFS_NAMESPACE) {
            if let Some(challenge) = object.meta().labels.get(PROOFS_LABEL) {
                proofs.take(object, challenge);
            }
        }
        proofs
    }
}

/// The secrets of all proofs, whether or not somebody still asks for them.
pub fn proofs(view: &Snapshot) -> Vec<Key> {
    let secrets = view.list_in(kinds::SECRET, PROOFS_NAMESPACE);
    let proofs = secrets.filter(|secret| secret.meta().labels.contains_key(PROOFS_LABEL));
    proofs.map(|secret| secret.key().clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proofs_of(objects: impl IntoIterator<Item = Object>) -> Proofs {
        Proofs::from(&Snapshot::load(api::Revision(1), objects))
    }

    #[test]
    fn a_token_is_answered_on_its_host() {
        let proof = |host: &str, token: &str| {
            let proof = Proof::Http { host: host.into(), token: token.into(), answer: format!("{token}.thumb") };
            proof.secret().expect("a secret")
        };
        let proofs = proofs_of([proof("a.example", "one"), proof("a.example", "two"), proof("b.example", "three")]);
        for (host, path, expected) in [
            ("a.example", "/.well-known/acme-challenge/one", Some("one.thumb")),
            ("a.example", "/.well-known/acme-challenge/two", Some("two.thumb")),
            ("b.example", "/.well-known/acme-challenge/one", None),
            ("c.example", "/.well-known/acme-challenge/one", None),
            ("a.example", "/.well-known/acme-challenge/", None),
            ("a.example", "/one", None),
        ] {
            assert_eq!(proofs.answer(host, path), expected, "{host}{path}");
        }
        assert!(proofs.certificate("a.example").is_none());
    }

    #[test]
    fn a_certificate_says_what_is_to_be_proved() {
        let digest: [u8; 32] = std::array::from_fn(|place| place as u8);
        let secret = Proof::Tls { host: "a.example".into(), digest }.secret().expect("a secret");
        let proofs = proofs_of([secret]);
        let shown = proofs.certificate("a.example").expect("a certificate");
        let (_, certificate) = x509_parser::parse_x509_certificate(&shown.cert[0]).expect("readable");
        let is_acme = |extension: &&x509_parser::extensions::X509Extension<'_>| {
            extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31"
        };
        let extension = certificate.extensions().iter().find(is_acme).expect("the extension");
        // An OCTET STRING of 32 bytes.
        assert_eq!(extension.value, [&[4, 32], &digest[..]].concat());
        assert!(extension.critical, "RFC 8737 wants it critical");
        let names = certificate.subject_alternative_name().expect("readable").expect("names");
        assert_eq!(names.value.general_names, [x509_parser::extensions::GeneralName::DNSName("a.example")]);
        assert!(proofs.certificate("b.example").is_none());
    }

    #[test]
    fn a_proof_in_a_tenants_namespace_counts_for_nothing() {
        let proof = Proof::Http { host: "a.example".into(), token: "one".into(), answer: "x".into() };
        let mut value = proof.secret().expect("a secret").to_value().expect("JSON");
        value["metadata"]["namespace"] = "default".into();
        let elsewhere = Object::from_value(kinds::SECRET, &value).expect("a secret");
        assert_eq!(proofs_of([elsewhere]).answer("a.example", "/.well-known/acme-challenge/one"), None);
    }
}
