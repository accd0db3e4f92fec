//! OpenAPI v3: one document for each group and version, from the types themselves.
//!
//! kubectl reads them for three things: which operations validate fields, which lists merge by which key, and what every field
//! means (`kubectl explain`). They are made when the first client asks, once, and kept compressed.

mod document;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use api::StatusError;
use axum::extract::{Path, Request, State};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, EXPIRES, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use tokio::sync::OnceCell;

use crate::answer::{self, Answer, JSON, Refusal};
use crate::envelope::{gzip, wants_gzip};
use crate::query::Query;
use crate::{Door, discovery, target};

/// The documents, once somebody has asked for them.
#[derive(Default)]
pub(crate) struct OpenApi(OnceCell<Arc<BTreeMap<String, Document>>>);

/// One document.
struct Document {
    gzipped: Bytes,
    hash: String,
}

/// Made once and kept: worth the best level that is still quick.
const GZIP_LEVEL: u32 = 6;

/// `/openapi/v3`: which documents there are.
pub(crate) async fn root(State(door): State<Arc<Door>>) -> Result<Answer, Refusal> {
    let documents = door.openapi.documents().await?;
    let paths: Map<String, Value> = documents
        .iter()
        .map(|(path, document)| {
            let url = format!("/openapi/v3/{path}?hash={}", document.hash);
            (path.clone(), json!({"serverRelativeURL": url}))
        })
        .collect();
    Ok(answer::value(StatusCode::OK, &json!({"paths": paths})))
}

/// `/openapi/v3/<path>`: one document.
pub(crate) async fn document(
    State(door): State<Arc<Door>>,
    Path(path): Path<String>,
    request: Request,
) -> Result<Answer, Refusal> {
    let documents = door.openapi.documents().await?;
    let document = documents.get(&path).ok_or_else(target::nothing_here)?;
    let query = Query::parse(request.uri().query());
    document.answer(request.headers(), query.get("hash"))
}

// === impl OpenApi ===

impl OpenApi {
    async fn documents(&self) -> Result<&BTreeMap<String, Document>, StatusError> {
        let made = self.0.get_or_try_init(|| async {
            let made = tokio::task::spawn_blocking(documents).await;
            made.map_err(StatusError::internal)?.map(Arc::new).map_err(StatusError::internal)
        });
        made.await.map(AsRef::as_ref)
    }
}

fn documents() -> std::io::Result<BTreeMap<String, Document>> {
    let versions = discovery::group_versions().into_iter();
    versions
        .map(|(version, kinds)| {
            let path = if version.contains('/') { format!("apis/{version}") } else { format!("api/{version}") };
            let text = document::of(&kinds).to_string();
            let hash = hex::encode_upper(Sha512::digest(text.as_bytes()));
            Ok((path, Document { gzipped: gzip(text.as_bytes(), GZIP_LEVEL)?, hash }))
        })
        .collect()
}

// === impl Document ===

impl Document {
    fn answer(&self, headers: &HeaderMap, hash: Option<&str>) -> Result<Answer, Refusal> {
        let tag = format!("\"{}\"", self.hash);
        let known = headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
        let mut answer = if known {
            answer::typed(StatusCode::NOT_MODIFIED, JSON, "")
        } else if wants_gzip(headers) {
            let mut answer = answer::json(StatusCode::OK, self.gzipped.clone());
            answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            answer
        } else {
            let mut plain = Vec::with_capacity(self.gzipped.len() * 8);
            GzDecoder::new(&*self.gzipped).read_to_end(&mut plain).map_err(StatusError::internal)?;
            answer::json(StatusCode::OK, plain)
        };
        let headers = answer.headers_mut();
        headers.insert(ETAG, HeaderValue::from_str(&tag).map_err(StatusError::internal)?);
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        if hash == Some(self.hash.as_str()) {
            // What is asked for by its hash never changes.
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable, max-age=31536000"));
            headers.remove(EXPIRES);
        }
        Ok(answer)
    }
}
