//! The tokens of service accounts: given out, and recognised.
//!
//! A token holds for as long as all that it speaks of is there: its account, and the pod, secret or node that it is bound to.
//! Whether its signature holds does not change, and is found once for each token; everything else is looked up in the newest
//! snapshot each time, so that a token ends with what it is bound to.

pub(crate) mod bootstrap;
mod bound;
mod holder;
mod issuer;
mod openid;
mod request;
mod review;
mod verified;

pub use issuer::{Issuer, KeyError};
pub(crate) use openid::{configuration, keys};
pub(crate) use request::{Asking, grant};
pub(crate) use review::review;

use std::sync::Arc;

use api::jwt::{self, Claims};
use jiff::Timestamp;
use state::Snapshot;

use crate::identity::Identity;
use verified::Verified;

/// What knows tokens.
pub(crate) struct Tokens {
    pub(crate) issuer: Arc<Issuer>,
    verified: Verified,
}

/// Why a token does not hold.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    /// It is not a token, or not one of ours.
    #[error("invalid bearer token")]
    Unknown,
    /// Its time is over.
    #[error("service account token has expired")]
    Expired,
    /// Its time has not come.
    #[error("service account token is not valid yet")]
    Early,
    /// It is meant for others.
    #[error("token audiences {found:?} is invalid for the target audiences {wanted:?}")]
    Audience {
        /// Whom it is meant for.
        found: Vec<String>,
        /// Who looks at it.
        wanted: Vec<String>,
    },
    /// Something that it speaks of is not there any more.
    #[error("{0}")]
    Gone(String),
}

/// A token that holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Who has it.
    pub(crate) identity: Identity,
    /// Those who look at it and whom it is meant for.
    pub(crate) audiences: Vec<String>,
}

// === impl Holder ===

impl Holder {
    /// Whoever shows something that is meant for the API alone.
    pub(crate) fn of_api(identity: Identity, wanted: &[String]) -> Result<Self, Invalid> {
        Ok(Self { identity, audiences: holder::meant_for(&[jwt::ISSUER.into()], wanted)? })
    }
}

// === impl Tokens ===

impl Tokens {
    pub(crate) fn new(issuer: Arc<Issuer>) -> Self {
        Self { issuer, verified: Verified::default() }
    }

    /// Who holds a token that is meant for one of the `audiences`: that of an account, or one to bootstrap with.
    pub(crate) fn holder(
        &self,
        token: &str,
        audiences: &[String],
        world: &Snapshot,
        now: Timestamp,
    ) -> Result<Holder, Invalid> {
        match bootstrap::parts(token) {
            Some((id, secret)) => Holder::of_api(bootstrap::holder(id, secret, world, now)?, audiences),
            None => holder::of(&*self.claims(token)?, audiences, world, now),
        }
    }

    /// What a token says whose signature holds.
    fn claims(&self, token: &str) -> Result<Arc<Claims>, Invalid> {
        if let Some(known) = self.verified.get(token) {
            return Ok(known);
        }
        let parsed = jwt::parse(token.as_bytes()).map_err(|_| Invalid::Unknown)?;
        if !self.issuer.has_signed(&parsed) {
            return Err(Invalid::Unknown);
        }
        let claims = Arc::new(parsed.claims);
        self.verified.note(token, claims.clone());
        Ok(claims)
    }
}
