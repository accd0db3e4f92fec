//! Clients that write and read all the time while servers are broken, and enter in a [`Ledger`] what they are told.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::{Object, kinds};
use client::{Client, ClientError, ListOptions};
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::Observer;
use crate::ledger::Ledger;

/// Some of them at each server, and some that ask whichever answers.
pub struct Clients {
    shared: Arc<Shared>,
    working: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ledger: Ledger,
    /// Objects whose creation was acknowledged; nobody touches them again.
    created: Mutex<BTreeSet<String>>,
    stop: AtomicBool,
}

/// A server that sleeps answers when it wakes: who asks it waits for longer than that takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two writes of one client, and between two reads of one server.
const WRITE_EVERY: Duration = Duration::from_millis(40);
const READ_EVERY: Duration = Duration::from_millis(15);
/// Reads of one server that wait for an answer at a time.
const READS_MAX: usize = 32;

// === impl Clients ===

impl Clients {
    /// At each server two registers are written, objects are made, and everything is read.
    pub fn start(observer: &Observer, servers: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let mut working = Vec::new();
        for server in 0..servers {
            let name = format!("server {server}");
            let client = observer.client(server);
            for register in [format!("at-{server}"), format!("also-at-{server}")] {
                working.push(observer.spawn(write(shared.clone(), client.clone(), register)));
            }
            working.push(observer.spawn(create(shared.clone(), client.clone(), format!("note-{server}"))));
            working.push(observer.spawn(read(shared.clone(), client, name)));
        }
        working.push(observer.spawn(write(shared.clone(), observer.anybody(), "anywhere".into())));
        Self { shared, working }
    }

    /// What they were told.
    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// Ends them, and has each server say that it has everything.
    pub fn stop(self, observer: &Observer, servers: usize) -> anyhow::Result<Vec<String>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for working in self.working {
            observer.join(working);
        }
        for server in 0..servers {
            let (client, shared) = (observer.client(server), self.shared.clone());
            observer.run(async move { shared.verify(&client, server).await })?;
        }
        Ok(self.shared.ledger.wrong())
    }
}

// === impl Shared ===

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    async fn verify(&self, client: &Client, server: usize) -> anyhow::Result<()> {
        for register in self.ledger.registers() {
            let asked = self.ledger.ask(&register);
            let found = look(client, &register).await?;
            self.ledger.answered(&asked, found.map(|found| found.0), &format!("server {server}, in the end,"));
        }
        let options = ListOptions { labels: Some("kind=note".into()), ..ListOptions::default() };
        let (notes, _) = client.list(kinds::CONFIG_MAP, Some("default"), &options).await?;
        let notes: BTreeSet<&str> = notes.iter().map(|note| note.key().name()).collect();
        let created = self.created.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for lost in created.iter().filter(|name| !notes.contains(name.as_str())) {
            self.ledger.is_wrong(format!("{lost} was acknowledged, and server {server} does not have it"));
        }
        Ok(())
    }
}

/// The value of a register and its version; none if there is none yet.
async fn look(client: &Client, register: &str) -> Result<Option<(u64, Object)>, ClientError> {
    match client.get(&kinds::CONFIG_MAP.key("default", register)).await {
        Ok(object) => {
            let value = object.tree().ok().and_then(|tree| tree["data"]["value"].as_str()?.parse().ok());
            Ok(Some((value.unwrap_or_default(), object)))
        }
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The next version of a register, good only over the version that is known.
async fn put(client: &Client, register: &str, value: u64, over: Option<&Object>) -> anyhow::Result<Object> {
    let metadata = match over {
        Some(known) => {
            json!({"name": register, "namespace": "default", "resourceVersion": known.revision().to_string()})
        }
        None => json!({"name": register, "namespace": "default"}),
    };
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value.to_string()}});
    let object = Object::from_value(kinds::CONFIG_MAP, &object)?;
    Ok(match over {
        Some(known) => client.replace(&object.at(known.revision())).await?,
        None => client.create(&object).await?,
    })
}

async fn write(shared: Arc<Shared>, client: Client, register: String) {
    // None where it has to be looked up.
    let mut known: Option<Option<Object>> = None;
    while shared.goes_on() {
        sleep(WRITE_EVERY).await;
        let over = match known.take() {
            Some(over) => over,
            None => {
                let asked = shared.ledger.ask(&register);
                match timeout(PATIENCE, look(&client, &register)).await {
                    Ok(Ok(found)) => {
                        shared.ledger.answered(&asked, found.as_ref().map(|found| found.0), "a writer's server");
                        found.map(|found| found.1)
                    }
                    _ => {
                        shared.ledger.unanswered();
                        continue;
                    }
                }
            }
        };
        let value = shared.ledger.write(&register);
        match timeout(PATIENCE, put(&client, &register, value, over.as_ref())).await {
            Ok(Ok(stored)) => {
                shared.ledger.acknowledged(&register, value);
                known = Some(Some(stored));
            }
            _ => shared.ledger.unheard(),
        }
    }
}

async fn create(shared: Arc<Shared>, client: Client, name: String) {
    for number in 0_u64.. {
        sleep(WRITE_EVERY * 3).await;
        if !shared.goes_on() {
            return;
        }
        let name = format!("{name}-{number}");
        let metadata = json!({"name": name, "namespace": "default", "labels": {"kind": "note"}});
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
        let Ok(object) = Object::from_value(kinds::CONFIG_MAP, &object) else { return };
        match timeout(PATIENCE, client.create(&object)).await {
            Ok(Ok(_)) => {
                shared.created.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
            }
            _ => shared.ledger.unheard(),
        }
    }
}

/// Asks a server for one register after the other without waiting for the answers, so that some questions always wait there.
async fn read(shared: Arc<Shared>, client: Client, name: String) {
    let turn = AtomicUsize::new(0);
    let mut asking = JoinSet::new();
    while shared.goes_on() {
        sleep(READ_EVERY).await;
        while asking.try_join_next().is_some() {}
        let registers = shared.ledger.registers();
        if registers.is_empty() || asking.len() >= READS_MAX {
            continue;
        }
        let register = registers[turn.fetch_add(1, Ordering::Relaxed) % registers.len()].clone();
        let (shared, client, name) = (shared.clone(), client.clone(), name.clone());
        asking.spawn(async move {
            let asked = shared.ledger.ask(&register);
            match timeout(PATIENCE, look(&client, &register)).await {
                Ok(Ok(found)) => shared.ledger.answered(&asked, found.map(|found| found.0), &name),
                _ => shared.ledger.unanswered(),
            }
        });
    }
    while asking.join_next().await.is_some() {}
}
