//! Where snapshots are kept: a folder, or what is below a prefix of a bucket.
//!
//! A file has its name only once all of it is there: a folder is written to beside the name, and an object is there whole or not at
//! all. Who may reach a bucket is said in the environment, in the words of the tools of S3: `AWS_ACCESS_KEY_ID`,
//! `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, and `AWS_ENDPOINT_URL` where it is not Amazon's.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as ObjectPath;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig, WriteMultipart};

use super::ENDING;

/// What the address of a bucket begins with.
const SCHEME: &str = "s3://";
/// As much of a file is in memory while it goes to a bucket.
const PART_BYTES: usize = 8 << 20;
/// Who waits at a prompt is told before long; a schedule comes round again.
const RETRIES_MAX: usize = 4;
const RETRIES_TIME_MAX: Duration = Duration::from_secs(30);

/// What was not written to for so long, nobody goes on with.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(3600);

/// Where snapshots are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A folder of this machine.
    Folder(PathBuf),
    /// The objects of a bucket whose names begin with a prefix and a slash, or all of them.
    Bucket { bucket: String, prefix: String },
}

/// A bucket that can be spoken to.
struct Bucket {
    objects: Arc<dyn ObjectStore>,
    prefix: String,
}

// === impl Place ===

impl FromStr for Place {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let Some(rest) = text.strip_prefix(SCHEME) else {
            if text.is_empty() || text.contains("://") {
                bail!("{text:?} is neither a folder nor s3://BUCKET/PREFIX");
            }
            return Ok(Self::Folder(text.into()));
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            bail!("{text:?} names no bucket; write s3://BUCKET/PREFIX");
        }
        Ok(Self::Bucket { bucket: bucket.into(), prefix: prefix.trim_matches('/').into() })
    }
}

impl Place {
    /// The place of one object of a bucket and its name there, if this is the address of one.
    pub(crate) fn of_object(text: &str) -> anyhow::Result<Option<(Self, String)>> {
        match text.parse()? {
            Self::Folder(_) => Ok(None),
            Self::Bucket { bucket, prefix } => {
                let (prefix, name) = prefix.rsplit_once('/').unwrap_or(("", &prefix));
                if name.is_empty() {
                    bail!("{text:?} names no file");
                }
                Ok(Some((Self::Bucket { bucket, prefix: prefix.to_owned() }, name.to_owned())))
            }
        }
    }

    /// The same place, where a folder is taken from `base` on.
    pub(crate) fn below(self, base: &Path) -> Self {
        match self {
            Self::Folder(folder) => Self::Folder(base.join(folder)),
            bucket @ Self::Bucket { .. } => bucket,
        }
    }

    /// The folder in which a file is made that is to be kept here.
    pub(crate) fn workshop(&self) -> anyhow::Result<PathBuf> {
        match self {
            Self::Folder(folder) => {
                std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
                Ok(folder.clone())
            }
            Self::Bucket { .. } => Ok(std::env::temp_dir()),
        }
    }

    /// Removes what was being made in the [workshop](Self::workshop) when somebody was killed: nobody has written to it for long.
    pub(crate) fn sweep(&self, now: SystemTime) -> anyhow::Result<()> {
        let folder = self.workshop()?;
        for name in entries(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let id = name.strip_prefix('.').and_then(|name| name.strip_suffix(".new"));
            if id.is_none_or(|id| uuid::Uuid::try_parse(id).is_err()) {
                continue;
            }
            let file = folder.join(name);
            let written = std::fs::metadata(&file).and_then(|found| found.modified());
            if written.is_ok_and(|written| now.duration_since(written).is_ok_and(|since| since > GIVEN_UP_AFTER)) {
                std::fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
            }
        }
        Ok(())
    }

    /// Keeps a file that was made in the [workshop](Self::workshop) under this name, and nowhere else.
    pub(crate) async fn keep(&self, made: &Path, name: &str) -> anyhow::Result<()> {
        match self {
            Self::Folder(folder) => {
                let file = folder.join(name);
                std::fs::rename(made, &file).with_context(|| format!("cannot write {}", file.display()))?;
                File::open(folder)
                    .and_then(|folder| folder.sync_all())
                    .with_context(|| format!("cannot write {}", file.display()))
            }
            Self::Bucket { .. } => {
                let uploaded = self.bucket()?.put(made, name).await;
                // It is in the bucket, or is of no use.
                let _ = std::fs::remove_file(made);
                uploaded.with_context(|| format!("cannot write {self}/{name}"))
            }
        }
    }

    /// The names of all snapshots here, sorted.
    pub(crate) async fn names(&self) -> anyhow::Result<Vec<String>> {
        let mut names = match self {
            Self::Folder(folder) => entries(folder).with_context(|| format!("cannot read {}", folder.display()))?,
            Self::Bucket { .. } => self.bucket()?.names().await.with_context(|| format!("cannot read {self}"))?,
        };
        names.retain(|name| Path::new(name).extension().is_some_and(|ending| ending == ENDING));
        names.sort();
        Ok(names)
    }

    /// Gives the file of a snapshot on this machine, which for one of a bucket is made in `folder`.
    pub(crate) async fn fetch(&self, name: &str, folder: &Path) -> anyhow::Result<PathBuf> {
        match self {
            Self::Folder(kept) => Ok(kept.join(name)),
            Self::Bucket { .. } => {
                let file = folder.join(format!(".{}.new", uuid::Uuid::new_v4().simple()));
                self.bucket()?.get(name, &file).await.with_context(|| format!("cannot read {self}/{name}"))?;
                Ok(file)
            }
        }
    }

    /// Removes a snapshot; one that is gone already is gone.
    pub(crate) async fn remove(&self, name: &str) -> anyhow::Result<()> {
        let removed = match self {
            Self::Folder(folder) => match std::fs::remove_file(folder.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            },
            Self::Bucket { .. } => self.bucket()?.remove(name).await,
        };
        removed.with_context(|| format!("cannot remove {self}/{name}"))
    }

    fn bucket(&self) -> anyhow::Result<Bucket> {
        let Self::Bucket { bucket, prefix } = self else { bail!("{self} is no bucket") };
        // Whoever comes first in this process says it for all.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let endpoint = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT"].iter().find_map(|name| std::env::var(name).ok());
        let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
        let objects = AmazonS3Builder::from_env()
            .with_client_options(ClientOptions::new().with_allow_http(is_plain).with_timeout_disabled())
            .with_bucket_name(bucket)
            .with_retry(RetryConfig {
                max_retries: RETRIES_MAX,
                retry_timeout: RETRIES_TIME_MAX,
                ..RetryConfig::default()
            })
            .build()
            .with_context(|| format!("cannot reach {self}"))?;
        Ok(Bucket { objects: Arc::new(objects), prefix: prefix.clone() })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "{SCHEME}{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "{SCHEME}{bucket}/{prefix}"),
        }
    }
}

/// The names of what is in a folder; a folder that is not there has nothing in it.
fn entries(folder: &Path) -> std::io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
    Ok(names.collect::<std::io::Result<Vec<_>>>()?.into_iter().flatten().collect())
}

// === impl Bucket ===

impl Bucket {
    fn key(&self, name: &str) -> anyhow::Result<ObjectPath> {
        let key = if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        Ok(ObjectPath::parse(key)?)
    }

    async fn put(&self, path: &Path, name: &str) -> anyhow::Result<()> {
        let mut file = File::open(path)?;
        if file.metadata()?.len() <= PART_BYTES as u64 {
            let mut whole = Vec::new();
            file.read_to_end(&mut whole)?;
            self.objects.put(&self.key(name)?, whole.into()).await?;
            return Ok(());
        }
        let upload = self.objects.put_multipart(&self.key(name)?).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut piece = vec![0; 1 << 20];
        loop {
            let length = match file.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) => {
                    upload.abort().await?;
                    return Err(error.into());
                }
            };
            upload.write(&piece[..length]);
            upload.wait_for_capacity(1).await?;
        }
        upload.finish().await?;
        Ok(())
    }

    async fn names(&self) -> anyhow::Result<Vec<String>> {
        let prefix = ObjectPath::parse(&self.prefix)?;
        let listed = self.objects.list_with_delimiter(Some(&prefix)).await?;
        let names = listed.objects.iter().filter_map(|object| {
            // Not every store heeds that only what is right below is asked for.
            let mut below = object.location.prefix_match(&prefix)?;
            let name = below.next()?;
            below.next().is_none().then(|| name.as_ref().to_owned())
        });
        Ok(names.collect())
    }

    async fn get(&self, name: &str, path: &Path) -> anyhow::Result<()> {
        let mut body = self.objects.get(&self.key(name)?).await?.into_stream();
        let file = File::options().write(true).create_new(true).mode(0o600).open(path);
        let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
        while let Some(piece) = body.try_next().await? {
            file.write_all(&piece).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    async fn remove(&self, name: &str) -> anyhow::Result<()> {
        match self.objects.delete(&self.key(name)?).await {
            Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_folder_or_a_bucket() {
        let bucket = |bucket: &str, prefix: &str| Place::Bucket { bucket: bucket.into(), prefix: prefix.into() };
        for (text, place) in [
            ("/srv/snapshots", Place::Folder("/srv/snapshots".into())),
            ("snapshots", Place::Folder("snapshots".into())),
            ("s3://shelf", bucket("shelf", "")),
            ("s3://shelf/a/b/", bucket("shelf", "a/b")),
        ] {
            assert_eq!(text.parse::<Place>().expect("a place"), place);
        }
        for text in ["", "s3://", "s3:///a", "https://example.org"] {
            assert!(text.parse::<Place>().is_err(), "{text:?}");
        }
        let found = Place::of_object("s3://shelf/a/x.snapshot").expect("an address");
        assert_eq!(found, Some((bucket("shelf", "a"), "x.snapshot".into())));
        assert_eq!(Place::of_object("a/x.snapshot").expect("a path"), None);
        assert!(Place::of_object("s3://shelf/").is_err());
        assert_eq!("s".parse::<Place>().expect("a place").below(Path::new("/d")), Place::Folder("/d/s".into()));
    }

    #[tokio::test]
    async fn a_folder_keeps_what_was_made_there_until_it_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::Folder(folder.path().join("kept"));
        assert_eq!(place.names().await.expect("none"), Vec::<String>::new());
        let made = place.workshop().expect("made").join(".new");
        for name in ["b.snapshot", "a.snapshot"] {
            std::fs::write(&made, name).expect("written");
            place.keep(&made, name).await.expect("kept");
        }
        std::fs::write(folder.path().join("kept/other"), "").expect("written");
        let half = folder.path().join(format!("kept/.{}.new", uuid::Uuid::new_v4().simple()));
        std::fs::write(&half, "half").expect("written");
        place.sweep(SystemTime::now()).expect("swept");
        assert!(half.exists(), "somebody may be at it");
        place.sweep(SystemTime::now() + GIVEN_UP_AFTER * 2).expect("swept");
        assert!(!half.exists());
        assert_eq!(place.names().await.expect("some"), ["a.snapshot", "b.snapshot"]);
        place.remove("a.snapshot").await.expect("removed");
        place.remove("a.snapshot").await.expect("gone");
        assert_eq!(place.names().await.expect("one"), ["b.snapshot"]);
        let file = place.fetch("b.snapshot", folder.path()).await.expect("there");
        assert_eq!(std::fs::read_to_string(file).expect("text"), "b.snapshot");
    }
}
