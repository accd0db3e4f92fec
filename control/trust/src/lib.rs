//! Whom one believes over TLS: authorities that may be replaced while everything runs, and the one verifier that asks them.
//!
//! A connection that is made is judged by whom is believed at that moment; those that are open stay open. What is judged beside the
//! authorities (a node's name, a fingerprint, a certificate that has just ended) is a [`Judge`] of whoever wants it: how signatures are
//! checked is said here, once.

mod trust;
mod verifier;

pub use trust::{Trust, TrustError, fingerprint};
pub use verifier::{Judge, Shown, Verifier};
