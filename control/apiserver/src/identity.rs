//! Who asks.
//!
//! How a request shows who asks is a matter of `authentication`; of a certificate, the common name is the user and the
//! organisations are the groups. What they may do is a matter of `authorization`.

use std::collections::BTreeMap;
use std::time::Duration;

use api::{Reason, StatusError};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Those who may do everything.
pub const MASTERS: &str = "system:masters";
/// Those who are machines of the cluster.
pub const NODES: &str = "system:nodes";
/// What a machine's user name begins with.
pub const NODE_USER: &str = "system:node:";
/// Those whose certificate of a node is over: they may only ask for the next.
pub(crate) const LATE_NODES: &str = "system:nodes:coracle:late";
/// So long after its end a certificate of a node is still good for that; who was away for longer joins with a token.
pub(crate) const LATE_MAX: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Those who are servers of the cluster: each holds all that is stored, and believes what another tells it.
pub const SERVERS: &str = "system:servers";
/// What a server's user name begins with.
pub const SERVER_USER: &str = "system:server:";
/// The entry of `extra` that tells one credential of a user from another.
pub(crate) const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
/// Nobody.
pub(crate) const ANONYMOUS: &str = "system:anonymous";
/// Everybody who is somebody.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// Those who may only ask to become a node.
pub(crate) const BOOTSTRAPPERS: &str = "system:bootstrappers";
/// Those who may also ask to become a server.
pub const BOOTSTRAP_SERVERS: &str = "system:bootstrappers:coracle:servers";
/// Those whose token has been used as often as it may be: they may only ask again for what they were given.
pub(crate) const SPENT: &str = "system:bootstrappers:coracle:spent";
/// What the user name of whoever shows a token to join with begins with.
pub(crate) const BOOTSTRAP_USER: &str = "system:bootstrap:";
/// Everybody who is nobody.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The user's name.
    pub(crate) user: String,
    /// What tells this user from another who had the name before.
    pub(crate) uid: Option<String>,
    /// The groups the user is in.
    pub(crate) groups: Vec<String>,
    /// What else is known of how the user was recognised.
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

// === impl Identity ===

impl Identity {
    /// Somebody without a certificate.
    pub(crate) fn anonymous() -> Self {
        Self { user: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED.into()], ..Self::default() }
    }

    /// Somebody who is known, in these groups and in that of all who are.
    pub(crate) fn known(user: impl Into<String>, groups: impl IntoIterator<Item = String>) -> Self {
        let groups = groups.into_iter().chain([AUTHENTICATED.into()]).collect();
        Self { user: user.into(), groups, ..Self::default() }
    }

    /// Whoever a verified client certificate was made for. Its digest tells this certificate from another of the same user. A node
    /// whose certificate has ended may ask for another; with any other that has, one is nobody.
    pub(crate) fn of_certificate(der: &[u8], now: Timestamp) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let is_over = certificate.validity().not_after.timestamp() < now.as_second();
        let subject = certificate.subject();
        let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| attribute.as_str().ok().map(String::from);
        let user = subject.iter_common_name().find_map(text)?;
        let identity = Self::known(user, subject.iter_organization().filter_map(text));
        if is_over {
            return identity.node().map(|node| Self::known(format!("{NODE_USER}{node}"), [LATE_NODES.into()]));
        }
        let digest = format!("X509SHA256={}", hex::encode(Sha256::digest(der)));
        Some(Self { extra: [(CREDENTIAL_ID.into(), vec![digest])].into(), ..identity })
    }

    /// As reviews tell it: a `UserInfo`.
    pub(crate) fn told(&self) -> Value {
        let mut told = json!({"username": self.user, "groups": self.groups});
        if let Some(uid) = &self.uid {
            told["uid"] = uid.as_str().into();
        }
        if !self.extra.is_empty() {
            told["extra"] = json!(self.extra);
        }
        told
    }

    /// Whether nobody vouches for this one.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.is_in(UNAUTHENTICATED)
    }

    /// Whether the one is in a group.
    pub(crate) fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|known| known == group)
    }

    /// The node this one is, if it is one.
    pub(crate) fn node(&self) -> Option<&str> {
        self.user.strip_prefix(NODE_USER).filter(|name| !name.is_empty() && self.is_in(NODES))
    }

    /// The node this one is, be its certificate over or not.
    pub(crate) fn node_to_renew(&self) -> Option<&str> {
        let late = self.user.strip_prefix(NODE_USER).filter(|name| !name.is_empty() && self.is_in(LATE_NODES));
        self.node().or(late)
    }

    /// The server this one is, if it is one.
    pub(crate) fn server(&self) -> Option<&str> {
        self.user.strip_prefix(SERVER_USER).filter(|name| !name.is_empty() && self.is_in(SERVERS))
    }

    /// Whether this one may do everything.
    pub(crate) fn is_master(&self) -> bool {
        self.is_in(MASTERS)
    }
}

/// Nobody is known to have asked.
pub(crate) fn unauthorized() -> StatusError {
    StatusError::new(Reason::Unauthorized, "Unauthorized")
}
