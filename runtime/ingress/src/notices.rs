//! What the edge has to say to whoever wrote an Ingress.

use api::Key;
use state::Snapshot;

use crate::{RouteTable, acme};

/// Something about an Ingress that a person should look at. It is for whoever may write to the API: the edge does not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notice {
    /// The Ingress.
    pub ingress: Key,
    /// What it is about, in one `CamelCase` word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

/// An older Ingress has taken what this one asks for.
pub(crate) const CONFLICT: &str = "Conflict";
/// An annotation cannot be understood.
pub(crate) const ANNOTATION: &str = "InvalidAnnotation";
/// A rule names what cannot be served.
pub(crate) const BACKEND: &str = "UnsupportedBackend";
/// A host has no certificate of its own.
pub(crate) const CERTIFICATE: &str = "NoCertificate";
/// A certificate that is asked for is not ordered.
pub(crate) const REFUSED: &str = "CertificateRefused";

/// Everything there is to say about the Ingresses of a snapshot, the oldest Ingress first; then what
/// is to say about certificates they ask for.
pub fn notices(view: &Snapshot) -> Vec<Notice> {
    let mut notices = RouteTable::from(view).notices;
    notices.extend(acme::refusals(view));
    notices
}
