//! Volumes of a cluster that was brought back are filled again: archives that lie with this server go to the nodes that want them.
//!
//! Which volume wants which archive the world says: a claim that was brought back without its volume names one, and so does the
//! volume that is made for it on whichever node its first consumer goes to. Until its node says that all of it is there, nobody mounts
//! it. An archive that nobody names any more is removed: the world can only have got further than when it was brought back.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use api::snapshots::{self, Origin, Saved};
use api::{Object, kinds, storage};
use apiserver::Backups;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use state::Snapshot;
use store::Store;
use tokio::time::Instant;

/// What a node did not take is brought again after this.
const AGAIN: Duration = Duration::from_secs(2);
/// So many at once: enough for several nodes, few enough that one disk reads them.
const ABREAST: usize = 4;

/// A server that has archives of volumes.
pub(crate) struct Refilling {
    /// Where they lie.
    pub(crate) folder: PathBuf,
    pub(crate) store: Store,
    pub(crate) backups: Backups,
}

/// A volume that waits on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Waiting {
    volume: String,
    node: String,
    /// What it waits for.
    name: String,
}

/// The volumes that wait for what was saved, by their uids, and the names of all that somebody waits for or will.
fn wanted(world: &Snapshot) -> (BTreeMap<String, Waiting>, BTreeSet<String>) {
    let mut names = BTreeSet::new();
    for claim in world.list(kinds::PERSISTENT_VOLUME_CLAIM) {
        let Ok(typed) = claim.decode::<PersistentVolumeClaim>() else { continue };
        if !storage::is_bound(&typed) {
            names.extend(snapshots::restored_from(&typed).map(|saved| saved.name));
        }
    }
    let unfilled = world.list(kinds::PERSISTENT_VOLUME).filter(|volume| storage::is_unfilled(volume));
    let unfilled: Vec<(&Object, Saved)> = unfilled.filter_map(|volume| Some((volume, origin(volume)?))).collect();
    names.extend(unfilled.iter().map(|(_, saved)| saved.name.clone()));
    let waiting = unfilled.into_iter().filter(|(volume, _)| !volume.meta().is_terminating());
    let waiting = waiting.filter_map(|(volume, saved)| {
        let node = volume.meta().labels.get(storage::NODE_LABEL)?.clone();
        let waits = Waiting { volume: volume.key().name().to_owned(), node, name: saved.name };
        Some((volume.meta().uid.to_string(), waits))
    });
    (waiting.collect(), names)
}

fn origin(volume: &Object) -> Option<Saved> {
    match volume.meta().annotations.get(storage::FILLED_FROM)?.parse().ok()? {
        Origin::Backup(saved) => Some(saved),
        _ => None,
    }
}

/// The file of an archive in its folder.
pub(super) fn archive(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.tar.gz"))
}

// === impl Refilling ===

impl Refilling {
    /// Brings what is wanted until nothing is left, and then waits for `shutdown`.
    pub(crate) async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                done = self.bring_all() => match done {
                    Ok(()) => break,
                    Err(error) => tracing::warn!(folder = %self.folder.display(), error = format!("{error:#}"), "not seen to"),
                }
            }
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
        shutdown.await;
        Ok(())
    }

    async fn bring_all(&self) -> anyhow::Result<()> {
        let (mut view, mut standing) = (self.store.view(), BTreeMap::<String, Option<Instant>>::new());
        let mut running = FuturesUnordered::new();
        loop {
            let (waiting, names) = wanted(&view.borrow_and_update().clone());
            if !self.tidy(&names)? {
                return Ok(());
            }
            // None: it is on its way. Else when it may go again.
            standing.retain(|uid, again| again.is_none() || waiting.contains_key(uid));
            let now = Instant::now();
            for (uid, one) in waiting {
                let is_due = standing.get(&uid).is_none_or(|again| again.is_some_and(|again| again <= now));
                // Another may have it: a server of before, or somebody who brings a namespace.
                let is_here = archive(&self.folder, &one.name).exists();
                if is_due && is_here && running.len() < ABREAST {
                    standing.insert(uid.clone(), None);
                    running.push(async move { (uid, self.bring(&one).await) });
                }
            }
            tokio::select! {
                changed = view.changed() => changed.context("the store has ended")?,
                Some((uid, is_done)) = running.next() => {
                    // What is done is not wanted any more as soon as the world says so.
                    let pause = if is_done { AGAIN * 5 } else { AGAIN };
                    standing.insert(uid, Some(Instant::now() + pause));
                }
                () = tokio::time::sleep(AGAIN), if !standing.is_empty() => {}
            }
        }
    }

    async fn bring(&self, waiting: &Waiting) -> bool {
        let Waiting { volume, node, name } = waiting;
        match self.backups.bring(node, volume, &archive(&self.folder, name)).await {
            Ok(()) => {
                tracing::info!(%volume, %node, "filled again");
                true
            }
            Err(why) => {
                tracing::warn!(%volume, %node, %why, "not filled yet");
                false
            }
        }
    }

    /// Removes what nobody wants; says whether anything is left.
    fn tidy(&self, names: &BTreeSet<String>) -> anyhow::Result<bool> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            entries => entries?,
        };
        let mut is_left = false;
        for entry in entries {
            let entry = entry?;
            let is_wanted = names.iter().any(|name| archive(&self.folder, name) == entry.path());
            if is_wanted {
                is_left = true;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        if !is_left {
            std::fs::remove_dir(&self.folder)?;
        }
        Ok(is_left)
    }
}

#[cfg(test)]
mod tests {
    use api::{GroupKind, Revision};
    use serde_json::{Value, json};

    use super::*;

    const HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

    fn object(kind: GroupKind, mut value: Value) -> Object {
        (value["apiVersion"], value["kind"]) = ("v1".into(), kind.kind.into());
        Object::from_tree(kind, value).expect("an object")
    }

    fn claim(name: &str, from: &str, bound: bool) -> Object {
        let mut value = json!({"metadata": {"name": name, "namespace": "shop", "uid": name, "annotations":
            {storage::RESTORED_FROM: format!("{from}@sha256:{HASH}")}}, "spec": {}});
        if bound {
            value["metadata"]["annotations"][storage::BIND_COMPLETED] = "yes".into();
            value["spec"]["volumeName"] = from.into();
        }
        object(kinds::PERSISTENT_VOLUME_CLAIM, value)
    }

    fn volume(name: &str, from: &str, finalizers: Value) -> Object {
        object(
            kinds::PERSISTENT_VOLUME,
            json!({"metadata": {"name": name, "uid": name, "labels": {storage::NODE_LABEL: "n1"}, "finalizers": finalizers,
                "annotations": {storage::FILLED_FROM: from}}, "spec": {}}),
        )
    }

    fn check(objects: Vec<Object>, waiting: &[&str], names: &[&str]) {
        let (found, named) = wanted(&Snapshot::load(Revision(9), objects));
        let told: Vec<String> =
            found.values().map(|it| format!("{} of {} to {}", it.volume, it.name, it.node)).collect();
        assert_eq!(told, waiting);
        assert_eq!(named.iter().map(String::as_str).collect::<Vec<_>>(), names);
    }

    #[test]
    fn an_archive_is_wanted_until_its_claim_has_a_volume() {
        let backup = format!("backup:w@sha256:{HASH}");
        let unfilled = json!([storage::UNFILLED]);
        check(vec![claim("data", "w", false)], &[], &["w"]);
        check(vec![claim("data", "w", false), volume("v", &backup, unfilled.clone())], &["v of w to n1"], &["w"]);
        // Its node has it; the claim is not bound yet.
        check(vec![claim("data", "w", false), volume("v", &backup, json!([]))], &[], &["w"]);
        check(vec![claim("data", "w", true), volume("v", &backup, json!([]))], &[], &[]);
        check(vec![volume("v", "volume:w", unfilled)], &[], &[]);
    }
}
