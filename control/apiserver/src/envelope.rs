//! What every answer gets: a number for the audit, a place in the counts, and compression when it is large and wanted.

mod gzipped;

use std::io::Write;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::time::Instant;

use crate::Door;
use crate::answer::{Answer, JSON, Long};
use crate::metrics::Asked;
use gzipped::Gzipped;

/// The number by which a request is found in the audit log.
#[derive(Clone, Debug)]
pub(crate) struct AuditId(pub(crate) String);

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// As Kubernetes has it: what a client may call its request.
const AUDIT_ID_CHARS_MAX: usize = 64;
/// As Kubernetes has it: below that, compression costs more than it saves.
const GZIP_BYTES_MIN: u64 = 128 * 1024;
/// As Kubernetes has it: the next level costs much and gains little.
const GZIP_LEVEL: u32 = 1;

/// Wraps the answer to one request.
pub(crate) async fn wrap(State(door): State<Arc<Door>>, request: Request, next: Next) -> Answer {
    let id = audit_id(request.headers()).map_or_else(|| door.uid(), str::to_owned);
    let mut request = request;
    request.extensions_mut().insert(AuditId(id.clone()));
    let gzip = wants_gzip(request.headers());
    let other = Asked::other(request.method());
    let began = Instant::now();
    let going_on = door.metrics.began(!matches!(*request.method(), Method::GET | Method::HEAD));
    let answer = next.run(request).await;
    drop(going_on);
    let asked = answer.extensions().get().copied().unwrap_or(other);
    door.metrics.answered(asked, answer.status().as_u16(), began.elapsed());
    let mut answer = if gzip && is_large(&answer) { compressed(answer) } else { answer };
    if let Ok(id) = HeaderValue::from_str(&id) {
        answer.headers_mut().insert(AUDIT_ID, id);
    }
    answer
}

/// The number that a client gives its request, if it is one.
fn audit_id(headers: &HeaderMap) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let id = headers.get(AUDIT_ID)?.to_str().ok()?;
    (!id.is_empty() && id.len() <= AUDIT_ID_CHARS_MAX && id.bytes().all(is_plain)).then_some(id)
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

/// Whether compression pays: for JSON that is long, and for lists that are written as they are read, which are long. A watch is
/// never compressed: its reader waits for each line.
fn is_large(answer: &Answer) -> bool {
    let is_json = answer.headers().get(CONTENT_TYPE).is_some_and(|media| media.as_bytes().starts_with(JSON.as_bytes()));
    let is_long = answer.extensions().get::<Long>().is_some() || answer.body().size_hint().lower() > GZIP_BYTES_MIN;
    is_json && is_long && !answer.headers().contains_key(CONTENT_ENCODING)
}

fn compressed(answer: Answer) -> Answer {
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    Answer::from_parts(parts, Body::new(Gzipped::new(body, GZIP_LEVEL)))
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
