//! Machines with members on them, the network between, and what can be done to both.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::kinds;
use parking_lot::Mutex;
use state::Txn;
use tokio::sync::oneshot;

use super::disk::{Kept, SimulatedDisk};
use super::executor::{Executor, Life};
use super::net::SimulatedNet;
use super::random::Random;
use super::{object, value};
use crate::disk::Disk;
use crate::fault::{self, Bug};
use crate::{Change, Config, OpenError, Peer, Role, Seat, Store, runtime};

/// Whatever is waited for comes to be within this time, once nothing stands in its way.
const RECOVERY: Duration = Duration::from_secs(40);

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(30);

/// What everybody knows. Cloning shares it.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) executor: Executor,
    pub(super) net: SimulatedNet,
    machines: Arc<Mutex<Vec<Machine>>>,
    config: Config,
    ended: Arc<AtomicU64>,
}

struct Machine {
    disk: SimulatedDisk,
    running: Option<(Life, Store)>,
    /// The next process ends in the midst of this change of the disk.
    ends_after: Option<u64>,
}

/// Plays on a new stage, with this mistake in the store if there is one. A panic is no better than what a story says is wrong.
pub(super) fn play<T, F>(
    seed: u64,
    bug: Option<Bug>,
    config: Config,
    story: impl FnOnce(Stage) -> F,
) -> Result<T, String>
where
    T: Send + 'static,
    F: Future<Output = Result<T, String>> + Send + 'static,
{
    let executor = Executor::new(seed);
    let stage = Stage {
        net: SimulatedNet::new(executor.clone()),
        executor: executor.clone(),
        machines: Arc::default(),
        config,
        ended: Arc::default(),
    };
    with(bug, || executor.run(story(stage)))
}

/// Does something with this mistake in the store.
pub(super) fn with<T>(bug: Option<Bug>, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let _planted = fault::plant(bug);
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        Err(said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned())).unwrap_or_default())
    })
}

pub(super) fn address(place: usize) -> String {
    format!("m{place}")
}

pub(super) fn key(name: &str) -> api::Key {
    kinds::CONFIG_MAP.key("n", name)
}

// === impl Stage ===

impl Stage {
    /// So many members that are one cluster, each with a vote.
    pub(super) async fn found(&self, members: usize) -> Result<(), String> {
        for place in 0..members {
            self.machines.lock().push(Machine { disk: SimulatedDisk::new(), running: None, ends_after: None });
            self.open(place, place == 0).await?;
            if place > 0 {
                let peer = Peer { member: self.store(place).ok_or("it ended")?.1.member(), address: address(place) };
                self.changes(0, Change::Add(peer)).await?;
            }
        }
        self.whole(members).await
    }

    /// Waits until there are so many members, all with a vote, and those that run are they.
    pub(super) async fn whole(&self, members: usize) -> Result<(), String> {
        self.within("all have votes", || async move {
            let running: Vec<_> =
                (0..members).map(|place| Some(self.store(place)?.1.member())).collect::<Option<_>>()?;
            let cluster = self.store(0)?.1.cluster().borrow().clone();
            let has_vote = |member: &u64| cluster.get(*member).is_some_and(|standing| standing.role == Role::Voter);
            let are_all = cluster.members.len() == members && running.iter().all(has_vote);
            (are_all && !cluster.is_changing).then_some(())
        })
        .await
    }

    pub(super) fn toss<T>(&self, toss: impl FnOnce(&mut Random) -> T) -> T {
        self.executor.random(toss)
    }

    /// A member that runs, and its process.
    pub(super) fn store(&self, place: usize) -> Option<(Life, Store)> {
        let machines = self.machines.lock();
        machines[place].running.clone().filter(|(life, _)| self.executor.is_alive(*life))
    }

    pub(super) fn disk(&self, place: usize) -> SimulatedDisk {
        self.machines.lock()[place].disk.clone()
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn machines(&self) -> usize {
        self.machines.lock().len()
    }

    /// How often a process was ended.
    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Has a member do something, in its own process. None if it ended meanwhile.
    pub(super) async fn ask<T, F>(&self, place: usize, ask: impl FnOnce(Store) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (life, store) = self.store(place)?;
        let (tell, told) = oneshot::channel();
        let asking = ask(store);
        drop(runtime::spawn_of(&self.executor, Some(life), async move {
            // Whoever asked may have lost patience.
            let _ = tell.send(asking.await);
        }));
        told.await.ok()
    }

    pub(super) async fn within<T, F: Future<Output = Option<T>> + Send>(
        &self,
        what: &str,
        ask: impl Fn() -> F + Send,
    ) -> Result<T, String> {
        let deadline = self.executor.now() + RECOVERY;
        while self.executor.now() < deadline {
            if let Some(found) = ask().await {
                return Ok(found);
            }
            runtime::sleep(LOOK).await;
        }
        Err(format!("never: {what}"))
    }

    /// Starts a member in a new process; one that does not open is wrong.
    pub(super) async fn start(&self, place: usize) -> Result<(), String> {
        self.open(place, false).await
    }

    /// The same, of one whose process ends in the midst of this change of its disk.
    pub(super) async fn start_until(&self, place: usize, change: u64) -> Result<(), String> {
        self.machines.lock()[place].ends_after = Some(change);
        self.open(place, false).await
    }

    /// Gives a machine another disk.
    pub(super) fn put(&self, place: usize, disk: SimulatedDisk) {
        self.machines.lock()[place].disk = disk;
    }

    async fn open(&self, place: usize, founds: bool) -> Result<(), String> {
        match self.try_open(place, founds).await {
            Some(Err(error)) => Err(format!("member {place} does not open: {error}")),
            // It was ended while it opened.
            Some(Ok(())) | None => Ok(()),
        }
    }

    async fn try_open(&self, place: usize, founds: bool) -> Option<Result<(), OpenError>> {
        let life = self.executor.begin();
        let disk = self.disk(place).next(Some(life));
        if let Some(changes) = self.machines.lock()[place].ends_after.take() {
            disk.end_after(changes);
        }
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let seat = Seat { address: address(place), transport: self.net.transport(&address(place)), founds };
        let opening = runtime::spawn_of(&self.executor, Some(life), Store::open_on(disk, self.config.clone(), seat));
        let opened = match opening.await.ok()? {
            Ok(opened) => opened,
            // What it was told when it was ended is no more of interest.
            Err(error) => return self.executor.is_alive(life).then_some(Err(error)),
        };
        self.net.attach(&address(place), life, opened.clone());
        self.machines.lock()[place].running = Some((life, opened));
        Some(Ok(()))
    }

    /// Ends the process of a member, and perhaps the power of its machine.
    pub(super) fn end(&self, place: usize, power: Option<Kept>) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        let running = self.machines.lock()[place].running.take();
        if power.is_some() {
            self.net.silence(&address(place));
        }
        self.net.detach(&address(place));
        if let Some((life, store)) = running {
            self.executor.end(life);
            drop(store);
        }
        let disk = self.disk(place).next(None);
        if let Some(kept) = power {
            self.toss(|random| {
                let mut random = Random::new(random.next());
                disk.fail(kept, &mut random);
            });
        }
    }

    /// The power of all machines fails, and comes back.
    pub(super) async fn black_out(&self, kept: Kept) -> Result<(), String> {
        for place in 0..self.machines() {
            self.end(place, Some(kept));
        }
        for place in 0..self.machines() {
            self.start(place).await?;
        }
        Ok(())
    }

    /// Nothing comes from this machine to others, nor from them to it.
    pub(super) fn isolate(&self, place: usize) {
        for other in (0..self.machines()).filter(|other| *other != place) {
            self.net.cut(&address(place), &address(other));
            self.net.cut(&address(other), &address(place));
        }
    }

    /// Some member that runs, leads, and is none of these.
    pub(super) async fn leader_beside(&self, beside: &[usize]) -> Result<usize, String> {
        self.within("somebody leads", || async move {
            for place in (0..self.machines()).filter(|place| !beside.contains(place)) {
                if self.ask(place, |store| async move { store.leads().await }).await == Some(Ok(true)) {
                    return Some(place);
                }
            }
            None
        })
        .await
    }

    pub(super) async fn leader(&self) -> Result<usize, String> {
        self.leader_beside(&[]).await
    }

    /// The other places.
    pub(super) fn beside(&self, place: usize) -> Vec<usize> {
        (0..self.machines()).filter(|other| *other != place).collect()
    }

    /// Has a member write, until that is acknowledged.
    pub(super) async fn writes(&self, place: usize, name: &str, value: u64) -> Result<(), String> {
        self.within(&format!("member {place} takes a write"), || {
            let txn = Txn::default().put(object(name, value));
            async move { self.ask(place, move |store| async move { store.propose(txn).await }).await?.ok().map(drop) }
        })
        .await
    }

    /// What a member says that there is; none where it says nothing.
    pub(super) async fn reads(&self, place: usize, name: &str) -> Option<Option<u64>> {
        let world = self.ask(place, |store| async move { store.read().await }).await?.ok()?;
        Some(world.get(&key(name)).map(value))
    }

    /// Has a member change the members, until that is done.
    pub(super) async fn changes(&self, place: usize, change: Change) -> Result<(), String> {
        self.within(&format!("{change:?}"), || {
            let change = change.clone();
            async move { self.ask(place, move |store| async move { store.change(change).await }).await?.ok() }
        })
        .await
    }

    /// Waits until all that run have applied everything, and says whether they then hold the same.
    pub(super) async fn agree(&self) -> Result<(), String> {
        let leader = self.leader().await?;
        self.writes(leader, "agreed", self.toss(Random::next) >> 1).await?;
        let upto = self.store(leader).ok_or("it ended")?.1.0.log.last();
        for place in 0..self.machines() {
            let Some((_, store)) = self.store(place) else { continue };
            self.within(&format!("member {place} has everything"), || {
                let applied = store.applied();
                async move { (applied >= upto.map(|id| id.index)).then_some(()) }
            })
            .await?;
        }
        // Others may go on writing: they are compared when all have applied as much.
        let worlds = self.within("all have applied as much", || async move {
            let stores = || (0..self.machines()).filter_map(|place| Some(self.store(place)?.1));
            let applied: Vec<_> = stores().map(|store| store.applied()).collect();
            let is_same = applied.windows(2).all(|two| two[0] == two[1]);
            is_same.then(|| stores().map(|store| store.snapshot()).collect::<Vec<_>>())
        });
        let worlds = worlds.await?;
        let first = worlds.first().ok_or("nobody is there")?;
        if worlds.iter().all(|world| world.revision() == first.revision() && world.objects().eq(first.objects())) {
            return Ok(());
        }
        let revisions: Vec<_> = worlds.iter().map(state::Snapshot::revision).collect();
        Err(format!("members hold different worlds, at {revisions:?}"))
    }
}

impl Store {
    /// How far the log is applied.
    pub(super) fn applied(&self) -> Option<u64> {
        *self.0.applied.borrow()
    }
}
