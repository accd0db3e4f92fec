//! Snapshots that a server takes by itself, as the [schedule](super::schedule) says.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use api::{Object, kinds};
use apiserver::{Backup, BackupExtent, BackupImages, Backups};
use jiff::Timestamp;
use serde_json::Value;
use state::{Guard, Txn};
use store::backup::Tally;
use store::{ProposeError, Store};

use super::schedule::{self, BEGUN, LAST, LEFT, Schedule, Standing, TROUBLE};
use super::{name, prefix, told_left, volumes};
use crate::args::WantedSchedule;

/// Between two looks at the schedule: who changes it does not wait long.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What is noted loses against others who write the same at one time, but not for ever.
const TRIES: usize = 5;

/// What a server is started with, in the words of the schedule.
pub(crate) fn wanted(args: &WantedSchedule) -> anyhow::Result<BTreeMap<String, String>> {
    schedule::words(args).context("the schedule of snapshots")
}

/// A server that takes snapshots.
pub(crate) struct Keeping {
    /// What the schedule is to say.
    pub(crate) wanted: BTreeMap<String, String>,
    /// Whether there is to be a schedule where nobody has said anything.
    pub(crate) is_usual: bool,
    /// From where folders are taken that are not absolute.
    pub(crate) base: PathBuf,
    pub(crate) store: Store,
    pub(crate) backups: Backups,
}

// === impl Keeping ===

impl Keeping {
    /// Takes snapshots until `shutdown`.
    pub(crate) async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut is_said = false;
        loop {
            let looking = async {
                if !is_said {
                    is_said = self.say().await?;
                }
                self.look().await
            };
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                looked = looking => if let Err(error) = looked {
                    tracing::warn!(error = format!("{error:#}"), "no snapshot");
                },
            }
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Has the schedule say what this server was started with; false if that cannot be yet.
    async fn say(&self) -> anyhow::Result<bool> {
        let world = self.store.snapshot();
        let key = schedule::key();
        let home = kinds::NAMESPACE.cluster_key(key.namespace());
        let txn = match world.get(&key) {
            None if world.get(&home).is_none() => return Ok(false),
            None if self.wanted.is_empty() && !self.is_usual => return Ok(true),
            None => {
                let mut data = schedule::usual();
                data.extend(self.wanted.clone());
                let mut map = schedule::object(&data)?.into_value()?;
                map["metadata"]["uid"] = uuid::Uuid::new_v4().to_string().into();
                map["metadata"]["creationTimestamp"] = written(Timestamp::now()).into();
                Txn::create(Object::from_tree(kinds::CONFIG_MAP, map)?).guard(Guard::Alive(home))
            }
            Some(_) if self.wanted.is_empty() => return Ok(true),
            Some(found) => replaced(found, |map| {
                for (name, value) in &self.wanted {
                    map["data"][name] = value.as_str().into();
                }
            })?,
        };
        Ok(self.store.propose(txn).await.is_ok())
    }

    /// Takes one if it is time.
    async fn look(&self) -> anyhow::Result<()> {
        let world = self.store.snapshot();
        let Some(found) = world.get(&schedule::key()) else { return Ok(()) };
        let schedule = Schedule::read(found)?;
        let begun = found.meta().annotations.get(BEGUN).and_then(|begun| begun.parse().ok());
        let now = Timestamp::now();
        let last = begun.or(found.meta().creation_timestamp).unwrap_or(now);
        if schedule.wait(last, self.standing(), now).is_none_or(|wait| !wait.is_zero()) {
            return Ok(());
        }
        let begin = replaced(found, |map| map["metadata"]["annotations"][BEGUN] = written(now).into())?;
        match self.store.propose(begin).await {
            Ok(_) => {}
            // Another was faster, or nobody leads.
            Err(ProposeError::Conflict(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let taken = self.take(&schedule).await;
        self.note(&taken).await;
        let (taken, _) = taken?;
        tracing::info!(name = taken, to = %schedule.to, "snapshot");
        Ok(())
    }

    fn standing(&self) -> Standing {
        let cluster = self.store.cluster().borrow().clone();
        let leads = cluster.leader == Some(self.store.member()) && cluster.voters() > 1;
        if leads { Standing::Leader } else { Standing::Other }
    }

    /// Takes one now, and removes those that are too many; its name, and what came of the volumes.
    async fn take(&self, schedule: &Schedule) -> anyhow::Result<(String, Tally)> {
        let place = schedule.to.clone().below(&self.base);
        let images = if schedule.images { BackupImages::Taken } else { BackupImages::Left };
        let extent = BackupExtent { images, volumes: volumes(schedule.volumes), namespaces: Vec::new() };
        let backup = self.backups.begin(&extent).await?;
        let (name, prefix) = (name(backup.contents()), prefix(backup.contents()));
        place.sweep(SystemTime::now())?;
        let made = place.workshop()?.join(format!(".{}.new", uuid::Uuid::new_v4().simple()));
        let file = made.clone();
        let kept = match tokio::task::spawn_blocking(move || write(&backup, &file)).await? {
            Ok(tally) => place.keep(&made, &name).await.map(|()| tally),
            Err(error) => Err(error),
        };
        if kept.is_err() {
            // What was not begun need not be removed.
            let _ = std::fs::remove_file(&made);
        }
        let tally = kept?;
        let names = place.names().await?;
        for surplus in schedule.surplus(&names, &prefix) {
            place.remove(surplus).await?;
        }
        Ok((name, tally))
    }

    /// Has the schedule tell what became of it.
    async fn note(&self, taken: &anyhow::Result<(String, Tally)>) {
        for _ in 0..TRIES {
            let world = self.store.snapshot();
            let Some(found) = world.get(&schedule::key()) else { return };
            let noted = replaced(found, |map| {
                let Some(annotations) = map["metadata"]["annotations"].as_object_mut() else { return };
                match taken {
                    Ok((name, tally)) => {
                        annotations.remove(TROUBLE);
                        annotations.remove(LEFT);
                        annotations.insert(LAST.into(), name.as_str().into());
                        annotations.extend(told_left(tally).map(|left| (LEFT.to_owned(), left.into())));
                    }
                    Err(error) => drop(annotations.insert(TROUBLE.into(), format!("{error:#}").into())),
                }
            });
            let Ok(noted) = noted else { return };
            if !matches!(self.store.propose(noted).await, Err(ProposeError::Conflict(_))) {
                return;
            }
        }
    }
}

fn write(backup: &Backup, path: &Path) -> anyhow::Result<Tally> {
    let written = || -> anyhow::Result<Tally> {
        let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        let mut out = BufWriter::new(file);
        let tally = backup.write(&mut out)?;
        out.flush()?;
        out.get_ref().sync_all()?;
        Ok(tally)
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

/// The object after an edit, if it is still what was looked at.
fn replaced(object: &Object, edit: impl FnOnce(&mut Value)) -> anyhow::Result<Txn> {
    let mut value = object.to_value()?;
    edit(&mut value);
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    Ok(Txn::replace(object, Object::from_tree(object.key().kind(), value)?))
}

fn written(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
