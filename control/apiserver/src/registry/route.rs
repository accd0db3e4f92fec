//! Which endpoint of the distribution specification a path means.
//!
//! A repository's name may have slashes, so paths are read from their end.

use super::name::{Digest, Reference, Repository};
use super::{RegistryError, UploadId};

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Root,
    Catalog,
    Tags(Repository),
    Blob(Repository, Digest),
    Manifest(Repository, Reference),
    Uploads(Repository),
    Upload(Repository, UploadId),
}

/// Reads a path that begins with `/v2`.
pub(super) fn parse(path: &str) -> Result<Route, RegistryError> {
    let path = path.strip_prefix("/v2").ok_or(RegistryError::Unsupported)?;
    let path = path.strip_prefix('/').unwrap_or(path);
    match path {
        "" => return Ok(Route::Root),
        "_catalog" => return Ok(Route::Catalog),
        _ => {}
    }
    if let Some(name) = path.strip_suffix("/tags/list") {
        return Ok(Route::Tags(name.parse()?));
    }
    if let Some(name) = path.strip_suffix("/blobs/uploads/").or_else(|| path.strip_suffix("/blobs/uploads")) {
        return Ok(Route::Uploads(name.parse()?));
    }
    if let Some((name, id)) = path.rsplit_once("/blobs/uploads/") {
        return Ok(Route::Upload(name.parse()?, id.parse()?));
    }
    if let Some((name, digest)) = path.rsplit_once("/blobs/") {
        return Ok(Route::Blob(name.parse()?, digest.parse()?));
    }
    if let Some((name, reference)) = path.rsplit_once("/manifests/") {
        return Ok(Route::Manifest(name.parse()?, reference.parse()?));
    }
    Err(RegistryError::Unsupported)
}

/// The first and last byte that a `Range` asks for; none if it is to be ignored. Only one range is served.
pub(super) fn range(text: &str, size: u64) -> Result<Option<(u64, u64)>, RegistryError> {
    let Some(range) = text.strip_prefix("bytes=").filter(|range| !range.contains(',')) else { return Ok(None) };
    let Some((first, last)) = range.split_once('-') else { return Ok(None) };
    let (first, last) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => (first, last.min(size.saturating_sub(1))),
        (Ok(first), Err(_)) if last.is_empty() => (first, size.saturating_sub(1)),
        (Err(_), Ok(suffix)) if first.is_empty() && suffix > 0 => (size.saturating_sub(suffix), size.saturating_sub(1)),
        _ => return Ok(None),
    };
    if first >= size || first > last {
        return Err(RegistryError::BadRange);
    }
    Ok(Some((first, last)))
}

/// Where an uploaded chunk begins: `Content-Range: <start>-<end>`.
pub(super) fn upload_start(text: &str) -> Result<u64, RegistryError> {
    let start = text.trim_start_matches("bytes").trim().split('-').next();
    start.and_then(|start| start.parse().ok()).ok_or(RegistryError::BadRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expect: &str) {
        let found = match parse(path) {
            Ok(Route::Tags(name)) => format!("tags {name}"),
            Ok(Route::Blob(name, digest)) => format!("blob {name} {digest}"),
            Ok(Route::Manifest(name, reference)) => format!("manifest {name} {reference}"),
            Ok(Route::Uploads(name)) => format!("uploads {name}"),
            Ok(Route::Upload(name, id)) => format!("upload {name} {id}"),
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expect, "{path}");
    }

    #[test]
    fn a_path_means_an_endpoint() {
        let digest = Digest::of(b"x");
        check("/v2/", "Root");
        check("/v2", "Root");
        check("/v2/_catalog", "Catalog");
        check("/v2/a/b/tags/list", "tags a/b");
        check(&format!("/v2/hello/blobs/{digest}"), &format!("blob hello {digest}"));
        check(&format!("/v2/hello/manifests/{digest}"), &format!("manifest hello {digest}"));
        check("/v2/a/b/manifests/v1", "manifest a/b v1");
        check("/v2/hello/blobs/uploads/", "uploads hello");
        check(
            "/v2/hello/blobs/uploads/0123456789abcdef0123456789abcdef",
            "upload hello 0123456789abcdef0123456789abcdef",
        );
    }

    #[test]
    fn a_path_cannot_leave_the_directory() {
        check("/v2/../x/tags/list", "invalid repository name \"../x\"");
        check("/v2/a/manifests/..", "invalid tag \"..\"");
        check("/v2/a/blobs/uploads/../../x", "upload ../../x is not known to the registry");
    }

    #[test]
    fn one_range_is_served() {
        assert_eq!(range("bytes=2-5", 10).ok(), Some(Some((2, 5))));
        assert_eq!(range("bytes=2-", 10).ok(), Some(Some((2, 9))));
        assert_eq!(range("bytes=-3", 10).ok(), Some(Some((7, 9))));
        assert_eq!(range("bytes=2-99", 10).ok(), Some(Some((2, 9))));
        assert_eq!(range("bytes=0-1,3-4", 10).ok(), Some(None));
        assert!(range("bytes=10-", 10).is_err());
        assert!(range("bytes=5-2", 10).is_err());
        assert!(range("bytes=0-", 0).is_err());
    }
}
