//! OpenAPI: in version 3 one document for each group and version, in version 2 one for all, from the types themselves.
//!
//! kubectl reads them for three things: which operations validate fields, which lists merge by which key, and what every field
//! means (`kubectl explain`). They are made when the first client asks, once, and kept compressed; those of kinds that the
//! cluster was taught are made anew when it is taught otherwise.

mod document;
mod gnostic;
mod swagger;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use api::{SharedKind, StatusError};
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
use crate::review::{REVIEWS, Review};
use crate::surface::Surface;
use crate::{Door, target};

/// The documents of all kinds that are served, once somebody has asked for them.
pub(crate) struct OpenApi {
    known: Arc<Known>,
    by_path: OnceCell<BTreeMap<String, Arc<Document>>>,
    swagger: OnceCell<Arc<Document>>,
    gnostic: OnceCell<Arc<Document>>,
}

/// Those of the catalog, which never change.
#[derive(Default)]
pub(crate) struct Known(OnceCell<Arc<Documents>>);

struct Documents {
    /// Version 3, by path.
    by_path: BTreeMap<String, Arc<Document>>,
    /// Version 2, as JSON.
    swagger: Arc<Document>,
    /// Version 2, as protobuf.
    gnostic: Arc<Document>,
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
    let surface = door.surface();
    let paths: Map<String, Value> = surface
        .by_path()
        .await?
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
    let surface = door.surface();
    let document = surface.by_path().await?.get(&path).ok_or_else(target::nothing_here)?;
    let query = Query::parse(request.uri().query());
    document.answer(request.headers(), query.get("hash"))
}

/// `/openapi/v2`: all of it in one document.
pub(crate) async fn version_2(State(door): State<Arc<Door>>, headers: HeaderMap) -> Result<Answer, Refusal> {
    let surface = door.surface();
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let binary = accept.split(',').any(|clause| [GNOSTIC_ASKED, GNOSTIC].contains(&clause.trim()));
    let document = if binary { surface.gnostic().await? } else { surface.swagger().await? };
    document.answer(&headers, None)
}

// === impl OpenApi ===

impl OpenApi {
    /// Nothing made yet; what is known of the catalog is shared.
    pub(crate) fn new(known: Arc<Known>) -> Self {
        Self { known, by_path: OnceCell::new(), swagger: OnceCell::new(), gnostic: OnceCell::new() }
    }
}

// === impl Surface ===

impl Surface {
    async fn by_path(&self) -> Result<&BTreeMap<String, Arc<Document>>, StatusError> {
        let made = self.openapi.by_path.get_or_try_init(|| async {
            let (known, learned) = (self.openapi.known.documents().await?, self.learned());
            made(move || {
                let mut all = known.by_path.clone();
                for (path, tree) in learned {
                    all.insert(path, Arc::new(Document::new(JSON, tree.to_string().as_bytes())?));
                }
                Ok(all)
            })
            .await
        });
        made.await
    }

    async fn swagger(&self) -> Result<&Arc<Document>, StatusError> {
        let made = self.openapi.swagger.get_or_try_init(|| async {
            let (known, learned) = (self.openapi.known.documents().await?, self.learned());
            if learned.is_empty() {
                return Ok(known.swagger.clone());
            }
            made(move || {
                let mut all: Value = serde_json::from_slice(&known.swagger.plain()?)?;
                let more = swagger::of(learned.values());
                for part in ["paths", "definitions"] {
                    if let (Some(all), Some(more)) = (all[part].as_object_mut(), more[part].as_object()) {
                        all.extend(more.clone());
                    }
                }
                Ok(Arc::new(Document::new(JSON, all.to_string().as_bytes())?))
            })
            .await
        });
        made.await
    }

    async fn gnostic(&self) -> Result<&Arc<Document>, StatusError> {
        let made = self.openapi.gnostic.get_or_try_init(|| async {
            let (known, learned) = (self.openapi.known.documents().await?, self.learned());
            if learned.is_empty() {
                return Ok(known.gnostic.clone());
            }
            made(move || {
                // Messages that follow each other merge: their lists become one.
                let mut all = known.gnostic.plain()?;
                all.extend(gnostic::encode(&swagger::of(learned.values())));
                Ok(Arc::new(Document::new(GNOSTIC, &all)?))
            })
            .await
        });
        made.await
    }

    /// The documents of every group and version in which the cluster was taught something, by path.
    fn learned(&self) -> BTreeMap<String, Value> {
        let mut found = by_path(self.kinds.all().iter().cloned());
        found.retain(|_, (kinds, _)| kinds.iter().any(|kind| kind.taught_by().is_some()));
        found.into_iter().map(|(path, (kinds, reviews))| (path, document::of(&kinds, &reviews))).collect()
    }
}

/// Makes what takes a while beside everything else.
async fn made<T: Send + 'static>(make: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T, StatusError> {
    let made = tokio::task::spawn_blocking(make).await;
    made.map_err(StatusError::internal)?.map_err(StatusError::internal)
}

/// What a document tells of.
type Members = (Vec<SharedKind>, Vec<&'static Review>);

/// The kinds, and the reviews, by the path of their document.
fn by_path(kinds: impl Iterator<Item = SharedKind>) -> BTreeMap<String, Members> {
    let mut found: BTreeMap<String, Members> = BTreeMap::new();
    for kind in kinds {
        found.entry(path(&kind.names().api_version())).or_default().0.push(kind);
    }
    for review in REVIEWS {
        found.entry(path(&review.names.api_version())).or_default().1.push(review);
    }
    found
}

fn path(version: &str) -> String {
    if version.contains('/') { format!("apis/{version}") } else { format!("api/{version}") }
}

// === impl Known ===

impl Known {
    async fn documents(&self) -> Result<Arc<Documents>, StatusError> {
        self.0.get_or_try_init(|| made(|| Documents::new().map(Arc::new))).await.cloned()
    }
}

// === impl Documents ===

impl Documents {
    fn new() -> std::io::Result<Self> {
        let known = api::catalog::all().iter().map(|kind| SharedKind::Known(*kind));
        let trees: BTreeMap<String, Value> =
            by_path(known).into_iter().map(|(path, (kinds, reviews))| (path, document::of(&kinds, &reviews))).collect();
        let swagger = swagger::of(trees.values());
        let by_path = trees.into_iter().map(|(path, tree)| {
            Document::new(JSON, tree.to_string().as_bytes()).map(|document| (path, Arc::new(document)))
        });
        Ok(Self {
            by_path: by_path.collect::<Result<_, _>>()?,
            gnostic: Arc::new(Document::new(GNOSTIC, &gnostic::encode(&swagger))?),
            swagger: Arc::new(Document::new(JSON, swagger.to_string().as_bytes())?),
        })
    }
}

// === impl Document ===

impl Document {
    fn new(media_type: &'static str, bytes: &[u8]) -> std::io::Result<Self> {
        Ok(Self { media_type, gzipped: gzip(bytes, GZIP_LEVEL)?, hash: hex::encode_upper(Sha512::digest(bytes)) })
    }

    fn plain(&self) -> std::io::Result<Vec<u8>> {
        let mut plain = Vec::with_capacity(self.gzipped.len() * 8);
        GzDecoder::new(&*self.gzipped).read_to_end(&mut plain)?;
        Ok(plain)
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
            answer::typed(StatusCode::OK, self.media_type, self.plain().map_err(StatusError::internal)?)
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
