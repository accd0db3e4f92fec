//! Where the cluster keeps who vouches for its members, and where it tells of it.
//!
//! What is agreed is a secret, made by the first rotation; only servers write it. Its entry [`BUNDLE`] is what everybody may know: the
//! certificates of those who are trusted, PEM, whoever signs first.

use crate::{Key, kinds};

/// The namespace of the secret.
pub const NAMESPACE: &str = "kube-system";
/// The secret's name,
pub const SECRET: &str = "coracle-certificate-authority";
/// and its type.
pub const TYPE: &str = "coracle.dev/certificate-authority";
/// The entry with the certificates, of the secret and of the config maps that tell of them.
pub const BUNDLE: &str = "ca.crt";
/// The config map that tells of them in every namespace.
pub const PUBLISHED: &str = "kube-root-ca.crt";
/// The annotation by which a node says who signed its certificate: a fingerprint.
pub const SIGNER_ANNOTATION: &str = "coracle.dev/certificate-authority";

/// The secret.
pub fn key() -> Key {
    kinds::SECRET.key(NAMESPACE, SECRET)
}

/// The config map that nodes look at.
pub fn published() -> Key {
    kinds::CONFIG_MAP.key(NAMESPACE, PUBLISHED)
}
