//! A room with several members in it, and writers that keep account of what they were told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use api::{Object, kinds};
use serde_json::json;
use state::{Revision, Txn};
use store::{Config, Interest, Pace, Peer, ProposeError, Role, Seat, Store};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::net::Net;

/// What is slow on a loaded machine and not wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Members and the network between them. A member is known by its place.
pub(crate) struct Room {
    pub(crate) net: Net,
    directories: BTreeMap<usize, TempDir>,
    members: BTreeMap<usize, Store>,
    settings: fn(&mut Config),
    /// No two writers ever have one name.
    writers: AtomicUsize,
}

/// Somebody who writes one number after the other, each once, through whatever member comes next.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Account>>,
}

/// What one writer was told.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) name: String,
    /// For each number that was acknowledged, its revision.
    pub(crate) acknowledged: BTreeMap<u64, Revision>,
    pub(crate) unknown: Vec<u64>,
    /// The longest time without an acknowledgement.
    pub(crate) gap: Duration,
}

// === impl Room ===

impl Room {
    /// So many members, all of them voters, the first the founder.
    pub(crate) async fn of(count: usize) -> Self {
        Self::with(count, |_| {}).await
    }

    pub(crate) async fn with(count: usize, settings: fn(&mut Config)) -> Self {
        let mut room = Self { settings, ..Self::empty() };
        room.start(1, true).await;
        for place in 2..=count {
            room.join(place).await;
        }
        room.settled(count).await;
        room
    }

    /// Nobody is in it yet.
    pub(crate) fn empty() -> Self {
        let (directories, members) = (BTreeMap::new(), BTreeMap::new());
        Self { net: Net::new(), directories, members, settings: |_| {}, writers: AtomicUsize::new(0) }
    }

    /// Where a member has its files.
    pub(crate) fn directory(&mut self, place: usize) -> &std::path::Path {
        self.directories.entry(place).or_insert_with(|| tempfile::tempdir().expect("a directory")).path()
    }

    pub(crate) fn address(place: usize) -> String {
        format!("member-{place}")
    }

    /// Opens a member in its directory.
    pub(crate) async fn start(&mut self, place: usize, founds: bool) {
        let directory = self.directory(place);
        let mut config = Config { pace: Pace::CLUSTER, ..Config::new(directory) };
        (self.settings)(&mut config);
        let address = Self::address(place);
        let seat = Seat { address: address.clone(), transport: self.net.transport(&address), founds };
        let store = Store::open_at(config, seat).await.expect("the store opens");
        self.net.attach(&address, store.clone());
        self.members.insert(place, store);
    }

    /// Lets a new member learn; it gets its vote by itself.
    pub(crate) async fn join(&mut self, place: usize) {
        self.start(place, false).await;
        let peer = self.peer(place);
        let (_, one) = self.members.iter().find(|(other, _)| **other != place).expect("somebody is there");
        one.change(store::Change::Add(peer)).await.expect("added");
    }

    /// Takes a member away with all its connections.
    pub(crate) async fn stop(&mut self, place: usize) {
        self.net.detach(&Self::address(place));
        self.members.remove(&place).expect("it was there").shutdown().await;
    }

    pub(crate) fn store(&self, place: usize) -> &Store {
        &self.members[&place]
    }

    pub(crate) fn stores(&self) -> Vec<Store> {
        self.members.values().cloned().collect()
    }

    pub(crate) fn peer(&self, place: usize) -> Peer {
        Peer { member: self.store(place).member(), address: Self::address(place) }
    }

    /// Cuts the wires between this member and all others.
    pub(crate) fn isolate(&self, place: usize) {
        for other in self.members.keys().filter(|other| **other != place) {
            self.net.cut(&Self::address(place), &Self::address(*other));
            self.net.cut(&Self::address(*other), &Self::address(place));
        }
    }

    /// The place of the member that leads and can prove it.
    pub(crate) async fn leader(&self) -> usize {
        within("a leader", async || {
            for (place, store) in &self.members {
                let asked = tokio::time::timeout(Duration::from_millis(500), store.leads()).await;
                if matches!(asked, Ok(Ok(true))) {
                    return Some(*place);
                }
            }
            None
        })
        .await
    }

    /// Waits until all members agree that there are so many voters and who leads.
    pub(crate) async fn settled(&self, voters: usize) {
        for (place, store) in &self.members {
            within(&format!("{voters} voters, as seen by {place}"), async || {
                let cluster = store.cluster().borrow().clone();
                let votes = cluster.members.iter().filter(|standing| standing.role == Role::Voter).count();
                (votes == voters && cluster.leader.is_some() && !cluster.is_changing).then_some(())
            })
            .await;
        }
    }

    /// All members hold the same, and all that was acknowledged, once and in order.
    pub(crate) async fn check(&self, accounts: &[Account]) {
        let expected = self.store(self.leader().await).read().await.expect("a leader reads");
        for (place, store) in &self.members {
            let world = store.read().await.expect("every member reads");
            assert!(world.revision() >= expected.revision(), "member {place} is behind what it read");
            assert!(world.objects().eq(expected.objects()), "member {place} holds another world");
            for account in accounts {
                account.check(store);
            }
        }
        let told: usize = accounts.iter().map(|account| account.acknowledged.len()).sum();
        let unknown: usize = accounts.iter().map(|account| account.unknown.len()).sum();
        let gap = accounts.iter().map(|account| account.gap).max().unwrap_or_default();
        println!("{told} writes acknowledged, {unknown} unknown, the longest pause {} ms", gap.as_millis());
    }

    /// Waits until so much more was written by whoever writes.
    pub(crate) async fn written(&self, more: u64) {
        let revision = || self.members.values().map(|store| store.snapshot().revision().0).max().unwrap_or_default();
        let before = revision();
        within("it goes on", async || (revision() >= before + more).then_some(())).await;
    }

    /// Writers that go round the members there are now.
    pub(crate) fn writers(&self, count: usize) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let write = |_| {
            let number = self.writers.fetch_add(1, Ordering::Relaxed);
            let (stores, stop) = (self.stores(), stop.clone());
            tokio::spawn(async move { Account::keep(format!("w{number}"), &stores, &stop).await })
        };
        let tasks = (0..count).map(write).collect();
        Writers { stop, tasks }
    }
}

// === impl Writers ===

impl Writers {
    pub(crate) async fn stop(self) -> Vec<Account> {
        self.stop.store(true, Ordering::Relaxed);
        let mut accounts = Vec::new();
        for task in self.tasks {
            accounts.push(task.await.expect("it writes until it is stopped"));
        }
        accounts
    }
}

// === impl Account ===

impl Account {
    async fn keep(name: String, stores: &[Store], stop: &AtomicBool) -> Self {
        let mut account = Self { name, ..Self::default() };
        let mut last = Instant::now();
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let store = &stores[(number as usize + account.name.len()) % stores.len()];
            match store.propose(Txn::default().put(object(&account.name, number))).await {
                Ok(committed) => {
                    account.gap = account.gap.max(last.elapsed());
                    last = Instant::now();
                    account.acknowledged.insert(number, committed.revision);
                }
                Err(ProposeError::NotLeader { .. }) => account.unknown.push(number),
                // Stopped: the next one takes it.
                Err(ProposeError::Closed) => account.unknown.push(number),
                Err(error) => panic!("nothing stands against it: {error}"),
            }
        }
        account
    }

    /// What this member remembers of the writer: numbers that only grow, and every one that was acknowledged where it was said
    /// to be.
    fn check(&self, store: &Store) {
        let Some(last) = self.acknowledged.keys().last() else { return };
        let world = store.snapshot();
        let found = world.get(&kinds::CONFIG_MAP.key("n", &self.name)).expect("what was acknowledged is there");
        assert!(number(found) >= *last, "{}: {last} was acknowledged, {} is there", self.name, number(found));
        let Ok(mut past) = store.subscribe(Interest::Object(found.key().clone()), store.oldest()) else { return };
        let mut before = None;
        let mut there = BTreeMap::new();
        loop {
            let events = past.ready().expect("the history reaches back");
            if events.is_empty() {
                break;
            }
            for event in events {
                let now = number(event.latest());
                assert!(before < Some(now), "{}: {now} after {before:?}: it happened twice", self.name);
                before = Some(now);
                there.insert(now, event.revision);
            }
        }
        let oldest = store.oldest();
        for (number, revision) in self.acknowledged.iter().filter(|(_, revision)| **revision > oldest) {
            let found = there.get(number).unwrap_or_else(|| panic!("{} {number} at {revision} is lost", self.name));
            assert!(found <= revision, "{} {number}", self.name);
        }
    }
}

pub(crate) fn object(name: &str, number: u64) -> Object {
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n", "uid": name},
        "data": {"number": number.to_string()}});
    Object::from_value(kinds::CONFIG_MAP, &value).expect("a config map")
}

pub(crate) fn number(object: &Object) -> u64 {
    let value: serde_json::Value = serde_json::from_slice(object.body()).expect("JSON");
    value["data"]["number"].as_str().expect("a number").parse().expect("a number")
}

/// Asks again and again, until there is an answer.
pub(crate) async fn within<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never: {what}"))
}
