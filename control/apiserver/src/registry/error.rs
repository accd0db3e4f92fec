//! How the registry says no: the error shape of the OCI distribution specification.

use axum::response::IntoResponse;
use http::StatusCode;
use http_body_util::LengthLimitError;
use serde_json::json;

use super::{BLOB_BYTES_MAX, MANIFEST_BYTES_MAX};
use crate::answer::{self, Answer};

/// Why the registry does not do as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    /// Nobody is known to have asked.
    #[error("authentication required")]
    Unauthorized,
    /// Whoever asked may not.
    #[error("requested access to the resource is denied")]
    Denied,
    /// No endpoint of the specification.
    #[error("the operation is unsupported")]
    Unsupported,
    /// A repository name that breaks the rules.
    #[error("invalid repository name {0:?}")]
    BadName(String),
    /// A tag that breaks the rules.
    #[error("invalid tag {0:?}")]
    BadTag(String),
    /// A digest that is none, or not of a kind that is kept.
    #[error("invalid digest {0:?}: sha256 and 64 hexadecimal digits are wanted")]
    BadDigest(String),
    /// The content is not what its digest says.
    #[error("the content has digest {found}, not {expected}")]
    OtherDigest {
        /// What was promised.
        expected: String,
        /// What came.
        found: String,
    },
    /// The repository has nothing in it.
    #[error("repository {0:?} is not known to the registry")]
    NoRepository(String),
    /// There is no such blob.
    #[error("blob {0} is not known to the registry")]
    NoBlob(String),
    /// There is no such manifest.
    #[error("manifest {0} is not known to the registry")]
    NoManifest(String),
    /// A manifest that cannot be read.
    #[error("invalid manifest: {0}")]
    BadManifest(String),
    /// A manifest that speaks of blobs that were never pushed.
    #[error("the manifest references blob {0}, which is not known to the registry")]
    MissingBlob(String),
    /// There is no such upload.
    #[error("upload {0} is not known to the registry")]
    NoUpload(String),
    /// A chunk that does not begin where the last one ended.
    #[error("the chunk begins at {start}, but the upload has {size} bytes")]
    OutOfOrder {
        /// Where the chunk begins.
        start: u64,
        /// Where it should.
        size: u64,
    },
    /// A range that the blob does not have.
    #[error("the range is not within the blob")]
    BadRange,
    /// A page size that is no number.
    #[error("n is not a number")]
    BadCount,
    /// A blob over the limit.
    #[error("the blob is larger than {BLOB_BYTES_MAX} bytes")]
    BlobTooLarge,
    /// A manifest over the limit.
    #[error("the manifest is larger than {MANIFEST_BYTES_MAX} bytes")]
    ManifestTooLarge,
    /// The body broke off.
    #[error("the body could not be read: {0}")]
    Body(String),
    /// The servers of the cluster cannot be told of it now.
    #[error("{0}")]
    Unavailable(String),
    /// The disk failed.
    #[error("the registry's directory failed: {0}")]
    Disk(#[from] std::io::Error),
}

// === impl RegistryError ===

impl RegistryError {
    /// What a failed body means.
    pub(crate) fn body(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let error = error.into();
        if error.is::<LengthLimitError>() { Self::ManifestTooLarge } else { Self::Body(error.to_string()) }
    }

    /// The error as clients receive it.
    pub(crate) fn answer(&self) -> Answer {
        let (status, code) = self.code();
        if let Self::Disk(error) = self {
            tracing::error!(%error, "the registry's directory failed");
        }
        let body = json!({"errors": [{"code": code, "message": self.to_string(), "detail": null}]});
        answer::value(status, &body).into_response()
    }

    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"),
            Self::Denied => (StatusCode::FORBIDDEN, "DENIED"),
            Self::Unsupported => (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
            Self::BadName(_) => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
            Self::BadTag(_) => (StatusCode::BAD_REQUEST, "TAG_INVALID"),
            Self::BadDigest(_) | Self::OtherDigest { .. } => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            Self::NoRepository(_) => (StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
            Self::NoBlob(_) => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
            Self::NoManifest(_) => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
            Self::BadManifest(_) => (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
            Self::MissingBlob(_) => (StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN"),
            Self::NoUpload(_) => (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
            Self::OutOfOrder { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID"),
            Self::BadRange => (StatusCode::RANGE_NOT_SATISFIABLE, "UNSUPPORTED"),
            Self::BadCount => (StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID"),
            Self::BlobTooLarge | Self::ManifestTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"),
            Self::Body(_) => (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
            Self::Disk(_) => (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN"),
        }
    }
}
