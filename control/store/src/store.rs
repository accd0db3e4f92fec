//! The store as the rest of the house sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use parking_lot::Mutex;
use state::{Event, Revision, Snapshot, Txn};
use tokio::sync::watch;

use crate::consensus::{self, Machine, Member, Network, Raft};
use crate::disk::{Disk, Real};
use crate::fault::{Bug, planted};
use crate::image::Image;
use crate::log::Log;
use crate::peers::{self, Peers};
use crate::proposals::Proposals;
use crate::refill::{self, Founding};
use crate::runtime::{self, Task};
use crate::seal::{Keys, Sealer};
use crate::transport::{Connection, Nowhere, Transport};
use crate::world::{self, World};
use crate::{
    Change, ChangeError, Cluster, Config, Interest, LogLimits, MemberId, OpenError, ProposeError, ReadError,
    Subscription, TooOld,
};
use crate::{found, identity};

mod ask;
mod home;
mod read;

use read::Rounds;

/// A sole voter that is not the leader after this long has a disk that does not answer.
const ELECTION_TIME_MAX: Duration = Duration::from_secs(30);

/// The cluster's state. Cloning shares it.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<Parts>);

pub(crate) struct Parts {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    world: Arc<World>,
    pub(crate) raft: Raft,
    pub(crate) log: Log,
    pub(crate) image: Image,
    pub(crate) keys: Arc<tokio::sync::Mutex<Keys>>,
    pub(crate) sealer: Sealer,
    peers: Arc<Peers>,
    proposals: Proposals,
    pub(crate) applied: watch::Receiver<Option<u64>>,
    cluster: watch::Receiver<Cluster>,
    rounds: Rounds,
    /// One change of the members at a time.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// What goes on by itself until the store is shut down.
    tasks: Mutex<Vec<Task<()>>>,
}

/// The place of a store among others.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Where the others reach this member, in the words of the transport.
    pub address: String,
    /// The way to the others.
    pub transport: Arc<dyn Transport>,
    /// Whether a member whose directory is empty founds a cluster. If not, it waits until it is [added](Change::Add) to one.
    pub founds: bool,
}

/// What became of a transaction.
#[derive(Clone, Debug)]
pub struct Committed {
    /// That of the world right after it.
    pub revision: Revision,
    /// What it changed, in order; empty if everything was so already.
    pub events: Arc<[Arc<Event>]>,
}

// === impl Store ===

impl Store {
    /// Opens the store in the configured directory, or makes a new one there with this process as its only member. A sole
    /// member leads when this returns, and everything ever acknowledged is in its snapshot.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        Self::open_at(config, Seat { address: String::new(), transport: Arc::new(Nowhere), founds: true }).await
    }

    /// Opens a member of a cluster of several. One that is not alone returns before it knows who leads. One whose files are not what
    /// was written is filled anew by the others, under a new number: this waits until they have taken it in, for a minute at most.
    pub async fn open_at(config: Config, seat: Seat) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(Real), config, seat).await
    }

    /// Opens a member whose files are on this disk.
    pub(crate) async fn open_on(disk: Arc<dyn Disk>, config: Config, seat: Seat) -> Result<Self, OpenError> {
        let (files, founding) = refill::open(&disk, &config, &seat).await?;
        let seat = Seat { founds: seat.founds && founding == Founding::Possible, ..seat };
        let Files { member, world, image, log, machine, keys, sealer, proposals } = files;
        let settings = consensus::config(config.pace).map_err(OpenError::consensus)?;
        let peers = Arc::new(Peers::new(member, seat.transport.clone()));
        let (network, applied) = (Network::new(peers.clone()), machine.applied());
        let raft = Raft::new(member, Arc::new(settings), network, log.clone(), machine).await;
        let raft = raft.map_err(OpenError::consensus)?;
        take_the_lead(&raft, member, &seat).await?;
        let (publish, cluster) = watch::channel(known(&raft));
        let trimming = runtime::spawn(trim(raft.clone(), image.clone(), log.clone(), config.log));
        let publishing = runtime::spawn(publish_cluster(raft.clone(), publish));
        let resting = runtime::spawn(world::rest(world.clone()));
        let tasks = Mutex::new(vec![trimming, publishing, resting]);
        let keys = Arc::new(tokio::sync::Mutex::new(keys));
        let rounds = Rounds::default();
        let changing = tokio::sync::Mutex::default();
        let (disk, directory) = (disk.share(), config.directory.clone());
        let parts = Parts {
            disk,
            directory,
            world,
            raft,
            log,
            image,
            keys,
            sealer,
            peers,
            proposals,
            applied,
            cluster,
            rounds,
            changing,
            tasks,
        };
        let store = Self(Arc::new(parts));
        let (reading, settling) = (read::run(Arc::downgrade(&store.0)), home::run(Arc::downgrade(&store.0), seat));
        store.0.tasks.lock().extend([runtime::spawn(reading), runtime::spawn(settling)]);
        Ok(store)
    }

    /// The number of this member.
    pub fn member(&self) -> MemberId {
        self.0.member()
    }

    /// Makes `txn` happen if its guards hold. Returns once it is durable and every reader of this store can see it.
    ///
    /// Another member may lead: it is handed the transaction, again and again until somebody has it, and it happens once.
    pub async fn propose(&self, txn: Txn) -> Result<Committed, ProposeError> {
        self.0.propose(txn).await
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
        self.0.read().await
    }

    /// Whether this member leads, and a quorum has just said so too.
    pub async fn leads(&self) -> Result<bool, ReadError> {
        self.0.leads().await
    }

    /// The members and their leader, as known here from now on.
    pub fn cluster(&self) -> watch::Receiver<Cluster> {
        self.0.cluster.clone()
    }

    /// Changes the members. May be asked of any of them.
    pub async fn change(&self, change: Change) -> Result<(), ChangeError> {
        self.0.change(change).await
    }

    /// Answers another member on a connection that it dialled, until that is closed.
    pub async fn serve(&self, connection: Connection) -> io::Result<()> {
        peers::serve(&self.0, connection).await
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

    /// Why it does nothing any more although nobody shut it down, if that is so: its disk failed, or has what nobody wrote.
    pub fn failure(&self) -> Option<String> {
        let running = self.0.raft.metrics().borrow_watched().running_state.clone();
        running.err().filter(|fatal| !matches!(fatal, Fatal::Stopped)).map(|fatal| fatal.to_string())
    }

    /// Writes out what is still in memory and closes the files. Whatever is proposed afterwards is refused.
    pub async fn shutdown(&self) {
        let tasks = std::mem::take(&mut *self.0.tasks.lock());
        for task in tasks {
            task.abort();
            // Aborted on purpose: that is the answer.
            let _ = task.await;
        }
        if let Err(error) = self.0.raft.shutdown().await {
            tracing::warn!(%error, "consensus did not stop cleanly");
        }
        let (log, image) = (self.0.log.clone(), self.0.image.clone());
        let closed = runtime::spawn_blocking(move || {
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
        f.debug_struct("Store").field("member", &self.member()).field("world", &self.snapshot()).finish()
    }
}

// === impl Parts ===

impl Parts {
    pub(crate) fn member(&self) -> MemberId {
        self.peers.member
    }
}

/// What is on disk, opened.
pub(crate) struct Files {
    pub(crate) member: MemberId,
    pub(crate) world: Arc<World>,
    pub(crate) image: Image,
    pub(crate) log: Log,
    pub(crate) machine: Machine,
    keys: Keys,
    sealer: Sealer,
    proposals: Proposals,
}

// === impl Files ===

impl Files {
    pub(crate) fn open(disk: &Arc<dyn Disk>, config: &Config) -> Result<Self, OpenError> {
        let directory = &config.directory;
        // The world includes secrets.
        let created = disk.make_directory(directory);
        created.map_err(|source| OpenError::Io { path: directory.clone(), source })?;
        let keys = Keys::establish(disk, &config.keys)?;
        let sealer = Sealer::new(&keys);
        // The image before the rest: opening it locks the directory.
        let path = directory.join("image.redb");
        let (image, standing, past) = Image::open(&**disk, &path, config.image, sealer.clone())?;
        let member = identity::establish(&**disk, directory)?;
        let log = Log::open(disk, &directory.join("log"), config.log, sealer.clone())?;
        // Every entry was in the log before it was in the image, but for those that nobody ever wrote.
        let written = standing.applied.filter(|applied| *applied != found::BEGINNING);
        if let Some(applied) = written.filter(|_| log.is_new()) {
            let reason = format!("it holds nothing, and the image has entry {} of it", applied.index);
            return Err(OpenError::Damaged { path: directory.join("log"), reason });
        }
        // The log lets go of what the image has, and of nothing else.
        if log.purged() > standing.applied {
            let (applied, purged) = [standing.applied, log.purged()].map(|id| id.map_or(0, |id| id.index)).into();
            let reason = format!("it ends with entry {applied} of the log, which begins behind entry {purged}");
            return Err(OpenError::Damaged { path, reason });
        }
        let world = Arc::new(World::new(config.history, past.base, past.events, past.world));
        let proposals = Proposals::new(u64::from_le_bytes(crate::seal::random()));
        let machine = Machine::new(world.clone(), image.clone(), proposals.clone(), &standing);
        Ok(Self { member, world, image, log, machine, keys, sealer, proposals })
    }

    /// Lets go of them as they are.
    pub(crate) fn close(&self) {
        self.log.close();
        self.image.close();
    }
}

/// A member that is alone founds its cluster, or stands for election at once instead of waiting for a leader that cannot be.
/// Winning commits and applies all that the log holds.
async fn take_the_lead(raft: &Raft, member: MemberId, seat: &Seat) -> Result<(), OpenError> {
    if raft.is_initialized().await.map_err(OpenError::consensus)? {
        // Those of the log, committed or not.
        let metrics = raft.server_metrics().borrow_watched().clone();
        if !Cluster::of(None, &metrics.membership_config).is_alone(member) {
            return Ok(());
        }
        raft.trigger().elect(false).await.map_err(OpenError::consensus)?;
    } else if seat.founds {
        let alone = BTreeMap::from([(member, Member { address: seat.address.clone() })]);
        raft.initialize(alone).await.map_err(OpenError::consensus)?;
    } else {
        return Ok(());
    }
    raft.wait(Some(ELECTION_TIME_MAX))
        .current_leader(member, "a sole member leads")
        .await
        .map_err(OpenError::consensus)?;
    raft.wait_for_recovery(Some(ELECTION_TIME_MAX)).await.map_err(OpenError::consensus)?;
    Ok(())
}

/// The members as far as they are committed, and who leads them.
fn known(raft: &Raft) -> Cluster {
    let metrics = raft.server_metrics().borrow_watched().clone();
    let is_early = planted(Bug::MembershipTooEarly);
    let members = if is_early { &metrics.membership_config } else { &metrics.committed_membership_config };
    Cluster::of(metrics.current_leader, members)
}

async fn publish_cluster(raft: Raft, publish: watch::Sender<Cluster>) {
    let mut metrics = raft.server_metrics();
    loop {
        let now = known(&raft);
        publish.send_if_modified(|last| {
            let is_other = *last != now;
            *last = now;
            is_other
        });
        if metrics.changed().await.is_err() {
            return;
        }
    }
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
