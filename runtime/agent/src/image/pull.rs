//! Making sure that a component is here.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use host::Digest;

use super::beside::Beside;
use super::cache::{Cache, Image};
use super::collect::Holds;
use super::credentials::Credentials;
use super::layout::{Chosen, Next, NotAComponent, Packaging, choose};
use super::reference::{InvalidReference, Reference, Version};
use super::registry::{ClusterRegistry, RegistryError, Source, receive};
use super::unpack::{UnpackError, unpack};

/// When to ask the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Each time: a tag may have come to mean something else.
    Always,
    /// Only when the image is not here.
    IfNotPresent,
    /// Not at all.
    Never,
}

/// Why an image is not here.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// It has no proper name.
    #[error("Failed to apply default image tag \"{name}\": {source}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: InvalidReference,
    },
    /// It is not here, and is not to be fetched.
    #[error("Container image \"{0}\" is not present with pull policy of Never")]
    Never(String),
    /// It is no component.
    #[error("image \"{image}\" is not a wasm component: {reason}")]
    NotAComponent {
        /// The image.
        image: String,
        /// What it is instead.
        reason: NotAComponent,
    },
    /// The cluster's own registry does not have it.
    #[error(
        "image \"{0}\" is not in the cluster's registry; push it there (coracle push FILE.wasm {0}), or name its registry, as in \
         ghcr.io/owner/name:tag"
    )]
    NotPushed(String),
    /// It could not be fetched.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// It could not be kept.
    #[error("failed to keep the image: {0}")]
    Keep(#[from] std::io::Error),
}

/// How many components were fetched since the start, by where they came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// From registries.
    pub from_registries: u64,
    /// From nodes beside this one.
    pub from_beside: u64,
}

/// The images of a node.
pub struct Images {
    cache: Cache,
    holds: Holds,
    cluster: Arc<dyn ClusterRegistry>,
    beside: Option<Box<dyn Beside>>,
    from_registries: AtomicU64,
    from_beside: AtomicU64,
    /// One fetch at a time for each name; the others then find it here.
    under_way: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// An index may lead to a manifest, but not for ever.
const INDEX_DEPTH_MAX: usize = 3;

// === impl Policy ===

impl Policy {
    /// What a pod asks for; unset, `latest` is fetched each time.
    pub fn of(policy: Option<&str>, reference: &Reference) -> Self {
        match policy {
            Some("Always") => Self::Always,
            Some("Never") => Self::Never,
            None if reference.is_latest() => Self::Always,
            _ => Self::IfNotPresent,
        }
    }
}

// === impl PullError ===

impl PullError {
    /// The word a kubelet has for it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Name { .. } => "InvalidImageName",
            Self::Never(_) => "ErrImageNeverPull",
            _ => "ErrImagePull",
        }
    }
}

// === impl Images ===

impl Images {
    /// The images in `cache`, with `cluster` for names without a registry.
    pub fn new(cache: Cache, cluster: Arc<dyn ClusterRegistry>) -> Self {
        Self {
            cache,
            holds: Holds::default(),
            cluster,
            beside: None,
            from_registries: AtomicU64::new(0),
            from_beside: AtomicU64::new(0),
            under_way: Mutex::default(),
        }
    }

    /// With somebody to ask before a component is fetched from a registry.
    #[must_use]
    pub fn beside(self, beside: impl Beside) -> Self {
        Self { beside: Some(Box::new(beside)), ..self }
    }

    /// Where components were fetched from.
    pub fn fetched(&self) -> Fetched {
        Fetched {
            from_registries: self.from_registries.load(Ordering::Relaxed),
            from_beside: self.from_beside.load(Ordering::Relaxed),
        }
    }

    /// The components on disk.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Which components containers have.
    pub fn holds(&self) -> &Holds {
        &self.holds
    }

    /// Makes sure that an image is here, by a `pullPolicy` if one is said. The time says how long it took, if it had to be fetched.
    pub async fn ensure(
        &self,
        name: &str,
        policy: Option<&str>,
        credentials: &Credentials,
        telling: impl FnOnce(),
    ) -> Result<(Image, Option<Duration>), PullError> {
        let reference: Reference = name.parse().map_err(|source| PullError::Name { name: name.to_owned(), source })?;
        let policy = Policy::of(policy, &reference);
        let known = || self.cache.known(name);
        match (policy, known()) {
            (Policy::IfNotPresent | Policy::Never, Some(image)) => {
                self.touch(&image);
                return Ok((image, None));
            }
            (Policy::Never, None) => return Err(PullError::Never(name.to_owned())),
            _ => {}
        }
        telling();
        let started = Instant::now();
        let lane = self.lane(name);
        let turn = lane.lock().await;
        let image = match known() {
            Some(image) if policy == Policy::IfNotPresent => image,
            _ => self.fetch(name, &reference, credentials).await?,
        };
        self.touch(&image);
        drop(turn);
        self.leave(name, lane);
        Ok((image, Some(started.elapsed())))
    }

    /// It was asked for now, and is not to be let go before it is used.
    fn touch(&self, image: &Image) {
        let touched = image.component.parse().map(|digest| self.cache.touch(&digest));
        if let Ok(Err(error)) = touched {
            tracing::debug!(image = image.reference, %error, "the use of an image could not be noted");
        }
    }

    async fn fetch(&self, name: &str, reference: &Reference, credentials: &Credentials) -> Result<Image, PullError> {
        let source = reference.source(&self.cluster, |registry| credentials.for_registry(registry));
        let repository = reference.repository.as_str();
        let found = self.find(&source, repository, &reference.version).await;
        let (chosen, digest) = found.map_err(|error| match error {
            PullError::NotAComponent { reason, .. } => PullError::NotAComponent { image: name.to_owned(), reason },
            PullError::Registry(RegistryError::NotFound(_)) if reference.registry.is_none() => {
                PullError::NotPushed(name.to_owned())
            }
            error => error,
        })?;
        let (component, size) = match self.have(&chosen) {
            Some((component, size)) => (component, size),
            None => self.bring(&source, repository, &chosen).await.map_err(|error| match error {
                PullError::NotAComponent { reason, .. } => PullError::NotAComponent { image: name.to_owned(), reason },
                error => error,
            })?,
        };
        let id = format!("{}@{digest}", reference.name());
        let image = Image { reference: name.to_owned(), id, component: component.to_string(), size };
        self.cache.note_meaning(&image)?;
        Ok(image)
    }

    /// The blob that an image leads to, and the digest of the manifest that was asked for.
    async fn find(&self, source: &Source, repository: &str, version: &Version) -> Result<(Chosen, String), PullError> {
        let (mut manifest, digest) = source.manifest(repository, version).await?;
        for _ in 0..INDEX_DEPTH_MAX {
            match choose(&manifest).map_err(unnamed)? {
                Next::Component(chosen) => return Ok((chosen, digest)),
                Next::Manifest(next) => manifest = source.manifest(repository, &Version::Digest(next)).await?.0,
            }
        }
        Err(unnamed(NotAComponent("its indexes lead to no manifest".to_owned())))
    }

    /// A plain blob that is here already under its own digest.
    fn have(&self, chosen: &Chosen) -> Option<(Digest, u64)> {
        let digest: Digest = chosen.digest.parse().ok()?;
        let path = self.cache.component(&digest).filter(|_| chosen.packaging == Packaging::Plain)?;
        Some((digest, path.metadata().ok()?.len()))
    }

    async fn bring(&self, source: &Source, repository: &str, chosen: &Chosen) -> Result<(Digest, u64), PullError> {
        let draft = self.cache.draft();
        let size = match self.bring_from_beside(chosen, &draft).await {
            Some(size) => size,
            None => {
                let size = source.blob(repository, &chosen.digest, &draft).await?;
                self.from_registries.fetch_add(1, Ordering::Relaxed);
                size
            }
        };
        if let (Packaging::Plain, Ok(digest)) = (chosen.packaging, chosen.digest.parse()) {
            self.cache.keep(&draft, &digest)?;
            return Ok((digest, size));
        }
        let Packaging::Archive(how) = chosen.packaging else {
            return Err(unnamed(NotAComponent(format!("the digest {} is not of sha256", chosen.digest))));
        };
        let component = self.cache.draft();
        let (from, to) = (draft.clone(), component.clone());
        let unpacking = tokio::task::spawn_blocking(move || -> Result<(Digest, u64), UnpackError> {
            let size = unpack(&from, how, &to)?;
            Ok((Digest::of(&std::fs::read(&to)?), size))
        });
        let unpacked = unpacking.await.map_err(std::io::Error::other)?;
        std::fs::remove_file(&draft)?;
        let (digest, size) = unpacked.map_err(|error| match error {
            UnpackError::NotAComponent(reason) => unnamed(reason),
            UnpackError::Io(error) => PullError::Keep(error),
        })?;
        self.cache.keep(&component, &digest)?;
        Ok((digest, size))
    }

    /// What lies beside is the component itself, as it lies here; a blob that is an archive is the registry's alone.
    async fn bring_from_beside(&self, chosen: &Chosen, draft: &Path) -> Option<u64> {
        let beside = self.beside.as_ref().filter(|_| chosen.packaging == Packaging::Plain)?;
        let given = beside.content(&chosen.digest).await?;
        match receive(given.into_body(), &chosen.digest, draft).await {
            Ok(size) => {
                self.from_beside.fetch_add(1, Ordering::Relaxed);
                Some(size)
            }
            Err(error) => {
                tracing::info!(digest = chosen.digest, %error, "what a node beside gave is not taken");
                None
            }
        }
    }

    fn lane(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.entry(name.to_owned()).or_default().clone()
    }

    fn leave(&self, name: &str, lane: Arc<tokio::sync::Mutex<()>>) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        // Two: the one in the map and the one given back here.
        if Arc::strong_count(&lane) <= 2 {
            under_way.remove(name);
        }
    }
}

/// The image is named by whoever knows its name.
fn unnamed(reason: NotAComponent) -> PullError {
    PullError::NotAComponent { image: String::new(), reason }
}

#[cfg(test)]
mod tests;
