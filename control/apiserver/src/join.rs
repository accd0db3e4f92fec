//! How a machine becomes a node: it shows a token, and has a certificate signed. And how it becomes a server: with a token that
//! says so it is given all that makes a server, the cluster's authority included.
//!
//! A token may count its uses. Each machine makes up a number of its own and sends it along: one whose answer was lost on the way asks
//! again with the same number, and is answered as before, while whoever else shows the token is refused.

use std::fmt;
use std::sync::Arc;

use api::level::Levels;
use api::{Reason, StatusError, kinds};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use state::Snapshot;
use store::ProposeError;

use crate::Door;
use crate::identity::{BOOTSTRAPPERS, Identity, SPENT, unauthorized};
use crate::tokens::bootstrap::{self, Use};

/// Tells the certificates of the authorities that are trusted at the moment, PEM.
pub type Authorities = Arc<dyn Fn() -> String + Send + Sync>;
/// Tells what makes a server at the moment, or why that cannot be told.
pub type TellCharter = Arc<dyn Fn() -> Result<Charter, String> + Send + Sync>;
/// Signs the request for a certificate (PEM) of the node named; the certificate comes back as PEM, or why there is none.
pub type Sign = Arc<dyn Fn(&str, &str) -> Result<String, String> + Send + Sync>;

/// All that makes a server of this cluster; whoever has it can be anybody here. The keys of what is stored are not in it: each server
/// has its own.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Charter {
    /// The certificates of those who are trusted, PEM; the first is the authority's.
    pub ca: String,
    /// The authority's key, PEM.
    pub ca_key: String,
    /// The key that signs the tokens of service accounts, PEM.
    pub account_key: String,
    /// What the servers have agreed about authorities, where there was ever another than the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<serde_json::Value>,
}

/// What is needed to let machines join.
#[derive(Clone)]
pub struct Join {
    /// Those whom the machine will trust.
    pub ca: Authorities,
    /// The authority.
    pub sign: Sign,
    /// What another server is given; none if there can be no other.
    pub charter: Option<TellCharter>,
}

/// What a machine asks that is to be a node.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Asked {
    node_name: String,
    csr: String,
    machine: Machine,
}

/// What a node asks that needs the next certificate.
#[derive(Debug, Deserialize)]
pub(crate) struct AskedAgain {
    csr: String,
}

/// What a machine asks that is to be a server.
#[derive(Debug, Deserialize)]
pub(crate) struct AskedServer {
    pub(crate) machine: Machine,
    /// What it speaks.
    #[serde(default = "untold")]
    pub(crate) levels: Levels,
}

fn untold() -> Levels {
    Levels::UNTOLD
}

/// The number by which a machine is known that asks twice.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Machine(String);

/// What it is answered.
#[derive(Debug, Serialize)]
pub(crate) struct Granted {
    certificate: String,
    ca: String,
}

/// As Kubernetes has it for the name of a node.
const NAME_BYTES_MAX: usize = 253;
/// Too many to be guessed, in hexadecimal.
const MACHINE_CHARS: std::ops::RangeInclusive<usize> = 32..=64;

// === impl Join ===

impl Join {
    /// A certificate for whoever has shown a token.
    pub(crate) async fn grant(&self, door: &Door, holder: &Identity, asked: &Asked) -> Result<Granted, StatusError> {
        let name = &asked.node_name;
        if !is_node_name(name) {
            return Err(StatusError::bad_request(format!("{name:?} is not a node name")));
        }
        // Nobody is given the name of another by a token.
        let is_free = |world: &Snapshot| match world.get(&kinds::NODE.key("", name)) {
            None => Ok(()),
            Some(_) => Err(StatusError::new(Reason::Conflict, taken(name))),
        };
        redeem(door, holder, &asked.machine, is_free).await?;
        let certificate = (self.sign)(&asked.csr, &asked.node_name).map_err(StatusError::bad_request)?;
        Ok(Granted { certificate, ca: (self.ca)() })
    }

    /// The next certificate of a node that is still one of the cluster's.
    pub(crate) fn renew(&self, world: &Snapshot, node: &str, asked: &AskedAgain) -> Result<Granted, StatusError> {
        if world.get(&kinds::NODE.key("", node)).is_none() {
            let why = format!("node {node:?} was removed from the cluster; it joins again with a token");
            return Err(StatusError::new(Reason::Forbidden, why));
        }
        let certificate = (self.sign)(&asked.csr, node).map_err(StatusError::bad_request)?;
        Ok(Granted { certificate, ca: (self.ca)() })
    }
}

fn taken(name: &str) -> String {
    format!(
        "a node named {name:?} is in the cluster already: give this machine another name with --node-name, or delete the node that had \
         this one"
    )
}

/// Takes one use of the token that somebody has shown; a machine that has had one is not asked for another, nor whether `may` lets it.
pub(crate) async fn redeem(
    door: &Door,
    holder: &Identity,
    machine: &Machine,
    may: impl Fn(&Snapshot) -> Result<(), StatusError>,
) -> Result<(), StatusError> {
    if !holder.is_in(BOOTSTRAPPERS) && !holder.is_in(SPENT) {
        return Err(unauthorized());
    }
    loop {
        let world = door.store.snapshot();
        let txn = match bootstrap::redeem(holder, &machine.0, &world)? {
            Use::Again => return Ok(()),
            Use::Free => return may(&world),
            Use::Counted(txn) => txn,
        };
        may(&world)?;
        match door.store.propose(txn).await {
            Ok(_) => return Ok(()),
            // Somebody else took a use at the same moment.
            Err(ProposeError::Conflict(_)) => {}
            Err(error) => return Err(StatusError::new(Reason::ServiceUnavailable, error.to_string())),
        }
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

impl TryFrom<String> for Machine {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_plain && MACHINE_CHARS.contains(&text.len()) {
            Ok(Self(text))
        } else {
            Err("not the number of a machine")
        }
    }
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

    /// The path has the version of all this in it: whoever is asked for another does not know the path.
    #[test]
    fn what_is_asked_and_answered_is_as_it_is_everywhere() {
        let number = "0123456789abcdef0123456789abcdef";
        let asked = format!(r#"{{"nodeName":"n1","csr":"request","machine":"{number}"}}"#);
        let asked: Asked = serde_json::from_str(&asked).expect("a machine asks");
        assert_eq!((&*asked.node_name, &*asked.csr, &*asked.machine.0), ("n1", "request", number));
        let server = format!(r#"{{"machine":"{number}","levels":{{"lowest":1,"highest":2}}}}"#);
        let server: AskedServer = serde_json::from_str(&server).expect("a server asks");
        assert_eq!(server.levels, Levels { lowest: 1, highest: 2 });
        let server: AskedServer =
            serde_json::from_str(&format!(r#"{{"machine":"{number}"}}"#)).expect("an old one asks");
        assert_eq!(server.levels, Levels::UNTOLD);
        let again: AskedAgain = serde_json::from_str(r#"{"csr":"request"}"#).expect("a node asks again");
        assert_eq!(again.csr, "request");
        let granted = Granted { certificate: "c".into(), ca: "a".into() };
        assert_eq!(serde_json::to_string(&granted).expect("JSON"), r#"{"certificate":"c","ca":"a"}"#);
        let charter = Charter {
            ca: "a".into(),
            ca_key: "k".into(),
            account_key: "s".into(),
            authorities: Some(serde_json::json!({})),
        };
        let text = serde_json::to_string(&charter).expect("JSON");
        assert_eq!(text, r#"{"ca":"a","caKey":"k","accountKey":"s","authorities":{}}"#);
        assert!(serde_json::from_str::<Charter>(r#"{"ca":"a","caKey":"k","accountKey":"s"}"#).is_ok());
    }

    #[test]
    fn names_and_numbers_are_plain() {
        for (name, expected) in [("n1", true), ("edge-1.north", true), ("N1", false), ("../x", false), ("", false)] {
            assert_eq!(is_node_name(name), expected, "{name}");
        }
        for (text, expected) in [("0123456789abcdef0123456789abcdef", true), ("1", false), ("", false)] {
            assert_eq!(Machine::try_from(text.to_owned()).is_ok(), expected, "{text}");
        }
        assert!(Machine::try_from(",".repeat(32)).is_err());
    }
}
