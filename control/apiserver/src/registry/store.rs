//! The registry's directory.
//!
//! ```text
//! blobs/<hex>                                   content, by SHA-256; manifests are content too
//! repositories/<name>/_manifests/<hex>          the media type the manifest was pushed with
//! repositories/<name>/_tags/<tag>               the digest the tag stands for
//! uploads/<id>                                  what has come of an upload
//! ```

use std::io::{self, ErrorKind, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, Take};

use super::name::{Digest, Reference, Repository, Tag};
use super::{BLOB_BYTES_MAX, MANIFEST_BYTES_MAX, RegistryError, UploadId};

/// A directory of images.
#[derive(Debug)]
pub(crate) struct Images {
    root: PathBuf,
    /// Tells files that are being written apart.
    written: AtomicU64,
}

/// An open blob.
pub(crate) struct Blob {
    /// How long it is.
    pub(crate) size: u64,
    file: File,
}

/// A manifest as it was pushed.
pub(crate) struct Manifest {
    /// What it is called by content.
    pub(crate) digest: Digest,
    /// What it says it is.
    pub(crate) media_type: String,
    /// What it says.
    pub(crate) bytes: Bytes,
}

const DEFAULT_MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const COPY_BYTES: usize = 64 * 1024;

// === impl Images ===

impl Images {
    /// The images of a directory, which is made when it is not there. Uploads of an earlier life are forgotten.
    pub(crate) async fn open(root: PathBuf) -> io::Result<Self> {
        let uploads = root.join("uploads");
        match fs::remove_dir_all(&uploads).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for directory in [root.join("blobs"), root.join("repositories"), uploads] {
            fs::create_dir_all(directory).await?;
        }
        Ok(Self { root, written: AtomicU64::new(0) })
    }

    /// Where they lie.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The names of all repositories, sorted.
    pub(crate) async fn repositories(&self) -> Result<Vec<String>, RegistryError> {
        let top = self.root.join("repositories");
        let mut found = Vec::new();
        let mut open = vec![(top, String::new())];
        while let Some((directory, name)) = open.pop() {
            for entry in names(&directory).await? {
                match entry.as_str() {
                    "_tags" => found.push(name.clone()),
                    "_manifests" => {}
                    child if name.is_empty() => open.push((directory.join(child), child.into())),
                    child => open.push((directory.join(child), format!("{name}/{child}"))),
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The tags of a repository, sorted.
    pub(crate) async fn tags(&self, repository: &Repository) -> Result<Vec<String>, RegistryError> {
        match names(&self.repository(repository).join("_tags")).await {
            Ok(mut tags) => {
                tags.retain(|tag| tag.parse::<Tag>().is_ok());
                tags.sort_unstable();
                Ok(tags)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(RegistryError::NoRepository(repository.as_str().into()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a blob.
    pub(crate) async fn blob(&self, digest: &Digest) -> Result<Blob, RegistryError> {
        let file = File::open(self.content(digest)).await;
        let file = file.map_err(|error| missing(error, || RegistryError::NoBlob(digest.as_str().into())))?;
        Ok(Blob { size: file.metadata().await?.len(), file })
    }

    /// Reads a manifest.
    pub(crate) async fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Manifest, RegistryError> {
        let unknown = || RegistryError::NoManifest(format!("{repository}:{reference}"));
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(tag) => {
                let text = fs::read_to_string(self.tag(repository, tag)).await;
                text.map_err(|error| missing(error, unknown))?.trim().parse()?
            }
        };
        let media_type = fs::read_to_string(self.revision(repository, &digest)).await;
        let media_type = media_type.map_err(|error| missing(error, unknown))?;
        let bytes = fs::read(self.content(&digest)).await.map_err(|error| missing(error, unknown))?;
        Ok(Manifest { digest, media_type, bytes: bytes.into() })
    }

    /// Keeps a manifest whose blobs are all there.
    pub(crate) async fn put_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        media_type: Option<&str>,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        debug_assert!(bytes.len() <= MANIFEST_BYTES_MAX, "the body was read within the limit");
        let said: Said =
            serde_json::from_slice(bytes).map_err(|error| RegistryError::BadManifest(error.to_string()))?;
        let digest = Digest::of(bytes);
        if let Reference::Digest(expected) = reference
            && *expected != digest
        {
            return Err(RegistryError::OtherDigest { expected: expected.to_string(), found: digest.to_string() });
        }
        for descriptor in said.config.iter().chain(&said.layers) {
            let blob: Digest = descriptor.digest.parse()?;
            if !fs::try_exists(self.content(&blob)).await? {
                return Err(RegistryError::MissingBlob(blob.to_string()));
            }
        }
        let media_type = media_type.or(said.media_type.as_deref()).unwrap_or(DEFAULT_MEDIA_TYPE);
        self.write(&self.content(&digest), bytes).await?;
        self.write(&self.revision(repository, &digest), media_type.as_bytes()).await?;
        match reference {
            Reference::Tag(tag) => self.write(&self.tag(repository, tag), digest.as_str().as_bytes()).await?,
            // A repository that was only ever pushed to by digest has no tags, but is one.
            Reference::Digest(_) => fs::create_dir_all(self.repository(repository).join("_tags")).await?,
        }
        Ok(digest)
    }

    /// A new, empty upload.
    pub(crate) async fn begin(&self, id: &UploadId) -> Result<(), RegistryError> {
        OpenOptions::new().write(true).create_new(true).open(self.upload(id)).await?;
        Ok(())
    }

    /// How much of an upload is there.
    pub(crate) async fn upload_size(&self, id: &UploadId) -> Result<u64, RegistryError> {
        let metadata = fs::metadata(self.upload(id)).await;
        Ok(metadata.map_err(|error| missing(error, || RegistryError::NoUpload(id.to_string())))?.len())
    }

    /// Appends to an upload; `start`, where it is told, must be where it ends. Says where it ends now.
    pub(crate) async fn append(
        &self,
        id: &UploadId,
        start: Option<u64>,
        chunks: impl Stream<Item = Result<Bytes, RegistryError>>,
    ) -> Result<u64, RegistryError> {
        let mut size = self.upload_size(id).await?;
        if let Some(start) = start.filter(|start| *start != size) {
            return Err(RegistryError::OutOfOrder { start, size });
        }
        let mut file = OpenOptions::new().append(true).open(self.upload(id)).await?;
        let mut chunks = std::pin::pin!(chunks);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            size += chunk.len() as u64;
            if size > BLOB_BYTES_MAX {
                self.abandon(id).await?;
                return Err(RegistryError::BlobTooLarge);
            }
            file.write_all(&chunk).await?;
        }
        file.flush().await?;
        Ok(size)
    }

    /// Makes a blob of an upload whose content is what its digest says.
    pub(crate) async fn finish(&self, id: &UploadId, expected: &Digest) -> Result<(), RegistryError> {
        let path = self.upload(id);
        let file = File::open(&path).await;
        let mut file = file.map_err(|error| missing(error, || RegistryError::NoUpload(id.to_string())))?;
        let found = digest_of(&mut file).await?;
        if found != *expected {
            self.abandon(id).await?;
            return Err(RegistryError::OtherDigest { expected: expected.to_string(), found: found.to_string() });
        }
        file.sync_all().await?;
        settle(&path, &self.content(expected)).await?;
        Ok(())
    }

    /// Forgets an upload.
    pub(crate) async fn abandon(&self, id: &UploadId) -> Result<(), RegistryError> {
        let removed = fs::remove_file(self.upload(id)).await;
        removed.map_err(|error| missing(error, || RegistryError::NoUpload(id.to_string())))
    }

    async fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let beside = format!("write-{}", self.written.fetch_add(1, Ordering::Relaxed));
        let beside = self.root.join("uploads").join(beside);
        let mut file = File::create(&beside).await?;
        file.write_all(bytes).await?;
        file.sync_all().await?;
        settle(&beside, path).await
    }

    fn repository(&self, repository: &Repository) -> PathBuf {
        self.root.join("repositories").join(repository.as_str())
    }

    fn revision(&self, repository: &Repository, digest: &Digest) -> PathBuf {
        self.repository(repository).join("_manifests").join(digest.hex())
    }

    fn tag(&self, repository: &Repository, tag: &Tag) -> PathBuf {
        self.repository(repository).join("_tags").join(tag.as_str())
    }

    fn content(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.hex())
    }

    fn upload(&self, id: &UploadId) -> PathBuf {
        self.root.join("uploads").join(id.as_str())
    }
}

/// The part of a manifest that says what it consists of.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    media_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
}

/// Moves a synced file to its place, durably.
async fn settle(from: &Path, to: &Path) -> io::Result<()> {
    let parent = to.parent().ok_or_else(|| io::Error::other("a file of the registry is in a directory"))?;
    fs::create_dir_all(parent).await?;
    fs::rename(from, to).await?;
    File::open(parent).await?.sync_all().await
}

async fn digest_of(file: &mut File) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match file.read(&mut buffer).await? {
            0 => return Ok(Digest::of_hash(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

async fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut entries = fs::read_dir(directory).await?;
    let mut found = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        found.extend(entry.file_name().into_string());
    }
    Ok(found)
}

fn missing(error: io::Error, unknown: impl FnOnce() -> RegistryError) -> RegistryError {
    // A name that is a directory's, or below a file's, is not there either.
    let absent = [ErrorKind::NotFound, ErrorKind::NotADirectory, ErrorKind::IsADirectory];
    if absent.contains(&error.kind()) { unknown() } else { error.into() }
}

// === impl Blob ===

impl Blob {
    /// Its bytes from `first` on, so many of them.
    pub(crate) async fn read(mut self, first: u64, length: u64) -> io::Result<Take<File>> {
        self.file.seek(SeekFrom::Start(first)).await?;
        Ok(self.file.take(length))
    }
}

#[cfg(test)]
mod tests;
