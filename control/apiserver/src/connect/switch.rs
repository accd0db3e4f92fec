//! Switching protocols: what a client offers to speak, and the answer that takes it up.

use api::{Reason, StatusError};
use axum::body::Body;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::answer::Answer;
use crate::websocket;

/// What SPDY is called when a connection is upgraded to it.
pub(super) const SPDY: &str = "SPDY/3.1";

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// What a client would speak.
pub(super) struct Offer {
    upgrades: Vec<String>,
    /// What is spoken inside, for the upgrades that carry something else.
    protocols: Vec<String>,
}

// === impl Offer ===

impl Offer {
    /// Reads the headers of a request.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let words = |name: &HeaderName| {
            let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).map(|word| word.trim().to_owned()).collect::<Vec<_>>()
        };
        let protocols = [words(&SEC_WEBSOCKET_PROTOCOL), words(&STREAM_PROTOCOL)].concat();
        Self { upgrades: words(&UPGRADE), protocols }
    }

    /// Whether the connection is to become this.
    pub(super) fn asks_for(&self, upgrade: &str) -> bool {
        self.upgrades.iter().any(|word| word.eq_ignore_ascii_case(upgrade))
    }

    /// The first of these that is offered to be spoken inside.
    pub(super) fn first(&self, spoken: &[&'static str]) -> Option<&'static str> {
        spoken.iter().copied().find(|one| self.protocols.iter().any(|offered| offered == one))
    }

    /// The refusal when nothing fits.
    pub(super) fn unable(&self, known: &[&str]) -> StatusError {
        let why = format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
            self.protocols.join(" "),
            known.join(" ")
        );
        StatusError::new(Reason::Forbidden, why)
    }
}

/// The refusal of a request that asks for no other protocol.
pub(super) fn needed() -> StatusError {
    StatusError::bad_request("Upgrade request required")
}

/// The answer that makes a WebSocket of a connection.
pub(super) fn to_websocket(asked: &HeaderMap, protocol: &'static str) -> Result<Answer, StatusError> {
    let key = asked.get(SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
    let key = key.ok_or_else(|| StatusError::bad_request("Sec-WebSocket-Key is missing"))?;
    let accepted = HeaderValue::from_str(&websocket::accept(key)).map_err(StatusError::internal)?;
    let mut answer = to("websocket");
    answer.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accepted);
    answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    Ok(answer)
}

/// The answer that makes SPDY of a connection, with this inside.
pub(super) fn to_spdy(protocol: &'static str) -> Answer {
    let mut answer = to(SPDY);
    answer.headers_mut().insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
    answer
}

/// The answer that makes something else of a connection.
pub(super) fn to(upgrade: &'static str) -> Answer {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.headers_mut().insert(UPGRADE, HeaderValue::from_static(upgrade));
    answer
}
