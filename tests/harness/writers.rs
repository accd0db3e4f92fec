//! Writers that never stop asking, and know when each of their writes was acknowledged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::{Key, Object, kinds};
use client::{Client, PatchType};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::Observer;

/// Some of them, each at a server of its own as long as that answers.
pub struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Vec<Acknowledged>,
    writing: Vec<JoinHandle<()>>,
}

type Acknowledged = Arc<Mutex<Vec<Instant>>>;

/// A writer that has heard nothing for so long asks another server.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between a refusal and the next attempt.
const PAUSE: Duration = Duration::from_millis(5);

// === impl Writers ===

impl Writers {
    /// So many writers, who pause for so long behind each answer.
    pub fn start(observer: &Observer, servers: usize, count: usize, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<Client> = (0..servers).map(|server| observer.client(server)).collect();
        let acknowledged: Vec<Acknowledged> = (0..count).map(|_| Acknowledged::default()).collect();
        let writing = acknowledged.iter().enumerate().map(|(number, acknowledged)| {
            let (clients, acknowledged, stop) = (clients.clone(), acknowledged.clone(), stop.clone());
            observer.spawn(write(number, clients, acknowledged, stop, pause))
        });
        let writing = writing.collect();
        Self { stop, acknowledged, writing }
    }

    /// Waits until each of them has been answered so many times since then.
    pub fn were_answered(&self, times: usize, since: Instant, patience: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + patience;
        loop {
            let counts: Vec<usize> = self
                .acknowledged
                .iter()
                .map(|one| {
                    one.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .iter()
                        .rev()
                        .take_while(|at| **at > since)
                        .count()
                })
                .collect();
            if counts.iter().all(|count| *count >= times) {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < until, "writers were answered so often: {counts:?}");
            std::thread::park_timeout(PAUSE);
        }
    }

    /// Ends them, and gives for each when it was answered.
    pub fn stop(self, observer: &Observer) -> Vec<Vec<Instant>> {
        self.stop.store(true, Ordering::Relaxed);
        for writing in self.writing {
            observer.join(writing);
        }
        let told = self.acknowledged.iter();
        told.map(|one| std::mem::take(&mut *one.lock().unwrap_or_else(PoisonError::into_inner))).collect()
    }
}

/// The longest time from then on in which nothing of this was acknowledged.
pub(crate) fn longest_gap<'a>(from: Instant, acknowledged: impl IntoIterator<Item = &'a Instant>) -> Duration {
    let mut moments: Vec<Instant> = acknowledged.into_iter().copied().filter(|at| *at > from).collect();
    moments.push(from);
    moments.sort();
    moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

async fn write(
    number: usize,
    clients: Vec<Client>,
    acknowledged: Acknowledged,
    stop: Arc<AtomicBool>,
    pause: Duration,
) {
    let name = format!("writer-{number}");
    let key = kinds::CONFIG_MAP.key("default", &name);
    let mut server = number;
    let mut value = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let client = &clients[server % clients.len()];
        match timeout(PATIENCE, put(client, &key, value)).await {
            Ok(Ok(())) => {
                acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                value += 1;
                sleep(pause).await;
            }
            _ => {
                server += 1;
                sleep(PAUSE).await;
            }
        }
    }
}

async fn put(client: &Client, key: &Key, value: u64) -> anyhow::Result<()> {
    let patch = json!({"data": {"value": value.to_string()}});
    match client.patch(key, PatchType::Merge, &patch).await {
        Err(error) if error.is_not_found() => {
            let metadata = json!({"name": key.name(), "namespace": key.namespace()});
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
            client.create(&Object::from_value(key.kind(), &object)?).await?;
            Ok(())
        }
        other => Ok(other.map(drop)?),
    }
}
