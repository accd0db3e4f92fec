//! Volumes that go into a backup of the cluster, and come back out of one.
//!
//! Into it goes what is there, as it is read: no archive lies on this node on the way. What comes back is made beside the volume's
//! place, and put there when all of it has come and its SHA-256 is the one that the volume names.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use api::snapshots::{Origin, Saved};
use api::{Key, Object, kinds, storage};
use k8s_openapi::api::core::v1::PersistentVolume;
use tracing::info;

use super::disk::Places;
use super::{blocking, failed, let_go};
use crate::beneath::Root;
use crate::context::Context;
use crate::volumes::archive;
use crate::volumes::claims::directory;

/// Directories of volumes that somebody makes or removes: one at a time does.
#[derive(Debug, Default)]
pub(crate) struct Sites(Mutex<Taken>);

/// One of them, for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Site {
    sites: Arc<Sites>,
    directory: PathBuf,
}

#[derive(Debug, Default)]
struct Taken {
    /// Whether what an earlier life left behind is gone: nothing is made before.
    is_swept: bool,
    directories: BTreeSet<PathBuf>,
}

/// Why a volume was not filled.
#[derive(Debug)]
pub(crate) enum NotFilled {
    /// There is none of this name here that waits for it.
    Unknown,
    /// Somebody else sees to it.
    Busy,
    /// It cannot be.
    Failed(String),
}

/// A volume that a backup is brought to.
struct Waiting {
    key: Key,
    uid: String,
    directory: PathBuf,
    saved: Saved,
    /// What holds it beside that it is not filled.
    finalizers: Vec<String>,
}

/// Opens a volume of this node that has its data, to be [packed](pack).
pub(crate) fn open(context: &Context, name: &str) -> io::Result<Option<Root>> {
    let view = context.view();
    let volume = view.get(&kinds::PERSISTENT_VOLUME.cluster_key(name));
    let volume = volume.filter(|volume| is_of(context, volume) && !storage::is_unfilled(volume));
    volume.and_then(directory_of).map(|directory| places(context).volume(&directory)).transpose()
}

/// Writes what is in it: each file as it is when its turn comes, while guests go on.
pub(crate) fn pack(volume: &Root, into: impl Write) -> io::Result<()> {
    archive::pack(volume, into).map(drop)
}

/// Fills a volume with what a backup held. One that is filled already is left as it is.
pub(crate) async fn bring(
    context: &Arc<Context>,
    name: &str,
    from: impl Read + Send + 'static,
) -> Result<(), NotFilled> {
    let view = context.view();
    let key = kinds::PERSISTENT_VOLUME.cluster_key(name);
    let volume = view.get(&key).filter(|volume| is_of(context, volume)).ok_or(NotFilled::Unknown)?;
    if !storage::is_unfilled(volume) {
        return Ok(());
    }
    let Waiting { key, uid, directory, saved, finalizers } = waiting(volume).ok_or(NotFilled::Unknown)?;
    let site = context.sites.take(&directory).ok_or(NotFilled::Busy)?;
    let (places, made) = (places(context), directory.clone());
    // The site is given free when nothing is written there any more, whether somebody still waits for it or not.
    let filled = blocking(move || places.receive(&made, from, &saved.hash).map(|()| site)).await;
    let site = filled.map_err(|why| {
        if let Some(note) = failed(&view, &key, &why) {
            context.recorder.tell(note);
        }
        NotFilled::Failed(why)
    })?;
    if let_go(context, &key, &uid, &finalizers).await.map_err(NotFilled::Failed)? {
        info!(volume = name, "filled from a backup");
        return Ok(());
    }
    // Nobody wants it any more.
    let places = self::places(context);
    blocking(move || places.abandon(&directory).map(|()| drop(site))).await.map_err(NotFilled::Failed)?;
    Err(NotFilled::Unknown)
}

fn places(context: &Context) -> Places {
    let (archives, volumes) = (context.config.archives_dir(), context.config.volumes_dir());
    // Whoever streams ends with the link.
    Places { archives, volumes, ends: Arc::default() }
}

fn is_of(context: &Context, volume: &Object) -> bool {
    volume.meta().labels.get(storage::NODE_LABEL).is_some_and(|home| *home == context.config.node_name)
}

fn directory_of(volume: &Object) -> Option<PathBuf> {
    let volume = volume.decode::<PersistentVolume>().ok()?;
    let local = volume.spec.as_ref()?.csi.as_ref().filter(|source| source.driver == storage::LOCAL_PATH)?;
    directory(&local.volume_handle)
}

/// What a volume waits for, if that is to be brought to it.
fn waiting(volume: &Object) -> Option<Waiting> {
    let meta = volume.meta();
    let origin = meta.annotations.get(storage::FILLED_FROM)?.parse().ok()?;
    let Origin::Backup(saved) = origin else { return None };
    if meta.is_terminating() {
        return None;
    }
    let finalizers = super::task::without(volume, storage::UNFILLED);
    let (key, uid) = (volume.key().clone(), meta.uid.to_string());
    Some(Waiting { key, uid, directory: directory_of(volume)?, saved, finalizers })
}

// === impl Sites ===

impl Sites {
    /// From now on something may be made.
    pub(crate) fn swept(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_swept = true;
    }

    /// Has a directory to oneself, unless somebody else has.
    pub(crate) fn take(self: &Arc<Self>, directory: &Path) -> Option<Site> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = taken.is_swept && taken.directories.insert(directory.to_owned());
        is_free.then(|| Site { sites: self.clone(), directory: directory.to_owned() })
    }
}

// === impl Site ===

impl Drop for Site {
    fn drop(&mut self) {
        let mut taken = self.sites.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.directories.remove(&self.directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_by_one_at_a_time_and_not_before_the_place_is_swept() {
        let sites: Arc<Sites> = Arc::default();
        let one = Path::new("one");
        assert!(sites.take(one).is_none());
        sites.swept();
        let held = sites.take(one).expect("free");
        assert!(sites.take(one).is_none() && sites.take(Path::new("other")).is_some());
        drop(held);
        assert!(sites.take(one).is_some());
    }
}
