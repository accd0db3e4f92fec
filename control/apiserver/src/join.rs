//! How a machine becomes a node: it shows the token, and has a certificate signed. And how it becomes a server: with a token that
//! says so it is given all that makes a server, the cluster's authority included.

use std::fmt;
use std::sync::Arc;

use api::StatusError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Signs the request for a certificate (PEM) of the node named; the certificate comes back as PEM, or why there is none.
pub type Sign = Arc<dyn Fn(&str, &str) -> Result<String, String> + Send + Sync>;

/// All that makes a server of this cluster; whoever has it can be anybody here. The keys of what is stored are not in it: each server
/// has its own.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Charter {
    /// The authority's certificate, PEM.
    pub ca: String,
    /// The authority's key, PEM.
    pub ca_key: String,
    /// The key that signs the tokens of service accounts, PEM.
    pub account_key: String,
    /// What lets nodes in.
    pub join_secret: String,
}

/// What is needed to let machines join.
#[derive(Clone)]
pub struct Join {
    /// Whoever shows it may join.
    pub token: String,
    /// The authority's certificate as PEM, which the machine will trust.
    pub ca: String,
    /// The authority.
    pub sign: Sign,
    /// What another server is given; none if there can be no other.
    pub charter: Option<Charter>,
}

/// What a machine asks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Asked {
    node_name: String,
    csr: String,
}

/// What it is answered.
#[derive(Debug, Serialize)]
pub(crate) struct Granted {
    certificate: String,
    ca: String,
}

/// As Kubernetes has it for the name of a node.
const NAME_BYTES_MAX: usize = 253;

// === impl Join ===

impl Join {
    /// Whether this is the token.
    pub(crate) fn is_let_in_by(&self, shown: &str) -> bool {
        same(shown, &self.token)
    }

    /// A certificate for whoever has shown the token.
    pub(crate) fn grant(&self, asked: &Asked) -> Result<Granted, StatusError> {
        if !is_node_name(&asked.node_name) {
            return Err(StatusError::bad_request(format!("{:?} is not a node name", asked.node_name)));
        }
        let certificate = (self.sign)(&asked.csr, &asked.node_name).map_err(StatusError::bad_request)?;
        Ok(Granted { certificate, ca: self.ca.clone() })
    }
}

/// Compares without telling by the time it takes how much is right: digests of equal length, every byte looked at.
pub(crate) fn same(shown: &str, token: &str) -> bool {
    let (shown, token) = (Sha256::digest(shown.as_bytes()), Sha256::digest(token.as_bytes()));
    shown.iter().zip(token.iter()).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

fn is_node_name(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label)
}

impl fmt::Debug for Charter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Charter")
    }
}

impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Join")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join() -> Join {
        let sign: Sign = Arc::new(|csr, node| Ok(format!("{csr} for {node}")));
        Join { token: "secret".into(), ca: "ca".into(), sign, charter: None }
    }

    #[test]
    fn only_the_token_lets_in() {
        assert!(join().is_let_in_by("secret"));
        assert!(!join().is_let_in_by("secre"));
        assert!(!join().is_let_in_by(""));
    }

    #[test]
    fn a_node_gets_a_certificate_in_its_own_name() {
        let ask = |name: &str| join().grant(&Asked { node_name: name.into(), csr: "csr".into() });
        assert_eq!(ask("n1").expect("granted").certificate, "csr for n1");
        assert!(ask("N1/../x").is_err());
    }
}
