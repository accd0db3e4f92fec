//! The registry's directory.
//!
//! ```text
//! blobs/<hex>                                   content, by SHA-256; manifests are content too
//! uploads/<id>                                  what has come of an upload
//! ```
//!
//! Directories of before servers told each other of images have labels beside:
//!
//! ```text
//! repositories/<name>/_manifests/<hex>          the media type the manifest was pushed with
//! repositories/<name>/_tags/<tag>               the digest the tag stands for
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

use super::name::{Digest, Reference, Repository};
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

/// A manifest that has a label.
pub(crate) struct Labelled {
    /// What it is called by content.
    pub(crate) digest: Digest,
    /// What it says it is.
    pub(crate) media_type: String,
    /// What it says.
    pub(crate) bytes: Bytes,
}

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

    /// The labels there are: each a repository and what names a manifest in it.
    pub(crate) async fn labels(&self) -> Result<Vec<(Repository, Reference)>, RegistryError> {
        let mut found = Vec::new();
        let mut open = vec![(self.root.join("repositories"), String::new())];
        while let Some((directory, name)) = open.pop() {
            let entries = match names(&directory).await {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let below = directory.join(&entry);
                match entry.as_str() {
                    "_tags" => found.extend(labels(&name, names(&below).await?)),
                    "_manifests" => {
                        found.extend(labels(&name, names(&below).await?.iter().map(|hex| format!("sha256:{hex}"))));
                    }
                    child if name.is_empty() => open.push((below, child.into())),
                    child => open.push((below, format!("{name}/{child}"))),
                }
            }
        }
        Ok(found)
    }

    /// Takes all labels away.
    pub(crate) async fn forget_labels(&self) -> io::Result<()> {
        let labels = self.root.join("repositories");
        fs::remove_dir_all(&labels).await?;
        fs::create_dir_all(&labels).await
    }

    /// Whether content is there.
    pub(crate) async fn has(&self, digest: &Digest) -> io::Result<bool> {
        fs::try_exists(self.content(digest)).await
    }

    /// All of some content, which is to be small; none if it is not there.
    pub(crate) async fn content_of(&self, digest: &Digest) -> io::Result<Option<Bytes>> {
        match fs::read(self.content(digest)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => Ok(Some(read?.into())),
        }
    }

    /// Opens a blob.
    pub(crate) async fn blob(&self, digest: &Digest) -> Result<Blob, RegistryError> {
        let file = File::open(self.content(digest)).await;
        let file = file.map_err(|error| missing(error, || RegistryError::NoBlob(digest.as_str().into())))?;
        Ok(Blob { size: file.metadata().await?.len(), file })
    }

    /// Reads a manifest by its label.
    pub(crate) async fn labelled(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Labelled, RegistryError> {
        let unknown = || RegistryError::NoManifest(format!("{repository}:{reference}"));
        let place = self.root.join("repositories").join(repository.as_str());
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(tag) => {
                let text = fs::read_to_string(place.join("_tags").join(tag.as_str())).await;
                text.map_err(|error| missing(error, unknown))?.trim().parse()?
            }
        };
        let media_type = fs::read_to_string(place.join("_manifests").join(digest.hex())).await;
        let media_type = media_type.map_err(|error| missing(error, unknown))?;
        let bytes = self.content_of(&digest).await?.ok_or_else(unknown)?;
        Ok(Labelled { digest, media_type, bytes })
    }

    /// Keeps a manifest that consists of these blobs, which are all there.
    pub(crate) async fn put_manifest(
        &self,
        reference: &Reference,
        blobs: &[Digest],
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        debug_assert!(bytes.len() <= MANIFEST_BYTES_MAX, "the body was read within the limit");
        let digest = Digest::of(bytes);
        if let Reference::Digest(expected) = reference
            && *expected != digest
        {
            return Err(RegistryError::OtherDigest { expected: expected.to_string(), found: digest.to_string() });
        }
        for blob in blobs {
            if !self.has(blob).await? {
                return Err(RegistryError::MissingBlob(blob.to_string()));
            }
        }
        self.write(&self.content(&digest), bytes).await?;
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
pub(crate) struct Said {
    pub(crate) media_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
}

// === impl Said ===

impl Said {
    /// Reads it of a manifest.
    pub(crate) fn read(manifest: &[u8]) -> Result<Self, RegistryError> {
        serde_json::from_slice(manifest).map_err(|error| RegistryError::BadManifest(error.to_string()))
    }

    /// The blobs it consists of.
    pub(crate) fn blobs(&self) -> Result<Vec<Digest>, RegistryError> {
        self.config.iter().chain(&self.layers).map(|descriptor| descriptor.digest.parse()).collect()
    }
}

/// What names manifests of a repository, as far as these are names.
fn labels(repository: &str, names: impl IntoIterator<Item = String>) -> Vec<(Repository, Reference)> {
    let Ok(repository) = repository.parse::<Repository>() else { return Vec::new() };
    let references = names.into_iter().filter_map(|name| name.parse::<Reference>().ok());
    references.map(|reference| (repository.clone(), reference)).collect()
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
