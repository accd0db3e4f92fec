//! How answers are put on the wire.

use std::sync::Arc;

use api::{Reason, StatusError};
use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WARNING};
use http::{HeaderValue, Response, StatusCode};
use serde_json::Value;

/// What every handler answers with.
pub(crate) type Answer = Response<Body>;

/// Goes with an answer that is long, and whose length nobody knows before its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Long;

/// A refusal on its way to the client.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) StatusError);

/// What an answer that is JSON is called.
pub(crate) const JSON: &str = "application/json";

/// As Kubernetes has it: so much of one warning is told.
const WARNING_CHARS_MAX: usize = 256;
/// As Kubernetes has it: so much is told in all warnings together.
const WARNINGS_CHARS_MAX: usize = 4096;

/// An answer that is JSON bytes already.
pub(crate) fn json(code: StatusCode, body: impl Into<Bytes>) -> Answer {
    typed(code, JSON, body.into())
}

/// An answer of one body and one type.
pub(crate) fn typed(code: StatusCode, content_type: &str, body: impl Into<Body>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = code;
    let headers = answer.headers_mut();
    if let Ok(content_type) = HeaderValue::from_str(content_type) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    answer
}

/// An answer made of a tree.
pub(crate) fn value(code: StatusCode, value: &Value) -> Answer {
    json(code, value.to_string())
}

/// Plain words.
pub(crate) fn text(code: StatusCode, text: &'static str) -> Answer {
    typed(code, "text/plain; charset=utf-8", text)
}

/// Adds a `Warning:` header for each sentence, as many as Kubernetes would send.
pub(crate) fn with_warnings(mut answer: Answer, warnings: &[String]) -> Answer {
    let mut told = 0;
    for warning in warnings {
        let words: String = warning.chars().filter(|c| !c.is_control()).take(WARNING_CHARS_MAX).collect();
        told += words.chars().count();
        if told > WARNINGS_CHARS_MAX {
            break;
        }
        let quoted = words.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(header) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            answer.headers_mut().append(WARNING, header);
        }
    }
    answer
}

// === impl Refusal ===

impl From<StatusError> for Refusal {
    fn from(error: StatusError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Answer {
        let code = StatusCode::from_u16(self.0.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = value(code, &self.0.to_value());
        let retry = self.0.details.as_ref().and_then(|details| details.retry_after_seconds);
        // Without the header client-go takes a full server for a broken one.
        let retry = retry.or((self.0.reason == Reason::ServiceUnavailable).then_some(1));
        if let Some(seconds) = retry {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        // For those who keep a log of answers.
        answer.extensions_mut().insert(Arc::new(self.0));
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted() {
        let answer = with_warnings(text(StatusCode::OK, ""), &[r#"unknown field "spec.x""#.into()]);
        assert_eq!(answer.headers()[WARNING], r#"299 - "unknown field \"spec.x\"""#);
    }

    #[test]
    fn a_refusal_carries_its_code_and_when_to_come_back() {
        let busy = StatusError::new(Reason::ServiceUnavailable, "no leader");
        let answer = Refusal(busy).into_response();
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()[RETRY_AFTER], "1");
    }
}
