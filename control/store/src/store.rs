//! The store as the rest of the house sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use parking_lot::Mutex;
use state::{Event, Revision, Snapshot, Txn};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::consensus::{self, Command, Machine, Member, NoPeers, Outcome, Raft};
use crate::identity;
use crate::image::Image;
use crate::log::Log;
use crate::seal::{Keys, Sealer};
use crate::world::{self, World};
use crate::{Config, Interest, LogLimits, MemberId, OpenError, ProposeError, ReadError, Subscription, TooOld};

/// A sole voter that is not the leader after this long has a disk that does not answer.
const ELECTION_TIME_MAX: Duration = Duration::from_secs(30);

/// The cluster's state. Cloning shares it.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<Parts>);

pub(crate) struct Parts {
    member: MemberId,
    world: Arc<World>,
    pub(crate) raft: Raft,
    pub(crate) log: Log,
    pub(crate) image: Image,
    pub(crate) keys: Arc<tokio::sync::Mutex<Keys>>,
    pub(crate) sealer: Sealer,
    /// What goes on beside: the front of the log is let go, and what nobody asks for.
    chores: Mutex<Vec<JoinHandle<()>>>,
}

/// What became of a transaction.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The world right after it.
    pub snapshot: Snapshot,
    /// What it changed, in order; empty if everything was so already.
    pub events: Arc<[Event]>,
}

// === impl Store ===

impl Store {
    /// Opens the store in the configured directory, or makes a new one there with this process as its only member. A sole
    /// member leads when this returns, and everything ever acknowledged is in its snapshot.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        let settings = config.clone();
        let files =
            tokio::task::spawn_blocking(move || Files::open(&settings)).await.map_err(OpenError::consensus)??;
        let Files { member, world, image, log, machine, keys, sealer } = files;
        let settings = consensus::config(config.pace).map_err(OpenError::consensus)?;
        let raft = Raft::new(member, Arc::new(settings), NoPeers, log.clone(), machine).await;
        let raft = raft.map_err(OpenError::consensus)?;
        take_the_lead(&raft, member).await?;
        let trimming = tokio::spawn(trim(raft.clone(), image.clone(), log.clone(), config.log));
        let resting = tokio::spawn(world::rest(world.clone()));
        let chores = Mutex::new(vec![trimming, resting]);
        let keys = Arc::new(tokio::sync::Mutex::new(keys));
        Ok(Self(Arc::new(Parts { member, world, raft, log, image, keys, sealer, chores })))
    }

    /// The number of this member.
    pub fn member(&self) -> MemberId {
        self.0.member
    }

    /// Makes `txn` happen if its guards hold. Returns once it is durable and every reader of this store can see it.
    pub async fn propose(&self, txn: Txn) -> Result<Committed, ProposeError> {
        match self.0.raft.client_write(Command(Arc::new(txn))).await {
            Ok(written) => match written.data {
                Outcome::Committed(committed) => Ok(committed),
                Outcome::Refused(conflict) => Err(conflict.into()),
                Outcome::Nothing => unreachable!("a command's outcome is a commit or a refusal"),
            },
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeader { leader: forward.leader_id })
            }
            Err(error) => {
                tracing::debug!(%error, "a proposal got no answer");
                Err(ProposeError::Closed)
            }
        }
    }

    /// The world as last published here.
    pub fn snapshot(&self) -> Snapshot {
        self.0.world.now()
    }

    /// Every world from now on; a slow reader sees the latest.
    pub fn view(&self) -> watch::Receiver<Snapshot> {
        self.0.world.view()
    }

    /// A world that holds everything acknowledged anywhere before the call.
    pub async fn read(&self) -> Result<Snapshot, ReadError> {
        match self.0.raft.ensure_linearizable(ReadPolicy::LeaseRead).await {
            Ok(_) => Ok(self.snapshot()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(ReadError::NotLeader { leader: forward.leader_id })
            }
            Err(RaftError::APIError(_)) => Err(ReadError::NotLeader { leader: None }),
            Err(RaftError::Fatal(_)) => Err(ReadError::Closed),
        }
    }

    /// The events of interest behind revision `after`.
    pub fn subscribe(&self, interest: impl Into<Interest>, after: Revision) -> Result<Subscription, TooOld> {
        self.0.world.history.subscribe(interest.into(), after)
    }

    /// The world at exactly this revision, if the history reaches back that far.
    pub fn at(&self, revision: Revision) -> Option<Snapshot> {
        self.0.world.at(revision)
    }

    /// The oldest revision from which any watch can resume.
    pub fn oldest(&self) -> Revision {
        self.0.world.history.floor()
    }

    /// Writes out what is still in memory and closes the files. Whatever is proposed afterwards is refused.
    pub async fn shutdown(&self) {
        let chores = std::mem::take(&mut *self.0.chores.lock());
        for chore in chores {
            chore.abort();
            // Aborted on purpose: that is the answer.
            let _ = chore.await;
        }
        if let Err(error) = self.0.raft.shutdown().await {
            tracing::warn!(%error, "consensus did not stop cleanly");
        }
        let (log, image) = (self.0.log.clone(), self.0.image.clone());
        let closed = tokio::task::spawn_blocking(move || {
            log.close();
            image.close();
        });
        if let Err(error) = closed.await {
            tracing::warn!(%error, "the files did not close cleanly");
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("member", &self.0.member).field("world", &self.snapshot()).finish()
    }
}

/// What is on disk, opened.
struct Files {
    member: MemberId,
    world: Arc<World>,
    image: Image,
    log: Log,
    machine: Machine,
    keys: Keys,
    sealer: Sealer,
}

// === impl Files ===

impl Files {
    fn open(config: &Config) -> Result<Self, OpenError> {
        let directory = &config.directory;
        // The world includes secrets.
        let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        created.map_err(|source| OpenError::Io { path: directory.clone(), source })?;
        let keys = Keys::establish(&config.keys)?;
        let sealer = Sealer::new(&keys);
        // The image before the rest: opening it locks the directory.
        let (image, standing, past) = Image::open(&directory.join("image.redb"), config.image, sealer.clone())?;
        let member = identity::establish(directory)?;
        let log = Log::open(&directory.join("log"), config.log, sealer.clone())?;
        let world = Arc::new(World::new(config.history, past.base, past.events, past.world));
        let machine = Machine::new(world.clone(), image.clone(), &standing);
        Ok(Self { member, world, image, log, machine, keys, sealer })
    }
}

/// A member that is alone founds its cluster, or stands for election at once instead of waiting for a leader that cannot be.
/// Winning commits and applies all that the log holds.
async fn take_the_lead(raft: &Raft, member: MemberId) -> Result<(), OpenError> {
    if raft.is_initialized().await.map_err(OpenError::consensus)? {
        if raft.voter_ids().any(|voter| voter != member) {
            return Ok(());
        }
        raft.trigger().elect(false).await.map_err(OpenError::consensus)?;
    } else {
        let alone = BTreeMap::from([(member, Member::default())]);
        raft.initialize(alone).await.map_err(OpenError::consensus)?;
    }
    raft.wait(Some(ELECTION_TIME_MAX))
        .current_leader(member, "a sole member leads")
        .await
        .map_err(OpenError::consensus)?;
    raft.wait_for_recovery(Some(ELECTION_TIME_MAX)).await.map_err(OpenError::consensus)?;
    Ok(())
}

/// Lets go of the front of the log, whenever the image has it and there is much more of it than is worth keeping.
async fn trim(raft: Raft, image: Image, log: Log, limits: LogLimits) {
    loop {
        image.progress().await;
        let Some(upto) = log.surplus(limits) else { continue };
        let trigger = raft.trigger();
        // Purging reaches as far as the last snapshot; the one asked for here serves the next round.
        let trimmed = async {
            trigger.snapshot().await?;
            trigger.purge_log(upto).await
        };
        if trimmed.await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
