//! What every answer gets: a number for the audit, a place in the counts, and compression when it is large and wanted.

use std::io::Write;
use std::sync::Arc;

use api::StatusError;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::IntoResponse;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::Door;
use crate::answer::{Answer, JSON, Refusal};
use crate::metrics::Asked;

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// As Kubernetes has it: below that, compression costs more than it saves.
const GZIP_BYTES_MIN: u64 = 128 * 1024;
/// As Kubernetes has it: the next level costs much and gains little.
const GZIP_LEVEL: u32 = 1;

/// Wraps the answer to one request.
pub(crate) async fn wrap(State(door): State<Arc<Door>>, request: Request, next: Next) -> Answer {
    let gzip = wants_gzip(request.headers());
    let other = Asked::other(request.method());
    let began = Instant::now();
    let going_on = door.metrics.began(!matches!(*request.method(), Method::GET | Method::HEAD));
    let answer = next.run(request).await;
    drop(going_on);
    let asked = answer.extensions().get().copied().unwrap_or(other);
    door.metrics.answered(asked, answer.status().as_u16(), began.elapsed());
    let mut answer = if gzip && is_large(&answer) { compressed(answer).await } else { answer };
    if let Ok(id) = HeaderValue::from_str(&door.uid()) {
        answer.headers_mut().insert(AUDIT_ID, id);
    }
    answer
}

/// Whether a client takes gzip.
pub(crate) fn wants_gzip(headers: &HeaderMap) -> bool {
    let wanted = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|encodings| encodings.to_str().ok());
    wanted.flat_map(|encodings| encodings.split(',')).any(|encoding| {
        let mut parts = encoding.split(';').map(str::trim);
        parts.next() == Some("gzip") && parts.all(|part| part != "q=0")
    })
}

/// These bytes, smaller.
pub(crate) fn gzip(bytes: &[u8], level: u32) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::new(level));
    encoder.write_all(bytes)?;
    encoder.finish().map(Bytes::from)
}

fn is_large(answer: &Answer) -> bool {
    // A stream has no exact length, and is never compressed: its reader waits for each line.
    let length = answer.body().size_hint().exact();
    let is_json = answer.headers().get(CONTENT_TYPE).is_some_and(|media| media.as_bytes().starts_with(JSON.as_bytes()));
    is_json && !answer.headers().contains_key(CONTENT_ENCODING) && length.is_some_and(|length| length > GZIP_BYTES_MIN)
}

async fn compressed(answer: Answer) -> Answer {
    let (mut parts, body) = answer.into_parts();
    let plain = match body.collect().await {
        Ok(plain) => plain.to_bytes(),
        Err(error) => return Refusal(StatusError::internal(error)).into_response(),
    };
    let kept = plain.clone();
    match tokio::task::spawn_blocking(move || gzip(&plain, GZIP_LEVEL)).await {
        Ok(Ok(small)) => {
            parts.headers.remove(CONTENT_LENGTH);
            parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            parts.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
            Answer::from_parts(parts, Body::from(small))
        }
        _ => Answer::from_parts(parts, Body::from(kept)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_used_when_it_is_wanted() {
        let wants = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_str(text).expect("a header"));
            wants_gzip(&headers)
        };
        assert!(wants("gzip"));
        assert!(wants("deflate, gzip;q=0.5"));
        assert!(!wants("gzip;q=0"));
        assert!(!wants("identity"));
    }
}
