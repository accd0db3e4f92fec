//! One watch of all pods of a cluster that counts them and keeps none.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use client::{Client, no_body};
use http::Request;
use http_body_util::BodyExt;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};

use crate::hollow::Placed;

/// What was seen of pods so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// When each was there.
    pub created: Vec<Instant>,
    /// The same of having a node.
    pub bound: Vec<Instant>,
    /// The same of running.
    pub running: Vec<Instant>,
    /// From the answer to a write until the watch had come as far.
    pub lags: Vec<u32>,
    /// How many events were told.
    pub events: u64,
    /// How often all pods had to be listed anew, because the watch had fallen behind.
    pub lists: u64,
}

/// The watch's place.
#[derive(Default)]
struct State {
    seen: Seen,
    /// How far each pod was, by the hash of what it is called.
    pods: HashMap<u64, Stage>,
    reached: u64,
    /// Revisions of which somebody wants to know when they are reached.
    marks: VecDeque<(u64, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Created,
    Bound,
    Running,
}

/// A watch that goes on while this lives.
#[derive(Clone)]
pub struct PodWatch {
    state: Arc<Mutex<State>>,
    counts: watch::Receiver<[usize; 3]>,
}

#[derive(Deserialize)]
struct Told<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: Pod<'a>,
}

#[derive(Deserialize)]
struct List<'a> {
    metadata: Meta<'a>,
    #[serde(borrow)]
    items: Vec<Pod<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pod<'a> {
    #[serde(borrow)]
    metadata: Meta<'a>,
    #[serde(borrow)]
    spec: Spec<'a>,
    #[serde(borrow)]
    status: Status<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta<'a> {
    name: &'a str,
    namespace: &'a str,
    uid: &'a str,
    resource_version: &'a str,
    r#continue: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec<'a> {
    node_name: &'a str,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status<'a> {
    #[serde(borrow)]
    phase: Cow<'a, str>,
}

// === impl PodWatch ===

impl PodWatch {
    /// Begins with the pods that are there. Each pod that is given a node is told to `placed`.
    pub async fn begin(client: Client, placed: mpsc::UnboundedSender<Placed>) -> anyhow::Result<Self> {
        let state = Arc::<Mutex<State>>::default();
        let (tell, counts) = watch::channel([0; 3]);
        let mut watcher = Watcher { client, placed, state: state.clone(), tell };
        watcher.list().await?;
        tokio::spawn(async move {
            loop {
                if let Err(error) = watcher.follow().await {
                    // The watch has fallen behind what is remembered, or its connection is gone.
                    eprintln!("the watch of pods begins anew: {error:#}");
                    lock(&watcher.state).seen.lists += 1;
                    if watcher.list().await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Self { state, counts })
    }

    /// How many pods were there, had a node, and ran: at least for a moment.
    pub fn counts(&self) -> [usize; 3] {
        *self.counts.borrow()
    }

    /// Waits until that is told of the counts.
    pub async fn until(&self, is_so: impl FnMut(&[usize; 3]) -> bool) -> anyhow::Result<()> {
        self.counts.clone().wait_for(is_so).await.map(drop).context("the watch ended")
    }

    /// A write was answered with this revision just now: it is to be noted when it is seen.
    pub fn mark(&self, revision: u64) {
        let mut state = lock(&self.state);
        if state.reached >= revision {
            state.seen.lags.push(0);
        } else {
            state.marks.push_back((revision, Instant::now()));
        }
    }

    /// What was seen, for those who do not mind that there is more by now.
    pub fn seen(&self) -> Seen {
        lock(&self.state).seen.clone()
    }
}

struct Watcher {
    client: Client,
    placed: mpsc::UnboundedSender<Placed>,
    state: Arc<Mutex<State>>,
    tell: watch::Sender<[usize; 3]>,
}

// === impl Watcher ===

impl Watcher {
    /// Everything there is, in pages; the watch goes on from the revision of the first.
    async fn list(&mut self) -> anyhow::Result<()> {
        let mut next = String::new();
        loop {
            let path = format!("/api/v1/pods?limit=500&continue={next}");
            let answer = self.client.request(Request::get(path).body(no_body())?).await?;
            ensure!(answer.status().is_success(), "the list of pods: {}", answer.status());
            let bytes = answer.into_body().collect().await?.to_bytes();
            let list: List<'_> = serde_json::from_slice(&bytes)?;
            let revision = list.metadata.resource_version.parse()?;
            list.items.iter().for_each(|pod| self.note(pod));
            let mut state = lock(&self.state);
            next = list.metadata.r#continue.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
            state.reach(revision);
            if next.is_empty() {
                return Ok(());
            }
        }
    }

    /// Hears what happens from where it stands, until the watch ends.
    async fn follow(&mut self) -> anyhow::Result<()> {
        let after = lock(&self.state).reached;
        let path = format!("/api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion={after}");
        let answer = self.client.request(Request::get(path).body(no_body())?).await?;
        ensure!(answer.status().is_success(), "the watch: {}", answer.status());
        let (mut body, mut buffer) = (answer.into_body(), BytesMut::new());
        while let Some(frame) = body.frame().await {
            let frame = frame?;
            let Some(data) = frame.data_ref() else { continue };
            buffer.extend_from_slice(data);
            let Some(end) = buffer.iter().rposition(|byte| *byte == b'\n') else { continue };
            let lines = buffer.split_to(end + 1);
            for line in lines[..].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                self.hear(line)?;
            }
        }
        Ok(())
    }

    fn hear(&mut self, line: &[u8]) -> anyhow::Result<()> {
        let told: Told<'_> = serde_json::from_slice(line)?;
        match told.r#type {
            "ERROR" => bail!("{}", String::from_utf8_lossy(line)),
            "BOOKMARK" | "DELETED" => {}
            _ => self.note(&told.object),
        }
        let mut state = lock(&self.state);
        state.seen.events += 1;
        state.reach(told.object.metadata.resource_version.parse()?);
        Ok(())
    }

    fn note(&self, pod: &Pod<'_>) {
        let mut hasher = DefaultHasher::new();
        pod.metadata.uid.hash(&mut hasher);
        let stage = match (pod.spec.node_name, &*pod.status.phase) {
            ("", _) => Stage::Created,
            (_, "Running") => Stage::Running,
            _ => Stage::Bound,
        };
        let mut state = lock(&self.state);
        let before = state.pods.insert(hasher.finish(), stage);
        if before >= Some(stage) {
            return;
        }
        let (now, State { seen, .. }) = (Instant::now(), &mut *state);
        for (passed, when) in
            [(Stage::Created, &mut seen.created), (Stage::Bound, &mut seen.bound), (Stage::Running, &mut seen.running)]
        {
            if before < Some(passed) && passed <= stage {
                when.push(now);
            }
        }
        let counts = [&seen.created, &seen.bound, &seen.running].map(Vec::len);
        drop(state);
        if stage == Stage::Bound {
            let place = (pod.metadata.namespace.to_owned(), pod.metadata.name.to_owned());
            // Whoever does not report any more does not listen.
            let _ = self.placed.send(Placed {
                place,
                uid: pod.metadata.uid.to_owned(),
                node: pod.spec.node_name.to_owned(),
            });
        }
        self.tell.send_replace(counts);
    }
}

// === impl State ===

impl State {
    fn reach(&mut self, revision: u64) {
        self.reached = self.reached.max(revision);
        while let Some((wanted, since)) = self.marks.front().copied()
            && wanted <= self.reached
        {
            self.marks.pop_front();
            self.seen.lags.push(u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
