//! Content that lies at another server: it is fetched when it is asked for, and copied before.
//!
//! Whoever pushes is answered when the content is on the disk of the server that took it and all servers know its name. The others
//! copy it as soon as they know, and go on trying for as long as they lack it; so it outlives the first server once one of them has
//! it. Nothing is believed but its digest.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Response};
use http_body_util::combinators::UnsyncBoxBody;
use state::Snapshot;
use store::ProposeError;
use tokio_util::io::ReaderStream;
use tracing::{debug, info, warn};

use super::known::{self, IMAGE, Known};
use super::name::Digest;
use super::store::{Images, Labelled, Said};
use super::{RegistryError, UploadId};
use crate::Door;
use crate::answer::Answer;

/// What comes from another server.
pub(crate) type Content = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// The other servers, as far as images go.
pub trait Siblings: fmt::Debug + Send + Sync {
    /// Which there are now.
    fn servers(&self) -> Vec<String>;

    /// What one of them answers to a `GET` of this path, if that is a success.
    fn get(&self, server: &str, path: String) -> BoxFuture<'static, Option<Content>>;
}

/// Where a server gives others what lies with it.
pub(crate) const PATH: &str = "/coracle/v1/content/";

/// Between two attempts to copy what is lacking.
const AGAIN: Duration = Duration::from_secs(2);

/// What lies here of what is asked for by another server, and nothing that would have to be fetched.
pub(crate) async fn give(images: &Images, digest: &str) -> Result<Answer, RegistryError> {
    let blob = images.blob(&digest.parse()?).await?;
    let size = blob.size;
    let mut answer = Response::new(Body::from_stream(ReaderStream::new(blob.read(0, size).await?)));
    answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(size));
    Ok(answer)
}

/// Sees to it that content lies here, if it is known and any server has it.
pub(super) async fn fetch(door: &Door, world: &Snapshot, digest: &Digest) -> Result<(), RegistryError> {
    if door.siblings.is_none() || door.images.has(digest).await? {
        return Ok(());
    }
    // What nobody ever pushed is not worth a question: clients ask for whatever they are about to push.
    if known::contents(world).any(|known| known == *digest) {
        copy(door, digest).await?;
    }
    Ok(())
}

/// How many images lie here whole, once whatever others have was copied, and how many do not.
pub(crate) async fn gathered(door: &Door, world: &Snapshot) -> (u64, u64) {
    let (mut here, mut lost) = (0, 0);
    for object in world.list(IMAGE).filter(|object| object.key().name().contains('@')) {
        let mut is_whole = true;
        for digest in known::content(object) {
            is_whole &= fetch(door, world, &digest).await.is_ok() && door.images.has(&digest).await.unwrap_or(false);
        }
        if is_whole { here += 1 } else { lost += 1 }
    }
    (here, lost)
}

/// Copies content from the first server that has it; says whether one had.
async fn copy(door: &Door, digest: &Digest) -> Result<bool, RegistryError> {
    let Some(siblings) = &door.siblings else { return Ok(false) };
    for server in siblings.servers() {
        let Some(body) = siblings.get(&server, format!("{PATH}{digest}")).await else { continue };
        let id = UploadId::new((door.entropy)());
        door.images.begin(&id).await?;
        let chunks = TryStreamExt::map_err(Body::new(body).into_data_stream(), RegistryError::body);
        let taken = async {
            door.images.append(&id, None, chunks).await?;
            door.images.finish(&id, digest).await
        };
        match taken.await {
            Ok(()) => {
                info!(%digest, server, "copied");
                return Ok(true);
            }
            Err(error) => {
                debug!(%digest, server, %error, "not copied");
                // It is gone already where the content was another.
                let _ = door.images.abandon(&id).await;
            }
        }
    }
    Ok(false)
}

/// Makes all known that lies here, and copies all that is known and does not, until the server closes.
pub(crate) async fn follow(door: Arc<Door>) {
    while !adopt(&door).await {
        tokio::select! {
            () = door.closing.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
    if door.siblings.is_none() {
        return;
    }
    let mut view = door.store.view();
    let mut last = None;
    loop {
        let world = view.borrow_and_update().clone();
        let mut is_complete = true;
        if !last.as_ref().is_some_and(|last: &Snapshot| world.agrees(last, IMAGE)) {
            is_complete = complete(&door, &world).await;
            last = is_complete.then_some(world);
        }
        tokio::select! {
            () = door.closing.cancelled() => return,
            changed = view.changed(), if is_complete => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if !is_complete => {}
        }
    }
}

/// Copies what does not lie here; says whether nothing is lacking.
async fn complete(door: &Door, world: &Snapshot) -> bool {
    let wanted: BTreeSet<String> = known::contents(world).map(|digest| digest.to_string()).collect();
    let mut is_complete = true;
    for digest in wanted {
        let Ok(digest) = digest.parse::<Digest>() else { continue };
        let is_here = door.images.has(&digest).await.unwrap_or(false);
        is_complete &= is_here || copy(door, &digest).await.unwrap_or(false);
    }
    is_complete
}

/// Makes known what lies here since before servers told each other of it. Says whether nothing is left to be told.
async fn adopt(door: &Door) -> bool {
    let adopted = adopted(door).await;
    if let Err(error) = &adopted {
        warn!(%error, "the images of before are not known yet");
    }
    adopted.is_ok()
}

async fn adopted(door: &Door) -> Result<(), RegistryError> {
    for (repository, reference) in door.images.labels().await? {
        let Ok(labelled) = door.images.labelled(&repository, &reference).await else { continue };
        let Labelled { digest, media_type, bytes } = labelled;
        let blobs = Said::read(&bytes)?.blobs()?.iter().map(ToString::to_string).collect();
        let known = Known { media_type, blobs };
        let txn = known::adopt(&door.store.snapshot(), &repository, &reference, &digest, &known);
        let txn = txn.map_err(|error| RegistryError::BadManifest(error.to_string()))?;
        if txn.is_empty() {
            continue;
        }
        match door.store.propose(txn).await {
            // Another server had the same just now.
            Ok(_) | Err(ProposeError::Conflict(_)) => {}
            Err(error) => return Err(RegistryError::Unavailable(error.to_string())),
        }
    }
    Ok(door.images.forget_labels().await?)
}
