//! Tokens of service accounts, asked for in the name of a pod.

use api::Key;
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::path;
use crate::{Client, ClientError};

/// A token that was given out.
#[derive(Clone, Deserialize)]
pub struct Token {
    /// The token itself.
    #[serde(rename = "token")]
    pub text: String,
    /// When it ends, as far as its holder is told.
    #[serde(rename = "expirationTimestamp")]
    pub expires: Timestamp,
}

/// What a token is to be.
#[derive(Clone, Copy, Debug)]
pub struct TokenWanted<'a> {
    /// Whom it is meant for; none for the API itself.
    pub audience: Option<&'a str>,
    /// How long it is to live.
    pub seconds: i64,
    /// The pod that it ends with, and its uid.
    pub pod: (&'a Key, &'a str),
}

// === impl Client ===

impl Client {
    /// A token for an account, bound to a pod.
    pub async fn token(&self, account: &Key, wanted: &TokenWanted<'_>) -> Result<Token, ClientError> {
        #[derive(Deserialize)]
        struct Answer {
            status: Token,
        }
        let audiences: Vec<&str> = wanted.audience.into_iter().collect();
        let (pod, uid) = wanted.pod;
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {
                "audiences": audiences, "expirationSeconds": wanted.seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name(), "uid": uid},
            },
        });
        let path = path::object(account, self.names(account.kind()).await?, Some("token"));
        let answer = self.send(Method::POST, &path, Some("application/json"), body.to_string()).await?;
        let answer: Answer = serde_json::from_slice(&answer).map_err(|error| ClientError::Answer(error.to_string()))?;
        Ok(answer.status)
    }
}

// === impl Token ===

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token(until {})", self.expires)
    }
}
