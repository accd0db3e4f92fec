//! Three servers and their nodes, each on a machine of its own, and what happens to them round after round, with the time that it took.
//!
//! A round leaves everything as it found it. What is not about time has to hold in each: nothing but what was lost is touched.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use api::{Object, kinds};
use client::DeleteOptions;
use state::Snapshot;

use crate::writers::longest_gap;
use crate::{Fleet, Load, Observer, Size, Writers, is_true};

/// The machines, and somebody who looks at them.
pub struct Rounds {
    fleet: Fleet,
    observer: Observer,
    /// The one on which nodes join and go.
    newcomer: Option<usize>,
    observed_from: usize,
}

/// What the death of a leader cost.
#[derive(Clone, Copy, Debug)]
pub struct Failover {
    /// The longest time in which no write of anybody was acknowledged.
    pub all: Duration,
    /// The longest for one writer, who may have had to find another server.
    pub one: Duration,
    /// How many requests the edges of all nodes answered meanwhile.
    pub requests: u64,
}

/// How long something took, each time.
#[derive(Clone, Debug)]
pub struct Times {
    /// What.
    pub what: &'static str,
    /// The aim for the slowest of a hundred, in milliseconds.
    pub aim_ms: u32,
    taken: Vec<Duration>,
}

const SERVERS: usize = 3;
/// Longest that anything may take, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(120);
/// Of the Deployment whose pods move.
const PODS: usize = 5;

const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 5
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}
      containers: [{name: hello, image: 'hello:v1', ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  rules:
  - host: web.localhost
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
";

// === impl Rounds ===

impl Rounds {
    /// Three servers, so many agents, and pods on them.
    pub fn begin(program: &str, agents: usize) -> anyhow::Result<Self> {
        let environment = vec![("CORACLE_NODE_MONITOR_GRACE_PERIOD", "3s".to_owned())];
        // One for newcomers, and one to look from.
        let size = Size { servers: SERVERS, agents, spare: 2, environment, ..Size::default() };
        let fleet = Fleet::of(program, size);
        let observed_from = SERVERS + agents + 1;
        let observer = Observer::at(&fleet, observed_from, SERVERS)?;
        let rounds = Self { fleet, observer, newcomer: None, observed_from };
        let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hello/hello.wasm");
        rounds.fleet.at_last(&["push", &image.display().to_string(), "hello:v1"]);
        let file = rounds.fleet.folder().join("web.yaml");
        std::fs::write(&file, WEB)?;
        rounds.fleet.at_last(&["apply", "-f", &file.display().to_string()]);
        rounds.observer.until(PATIENCE, |world| settled(world, ""))?;
        for agent in rounds.agents() {
            let edge = rounds.fleet.ingress(agent);
            let answers = move || {
                crate::eventually(PATIENCE.as_secs(), || match crate::get(edge, "web.localhost", "/") {
                    Ok(answer) if answer.status == 200 => Ok(()),
                    other => Err(format!("{other:?}")),
                });
            };
            rounds.fleet.namespaces().on(rounds.observed_from, answers);
        }
        Ok(rounds)
    }

    /// From `coracle agent` to its node being Ready, on a machine that the cluster has never seen.
    pub fn join(&mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let place = match self.newcomer {
            None => self.fleet.join(),
            Some(place) => {
                self.fleet.start_again(place);
                place
            }
        };
        self.newcomer = Some(place);
        let name = format!("node-{place}");
        self.observer.until(PATIENCE, |world| is_ready(world, &name))?;
        let taken = began.elapsed();
        // It is forgotten, by itself and by everybody.
        self.fleet.kill(place);
        std::fs::remove_dir_all(self.fleet.data(place))?;
        let (anybody, key) = (self.observer.anybody(), kinds::NODE.key("", &name));
        self.observer.run(async move { anybody.delete(&key, &DeleteOptions::default()).await })?;
        self.observer.until(PATIENCE, |world| match world.get(&kinds::NODE.key("", &name)) {
            None => settled(world, &name),
            Some(_) => Err(format!("{name} is still there")),
        })?;
        Ok(taken)
    }

    /// The leader is killed while clients write and the edges are asked.
    pub fn failover(&mut self) -> anyhow::Result<Failover> {
        let leader = self.observer.settled(&self.fleet, PATIENCE)?;
        let before = self.pods();
        let loads: Vec<Load> = self.agents().map(|agent| self.load(agent)).collect();
        let writers = self.writers(SERVERS, Duration::from_millis(10))?;
        let killed = Instant::now();
        self.fleet.kill(leader);
        let fleet = &self.fleet;
        let old = fleet.told(leader, "api");
        let others = (0..SERVERS).filter(|server| *server != leader);
        let until = Instant::now() + PATIENCE;
        for server in others {
            loop {
                let told = self.observer.seats(server);
                if told.as_ref().is_ok_and(|seats| seats.iter().any(|seat| seat.is_leader && seat.address != old)) {
                    break;
                }
                ensure!(Instant::now() < until, "nobody leads after {PATIENCE:?}: {told:?}");
                std::thread::park_timeout(Duration::from_millis(20));
            }
        }
        writers.were_answered(5, Instant::now(), PATIENCE)?;
        let told = writers.stop(&self.observer);
        let mut requests = 0;
        for load in loads {
            let report = load.stop();
            ensure!(report.dropped() == 0, "{:?}, {:?}, {:?}", report.answers, report.refusals, report.failures);
            requests += report.total();
        }
        self.fleet.start_again(leader);
        self.observer.settled(&self.fleet, PATIENCE)?;
        self.reads(leader)?;
        let after = self.pods();
        ensure!(before == after, "pods were touched: {before:?}, then {after:?}");
        let one = told.iter().map(|one| longest_gap(killed, one)).max().unwrap_or_default();
        Ok(Failover { all: longest_gap(killed, told.iter().flatten()), one, requests })
    }

    /// The lead is handed over: the longest time in which no write was acknowledged, around it and shortly before it.
    pub fn handover(&mut self) -> anyhow::Result<(Duration, Duration)> {
        let leader = self.observer.settled(&self.fleet, PATIENCE)?;
        let next = (leader + 1) % SERVERS;
        let began = Instant::now();
        let writers = self.writers(SERVERS * 2, Duration::from_millis(4))?;
        writers.were_answered(20, Instant::now(), PATIENCE)?;
        let asked = Instant::now();
        self.observer.hand_over(&self.fleet, next)?;
        writers.were_answered(20, Instant::now(), PATIENCE)?;
        let told = writers.stop(&self.observer);
        // Where the machine is busy somebody else may have come to lead meanwhile: that is another round.
        if self.observer.settled(&self.fleet, PATIENCE)? != next {
            return self.handover();
        }
        let usual = told.iter().flatten().filter(|at| **at < asked);
        // The first of them had to be made.
        let quiet = began + (asked - began) / 2;
        Ok((longest_gap(asked, told.iter().flatten()), longest_gap(quiet, usual)))
    }

    /// A node's process is killed: until its pods are Ready elsewhere.
    pub fn killed(&mut self) -> anyhow::Result<Duration> {
        let victim = self.with_a_pod()?;
        let began = Instant::now();
        self.fleet.kill(place(&victim));
        self.observer.until(PATIENCE, |world| settled(world, &victim))?;
        let taken = began.elapsed();
        self.fleet.start_again(place(&victim));
        self.is_back(&victim)?;
        Ok(taken)
    }

    /// A node's cable is pulled: until its pods are Ready elsewhere.
    pub fn silent(&mut self) -> anyhow::Result<Duration> {
        let victim = self.with_a_pod()?;
        let began = Instant::now();
        self.fleet.namespaces().cut(place(&victim));
        self.observer.until(PATIENCE, |world| settled(world, &victim))?;
        let taken = began.elapsed();
        self.fleet.namespaces().join(place(&victim));
        self.is_back(&victim)?;
        Ok(taken)
    }

    fn is_back(&self, node: &str) -> anyhow::Result<()> {
        self.observer.until(PATIENCE, |world| {
            is_ready(world, node)?;
            settled(world, "")?;
            let count = pods(world).count();
            if count == PODS { Ok(()) } else { Err(format!("{count} pods")) }
        })
    }

    fn agents(&self) -> impl Iterator<Item = usize> + use<> {
        SERVERS..self.observed_from - 1
    }

    /// Somebody who asks the edge of a node, again and again.
    fn load(&self, agent: usize) -> Load {
        let edge = self.fleet.ingress(agent);
        let pause = Duration::from_millis(20);
        let start = move || Load::start_paced(edge, "web.localhost", "/", 1, pause);
        self.fleet.namespaces().on(self.observed_from, start)
    }

    fn writers(&self, count: usize, pause: Duration) -> anyhow::Result<Writers> {
        let writers = Writers::start(&self.observer, SERVERS, count, pause);
        writers.were_answered(10, Instant::now(), PATIENCE)?;
        Ok(writers)
    }

    /// Waits until a server gives what is newest.
    fn reads(&self, server: usize) -> anyhow::Result<()> {
        let client = self.observer.client(server);
        self.observer.answered(PATIENCE, move || {
            let client = client.clone();
            async move {
                client.get(&kinds::CONFIG_MAP.key("default", "writer-0")).await?;
                Ok(())
            }
        })
    }

    /// The pods by their uid, and how often each was started again.
    fn pods(&self) -> BTreeMap<String, u64> {
        let world = self.observer.world();
        let restarts = |pod: &Object| {
            let tree = pod.tree().ok()?;
            tree["status"]["containerStatuses"][0]["restartCount"].as_u64()
        };
        pods(&world).map(|pod| (pod.meta().uid.to_string(), restarts(pod).unwrap_or_default())).collect()
    }

    /// A node that has a pod.
    fn with_a_pod(&self) -> anyhow::Result<String> {
        let world = self.observer.world();
        let node = pods(&world).filter(|pod| is_true(pod, "Ready")).map(node_of).next();
        node.context("no pod is ready")
    }
}

fn pods(world: &Snapshot) -> impl Iterator<Item = &Object> {
    world.list_in(kinds::POD, "default")
}

fn node_of(pod: &Object) -> String {
    let tree = pod.tree().unwrap_or_default();
    tree["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()
}

fn place(node: &str) -> usize {
    node.trim_start_matches("node-").parse().unwrap_or_else(|_| panic!("{node} is none of the fleet's"))
}

/// Whether as many pods as wanted are Ready, none of them on a node that was lost.
fn settled(world: &Snapshot, lost: &str) -> Result<(), String> {
    let is_good =
        |pod: &&Object| pod.meta().deletion_timestamp.is_none() && is_true(pod, "Ready") && node_of(pod) != lost;
    let count = pods(world).filter(is_good).count();
    if count == PODS { Ok(()) } else { Err(format!("{count} of {PODS} pods are ready outside {lost:?}")) }
}

fn is_ready(world: &Snapshot, node: &str) -> Result<(), String> {
    let found = world.get(&kinds::NODE.key("", node));
    if found.is_some_and(|node| is_true(node, "Ready")) { Ok(()) } else { Err(format!("{node} is not ready")) }
}

// === impl Times ===

impl Times {
    /// Of this, with this aim.
    pub fn of(what: &'static str, aim_ms: u32) -> Self {
        Self { what, aim_ms, taken: Vec::new() }
    }

    /// It took so long once more.
    pub fn add(&mut self, taken: Duration) {
        self.taken.push(taken);
    }

    /// What so many of a hundred took at most, in milliseconds.
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.taken.clone();
        sorted.sort();
        let rank = (sorted.len() * percent).div_ceil(100).clamp(1, sorted.len().max(1));
        sorted.get(rank - 1).map_or(f64::NAN, |taken| taken.as_secs_f64() * 1e3)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most, all] = [50, 99, 100].map(|percent| self.percentile(percent));
        let rounds = self.taken.len();
        write!(f, "{:<44}{rounds:>7}{half:>9.1}{most:>9.1}{all:>9.1}{:>9}", self.what, self.aim_ms)
    }
}
