//! A cluster as large as Kubernetes says that one may be, on one machine: hollow nodes by the thousand, pods by the hundred thousand.
//!
//! Server, store, scheduler and controllers are the real ones in one process of their own; nodes are hollow, and pods come of
//! Deployments. Whoever asks lives here, on the same processors: what is measured is what is left of the machine.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use client::{Client, Kubeconfig};
use futures::StreamExt;
use http::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::hollow::send;
use crate::measure::processor_seconds;
use crate::pod_watch::{PodWatch, Seen};
use crate::{Fleet, HollowNodes, Schedulable, Server};

/// How large, and in which order.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Nodes, with room for 110 pods each.
    pub nodes: usize,
    /// Pods in all.
    pub pods: usize,
    /// Pods of a Deployment.
    pub replicas: usize,
    /// Deployments of a namespace.
    pub of_namespace: usize,
    /// Whether one thing comes after the other: all pods are there before one is given a node, and all have one before any runs.
    /// Otherwise everything goes on at once, as in life.
    pub is_staged: bool,
}

/// What it took.
#[derive(Debug)]
pub struct Taken {
    /// From the first Deployment on; in stages, the nodes let pods come when all pods were there.
    pub began: Instant,
    /// Until all nodes were registered.
    pub registered: Duration,
    /// When the nodes let pods come.
    pub opened: Instant,
    /// What was seen of pods.
    pub seen: Seen,
    /// Answers while it went on, in microseconds: `get`, `list` of a namespace, `create`.
    pub answers: [Vec<u32>; 3],
    /// The server in the end, in KiB.
    pub resident_kib: f64,
    /// The same at most.
    pub resident_most_kib: f64,
    /// The same before there was anything.
    pub resident_first_kib: f64,
    /// Processor seconds of the server: until all were there, had a node, and ran. What comes at once is not told apart.
    pub processor: [f64; 3],
    /// Renewals of leases that took too long.
    pub late_leases: u64,
}

/// Connections that hollow nodes share.
const CONNECTIONS: usize = 8;
/// Deployments that are created at a time.
const CREATED_AT_ONCE: usize = 32;
/// Between two questions of each sort.
const ASKED_EVERY: Duration = Duration::from_millis(100);
/// Addresses enough for a range of 256 for each of 32,768 nodes.
const ADDRESSES: (&str, &str) = ("CORACLE_CLUSTER_CIDR", "10.128.0.0/9");

// === impl Scale ===

impl Scale {
    /// Does it all with a server of `program`, and waits for each step as long as `patience`.
    pub fn measure(&self, program: &str, patience: Duration) -> anyhow::Result<Taken> {
        let environment = vec![(ADDRESSES.0, ADDRESSES.1.to_owned())];
        let fleet = Fleet::told_so(program, Server::Alone, 0, environment);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(self.run(&fleet, patience))
    }

    async fn run(&self, fleet: &Fleet, patience: Duration) -> anyhow::Result<Taken> {
        let text = std::fs::read_to_string(fleet.kubeconfig())?;
        let config = Kubeconfig::parse(&text)?;
        let dial = || Ok(Client::new(config.target(Path::new("/"))?));
        let clients = (0..CONNECTIONS).map(|_| dial()).collect::<anyhow::Result<Vec<_>>>()?;
        let (admin, asking, watching) = (dial()?, dial()?, dial()?);
        let pid = fleet.pid(0);
        let resident_first_kib = memory_kib(pid, "VmRSS:")?;

        let registering = Instant::now();
        let schedulable = if self.is_staged { Schedulable::NotYet } else { Schedulable::Yes };
        let nodes = Arc::new(HollowNodes::register(clients, self.nodes, schedulable).await?);
        let registered = registering.elapsed();
        let leases = tokio::spawn(nodes.clone().live());

        let (tell, mut placed) = mpsc::unbounded_channel();
        let watch = PodWatch::begin(watching, tell).await?;
        let prober = Prober::begin(asking, watch.clone(), self.namespaces()).await?;
        let used = processor_seconds(pid)?;
        let mut processor = [0.0; 3];
        let (all, began) = (self.pods, Instant::now());
        let reporting = |placed| {
            let nodes = nodes.clone();
            tokio::spawn(async move { nodes.report(placed).await })
        };
        let hold = || mpsc::unbounded_channel().1;
        let mut told = (!self.is_staged).then(|| reporting(std::mem::replace(&mut placed, hold())));
        self.deploy(&admin).await?;
        let mut opened = began;
        for (at, what) in ["are there", "have a node", "run"].into_iter().enumerate() {
            let reached = tokio::time::timeout(patience, watch.until(|counts| counts[at] >= all));
            reached
                .await
                .with_context(|| format!("{} of {all} pods {what} after {patience:?}", watch.counts()[at]))??;
            processor[at] = processor_seconds(pid)? - used;
            if self.is_staged && at == 0 {
                opened = nodes.open().await?.into_std();
            } else if self.is_staged && at == 1 {
                told = Some(reporting(std::mem::replace(&mut placed, hold())));
            }
        }
        let answers = prober.end().await?;
        leases.abort();
        if let Some(told) = told.filter(tokio::task::JoinHandle::is_finished) {
            told.await??;
        }
        Ok(Taken {
            began,
            registered,
            opened,
            seen: watch.seen(),
            answers,
            resident_kib: memory_kib(pid, "VmRSS:")?,
            resident_most_kib: memory_kib(pid, "VmHWM:")?,
            resident_first_kib,
            processor,
            late_leases: nodes.late(),
        })
    }

    fn deployments(&self) -> usize {
        self.pods.div_ceil(self.replicas)
    }

    fn namespaces(&self) -> usize {
        self.deployments().div_ceil(self.of_namespace)
    }

    /// Creates the namespaces and then the Deployments.
    async fn deploy(&self, admin: &Client) -> anyhow::Result<()> {
        let homes = (0..self.namespaces()).map(|number| {
            let home = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": home(number)}});
            ("/api/v1/namespaces".to_owned(), home)
        });
        create(admin, homes).await?;
        let deployments = (0..self.deployments()).map(|number| {
            let home = home(number / self.of_namespace);
            let replicas = self.replicas.min(self.pods - number * self.replicas);
            (format!("/apis/apps/v1/namespaces/{home}/deployments"), deployment(number, replicas))
        });
        create(admin, deployments).await
    }
}

fn home(number: usize) -> String {
    format!("scale-{number}")
}

async fn create(admin: &Client, objects: impl Iterator<Item = (String, Value)>) -> anyhow::Result<()> {
    let creating = objects.map(|(path, object)| async move {
        send(admin, None, Method::POST, &path, "application/json", object.to_string()).await
    });
    let mut creating = futures::stream::iter(creating).buffer_unordered(CREATED_AT_ONCE);
    while let Some(created) = creating.next().await {
        created?;
    }
    Ok(())
}

fn deployment(number: usize, replicas: usize) -> Value {
    let name = format!("app-{number}");
    let labels = json!({"app": name});
    let asked = json!({"requests": {"cpu": "10m", "memory": "16Mi"}});
    let container = json!({"name": "main", "image": "hollow:v1", "ports": [{"containerPort": 80}], "resources": asked});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [container]},
        }},
    })
}

/// Somebody who asks now and then, and notes how long each answer takes.
struct Prober {
    stop: Arc<AtomicBool>,
    answers: Arc<Mutex<[Vec<u32>; 3]>>,
    asking: Vec<tokio::task::JoinHandle<anyhow::Result<()>>>,
}

/// Where the prober writes.
const PROBED: &str = "/api/v1/namespaces/default/configmaps";

// === impl Prober ===

impl Prober {
    async fn begin(client: Client, watch: PodWatch, namespaces: usize) -> anyhow::Result<Self> {
        let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<Mutex<[Vec<u32>; 3]>>::default());
        let asked =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "asked-for"}, "data": {"a": "b"}});
        send(&client, None, Method::POST, PROBED, "application/json", asked.to_string()).await?;
        let asking = (0..3).map(|sort| {
            let (client, watch, stop, answers) = (client.clone(), watch.clone(), stop.clone(), answers.clone());
            tokio::spawn(async move {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    match sort {
                        0 => drop(send(&client, None, Method::GET, &format!("{PROBED}/asked-for"), "", String::new()).await?),
                        1 => {
                            let path = format!("/api/v1/namespaces/{}/pods", home(number % namespaces));
                            send(&client, None, Method::GET, &path, "", String::new()).await?;
                        }
                        _ => {
                            let metadata = json!({"generateName": "probe-"});
                            let made = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}});
                            let told = send(&client, None, Method::POST, PROBED, "application/json", made.to_string()).await?;
                            let told: Value = serde_json::from_slice(&told)?;
                            let revision = told["metadata"]["resourceVersion"].as_str().context("it has a version")?;
                            watch.mark(revision.parse()?);
                        }
                    }
                    let took = u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX);
                    answers.lock().unwrap_or_else(PoisonError::into_inner)[sort].push(took);
                    number += 1;
                    tokio::time::sleep(ASKED_EVERY).await;
                }
                Ok(())
            })
        });
        let asking = asking.collect();
        Ok(Self { stop, answers, asking })
    }

    async fn end(self) -> anyhow::Result<[Vec<u32>; 3]> {
        self.stop.store(true, Ordering::Relaxed);
        for asking in self.asking {
            asking.await??;
        }
        let answers = std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        ensure!(answers.iter().all(|sort| !sort.is_empty()), "nothing was asked meanwhile");
        Ok(answers)
    }
}

/// A figure of a process's memory, in KiB.
fn memory_kib(pid: u32, what: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let figure = status.lines().find_map(|line| line.strip_prefix(what)).with_context(|| format!("no {what}"))?;
    Ok(figure.trim().trim_end_matches(" kB").parse()?)
}

// === impl Taken ===

impl Taken {
    /// How many a second there were of these moments from the first to the last, and in the middle one of all its seconds.
    pub fn pace(moments: &[Instant]) -> (f64, f64) {
        let (Some(first), Some(last)) = (moments.iter().min(), moments.iter().max()) else { return (0.0, 0.0) };
        let whole = moments.len() as f64 / last.duration_since(*first).as_secs_f64().max(1e-3);
        let mut seconds = vec![0_u32; usize::try_from(last.duration_since(*first).as_secs()).unwrap_or(0) + 1];
        for moment in moments {
            seconds[usize::try_from(moment.duration_since(*first).as_secs()).unwrap_or(0)] += 1;
        }
        // The last is no whole second, unless it is the only one.
        if seconds.len() > 1 {
            seconds.pop();
        }
        seconds.sort_unstable();
        (whole, f64::from(seconds[seconds.len() / 2]))
    }
}
