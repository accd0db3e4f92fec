//! The cluster's own image registry: the OCI distribution API over a directory, and over those of the other servers.
//!
//! Blobs and manifests are files named by their digest; which manifests there are, and what tags stand for, is [known](known) to all
//! servers. Everything is written beside its place, synced and renamed, so that a reader sees all of it or nothing; nothing is ever
//! whole in memory but a manifest. Content is shared between repositories: whoever may read one blob may read them all.

mod access;
mod copy;
mod error;
mod known;
mod name;
mod route;
mod store;
mod upload;

pub(crate) use access::demand;
pub use copy::Siblings;
pub(crate) use copy::{PATH as CONTENT_PATH, follow, gathered, give};

use axum::body::Body;
use axum::extract::Request;
use futures::TryStreamExt;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde_json::json;
use state::Snapshot;
use tokio_util::io::ReaderStream;

use crate::Door;
use crate::answer::Answer;
use crate::query::Query;
use error::RegistryError;
use known::Known;
use name::{Digest, Reference, Repository};
use route::Route;
pub(crate) use store::Images;
use store::Said;
use upload::UploadId;

/// As the specification has it: a manifest that is larger may be refused.
const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A component of that size would not fit the memory of a small node.
const BLOB_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// A listing longer than that is paged.
const LISTING_MAX: usize = 1000;

/// What a manifest is that does not say what it is.
const DEFAULT_MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// Answers one request under `/v2/`.
pub(crate) async fn answer(door: &Door, request: Request) -> Answer {
    let mut answer = match dispatch(door, request).await {
        Ok(answer) => answer,
        Err(error) => error.answer(),
    };
    answer.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    answer
}

async fn dispatch(door: &Door, request: Request) -> Result<Answer, RegistryError> {
    let images = &door.images;
    let (parts, body) = request.into_parts();
    let query = Query::parse(parts.uri.query());
    let route = route::parse(parts.uri.path())?;
    let method = &parts.method;
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match route {
        Route::Root if reads => Ok(answered(StatusCode::OK, "application/json", "{}")),
        Route::Catalog if reads => {
            let (names, more) = page(known::repositories(&world(door).await), &query)?;
            let answer = listed(&json!({"repositories": names}));
            Ok(linked(answer, "/v2/_catalog", names.last().filter(|_| more)))
        }
        Route::Tags(repository) if reads => {
            let tags = known::tags(&world(door).await, &repository);
            let tags = tags.ok_or_else(|| RegistryError::NoRepository(repository.to_string()))?;
            let (tags, more) = page(tags, &query)?;
            let answer = listed(&json!({"name": repository.as_str(), "tags": tags}));
            Ok(linked(answer, &format!("/v2/{repository}/tags/list"), tags.last().filter(|_| more)))
        }
        Route::Blob(_, digest) if reads => {
            copy::fetch(door, &door.store.snapshot(), &digest).await?;
            blob(images, &digest, &parts.headers, method == Method::HEAD).await
        }
        Route::Manifest(repository, reference) if reads => {
            manifest(door, &repository, &reference, method == Method::HEAD).await
        }
        Route::Manifest(repository, reference) if *method == Method::PUT => {
            put_manifest(door, &repository, &reference, &parts.headers, body).await
        }
        Route::Uploads(repository) if *method == Method::POST => begin(door, &repository, &query, body).await,
        Route::Upload(repository, id) if *method == Method::PATCH => {
            let end = append(images, &id, &parts.headers, body).await?;
            Ok(underway(StatusCode::ACCEPTED, &repository, &id, end))
        }
        Route::Upload(repository, id) if *method == Method::PUT => {
            append(images, &id, &parts.headers, body).await?;
            finish(images, &repository, &id, &query).await
        }
        Route::Upload(repository, id) if *method == Method::GET => {
            let end = images.upload_size(&id).await?;
            Ok(underway(StatusCode::NO_CONTENT, &repository, &id, end))
        }
        Route::Upload(_, id) if *method == Method::DELETE => {
            images.abandon(&id).await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        _ => Err(RegistryError::Unsupported),
    }
}

/// One page of a sorted listing: at most `n` names after `last`, and whether there are more.
fn page(mut names: Vec<String>, query: &Query) -> Result<(Vec<String>, bool), RegistryError> {
    let last = query.get("last").unwrap_or_default();
    let limit = match query.get("n") {
        None => LISTING_MAX,
        Some(text) => text.parse().map_err(|_| RegistryError::BadCount)?,
    };
    names.retain(|name| name.as_str() > last);
    let limit = limit.min(LISTING_MAX);
    let more = names.len() > limit;
    names.truncate(limit);
    Ok((names, more))
}

async fn blob(images: &Images, digest: &Digest, headers: &HeaderMap, head: bool) -> Result<Answer, RegistryError> {
    let blob = images.blob(digest).await?;
    let size = blob.size;
    let range = match headers.get(RANGE).and_then(|range| range.to_str().ok()) {
        Some(range) if !head => route::range(range, size)?,
        _ => None,
    };
    let (code, first, last) = match range {
        None => (StatusCode::OK, 0, size.saturating_sub(1)),
        Some((first, last)) => (StatusCode::PARTIAL_CONTENT, first, last),
    };
    let length = if size == 0 { 0 } else { last - first + 1 };
    let body = if head { Body::empty() } else { Body::from_stream(ReaderStream::new(blob.read(first, length).await?)) };
    let mut answer = Response::new(body);
    *answer.status_mut() = code;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if code == StatusCode::PARTIAL_CONTENT {
        set(headers, CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"));
    }
    set(headers, CONTENT_DIGEST, digest.as_str());
    Ok(answer)
}

/// A world that has all that was ever pushed; where the other servers are lost, what was.
async fn world(door: &Door) -> Snapshot {
    door.store.read().await.unwrap_or_else(|_| door.store.snapshot())
}

async fn manifest(
    door: &Door,
    repository: &Repository,
    reference: &Reference,
    head: bool,
) -> Result<Answer, RegistryError> {
    let unknown = || RegistryError::NoManifest(format!("{repository}:{reference}"));
    let world = world(door).await;
    let digest = known::resolve(&world, repository, reference).ok_or_else(unknown)?;
    let known = known::find(&world, repository, &digest).ok_or_else(unknown)?;
    copy::fetch(door, &world, &digest).await?;
    let bytes = door.images.content_of(&digest).await?.ok_or_else(unknown)?;
    let length = bytes.len();
    let body = if head { Body::empty() } else { Body::from(bytes) };
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    set(headers, CONTENT_TYPE, &known.media_type);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    set(headers, CONTENT_DIGEST, digest.as_str());
    Ok(answer)
}

/// Answered when the manifest and its blobs are on the disk here, and all servers know of it.
async fn put_manifest(
    door: &Door,
    repository: &Repository,
    reference: &Reference,
    headers: &HeaderMap,
    body: Body,
) -> Result<Answer, RegistryError> {
    let bytes = Limited::new(body, MANIFEST_BYTES_MAX).collect().await.map_err(RegistryError::body)?.to_bytes();
    let said = Said::read(&bytes)?;
    let blobs = said.blobs()?;
    let world = door.store.snapshot();
    for blob in &blobs {
        copy::fetch(door, &world, blob).await?;
    }
    let digest = door.images.put_manifest(reference, &blobs, &bytes).await?;
    let media_type = headers.get(CONTENT_TYPE).and_then(|media_type| media_type.to_str().ok());
    let media_type = media_type.or(said.media_type.as_deref()).unwrap_or(DEFAULT_MEDIA_TYPE).to_owned();
    let known = Known { media_type, blobs: blobs.iter().map(ToString::to_string).collect() };
    let txn = known::publish(repository, reference, &digest, &known);
    let txn = txn.map_err(|error| RegistryError::BadManifest(error.to_string()))?;
    door.store.propose(txn).await.map_err(|error| RegistryError::Unavailable(error.to_string()))?;
    let mut answer = empty(StatusCode::CREATED);
    set(answer.headers_mut(), LOCATION, &format!("/v2/{repository}/manifests/{digest}"));
    set(answer.headers_mut(), CONTENT_DIGEST, digest.as_str());
    Ok(answer)
}

/// A new upload; the whole blob may come with it, or be there already (`mount`).
async fn begin(door: &Door, repository: &Repository, query: &Query, body: Body) -> Result<Answer, RegistryError> {
    let images = &door.images;
    if let Some(digest) = query.get("mount") {
        let digest = digest.parse()?;
        copy::fetch(door, &door.store.snapshot(), &digest).await?;
        if images.blob(&digest).await.is_ok() {
            return Ok(created(repository, &digest));
        }
    }
    let id = UploadId::new((door.entropy)());
    images.begin(&id).await?;
    if query.get("digest").is_none() {
        return Ok(underway(StatusCode::ACCEPTED, repository, &id, 0));
    }
    append(images, &id, &HeaderMap::new(), body).await?;
    finish(images, repository, &id, query).await
}

async fn append(images: &Images, id: &UploadId, headers: &HeaderMap, body: Body) -> Result<u64, RegistryError> {
    let start = headers.get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let start = start.map(route::upload_start).transpose()?;
    let chunks = TryStreamExt::map_err(body.into_data_stream(), RegistryError::body);
    images.append(id, start, chunks).await
}

async fn finish(
    images: &Images,
    repository: &Repository,
    id: &UploadId,
    query: &Query,
) -> Result<Answer, RegistryError> {
    let digest: Digest = query.get("digest").unwrap_or_default().parse()?;
    images.finish(id, &digest).await?;
    Ok(created(repository, &digest))
}

fn created(repository: &Repository, digest: &Digest) -> Answer {
    let mut answer = empty(StatusCode::CREATED);
    set(answer.headers_mut(), LOCATION, &format!("/v2/{repository}/blobs/{digest}"));
    set(answer.headers_mut(), CONTENT_DIGEST, digest.as_str());
    answer
}

fn underway(code: StatusCode, repository: &Repository, id: &UploadId, end: u64) -> Answer {
    let mut answer = empty(code);
    set(answer.headers_mut(), LOCATION, &format!("/v2/{repository}/blobs/uploads/{id}"));
    set(answer.headers_mut(), UPLOAD_ID, id.as_str());
    // The specification counts the last byte, and has `0-0` for none.
    set(answer.headers_mut(), RANGE, &format!("0-{}", end.saturating_sub(1)));
    answer
}

fn listed(value: &serde_json::Value) -> Answer {
    answered(StatusCode::OK, "application/json", value.to_string())
}

fn linked(mut answer: Answer, path: &str, last: Option<&String>) -> Answer {
    if let Some(last) = last {
        set(answer.headers_mut(), http::header::LINK, &format!("<{path}?last={last}>; rel=\"next\""));
    }
    answer
}

fn answered(code: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Answer {
    let mut answer = empty(code);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    *answer.body_mut() = body.into();
    answer
}

fn empty(code: StatusCode) -> Answer {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = code;
    answer
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
