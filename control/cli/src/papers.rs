//! Papers: a certificate and its key, which are replaced before they end, while the process runs.
//!
//! Whoever shows them asks for them at each handshake, so that what is replaced is shown from then on; connections that are open stay
//! open. They are replaced when two thirds of their life are over: who is refused, or away, has the last third to try again in; or when
//! somebody asks, because another authority signs.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context;
use futures::future::BoxFuture;
use jiff::Timestamp;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::Notify;
use trust::Trust;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::pki::{CLOCK_SKEW, Credential};
use crate::running::Running;

/// A certificate and its key.
pub(crate) struct Papers {
    /// Whose they are, for the log.
    whose: &'static str,
    current: RwLock<Current>,
    /// Somebody wants the next at once.
    asked: Notify,
}

/// Papers that this process makes for itself, and goes on to.
#[derive(Clone, Default)]
pub(crate) struct Own(Vec<(Arc<Papers>, Issue)>);

/// Makes the next.
type Issue = Arc<dyn Fn() -> anyhow::Result<Credential> + Send + Sync>;

struct Current {
    key: Arc<CertifiedKey>,
    life: Life,
}

/// Seconds of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    begins: i64,
    ends: i64,
}

/// Gets the next, and replaces them.
pub(crate) type Renew = Box<dyn Fn() -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

/// The clock is looked at so often: it may be set, and a machine may sleep.
const LOOK_EVERY: Duration = Duration::from_secs(60);

// === impl Papers ===

impl Papers {
    pub(crate) fn new(whose: &'static str, credential: &Credential) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self { whose, current: RwLock::new(Current::of(credential)?), asked: Notify::new() }))
    }

    pub(crate) fn replace(&self, credential: &Credential) -> anyhow::Result<()> {
        let fresh = Current::of(credential)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Whether nobody takes them any more for what they say.
    #[cfg(test)]
    pub(crate) fn are_over(&self, now: Timestamp) -> bool {
        self.life().ends < now.as_second()
    }

    /// Has them replaced in time, for as long as the parts run.
    pub(crate) fn keep_in(self: &Arc<Self>, parts: &mut Running, renew: Renew) {
        let (keeping, stopping) = (self.clone().keep(renew), parts.stopping());
        parts.start("renewal of certificates", async move {
            tokio::select! {
                () = keeping => {}
                () = stopping => {}
            }
            anyhow::Ok(())
        });
    }

    /// Has the next asked for now, or as soon as may be.
    pub(crate) fn ask(&self) {
        self.asked.notify_one();
    }

    /// The fingerprint of the authority that signed them, if it is one of those who are trusted.
    pub(crate) fn signer(&self, trust: &Trust) -> Option<String> {
        trust.signer_of(self.shown().cert.first()?)
    }

    async fn keep(self: Arc<Self>, renew: Renew) {
        loop {
            let wait = self.life().wait(Timestamp::now());
            if !wait.is_zero() && !self.is_asked_within(wait.min(LOOK_EVERY)).await {
                continue;
            }
            match renew().await {
                Ok(()) => tracing::info!(whose = self.whose, "certificate renewed"),
                Err(error) => {
                    tracing::warn!(whose = self.whose, error = format!("{error:#}"), "certificate not renewed");
                    self.is_asked_within(self.life().pause()).await;
                }
            }
        }
    }

    async fn is_asked_within(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.asked.notified()).await.is_ok()
    }

    fn life(&self) -> Life {
        self.current.read().unwrap_or_else(PoisonError::into_inner).life
    }

    fn shown(&self) -> Arc<CertifiedKey> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).key.clone()
    }
}

impl ResolvesClientCert for Papers {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.shown())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Papers {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown())
    }
}

impl fmt::Debug for Papers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Papers").field("whose", &self.whose).field("life", &self.life()).finish_non_exhaustive()
    }
}

// === impl Own ===

impl Own {
    /// Makes papers, and has them replaced in time for as long as the parts run.
    pub(crate) fn make(
        &mut self,
        whose: &'static str,
        parts: &mut Running,
        issue: impl Fn() -> anyhow::Result<Credential> + Send + Sync + 'static,
    ) -> anyhow::Result<Arc<Papers>> {
        let (papers, issue): (_, Issue) = (Papers::new(whose, &issue()?)?, Arc::new(issue));
        let (own, next) = (papers.clone(), issue.clone());
        let renew = move || next().and_then(|credential| own.replace(&credential));
        papers.keep_in(parts, Box::new(move || Box::pin(std::future::ready(renew()))));
        self.0.push((papers.clone(), issue));
        Ok(papers)
    }

    /// Replaces all of them.
    pub(crate) fn renew(&self) -> anyhow::Result<()> {
        self.0.iter().try_for_each(|(papers, issue)| papers.replace(&issue()?))
    }
}

// === impl Current ===

impl Current {
    fn of(credential: &Credential) -> anyhow::Result<Self> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(credential.certificate.as_bytes()).collect();
        let chain = chain.context("the certificate is not PEM")?;
        let leaf = chain.first().context("there is no certificate")?;
        let life = Life::of(leaf)?;
        let key = PrivateKeyDer::from_pem_slice(credential.key.as_bytes()).context("the key is not PEM")?;
        let provider = rustls::crypto::ring::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider).context("the certificate and its key do not fit")?;
        Ok(Self { key: Arc::new(key), life })
    }
}

// === impl Life ===

impl Life {
    fn of(leaf: &[u8]) -> anyhow::Result<Self> {
        let (_, leaf) = X509Certificate::from_der(leaf).context("the certificate cannot be read")?;
        let validity = leaf.validity();
        // It is valid from before it was made, for clocks that differ.
        let begins = validity.not_before.timestamp().saturating_add(CLOCK_SKEW.as_secs());
        Ok(Self { begins, ends: validity.not_after.timestamp() })
    }

    /// How long until the next is asked for.
    fn wait(self, now: Timestamp) -> Duration {
        let due = self.begins.saturating_add(self.seconds() / 3 * 2);
        Duration::from_secs(u64::try_from(due.saturating_sub(now.as_second())).unwrap_or_default())
    }

    /// How long until somebody who was refused tries again.
    fn pause(self) -> Duration {
        Duration::from_secs(u64::try_from(self.seconds() / 60).unwrap_or_default().clamp(1, 60))
    }

    fn seconds(self) -> i64 {
        self.ends.saturating_sub(self.begins).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Authority;

    #[test]
    fn the_next_is_asked_for_when_two_thirds_are_over() {
        let check = |begins, ends, now, expected| {
            let now = Timestamp::from_second(now).expect("a time");
            assert_eq!(Life { begins, ends }.wait(now), Duration::from_secs(expected), "{begins} {ends} {now}");
        };
        check(0, 90, 0, 60);
        check(0, 90, 59, 1);
        check(0, 90, 60, 0);
        check(0, 90, 1_000, 0);
        check(90, 0, 100, 0);
    }

    #[test]
    fn what_is_replaced_is_shown() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let now = Timestamp::now();
        let authority = Authority::open(directory.path(), now).expect("made").signing_for(Duration::from_secs(60));
        let next = || authority.client("system:node:n1", &["system:nodes"], now).expect("signed");
        let papers = Papers::new("node", &next()).expect("papers");
        let first = papers.shown();
        assert!(!papers.are_over(now));
        assert!(papers.are_over(now + jiff::SignedDuration::from_secs(62)));
        papers.replace(&next()).expect("replaced");
        assert_ne!(papers.shown().cert, first.cert);
        let foreign = Credential { key: next().key, ..next() };
        assert!(papers.replace(&foreign).is_err(), "a key of another certificate");
    }
}
