//! The store: objects below a prefix by their names there. Every answer is either what was asked for or why not, in a line.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use api::storage::s3::{Credentials, Location};
use futures::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{
    Certificate, ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig, UpdateVersion,
    WriteMultipart,
};
use sha2::{Digest, Sha256};

use super::index;

/// The objects of a volume.
#[derive(Clone)]
pub(super) struct Store {
    objects: Arc<dyn ObjectStore>,
    prefix: String,
    bucket: String,
}

/// Why the store, or the disk, did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Trouble {
    message: String,
}

/// An object, by what a list tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) etag: String,
    pub(super) bytes: u64,
}

/// What was uploaded or brought down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) etag: String,
    /// The SHA-256 of what was really read.
    pub(super) hash: String,
}

/// What came of an upload.
#[derive(Debug)]
pub(super) enum Put {
    Done(Version),
    /// The store has another version than the one that was to be replaced, or none.
    Stale,
}

/// A file up to this size is uploaded whole, on condition; larger ones in parts, of which one is in memory.
pub(super) const WHOLE_BYTES_MAX: u64 = 32 << 20;
const PART_BYTES: usize = 16 << 20;
/// Of requests that may be repeated.
const RETRIES_MAX: usize = 3;
const RETRIES_TIME_MAX: Duration = Duration::from_secs(10);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Long enough for a part on a slow line; a store that says nothing for so long is not there.
const SILENCE_MAX: Duration = Duration::from_mins(2);
/// Objects that are asked about at a time.
const ABREAST: usize = 8;
/// As S3 has it.
const KEY_BYTES_MAX: usize = 1_024;

// === impl Store ===

impl Store {
    pub(super) fn open(place: &Location, credentials: Option<&Credentials>) -> Result<Self, Trouble> {
        // Whoever comes first in this process says it for all.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let is_plain = place.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let mut options = ClientOptions::new().with_allow_http(is_plain).with_timeout_disabled();
        options = options.with_connect_timeout(CONNECT_TIME_MAX).with_read_timeout(SILENCE_MAX);
        if let Some(authority) = credentials.and_then(|credentials| credentials.authority.as_deref()) {
            for certificate in Certificate::from_pem_bundle(authority).map_err(|error| Trouble::of(&error))? {
                options = options.with_root_certificate(certificate);
            }
        }
        let retry = RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRIES_TIME_MAX, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::new()
            .with_region(&place.region)
            .with_bucket_name(&place.bucket)
            .with_client_options(options)
            .with_retry(retry);
        if let Some(endpoint) = &place.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        builder = match credentials {
            Some(credentials) => {
                let builder = builder
                    .with_access_key_id(&credentials.access_key_id)
                    .with_secret_access_key(&credentials.secret_access_key);
                match &credentials.session_token {
                    Some(token) => builder.with_token(token),
                    None => builder,
                }
            }
            None => builder.with_skip_signature(true),
        };
        let objects = builder.build().map_err(|error| Trouble::of(&error))?;
        Ok(Self { objects: Arc::new(objects), prefix: place.prefix.clone(), bucket: place.bucket.clone() })
    }

    /// Any other store; what S3 is to it, tests may take for granted.
    #[cfg(test)]
    pub(super) fn of(objects: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self { objects, prefix: prefix.to_owned(), bucket: "bucket".to_owned() }
    }

    /// Whether a file of this name can be an object.
    pub(super) fn takes(&self, name: &str) -> bool {
        self.key(name).is_ok() && self.prefix.len() + 1 + name.len() <= KEY_BYTES_MAX
    }

    fn key(&self, name: &str) -> Result<Path, Trouble> {
        let key = if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        Path::parse(key).map_err(|error| Trouble::of(&error))
    }

    /// All objects, by name.
    pub(super) async fn list(&self) -> Result<BTreeMap<String, Listed>, Trouble> {
        let prefix = Path::parse(&self.prefix).map_err(|error| Trouble::of(&error))?;
        let found = self.objects.list(Some(&prefix)).try_collect::<Vec<_>>().await;
        let found = found.map_err(|error| match error {
            Error::NotFound { .. } => Trouble::new(format!("bucket \"{}\" not found", self.bucket)),
            error => Trouble::of(&error),
        })?;
        let listed = futures::stream::iter(found).map(async |object| {
            let etag = match object.e_tag {
                Some(etag) => Some(etag),
                // Not every store's list tells it.
                None => self.head(&object.location).await?,
            };
            let name = object.location.as_ref().strip_prefix(prefix.as_ref()).unwrap_or_default();
            let name = name.trim_start_matches('/').to_owned();
            Ok(etag.filter(|_| !name.is_empty()).map(|etag| (name, Listed { etag, bytes: object.size })))
        });
        let listed: Vec<Option<(String, Listed)>> = listed.buffer_unordered(ABREAST).try_collect().await?;
        Ok(listed.into_iter().flatten().collect())
    }

    /// The version of an object, if it is there.
    async fn head(&self, key: &Path) -> Result<Option<String>, Trouble> {
        match self.objects.head(key).await {
            Ok(found) => found.e_tag.map(Some).ok_or_else(|| Trouble::new("the store tells no ETags".into())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Trouble::of(&error)),
        }
    }

    /// Brings an object down into a new file; none if it is not there.
    pub(super) async fn get(&self, name: &str, into: &FilePath) -> Result<Option<Version>, Trouble> {
        let got = match self.objects.get(&self.key(name)?).await {
            Ok(got) => got,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(Trouble::of(&error)),
        };
        let etag = got.meta.e_tag.clone().ok_or_else(|| Trouble::new("the store tells no ETags".into()))?;
        let mut file = std::fs::File::create(into).map_err(|error| Trouble::of_disk(&error))?;
        let (mut digest, mut body) = (Sha256::new(), got.into_stream());
        while let Some(bytes) = body.try_next().await.map_err(|error| Trouble::of(&error))? {
            digest.update(&bytes);
            file.write_all(&bytes).map_err(|error| Trouble::of_disk(&error))?;
        }
        Ok(Some(Version { etag, hash: hex::encode(digest.finalize()) }))
    }

    /// Uploads a file in place of the version of this ETag, or where there is none.
    pub(super) async fn put(&self, name: &str, mut file: std::fs::File, over: Option<&str>) -> Result<Put, Trouble> {
        let key = self.key(name)?;
        let bytes = file.metadata().map_err(|error| Trouble::of_disk(&error))?.len();
        if bytes > WHOLE_BYTES_MAX {
            return self.put_in_parts(&key, file, over).await;
        }
        let mut body = Vec::new();
        file.read_to_end(&mut body).map_err(|error| Trouble::of_disk(&error))?;
        let hash = index::hash(&mut body.as_slice()).map_err(|error| Trouble::of_disk(&error))?;
        let mode = match over {
            Some(etag) => PutMode::Update(UpdateVersion { e_tag: Some(etag.to_owned()), version: None }),
            None => PutMode::Create,
        };
        match self.objects.put_opts(&key, PutPayload::from(body), mode.into()).await {
            Ok(put) => Ok(Put::Done(Version { etag: self.told(&key, put.e_tag).await?, hash })),
            Err(Error::Precondition { .. } | Error::AlreadyExists { .. } | Error::NotModified { .. }) => Ok(Put::Stale),
            Err(error) => Err(Trouble::of(&error)),
        }
    }

    async fn put_in_parts(&self, key: &Path, mut file: std::fs::File, over: Option<&str>) -> Result<Put, Trouble> {
        if self.head(key).await?.as_deref() != over {
            return Ok(Put::Stale);
        }
        let upload = self.objects.put_multipart(key).await.map_err(|error| Trouble::of(&error))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let (mut digest, mut part) = (Sha256::new(), vec![0; 1 << 20]);
        let read = loop {
            match file.read(&mut part) {
                Ok(0) => break Ok(()),
                Err(error) => break Err(Trouble::of_disk(&error)),
                Ok(count) => {
                    digest.update(&part[..count]);
                    upload.write(&part[..count]);
                }
            }
            if let Err(error) = upload.wait_for_capacity(1).await {
                break Err(Trouble::of(&error));
            }
        };
        let is_fresh = match read {
            Ok(()) => self.head(key).await.map(|found| found.as_deref() == over),
            Err(trouble) => Err(trouble),
        };
        if !matches!(is_fresh, Ok(true)) {
            let _ = upload.abort().await;
            return is_fresh.map(|_| Put::Stale);
        }
        let done = upload.finish().await.map_err(|error| Trouble::of(&error))?;
        Ok(Put::Done(Version { etag: self.told(key, done.e_tag).await?, hash: hex::encode(digest.finalize()) }))
    }

    /// The ETag that an upload was answered with, or the one that the object turns out to have.
    async fn told(&self, key: &Path, etag: Option<String>) -> Result<String, Trouble> {
        match etag {
            Some(etag) => Ok(etag),
            None => self.head(key).await?.ok_or_else(|| Trouble::new(format!("{key} is gone again"))),
        }
    }

    /// Deletes the version of this ETag; false if the store has another.
    pub(super) async fn delete(&self, name: &str, etag: &str) -> Result<bool, Trouble> {
        let key = self.key(name)?;
        match self.head(&key).await? {
            None => Ok(true),
            Some(found) if found != etag => Ok(false),
            Some(_) => match self.objects.delete(&key).await {
                Ok(()) | Err(Error::NotFound { .. }) => Ok(true),
                Err(error) => Err(Trouble::of(&error)),
            },
        }
    }

    /// Deletes everything below the prefix, which is not the whole bucket.
    pub(super) async fn remove_all(&self) -> Result<(), Trouble> {
        if self.prefix.is_empty() {
            return Err(Trouble::new("a whole bucket is nothing to delete".into()));
        }
        let prefix = Path::parse(&self.prefix).map_err(|error| Trouble::of(&error))?;
        let found = self.objects.list(Some(&prefix)).map_err(|error| Trouble::of(&error));
        let deleted = found.map(async |object| match self.objects.delete(&object?.location).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Trouble::of(&error)),
        });
        deleted.buffer_unordered(ABREAST).try_collect().await
    }
}

// === impl Trouble ===

impl Trouble {
    pub(crate) fn new(message: String) -> Self {
        Self { message }
    }

    pub(crate) fn of_disk(error: &io::Error) -> Self {
        Self::new(error.to_string())
    }

    /// What was really wrong, without what differs each time, such as how long it took to find out.
    fn of(error: &(impl std::error::Error + 'static)) -> Self {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let text = cause.to_string();
        let part = |name: &str| {
            let (_, after) = text.split_once(&format!("<{name}>"))?;
            Some(after.split_once("</")?.0.to_owned())
        };
        let message = match (part("Code"), part("Message")) {
            (Some(code), Some(message)) if !message.is_empty() => format!("{code}: {message}"),
            (Some(code), _) => code,
            _ => text.split_whitespace().collect::<Vec<_>>().join(" "),
        };
        Self::new(message)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({}/{})", self.bucket, self.prefix)
    }
}
