//! What can go wrong between here and the API server.

use serde::Deserialize;
use serde_json::Value;

/// Why a request had no useful answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server refused, in its own words.
    #[error("{message}")]
    Status {
        /// The HTTP status code.
        code: u16,
        /// Kubernetes' reason, such as `NotFound`; empty when the answer was no `Status`.
        reason: String,
        /// What the server said.
        message: String,
        /// The whole `Status`, or null.
        status: Box<Value>,
    },
    /// The server could not be reached.
    #[error("cannot reach {server}")]
    Connect {
        /// The server's host and port.
        server: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the connection to {server} failed")]
    Http {
        /// The server's host and port.
        server: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// The server answered something that is not what was asked for.
    #[error("unexpected answer from the server: {0}")]
    Answer(String),
    /// The kind is not in the catalog.
    #[error("the kind {0} is not known")]
    UnknownKind(api::GroupKind),
    /// The request could not be put together, or the credentials cannot be used.
    #[error("{0}")]
    Request(String),
}

// === impl ClientError ===

impl ClientError {
    /// The HTTP status code, if the server answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Status { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the server said that there is no such object.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Whether the server said that the object changed, or that its name is taken.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// Whether a watch must begin anew with a list.
    pub fn is_expired(&self) -> bool {
        self.code() == Some(410)
    }

    /// Whether the question may have a better answer in a moment, or from another server: this one is away, or has lost the others.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Http { .. } => true,
            Self::Status { code, .. } => *code == 503,
            Self::Answer(_) | Self::UnknownKind(_) | Self::Request(_) => false,
        }
    }

    /// The error that a `Status` body, or any other body of a refused request, tells.
    pub fn refused(code: u16, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Status {
            #[serde(default)]
            reason: String,
            #[serde(default)]
            message: String,
        }
        let status: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        match Status::deserialize(&status) {
            Ok(Status { reason, message }) => Self::Status { code, reason, message, status: Box::new(status) },
            Err(_) => {
                let message = String::from_utf8_lossy(body).trim().to_owned();
                Self::Status { code, reason: String::new(), message, status: Box::new(Value::Null) }
            }
        }
    }
}
