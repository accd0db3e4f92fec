//! A cluster, clients and misfortune: one seed decides all of it.
//!
//! Members are whole stores on simulated machines. Clients write and read through them and note when they asked and what they were
//! told; watchers note every event. Meanwhile the network is cut, members are killed, lose their power in the midst of a write,
//! sleep or have their clocks jump. In the end all is well again, and what was noted is judged.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use api::kinds;
use parking_lot::Mutex;
use state::{Event, Guard, Revision, Txn};
use tokio::sync::oneshot;

use super::check::{Ask, Operation, Told, linearizable};
use super::disk::{Kept, SimulatedDisk};
use super::executor::{Executor, Life};
use super::net::SimulatedNet;
use super::random::Random;
use super::{object, settings, value};
use crate::disk::Disk;
use crate::fault::{self, Bug};
use crate::history::Limits;
use crate::{Change, Interest, Peer, ProposeError, Role, Seat, Store, runtime};

const MEMBERS: usize = 3;
const CLIENTS: u64 = 3;
const KEYS: u64 = 3;

/// How long misfortune lasts.
const TROUBLE: Duration = Duration::from_millis(1_600);

/// After it everything is as it should be within this time.
const RECOVERY: Duration = Duration::from_secs(40);

/// A client that was not answered by then does something else.
const PATIENCE: Duration = Duration::from_millis(1_200);

/// How a story went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// The same wherever everything went the same way.
    pub(crate) trace: u64,
    pub(crate) operations: usize,
    pub(crate) acknowledged: usize,
    pub(crate) events: usize,
    pub(crate) crashes: u64,
    /// How often a member noticed that its files are not what was written.
    pub(crate) noticed: u64,
    pub(crate) steps: u64,
}

/// What happens to the members.
#[derive(Clone, Copy, Debug)]
enum Misfortune {
    Everything,
    /// Bits turn in the files of one member while it is down.
    Decay,
}

/// What everybody knows.
#[derive(Clone)]
struct Stage {
    executor: Executor,
    net: SimulatedNet,
    members: Arc<Mutex<Vec<Member>>>,
    notes: Arc<Mutex<Notes>>,
}

struct Member {
    disk: SimulatedDisk,
    running: Option<(Life, Store)>,
}

#[derive(Default)]
struct Notes {
    history: Vec<Operation>,
    /// For each write that was acknowledged: its key, its value and its revision.
    acknowledged: Vec<(String, Option<u64>, Revision)>,
    /// What every revision wrote, as the first who told of it said.
    truth: BTreeMap<Revision, (String, Option<u64>)>,
    wrong: Vec<String>,
    next_value: u64,
    events: usize,
    crashes: u64,
    noticed: u64,
    is_over: bool,
}

/// Plays the story of this seed, with this mistake in the store if there is one.
pub(crate) fn play(seed: u64, bug: Option<Bug>) -> Result<Report, String> {
    run(seed, bug, Misfortune::Everything)
}

/// Plays one in which nothing happens but that bits turn in the files of one member.
pub(crate) fn decay(seed: u64) -> Result<Report, String> {
    run(seed, None, Misfortune::Decay)
}

fn run(seed: u64, bug: Option<Bug>, misfortune: Misfortune) -> Result<Report, String> {
    let _planted = fault::plant(bug);
    let executor = Executor::new(seed);
    let stage = Stage {
        net: SimulatedNet::new(executor.clone()),
        executor: executor.clone(),
        members: Arc::default(),
        notes: Arc::default(),
    };
    let played = std::panic::catch_unwind(AssertUnwindSafe(|| executor.run(stage.clone().play(misfortune))));
    match played {
        Ok(outcome) => outcome,
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            Err(said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned())).unwrap_or_default())
        }
    }
}

fn address(place: usize) -> String {
    format!("m{place}")
}

fn key(name: &str) -> api::Key {
    kinds::CONFIG_MAP.key("n", name)
}

// === impl Stage ===

impl Stage {
    async fn play(self, misfortune: Misfortune) -> Result<Report, String> {
        for place in 0..MEMBERS {
            self.members.lock().push(Member { disk: SimulatedDisk::new(), running: None });
            self.start(place, place == 0).await?;
            if place > 0 {
                let peer = Peer { member: self.store(place).ok_or("it ended")?.1.member(), address: address(place) };
                self.within("it is added", || {
                    let (stage, peer) = (self.clone(), peer.clone());
                    async move {
                        stage.ask(0, move |store| async move { store.change(Change::Add(peer)).await }).await?.ok()
                    }
                })
                .await?;
            }
        }
        self.within("all have votes", || {
            let stage = self.clone();
            async move {
                let cluster = stage.store(0)?.1.cluster().borrow().clone();
                let votes = cluster.members.iter().filter(|standing| standing.role == Role::Voter).count();
                (votes == MEMBERS && !cluster.is_changing).then_some(())
            }
        })
        .await?;
        let mut tasks: Vec<_> = (0..CLIENTS).map(|number| runtime::spawn(self.clone().client(number))).collect();
        tasks.extend((0..MEMBERS).map(|place| runtime::spawn(self.clone().watcher(place))));
        tasks.push(runtime::spawn(self.clone().narrow_watcher()));
        match misfortune {
            Misfortune::Everything => self.trouble().await?,
            Misfortune::Decay => self.rot().await?,
        }
        self.recover().await?;
        self.notes.lock().is_over = true;
        for task in tasks {
            let _ = runtime::timeout(PATIENCE * 3, task).await;
        }
        self.judge()
    }

    fn toss<T>(&self, toss: impl FnOnce(&mut Random) -> T) -> T {
        self.executor.random(toss)
    }

    fn store(&self, place: usize) -> Option<(Life, Store)> {
        let members = self.members.lock();
        members[place].running.clone().filter(|(life, _)| self.executor.is_alive(*life))
    }

    fn wrong(&self, what: String) {
        self.notes.lock().wrong.push(what);
    }

    /// Asks something of a member, in its own process. None if it ended meanwhile.
    async fn ask<T, F>(&self, place: usize, ask: impl FnOnce(Store) -> F) -> Option<T>
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

    async fn within<F: Future<Output = Option<()>> + Send>(
        &self,
        what: &str,
        ask: impl Fn() -> F + Send,
    ) -> Result<(), String> {
        let deadline = self.executor.now() + RECOVERY;
        while self.executor.now() < deadline {
            if ask().await.is_some() {
                return Ok(());
            }
            runtime::sleep(Duration::from_millis(30)).await;
        }
        Err(format!("never: {what}"))
    }

    /// Starts a member in a new process.
    async fn start(&self, place: usize, founds: bool) -> Result<(), String> {
        let life = self.executor.begin();
        let disk: Arc<dyn Disk> = Arc::new(self.members.lock()[place].disk.next(Some(life)));
        let seat = Seat { address: address(place), transport: self.net.transport(&address(place)), founds };
        let config = crate::Config { history: Limits { events_max: 60, ..Limits::default() }, ..settings() };
        let opening = runtime::spawn_of(&self.executor, Some(life), Store::open_on(disk, config, seat));
        let opened = match opening.await {
            Ok(opened) => opened.map_err(|error| format!("member {place} does not open: {error}"))?,
            // It was ended while it opened.
            Err(_) => return Ok(()),
        };
        self.net.attach(&address(place), life, opened.clone());
        self.members.lock()[place].running = Some((life, opened));
        Ok(())
    }

    /// Ends the process of a member, and perhaps the power of its machine.
    fn end(&self, place: usize, power: Option<Kept>) {
        self.notes.lock().crashes += 1;
        let running = self.members.lock()[place].running.take();
        if power.is_some() {
            self.net.silence(&address(place));
        }
        self.net.detach(&address(place));
        if let Some((life, store)) = running {
            self.executor.end(life);
            drop(store);
        }
        let disk = self.members.lock()[place].disk.next(None);
        if let Some(kept) = power {
            self.toss(|random| {
                let mut random = Random::new(random.next());
                disk.fail(kept, &mut random);
            });
        }
    }

    // --- clients

    async fn client(self, number: u64) {
        while !self.notes.lock().is_over {
            let pause = self.toss(|random| random.range(5, 40));
            runtime::sleep(Duration::from_millis(pause)).await;
            let place = self.toss(|random| random.below(MEMBERS as u64)) as usize;
            let name = format!("k{}", self.toss(|random| random.below(KEYS)));
            let Some((life, store)) = self.store(place) else { continue };
            let (kind, fresh) = (self.toss(|random| random.below(10)), {
                let mut notes = self.notes.lock();
                notes.next_value += 1;
                notes.next_value * 10 + number
            });
            // What a swap expects is what its client saw, here, perhaps long ago.
            let seen = store.snapshot().get(&key(&name)).map(|object| (value(object), object.revision()));
            let ask = match kind {
                0..4 => Ask::Read,
                4..7 => Ask::Put(fresh),
                7 => Ask::Remove,
                _ => Ask::Swap { expected: seen.map(|(value, _)| value), new: fresh },
            };
            let asked_at = self.executor.now().as_nanos() as u64;
            let (tell, told) = oneshot::channel();
            drop(runtime::spawn_of(
                &self.executor,
                Some(life),
                answer(store, name.clone(), ask.clone(), seen.map(|(_, at)| at), tell),
            ));
            let told = runtime::timeout(PATIENCE, told).await;
            let (told, revision) = told.ok().and_then(Result::ok).unwrap_or((Told::Unknown, None));
            let mut notes = self.notes.lock();
            let written = match ask {
                Ask::Put(value) | Ask::Swap { new: value, .. } => Some(Some(value)),
                Ask::Remove => Some(None),
                Ask::Read => None,
            };
            if let (Some(written), Told::Done, Some(revision)) = (written, &told, revision) {
                notes.acknowledged.push((name.clone(), written, revision));
            }
            let told_at = self.executor.now().as_nanos() as u64;
            notes.history.push(Operation { key: name, asked_at, told_at, ask, told });
        }
    }

    // --- watchers

    /// Watches everything, at a member as long as it is there and then at another, from where it was.
    async fn watcher(self, place: usize) {
        let (mut at, mut reached) = (place, Revision::ZERO);
        while !self.notes.lock().is_over {
            let Some((life, store)) = self.store(at) else {
                runtime::sleep(Duration::from_millis(20)).await;
                at = (at + 1) % MEMBERS;
                continue;
            };
            let Ok(mut watch) = store.subscribe(kinds::CONFIG_MAP, reached) else {
                // Too old: it lists again.
                reached = store.snapshot().revision().max(reached);
                continue;
            };
            loop {
                let next = runtime::timeout(Duration::from_millis(300), watch.next()).await;
                if !self.executor.is_alive(life) {
                    break;
                }
                let events = match next {
                    Ok(Ok(events)) => events,
                    Ok(Err(_)) => break,
                    Err(_) if self.notes.lock().is_over => return,
                    Err(_) => Vec::new(),
                };
                for event in &events {
                    if event.revision != reached.next() {
                        self.wrong(format!(
                            "the watch at member {at} had everything up to {reached}, and is told of {}",
                            event.revision
                        ));
                    }
                    self.witness(event, at);
                    reached = event.revision;
                }
                if watch.reached() < reached {
                    self.wrong(format!("a bookmark of {} after {reached}", watch.reached()));
                }
                reached = watch.reached();
                if self.toss(|random| random.one_in(12)) {
                    break;
                }
            }
            if self.toss(|random| random.one_in(3)) {
                at = (at + 1) % MEMBERS;
            }
        }
    }

    fn witness(&self, event: &Event, place: usize) {
        let told = (event.key().name().to_owned(), event.after().map(value));
        let mut notes = self.notes.lock();
        notes.events += 1;
        let known = notes.truth.entry(event.revision).or_insert_with(|| told.clone()).clone();
        if known != told {
            notes
                .wrong
                .push(format!("member {place} tells that {} wrote {told:?}, another told {known:?}", event.revision));
        }
    }

    /// Watches one object, and is told of it what those who watch everything are told.
    async fn narrow_watcher(self) {
        let mut reached = Revision::ZERO;
        let mut told: BTreeSet<Revision> = BTreeSet::new();
        let mut seen: Vec<(Revision, Revision)> = Vec::new();
        let mut at = 0;
        while !self.notes.lock().is_over {
            runtime::sleep(Duration::from_millis(15)).await;
            at = (at + usize::from(self.toss(|random| random.one_in(9)))) % MEMBERS;
            let Some((_, store)) = self.store(at) else {
                at = (at + 1) % MEMBERS;
                continue;
            };
            let Ok(mut watch) = store.subscribe(Interest::Object(key("k0")), reached) else {
                reached = store.snapshot().revision().max(reached);
                continue;
            };
            let begun = reached;
            for _ in 0..3 {
                runtime::sleep(Duration::from_millis(20)).await;
                let Ok(events) = watch.ready() else { break };
                for event in events {
                    if event.revision <= reached || !told.insert(event.revision) {
                        self.wrong(format!("{} was told twice", event.revision));
                    }
                    reached = event.revision;
                }
                reached = reached.max(watch.reached());
            }
            seen.push((begun, reached));
        }
        let notes = self.notes.lock();
        let missed = notes.truth.iter().find(|(revision, (name, _))| {
            name == "k0" && seen.iter().any(|(from, to)| from < revision && *revision <= to) && !told.contains(revision)
        });
        let missed = missed.map(|(revision, _)| format!("a watch of one object was not told of {revision}"));
        drop(notes);
        if let Some(missed) = missed {
            self.wrong(missed);
        }
    }

    // --- misfortune

    async fn trouble(&self) -> Result<(), String> {
        let end = self.executor.now() + TROUBLE;
        while self.executor.now() < end {
            runtime::sleep(Duration::from_millis(self.toss(|random| random.range(60, 350)))).await;
            let place = self.toss(|random| random.below(MEMBERS as u64)) as usize;
            let other = (place + 1 + self.toss(|random| random.below(MEMBERS as u64 - 1)) as usize) % MEMBERS;
            match self.toss(|random| random.below(16)) {
                0 | 1 => self.crash(place, None).await?,
                2 => self.crash(place, Some(Kept::Nothing)).await?,
                3 => self.crash(place, Some(Kept::Beginning)).await?,
                4 => self.crash(place, Some(Kept::Any)).await?,
                5 | 6 => self.crash_while_writing(place).await?,
                7 => self.net.cut(&address(place), &address(other)),
                8 => {
                    for other in (0..MEMBERS).filter(|other| *other != place) {
                        self.net.cut(&address(place), &address(other));
                        self.net.cut(&address(other), &address(place));
                    }
                }
                9 | 10 => self.net.heal(),
                11 => self.net.break_one(),
                12 => self.net.slow_down(Duration::from_millis(self.toss(|random| random.below(80)))),
                13 => {
                    if let Some((life, _)) = self.store(place) {
                        self.executor.stop(life, Duration::from_millis(self.toss(|random| random.range(50, 1_500))));
                    }
                }
                14 => {
                    if let Some((life, _)) = self.store(place) {
                        self.executor.jump(life, Duration::from_millis(self.toss(|random| random.range(50, 3_000))));
                    }
                }
                _ => {
                    // All at once.
                    for place in 0..MEMBERS {
                        self.end(place, Some(Kept::Any));
                    }
                    for place in 0..MEMBERS {
                        self.start(place, false).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn crash(&self, place: usize, power: Option<Kept>) -> Result<(), String> {
        self.end(place, power);
        runtime::sleep(Duration::from_millis(self.toss(|random| random.range(1, 600)))).await;
        self.start(place, false).await
    }

    /// Has the power fail in the midst of some write that is still to come.
    async fn crash_while_writing(&self, place: usize) -> Result<(), String> {
        let Some((life, _)) = self.store(place) else { return self.start(place, false).await };
        let disk = self.members.lock()[place].disk.clone();
        disk.end_after(self.toss(|random| random.below(40)));
        for _ in 0..30 {
            runtime::sleep(Duration::from_millis(10)).await;
            if !self.executor.is_alive(life) {
                break;
            }
        }
        let kept = self.toss(|random| [Kept::Nothing, Kept::Beginning, Kept::Any][random.below(3) as usize]);
        self.crash(place, Some(kept)).await
    }

    /// A member is stopped, a bit of its files turns, and it is started again: it notices, or it was nothing. One that has noticed
    /// gets an empty disk and a new number, and the others fill it.
    async fn rot(&self) -> Result<(), String> {
        for _ in 0..4 {
            runtime::sleep(Duration::from_millis(self.toss(|random| random.range(200, 500)))).await;
            let place = self.toss(|random| random.below(MEMBERS as u64)) as usize;
            let old = self.store(place).ok_or("nobody ends here")?.1.member();
            self.end(place, None);
            let disk = self.members.lock()[place].disk.clone();
            let files = disk.files();
            let (path, length) = &files[self.toss(|random| random.below(files.len() as u64)) as usize];
            disk.flip(path, self.toss(|random| random.below(*length as u64 * 8)));
            let mut has_noticed = self.start(place, false).await.is_err();
            if let Some((life, store)) = self.store(place) {
                // What lies in the log is looked at when it is read.
                runtime::sleep(Duration::from_millis(400)).await;
                let asked = runtime::spawn_of(&self.executor, Some(life), async move { store.leads().await }).await;
                has_noticed = matches!(asked, Ok(Err(_)));
            }
            if has_noticed {
                self.notes.lock().noticed += 1;
                self.replace(place, old).await?;
            }
        }
        Ok(())
    }

    async fn replace(&self, place: usize, old: u64) -> Result<(), String> {
        self.end(place, None);
        self.members.lock()[place].disk = SimulatedDisk::new();
        self.start(place, false).await?;
        let new = self.store(place).ok_or("nobody ends here")?.1.member();
        let peer = Peer { member: new, address: address(place) };
        // It asks for its vote by itself.
        for change in [Change::Add(peer), Change::Remove(old)] {
            self.within(&format!("{change:?}"), || {
                let (stage, change) = (self.clone(), change.clone());
                async move {
                    let other = (place + 1) % MEMBERS;
                    stage.ask(other, move |store| async move { store.change(change).await }).await?.ok()
                }
            })
            .await?;
        }
        Ok(())
    }

    async fn recover(&self) -> Result<(), String> {
        self.net.heal();
        for place in 0..MEMBERS {
            if self.store(place).is_none() {
                self.end(place, None);
                self.start(place, false).await?;
            }
        }
        for place in 0..MEMBERS {
            self.within(&format!("member {place} takes a write again"), || {
                let stage = self.clone();
                let txn = Txn::default().put(object(&format!("last{place}"), u64::MAX - place as u64));
                async move {
                    let asked = stage.ask(place, move |store| async move { store.propose(txn).await }).await;
                    asked.and_then(Result::ok).map(drop)
                }
            })
            .await?;
        }
        let most = (0..MEMBERS).filter_map(|place| Some(self.store(place)?.1.snapshot().revision())).max();
        for place in 0..MEMBERS {
            self.within(&format!("member {place} has everything"), || {
                let stage = self.clone();
                async move { (Some(stage.store(place)?.1.snapshot().revision()) >= most).then_some(()) }
            })
            .await?;
        }
        // The watchers catch up.
        runtime::sleep(Duration::from_millis(700)).await;
        Ok(())
    }

    // --- judgement

    fn judge(&self) -> Result<Report, String> {
        let worlds: Vec<_> = (0..MEMBERS).filter_map(|place| Some(self.store(place)?.1.snapshot())).collect();
        let notes = self.notes.lock();
        if let Some(wrong) = notes.wrong.first() {
            return Err(wrong.clone());
        }
        for world in &worlds {
            if world.revision() == worlds[0].revision() && !world.objects().eq(worlds[0].objects()) {
                return Err("two members hold different worlds".into());
            }
        }
        let world = &worlds[0];
        let mut written: BTreeMap<Revision, &(String, Option<u64>, Revision)> = BTreeMap::new();
        for acknowledged in &notes.acknowledged {
            let (name, value, revision) = acknowledged;
            if let Some(other) = written.insert(*revision, acknowledged) {
                return Err(format!("{acknowledged:?} and {other:?} were both acknowledged"));
            }
            if let Some(truth) = notes.truth.get(revision)
                && (&truth.0, &truth.1) != (name, value)
            {
                return Err(format!("{acknowledged:?} was acknowledged, and {truth:?} is what happened"));
            }
            let found = world.get(&key(name));
            if found.map_or(Revision::ZERO, api::Object::revision) < *revision && (value.is_some() || found.is_some()) {
                let later = notes.truth.range(revision.next()..).any(|(_, (other, _))| other == name);
                if !later {
                    return Err(format!("{acknowledged:?} was acknowledged and is lost: there is {found:?}"));
                }
            }
        }
        linearizable(&notes.history)?;
        Ok(Report {
            trace: self.executor.trace(),
            operations: notes.history.len(),
            acknowledged: notes.acknowledged.len(),
            events: notes.events,
            crashes: notes.crashes,
            noticed: notes.noticed,
            steps: self.executor.steps(),
        })
    }
}

/// Does what a client asks for, in the process of the member that it asks.
async fn answer(
    store: Store,
    name: String,
    ask: Ask,
    seen: Option<Revision>,
    tell: oneshot::Sender<(Told, Option<Revision>)>,
) {
    let guard = match seen {
        Some(revision) => Guard::Unchanged(key(&name), revision),
        None => Guard::Absent(key(&name)),
    };
    let txn = match ask {
        Ask::Read => {
            let told = match store.read().await {
                Ok(world) => Told::Found(world.get(&key(&name)).map(value)),
                Err(_) => Told::Unknown,
            };
            // The client may have given up.
            let _ = tell.send((told, None));
            return;
        }
        Ask::Put(value) => Txn::default().put(object(&name, value)),
        Ask::Remove => Txn::default().remove(key(&name)),
        Ask::Swap { new, .. } => Txn::default().guard(guard).put(object(&name, new)),
    };
    let told = match store.propose(txn).await {
        Ok(committed) => (Told::Done, committed.events.last().map(|event| event.revision)),
        Err(ProposeError::Conflict(_)) => (Told::Refused, None),
        Err(_) => (Told::Unknown, None),
    };
    let _ = tell.send(told);
}
