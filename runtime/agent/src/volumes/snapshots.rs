//! Snapshots of volumes that lie on this node: archives in `<data-dir>/snapshots`, made, removed, and made volumes from; and
//! volumes that are copies of others.
//!
//! What is to be done is a pure function of a snapshot of the world ([`task`]); each task ends with a word to the API, and is done
//! anew where that was not said. An archive has its name when all of it is on the disk, and so has a volume that is filled from
//! one; a claim is not bound to a volume before that ([`disk`]).
//!
//! An archive is what a copy of a running disk is: files are read one after the other, each as long as it was when it was opened,
//! while pods may write. Whoever needs all of them of one moment takes the snapshot while no pod uses the claim. Its handle carries
//! the SHA-256 of the file, which is checked before anything is made from it.

mod backed;
mod brought;
mod disk;
mod task;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::snapshots::{Handle, VolumeSnapshotContent};
use api::{Key, kinds};
use client::{ClientError, PatchType};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolume;
use serde_json::json;
use state::Snapshot;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::context::Context;
use crate::pod::{Severity, Told};
use crate::recorder::Note;
pub(crate) use backed::{NotFilled, Sites, bring, open, pack};
pub(crate) use brought::Brought;
use disk::Places;
use task::{Task, tasks};

/// What failed is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// So many at once: more would only wait for the same disk.
const ABREAST: usize = 2;

/// How far a task is, by the uid of what it is about.
#[derive(Clone, Debug, PartialEq)]
enum Standing {
    Running,
    /// What was done and said, however long it takes to be heard of.
    Done(Task),
    Failed(Task, Instant),
}

/// A task that is over, by the uid of what it was about, and how it went.
type Ended = (String, Task, Result<(), String>);

/// What a node is about.
#[derive(Debug, Default)]
struct Ledger {
    by_uid: BTreeMap<String, Standing>,
}

/// Ends what is half done when the agent ends.
struct Ends(Arc<AtomicBool>);

/// Sees to the snapshots of this node for as long as the agent runs.
pub(crate) async fn keep(context: Arc<Context>) {
    let ends = Ends(Arc::default());
    let (archives, volumes) = (context.config.archives_dir(), context.config.volumes_dir());
    let places = Places { archives, volumes, ends: ends.0.clone() };
    let sweeping = places.clone();
    if let Err(why) = blocking(move || sweeping.sweep()).await {
        warn!(%why, "what an earlier life left behind stays");
    }
    context.sites.swept();
    let (mut view, mut ledger) = (context.view.clone(), Ledger::default());
    let mut running: FuturesUnordered<BoxFuture<'_, Ended>> = FuturesUnordered::new();
    loop {
        let world = view.borrow_and_update().clone();
        let wanted = tasks(&world, &context.config.node_name);
        for (uid, task) in ledger.due(&wanted, Instant::now(), ABREAST - running.len()) {
            ledger.by_uid.insert(uid.clone(), Standing::Running);
            let (context, places, world) = (&context, &places, world.clone());
            running.push(Box::pin(async move {
                let outcome = carry_out(context, places, &world, &uid, &task).await;
                (uid, task, outcome)
            }));
        }
        tokio::select! {
            changed = view.changed() => if changed.is_err() { return },
            Some((uid, task, outcome)) = running.next() => ledger.ended(uid, task, outcome),
            () = tokio::time::sleep(RETRY), if ledger.has_failed() => {}
        }
    }
}

async fn carry_out(context: &Context, places: &Places, world: &Snapshot, uid: &str, task: &Task) -> Result<(), String> {
    let places = places.clone();
    match task.clone() {
        Task::Take { content, volume } => {
            let (at, name) = (Timestamp::now(), content.name().to_owned());
            let taken = match volume {
                Some(volume) => {
                    let (places, name) = (places.clone(), name.clone());
                    blocking(move || places.take(&name, &volume)).await
                }
                None => Err("its volume is not there".into()),
            };
            let node = context.config.node_name.clone();
            let said = taken.map(|(hash, bytes)| (Handle { node, name: name.clone(), hash }, bytes, at));
            if !say(context, world, &content, uid, &said).await? && said.is_ok() {
                // Nobody wants it any more.
                blocking(move || places.forget(&name)).await?;
            }
            said.map(|(_, bytes, _)| info!(snapshot = %content.name(), bytes, "taken"))
        }
        Task::Find { content, handle } => {
            let (wanted, node) = (handle.clone(), context.config.node_name.clone());
            let found = if handle.node == node {
                blocking(move || places.find(&wanted)).await
            } else {
                Err(format!("it lies on node {}, and not on {node}", handle.node))
            };
            let said =
                found.map(|(bytes, since)| (handle, bytes, since.try_into().unwrap_or_else(|_| Timestamp::now())));
            say(context, world, &content, uid, &said).await?;
            said.map(|_| info!(snapshot = %content.name(), "found"))
        }
        Task::Drop { content, archive, finalizers } => {
            if let Some(archive) = archive {
                blocking(move || places.forget(&archive)).await?;
            }
            let_go(context, &content, uid, &finalizers).await.map(|_| info!(snapshot = %content.name(), "released"))
        }
        Task::Fill { volume, directory, origin, room, finalizers } => {
            let filled = match origin {
                Some(origin) => {
                    let (places, directory) = (places.clone(), directory.clone());
                    blocking(move || places.fill(&directory, &origin, room)).await
                }
                None => Err("nobody knows what it is to be filled from".into()),
            };
            if let Err(why) = &filled
                && let Some(note) = failed(world, &volume, why)
            {
                context.recorder.tell(note);
            }
            filled?;
            if let_go(context, &volume, uid, &finalizers).await? {
                info!(volume = %volume.name(), "filled");
                return Ok(());
            }
            blocking(move || places.abandon(&directory)).await
        }
        Task::Abandon { volume, directory, finalizers } => {
            let site = context.sites.take(&directory).ok_or("it is being filled")?;
            blocking(move || places.abandon(&directory).map(|()| drop(site))).await?;
            let_go(context, &volume, uid, &finalizers).await.map(drop)
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
    done.map_err(|error| error.to_string())
}

/// Says what came of an archive, if there is somebody to say it to.
async fn say(
    context: &Context,
    world: &Snapshot,
    content: &Key,
    uid: &str,
    said: &Result<(Handle, u64, Timestamp), String>,
) -> Result<bool, String> {
    let status = match said {
        Ok((handle, bytes, at)) => {
            json!({"snapshotHandle": handle.to_string(), "restoreSize": bytes, "readyToUse": true,
            "error": null, "creationTime": i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)})
        }
        // Whoever tries again says nothing new.
        Err(why) if told_last(world, content).as_ref() == Some(why) => return Ok(true),
        Err(why) => json!({"readyToUse": false, "error": {"time": format!("{:.0}", Timestamp::now()), "message": why}}),
    };
    let patch = json!({"metadata": {"uid": uid}, "status": status});
    is_there(context.client.patch_status(content, PatchType::Merge, &patch).await)
}

/// Why there is no archive, as was said last.
fn told_last(world: &Snapshot, content: &Key) -> Option<String> {
    let content = world.get(content)?.decode::<VolumeSnapshotContent>().ok()?;
    content.status.as_ref()?.error.as_ref()?.message.clone()
}

/// Takes off what it was held by, if it is still there.
async fn let_go(context: &Context, key: &Key, uid: &str, finalizers: &[String]) -> Result<bool, String> {
    let patch = json!({"metadata": {"uid": uid, "finalizers": finalizers}});
    is_there(context.client.patch(key, PatchType::Merge, &patch).await)
}

fn is_there<T>(told: Result<T, ClientError>) -> Result<bool, String> {
    match told {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

/// The claim is told why it waits.
fn failed(world: &Snapshot, volume: &Key, why: &str) -> Option<Note> {
    let volume = world.get(volume)?.decode::<PersistentVolume>().ok()?;
    let spec = volume.spec.as_ref()?;
    let kept = spec.claim_ref.as_ref()?;
    let claim = kinds::PERSISTENT_VOLUME_CLAIM.key(kept.namespace.as_deref()?, kept.name.as_deref()?);
    let class = spec.storage_class_name.as_deref().unwrap_or_default();
    let message = format!("failed to provision volume with StorageClass \"{class}\": {why}");
    let told = Told { container: None, severity: Severity::Warning, reason: "ProvisioningFailed", message };
    Some(Note { pod: claim, uid: kept.uid.clone()?, field: None, told, times: 1, at: Timestamp::now() })
}

// === impl Ledger ===

impl Ledger {
    /// What is to be begun now. What nobody wants any more is forgotten.
    fn due(&mut self, wanted: &BTreeMap<String, Task>, now: Instant, most: usize) -> Vec<(String, Task)> {
        self.by_uid.retain(|uid, standing| *standing == Standing::Running || wanted.contains_key(uid));
        let is_due = |(uid, task): &(&String, &Task)| match self.by_uid.get(*uid) {
            None => true,
            Some(Standing::Running) => false,
            Some(Standing::Done(done)) => done != *task,
            Some(Standing::Failed(failed, at)) => failed != *task || now.duration_since(*at) >= RETRY,
        };
        wanted.iter().filter(is_due).take(most).map(|(uid, task)| (uid.clone(), task.clone())).collect()
    }

    fn ended(&mut self, uid: String, task: Task, outcome: Result<(), String>) {
        let standing = match outcome {
            Ok(()) => Standing::Done(task),
            Err(why) => {
                warn!(?task, %why, "a snapshot waits");
                Standing::Failed(task, Instant::now())
            }
        };
        self.by_uid.insert(uid, standing);
    }

    fn has_failed(&self) -> bool {
        self.by_uid.values().any(|standing| matches!(standing, Standing::Failed(..)))
    }
}

// === impl Ends ===

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_runs_once_until_it_is_another_or_has_failed() {
        let task = |volume: Option<&str>| Task::Take {
            content: kinds::VOLUME_SNAPSHOT_CONTENT.cluster_key("c"),
            volume: volume.map(Into::into),
        };
        let wanted = |task: Task| BTreeMap::from([("u".to_owned(), task)]);
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        let count = |ledger: &mut Ledger, task: Task, now| ledger.due(&wanted(task), now, 9).len();
        assert_eq!(count(&mut ledger, task(None), start), 1);
        ledger.by_uid.insert("u".into(), Standing::Running);
        assert_eq!(count(&mut ledger, task(Some("v")), start), 0);
        ledger.ended("u".into(), task(None), Err("no".into()));
        assert!(ledger.has_failed());
        let soon = Instant::now();
        assert_eq!(count(&mut ledger, task(None), soon), 0);
        assert_eq!(count(&mut ledger, task(Some("v")), soon), 1);
        assert_eq!(count(&mut ledger, task(None), soon + RETRY), 1);
        ledger.ended("u".into(), task(None), Ok(()));
        assert_eq!(count(&mut ledger, task(None), soon + RETRY), 0);
        assert!(ledger.due(&BTreeMap::new(), soon, 9).is_empty() && ledger.by_uid.is_empty());
        assert!(ledger.due(&wanted(task(None)), soon, 0).is_empty());
    }
}
