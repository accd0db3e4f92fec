//! Volumes whose files are the objects below a prefix of an S3-compatible store.
//!
//! What a pod sees is a directory of its node, the *mirror*, `<data-dir>/remote/<volume>-<place>/files`. What holds:
//!
//! - **Mounting** brings the mirror to what the store has: objects that are new or have another ETag are brought down, files whose
//!   objects are gone go. So a pod sees what was there when its volume was mounted, and what others change meanwhile when a pod
//!   mounts the volume at this node again.
//! - **Writing** is local at once. A file is uploaded when it was left alone for a second, or half a minute after it was last
//!   uploaded if it never is; `fsync` (the `sync` and `sync-data` of WASI) returns when the object is stored, or fails.
//! - **Unmounting** uploads what is left before the pod is told to have ended. While the store cannot be reached the pod stays as
//!   it is, says why in an event, and the upload is tried again; who deletes it by force leaves the upload to the node.
//! - **After `kill -9` or a loss of power** what was not uploaded is in the mirror, and is uploaded when the volume is mounted at the
//!   same node again.
//! - **Nothing that others stored is overwritten**: an upload carries the ETag that it replaces. If the store has another version,
//!   that one gets the name, ours is kept beside it (`NAME.conflict-HASH`), and an event says so. Files of more than
//!   [`store::WHOLE_BYTES_MAX`], which are uploaded in parts, and deletions are checked a moment before, not with the act.
//! - **What a store does not have is not kept**: links, times, empty directories, and names with control characters or more than
//!   1,024 bytes. A directory that is renamed is uploaded again and deleted under its old name.
//!
//! One node at a time writes (`ReadWriteOnce`), which scheduler and agents see to; as many as like read (`ReadOnlyMany`). The claim's
//! capacity holds as for other volumes, and a volume that holds more than that is not mounted.

mod index;
mod mirror;
mod plan;
mod store;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use api::Key;
use api::storage::s3::{Credentials, Location};
use host::Folder;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::Placed;
use super::quotas::Quotas;
use crate::desired::Uid;
use crate::pod::{Severity, Told};
use crate::recorder::{Note, Recorder};
use mirror::{Mirror, What};
use store::Store;
pub(crate) use store::Trouble;

/// A volume as it is to be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The name of its object.
    pub volume: String,
    /// Where its objects are.
    pub place: Location,
    /// Who asks for them; nobody in particular, if there is no secret.
    pub credentials: Option<Credentials>,
    /// How much it may hold.
    pub bytes_max: u64,
    /// Whether guests may only read.
    pub read_only: bool,
}

/// The mirrors of a node.
pub(crate) struct Remotes {
    root: PathBuf,
    quotas: Arc<Quotas>,
    recorder: Recorder,
    /// By their directories, each once for as long as it is there.
    held: Mutex<HashMap<String, Held>>,
}

/// A mirror that was mounted since the agent began.
struct Held {
    mirror: Arc<Mirror>,
    users: HashMap<Uid, User>,
    /// Uploads while somebody writes, and until nothing is left to.
    saving: Option<AbortOnDropHandle<()>>,
}

#[derive(Clone)]
struct User {
    pod: Key,
    writes: bool,
}

/// How often to look for what was written, and of how much time looking may take a part.
const PERIOD: Duration = Duration::from_secs(1);
const LOOK_SHARE: u32 = 20;
/// After a failure this long, then twice as long each time.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_mins(2);

/// A mirror that nobody mounted for so long, and that holds nothing that is not in the store, makes room.
const UNUSED_MAX: Duration = Duration::from_hours(24);
const SWEEP_PERIOD: Duration = Duration::from_hours(1);

/// The directory of a volume's mirror, among others: the same volume at another place has another.
fn directory(volume: &str, place: &Location) -> String {
    let Location { endpoint, region, bucket, prefix } = place;
    let place = [endpoint.as_deref().unwrap_or_default(), region, bucket, prefix].join("\n");
    format!("{volume}-{}", &hex::encode(Sha256::digest(place))[..12])
}

/// Where the files of a volume's mirror are.
pub(super) fn files(root: &Path, volume: &str, place: &Location) -> PathBuf {
    root.join(directory(volume, place)).join(mirror::FILES)
}

// === impl Remote ===

impl Remote {
    fn directory(&self) -> String {
        directory(&self.volume, &self.place)
    }
}

// === impl Remotes ===

impl Remotes {
    pub(crate) fn new(root: PathBuf, quotas: Arc<Quotas>, recorder: Recorder) -> Arc<Self> {
        Arc::new(Self { root, quotas, recorder, held: Mutex::default() })
    }

    /// Mounts the volume for a pod.
    pub(crate) async fn mount(self: &Arc<Self>, wanted: &Remote, pod: &Key, uid: &Uid) -> Result<Placed, Trouble> {
        let directory = wanted.directory();
        let mirror = self.hold(wanted)?;
        let path = files(&self.root, &wanted.volume, &wanted.place);
        let quota = self.quotas.of(&path, wanted.bytes_max);
        quota.kept_by(mirror.clone());
        // What somebody has open to write is not replaced under him.
        let notices = match self.used(&directory) {
            Some(true) => Vec::new(),
            _ => mirror.bring(!wanted.read_only, wanted.bytes_max).await?,
        };
        if let Some(held) = self.held().get_mut(&directory) {
            held.users.insert(uid.clone(), User { pod: pod.clone(), writes: !wanted.read_only });
            if held.saving.is_none() && !wanted.read_only {
                let saving = save_on(Arc::downgrade(self), directory.clone(), mirror.clone());
                held.saving = Some(AbortOnDropHandle::new(tokio::spawn(saving)));
            }
        }
        self.tell(&directory, &notices, "VolumeConflict");
        info!(volume = %wanted.volume, pod = %pod, "mounted");
        Ok(Placed { at: Folder::at(path), read_only: wanted.read_only, is_swapped: false, quota: Some(quota) })
    }

    /// The pod has ended: what it wrote is uploaded, or it is said for which volume that cannot be. `known` are its volumes, one of
    /// which may have something from before this agent began; one that is mounted is let go of however little is known.
    pub(crate) async fn unmount(&self, uid: &Uid, known: Vec<(String, Remote)>) -> Result<(), (String, Trouble)> {
        for (name, wanted) in known.iter().filter(|(_, wanted)| !wanted.read_only) {
            if self.root.join(wanted.directory()).is_dir() {
                self.hold(wanted).map_err(|trouble| (name.clone(), trouble))?;
            }
        }
        let known: HashMap<String, &String> = known.iter().map(|(name, it)| (it.directory(), name)).collect();
        let of_pod = |(directory, held): (&String, &Held)| {
            let is_written = match held.users.get(uid) {
                Some(user) => user.writes,
                None => known.contains_key(directory),
            };
            is_written.then(|| (directory.clone(), held.mirror.clone()))
        };
        let mirrors: Vec<(String, Arc<Mirror>)> = self.held().iter().filter_map(of_pod).collect();
        for (directory, mirror) in mirrors {
            let notices = mirror.save(What::Last).await;
            let name = known.get(&directory).map_or_else(|| directory.clone(), |name| (*name).clone());
            self.tell(&directory, &notices.map_err(|trouble| (name, trouble))?, "VolumeConflict");
        }
        self.leave(uid);
        Ok(())
    }

    /// Nothing of the pod is here any more. What it left is uploaded when it can be.
    pub(crate) fn leave(&self, uid: &Uid) {
        self.held().values_mut().for_each(|held| drop(held.users.remove(uid)));
    }

    /// Removes what the volume has, in the store and here.
    pub(crate) async fn remove(&self, wanted: &Remote) -> Result<(), Trouble> {
        Store::open(&wanted.place, wanted.credentials.as_ref())?.remove_all().await?;
        let directory = wanted.directory();
        self.held().remove(&directory);
        let path = self.root.join(directory);
        self.quotas.forget(&path);
        match tokio::fs::remove_dir_all(path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Trouble::of_disk(&error)),
            _ => Ok(()),
        }
    }

    /// The mirror of a volume. Whoever comes last says who asks the store.
    fn hold(&self, wanted: &Remote) -> Result<Arc<Mirror>, Trouble> {
        let store = Store::open(&wanted.place, wanted.credentials.as_ref())?;
        let mut held = self.held();
        match held.entry(wanted.directory()) {
            Entry::Occupied(known) => {
                known.get().mirror.ask_as(store);
                Ok(known.get().mirror.clone())
            }
            Entry::Vacant(free) => {
                let mirror = Mirror::open(self.root.join(free.key()), store);
                let mirror = Arc::new(mirror.map_err(|error| Trouble::of_disk(&error))?);
                free.insert(Held { mirror: mirror.clone(), users: HashMap::new(), saving: None });
                Ok(mirror)
            }
        }
    }

    /// Tells every pod that uses a mirror.
    fn tell(&self, directory: &str, messages: &[String], reason: &'static str) {
        let users: Vec<(Uid, User)> = match self.held().get(directory) {
            Some(held) => held.users.iter().map(|(uid, user)| (uid.clone(), user.clone())).collect(),
            None => Vec::new(),
        };
        for message in messages {
            warn!(%directory, %message, reason);
            for (uid, user) in &users {
                let told = Told { container: None, severity: Severity::Warning, reason, message: message.clone() };
                let (pod, uid) = (user.pod.clone(), uid.to_string());
                self.recorder.tell(Note { pod, uid, field: None, told, times: 1, at: Timestamp::now() });
            }
        }
    }

    /// Whether anybody uses a mirror, and whether to write.
    fn used(&self, directory: &str) -> Option<bool> {
        let held = self.held();
        let users = &held.get(directory)?.users;
        (!users.is_empty()).then(|| users.values().any(|user| user.writes))
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room, now and then, for as long as the agent runs.
    pub(crate) async fn keep(self: Arc<Self>) {
        loop {
            let remotes = self.clone();
            let _ = tokio::task::spawn_blocking(move || remotes.sweep()).await;
            tokio::time::sleep(SWEEP_PERIOD).await;
        }
    }

    fn sweep(&self) {
        let is_free = |held: &Held| held.users.is_empty() && held.saving.is_none();
        for entry in std::fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !mirror::is_unused(&entry.path(), SystemTime::now(), UNUSED_MAX) {
                continue;
            }
            let mut held = self.held();
            if held.get(&name).is_none_or(is_free) {
                info!(mirror = %name, "not used any more");
                held.remove(&name);
                self.quotas.forget(&entry.path());
                // Whoever comes meanwhile waits, and begins anew.
                if let Err(error) = std::fs::remove_dir_all(entry.path()) {
                    warn!(mirror = %name, %error, "left behind");
                }
            }
        }
    }
}

/// Uploads what is written to a mirror, until nobody uses it and nothing is left.
async fn save_on(remotes: Weak<Remotes>, directory: String, mirror: Arc<Mirror>) {
    let (mut wait, mut failures, mut told) = (PERIOD, 0_u32, String::new());
    loop {
        tokio::time::sleep(wait).await;
        let began = std::time::Instant::now();
        let Some(remotes) = remotes.upgrade() else { return };
        let used = remotes.used(&directory);
        let saved = mirror.save(if used.is_some() { What::Quiet } else { What::Last }).await;
        match saved {
            Ok(notices) => {
                remotes.tell(&directory, &notices, "VolumeConflict");
                (failures, told) = (0, String::new());
                wait = PERIOD.max(began.elapsed() * LOOK_SHARE);
                let mut held = remotes.held();
                let unused = held.get_mut(&directory).filter(|held| used.is_none() && held.users.is_empty());
                if let Some(held) = unused {
                    // The handle of this very task, which has nothing more to do.
                    held.saving = None;
                    return;
                }
            }
            Err(trouble) => {
                let message = format!("what was written could not be uploaded: {trouble}");
                if message != told {
                    remotes.tell(&directory, std::slice::from_ref(&message), "FailedUpload");
                    told = message;
                }
                wait = RETRY.saturating_mul(1 << failures.min(6)).min(RETRY_MAX);
                failures += 1;
            }
        }
    }
}
