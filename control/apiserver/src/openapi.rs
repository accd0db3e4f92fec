//! OpenAPI: in version 3 one document for each group and version, in version 2 one for all, from the types themselves.
//!
//! kubectl reads them for three things: which operations validate fields, which lists merge by which key, and what every field
//! means (`kubectl explain`). They are made when the first client asks, once, and kept compressed.

mod document;
mod gnostic;
mod swagger;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use api::StatusError;
use axum::extract::{Path, Request, State};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, ETAG, EXPIRES, IF_NONE_MATCH, VARY};
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
pub(crate) struct OpenApi(OnceCell<Arc<Documents>>);

struct Documents {
    /// Version 3, by path.
    by_path: BTreeMap<String, Document>,
    /// Version 2, as JSON.
    swagger: Document,
    /// Version 2, as protobuf.
    gnostic: Document,
}

/// One document.
struct Document {
    media_type: &'static str,
    gzipped: Bytes,
    hash: String,
}

/// How clients ask for version 2 as protobuf.
const GNOSTIC_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// How it is told that they get it; Kubernetes names it so because an `@` is no part of a media type.
const GNOSTIC: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Made once and kept: worth the best level that is still quick.
const GZIP_LEVEL: u32 = 6;

/// `/openapi/v3`: which documents there are.
pub(crate) async fn root(State(door): State<Arc<Door>>) -> Result<Answer, Refusal> {
    let documents = door.openapi.documents().await?;
    let paths: Map<String, Value> = documents
        .by_path
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
    let document = documents.by_path.get(&path).ok_or_else(target::nothing_here)?;
    let query = Query::parse(request.uri().query());
    document.answer(request.headers(), query.get("hash"))
}

/// `/openapi/v2`: all of it in one document.
pub(crate) async fn version_2(State(door): State<Arc<Door>>, headers: HeaderMap) -> Result<Answer, Refusal> {
    let documents = door.openapi.documents().await?;
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let binary = accept.split(',').any(|clause| [GNOSTIC_ASKED, GNOSTIC].contains(&clause.trim()));
    let document = if binary { &documents.gnostic } else { &documents.swagger };
    document.answer(&headers, None)
}

// === impl OpenApi ===

impl OpenApi {
    async fn documents(&self) -> Result<&Documents, StatusError> {
        let made = self.0.get_or_try_init(|| async {
            let made = tokio::task::spawn_blocking(Documents::new).await;
            made.map_err(StatusError::internal)?.map(Arc::new).map_err(StatusError::internal)
        });
        made.await.map(AsRef::as_ref)
    }
}

// === impl Documents ===

impl Documents {
    fn new() -> std::io::Result<Self> {
        let path = |version: String| {
            if version.contains('/') { format!("apis/{version}") } else { format!("api/{version}") }
        };
        let versions = discovery::group_versions().into_iter();
        let trees: BTreeMap<String, Value> =
            versions.map(|(version, (kinds, reviews))| (path(version), document::of(&kinds, &reviews))).collect();
        let swagger = swagger::of(trees.values());
        let by_path = trees
            .into_iter()
            .map(|(path, tree)| Document::new(JSON, tree.to_string().as_bytes()).map(|document| (path, document)));
        Ok(Self {
            by_path: by_path.collect::<Result<_, _>>()?,
            gnostic: Document::new(GNOSTIC, &gnostic::encode(&swagger))?,
            swagger: Document::new(JSON, swagger.to_string().as_bytes())?,
        })
    }
}

// === impl Document ===

impl Document {
    fn new(media_type: &'static str, bytes: &[u8]) -> std::io::Result<Self> {
        Ok(Self { media_type, gzipped: gzip(bytes, GZIP_LEVEL)?, hash: hex::encode_upper(Sha512::digest(bytes)) })
    }

    fn answer(&self, headers: &HeaderMap, hash: Option<&str>) -> Result<Answer, Refusal> {
        let tag = format!("\"{}\"", self.hash);
        let known = headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
        let mut answer = if known {
            answer::typed(StatusCode::NOT_MODIFIED, self.media_type, "")
        } else if wants_gzip(headers) {
            let mut answer = answer::typed(StatusCode::OK, self.media_type, self.gzipped.clone());
            answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            answer
        } else {
            let mut plain = Vec::with_capacity(self.gzipped.len() * 8);
            GzDecoder::new(&*self.gzipped).read_to_end(&mut plain).map_err(StatusError::internal)?;
            answer::typed(StatusCode::OK, self.media_type, plain)
        };
        let headers = answer.headers_mut();
        headers.insert(ETAG, HeaderValue::from_str(&tag).map_err(StatusError::internal)?);
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if hash == Some(self.hash.as_str()) {
            // What is asked for by its hash never changes.
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable, max-age=31536000"));
            headers.remove(EXPIRES);
        }
        Ok(answer)
    }
}
