//! Faults, one after the other, and what has to hold: nothing acknowledged is lost, no read is stale, and within half a minute of a
//! fault's end everything is as it was.
//!
//! Which fault comes is a function of a seed and the number of the round, so that each can be had again by these two.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use api::{Object, kinds};
use client::PatchType;
use rustix::process::Signal;
use serde_json::json;

use crate::{BadCable, Badness, Clients, Counts, Fleet, Observer, Size, is_true};

mod schedule;

pub use schedule::{Fault, Round};

/// Three servers and their nodes, clients that use them, and somebody who breaks things.
pub struct Faults {
    fleet: Fleet,
    observer: Observer,
    clients: Clients,
    /// The pods that nobody may touch, by uid, with their restarts.
    pods: Vec<(String, u64)>,
}

/// How a round went.
#[derive(Debug)]
pub struct Outcome {
    /// From the end of the fault until everything was as it should be.
    pub recovered: Duration,
    /// What was wrong.
    pub wrong: Vec<String>,
}

pub(crate) const SERVERS: usize = 3;
/// The one with a disk that can be filled.
const SMALL_DISK: (usize, u64) = (2, 192 << 20);
/// Longest that anything may take that is not judged.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longest from the end of a fault until everything is as it was.
const RECOVERY_MAX: Duration = Duration::from_secs(30);

/// A pod on each node, for as long as that is there.
const PODS: &str = "apiVersion: apps/v1
kind: DaemonSet
metadata: {name: everywhere}
spec:
  selector: {matchLabels: {app: everywhere}}
  template:
    metadata: {labels: {app: everywhere}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: hello, image: 'hello:v1', ports: [{containerPort: 80}]}]
";

/// What is broken, for as long as it is.
enum Broken {
    /// Processes that are off.
    Off(usize),
    Stopped(usize),
    /// Pairs of machines of which the first is not heard by the second.
    Silenced(Vec<(usize, usize)>),
    Unplugged(usize),
    Cable(BadCable),
    Full(usize),
    Clock(usize, i64),
}

// === impl Faults ===

impl Faults {
    /// Three servers, so many agents with a pod each, and clients.
    pub fn begin(program: &str, agents: usize) -> anyhow::Result<Self> {
        // Nodes are not what is looked at here, and are not to be lost because the machine is busy.
        let environment = vec![("CORACLE_NODE_MONITOR_GRACE_PERIOD", "60s".to_owned())];
        let clocks = (0..SERVERS).collect();
        let size = Size { servers: SERVERS, agents, spare: 1, environment, clocks, disks: vec![SMALL_DISK] };
        let fleet = Fleet::of(program, size);
        let observer = Observer::at(&fleet, SERVERS + agents, SERVERS)?;
        let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hello/hello.wasm");
        fleet.at_last(&["push", &image.display().to_string(), "hello:v1"]);
        let file = fleet.folder().join("pods.yaml");
        std::fs::write(&file, PODS)?;
        fleet.at_last(&["apply", "-f", &file.display().to_string()]);
        let pods = observer.until(PATIENCE, |world| {
            let ready = pods(world);
            if ready.len() == agents { Ok(ready) } else { Err(format!("{} pods are ready", ready.len())) }
        })?;
        let clients = Clients::start(&observer, SERVERS);
        Ok(Self { fleet, observer, clients, pods })
    }

    /// One round: something breaks, is broken for a while, and is mended.
    pub fn round(&mut self, round: &Round) -> anyhow::Result<Outcome> {
        let leader = self.observer.settled(&self.fleet, PATIENCE)?;
        let broken = self.break_it(round, leader)?;
        std::thread::sleep(round.lasting);
        let ended = Instant::now();
        self.mend(broken)?;
        let recovered = self.recovered(ended)?;
        let mut wrong = self.clients.ledger().wrong();
        if recovered > RECOVERY_MAX {
            wrong.push(format!("it took {recovered:?} until everything was as before"));
        }
        let now = pods(&self.observer.world());
        if now != self.pods && round.fault.is_about_servers() {
            wrong.push(format!("pods were touched: {:?}, then {now:?}", self.pods));
        }
        self.pods = now;
        Ok(Outcome { recovered, wrong })
    }

    /// How much was asked so far.
    pub fn counts(&self) -> Counts {
        self.clients.ledger().counts()
    }

    /// Ends the clients, and says what of theirs is missing at a server.
    pub fn end(self) -> anyhow::Result<(Counts, Vec<String>)> {
        let counts = self.counts();
        let wrong = self.clients.stop(&self.observer, SERVERS)?;
        Ok((counts, wrong))
    }

    fn break_it(&mut self, round: &Round, leader: usize) -> anyhow::Result<Broken> {
        let machine = round.machine(leader, self.fleet.machines());
        let others: Vec<usize> = (0..SERVERS).filter(|server| *server != machine).collect();
        let namespaces = self.fleet.namespaces();
        let silence = |pairs: Vec<(usize, usize)>| {
            for (from, to) in &pairs {
                namespaces.silence(*from, *to);
            }
            Broken::Silenced(pairs)
        };
        let unheard = others.iter().map(|other| (machine, *other));
        let deaf = others.iter().map(|other| (*other, machine));
        Ok(match round.fault {
            Fault::Kill | Fault::KillAgent => {
                self.fleet.kill(machine);
                Broken::Off(machine)
            }
            Fault::Stop | Fault::StopAgent => {
                self.fleet.signal(machine, Signal::STOP);
                Broken::Stopped(machine)
            }
            Fault::Partition => silence(unheard.chain(deaf).collect()),
            Fault::Unheard => silence(unheard.collect()),
            Fault::Deaf => silence(deaf.collect()),
            Fault::OneWay => silence(vec![(machine, others[usize::try_from(round.draw % 2)?])]),
            Fault::Unplug | Fault::UnplugAgent => {
                namespaces.cut(machine);
                Broken::Unplugged(machine)
            }
            Fault::BadCable => {
                let delay = Duration::from_millis(1 + round.draw % 40);
                let lost_percent = u32::try_from(round.draw / 64 % 15)?;
                let how = Badness { delay, jitter: delay / 2, lost_percent, seed: round.draw };
                Broken::Cable(namespaces.worsen(machine, how))
            }
            Fault::DiskFull => {
                let (machine, _) = SMALL_DISK;
                if round.draw.is_multiple_of(2) {
                    self.observer.lead(&self.fleet, machine)?;
                }
                self.fleet.disk(machine).fill();
                Broken::Full(machine)
            }
            Fault::ClockJump => {
                let seconds = [3_600, -3_600, 30, -30][usize::try_from(round.draw % 4)?];
                self.fleet.clock(machine).jump(seconds);
                Broken::Clock(machine, seconds)
            }
        })
    }

    fn mend(&mut self, broken: Broken) -> anyhow::Result<()> {
        match broken {
            Broken::Off(machine) => self.fleet.start_again(machine),
            Broken::Stopped(machine) => self.fleet.signal(machine, Signal::CONT),
            Broken::Silenced(pairs) => {
                for (from, to) in pairs {
                    self.fleet.namespaces().hear(from, to);
                }
            }
            Broken::Unplugged(machine) => self.fleet.namespaces().join(machine),
            Broken::Cable(cable) => drop(cable),
            Broken::Full(machine) => self.fleet.disk(machine).clear(),
            Broken::Clock(machine, seconds) => self.fleet.clock(machine).jump(-seconds),
        }
        for machine in 0..self.fleet.machines() {
            ensure!(self.fleet.runs(machine), "machine {machine} has ended by itself");
        }
        Ok(())
    }

    /// Waits until each server reads and writes, all are of one mind, and every node is Ready; and says how long that took.
    fn recovered(&self, ended: Instant) -> anyhow::Result<Duration> {
        for server in 0..SERVERS {
            let client = self.observer.client(server);
            self.observer
                .answered(PATIENCE, move || {
                    let client = client.clone();
                    async move {
                        let key = kinds::NAMESPACE.key("", "default");
                        let patch = json!({"metadata": {"annotations": {"probe": format!("{:?}", Instant::now())}}});
                        client.patch(&key, PatchType::Merge, &patch).await?;
                        client.get(&key).await?;
                        Ok(())
                    }
                })
                .with_context(|| format!("server {server}"))?;
        }
        self.observer.settled(&self.fleet, PATIENCE)?;
        let nodes = self.fleet.machines() - SERVERS;
        self.observer.until(PATIENCE, |world| {
            let ready = world.list(kinds::NODE).filter(|node| is_true(node, "Ready")).count();
            let pods = pods(world).len();
            if ready == nodes && pods == nodes { Ok(()) } else { Err(format!("{ready} nodes, {pods} pods are ready")) }
        })?;
        Ok(ended.elapsed())
    }
}

/// The pods that are ready, by uid, with their restarts.
fn pods(world: &state::Snapshot) -> Vec<(String, u64)> {
    let restarts = |pod: &Object| {
        let tree = pod.tree().ok()?;
        tree["status"]["containerStatuses"][0]["restartCount"].as_u64()
    };
    let pods = world.list_in(kinds::POD, "default").filter(|pod| is_true(pod, "Ready"));
    let mut pods: Vec<(String, u64)> =
        pods.map(|pod| (pod.meta().uid.to_string(), restarts(pod).unwrap_or_default())).collect();
    pods.sort();
    pods
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, unheard, reads, unanswered } = self;
        write!(
            f,
            "{acknowledged} writes acknowledged and {unheard} without an answer, {reads} reads answered and {unanswered} not"
        )
    }
}
