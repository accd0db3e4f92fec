//! The servers of one cluster and nodes beside them, each a process of its own on an address of the loopback.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Output, eventually};

/// Several servers. The first founded the cluster.
pub struct Servers {
    program: String,
    machines: Vec<Machine>,
    agents: Vec<Machine>,
    /// What those that are added are let speak.
    level_max: Option<u32>,
    folder: TempDir,
}

struct Machine {
    /// As an older version would be: it speaks no higher level.
    level_max: Option<u32>,
    child: Option<Child>,
    data: PathBuf,
    words: Vec<String>,
    /// Where it listens, once it has chosen.
    listen: Option<String>,
}

/// One server, as the cluster tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its number.
    pub id: String,
    /// Where it is.
    pub address: String,
    /// Whether it has a vote.
    pub is_voter: bool,
    /// Whether it leads.
    pub is_leader: bool,
}

// === impl Servers ===

impl Servers {
    /// So many servers, each with a vote. The first is a node too, the others run no pods.
    pub fn of(program: &str, count: usize) -> Self {
        Self::founded(program, count, &[])
    }

    /// So many servers, each with a vote, and none of them a node.
    pub fn alone(program: &str, count: usize) -> Self {
        Self::founded(program, count, &["--no-node"])
    }

    /// The same, and neither they nor their nodes speak a higher level than this, until they are replaced.
    pub fn held_back(program: &str, count: usize, level_max: u32) -> Self {
        let mut servers = Self::nothing(program);
        servers.level_max = Some(level_max);
        servers.add(&["--no-node"]);
        servers.with_others(count);
        servers
    }

    fn founded(program: &str, count: usize, words: &[&str]) -> Self {
        let mut servers = Self::begun_with(program, words, |_| {});
        servers.with_others(count);
        servers
    }

    fn with_others(&mut self, count: usize) {
        for _ in 1..count {
            self.join();
        }
        self.settled(count);
    }

    /// One server, on data that somebody else has made.
    pub fn begun(program: &str, make: impl FnOnce(&Path)) -> Self {
        Self::begun_with(program, &[], make)
    }

    fn begun_with(program: &str, words: &[&str], make: impl FnOnce(&Path)) -> Self {
        let mut servers = Self::nothing(program);
        make(&servers.data(0));
        servers.add(words);
        servers
    }

    fn nothing(program: &str) -> Self {
        let folder = TempDir::new().unwrap_or_else(|error| panic!("no folder: {error}"));
        Self { program: program.into(), machines: Vec::new(), agents: Vec::new(), level_max: None, folder }
    }

    /// Lets another server join, and gives its place.
    pub fn join(&mut self) -> usize {
        let by = self.alive();
        let token = self.coracle(by, &["token", "create", "--role", "server"]).ok();
        self.join_with(token.trim())
    }

    /// The same, with a token that somebody has.
    pub fn join_with(&mut self, token: &str) -> usize {
        let url = format!("https://{}", self.api(self.alive()));
        self.add(&["--no-node", "--join", &url, "--token", token])
    }

    /// Starts a server with an empty directory that is to end at once, and gives its words.
    pub fn stranger(&self, words: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.arg("server").args(words).args(["--listen", "127.0.1.250:0"]);
        command.arg("--data-dir").arg(self.folder.path().join("stranger"));
        Output::of(command, None)
    }

    fn add(&mut self, words: &[&str]) -> usize {
        let place = self.machines.len();
        let data = self.data(place);
        let words = words.iter().map(ToString::to_string).collect();
        self.machines.push(Machine { level_max: self.level_max, child: None, data, words, listen: None });
        self.start(place);
        place
    }

    /// Where a server has its data.
    pub fn data(&self, place: usize) -> PathBuf {
        self.folder.path().join(format!("server-{place}"))
    }

    /// Lets a node join by this server, waits until it is ready, and gives its place among the nodes: it is called `agent-PLACE`.
    pub fn agent(&mut self, by: usize) -> usize {
        let token = eventually(60, || {
            // On a busy machine nobody may lead for a moment.
            let told = self.coracle(by, &["token"]);
            if told.code == 0 { Ok(told.stdout) } else { Err(told.stderr) }
        });
        self.agent_with(by, token.trim())
    }

    /// The same, with a token that somebody has.
    pub fn agent_with(&mut self, by: usize, token: &str) -> usize {
        let place = self.agents.len();
        let data = self.folder.path().join(format!("agent-{place}"));
        let words = ["--server", &format!("https://{}", self.api(by)), "--token", token].map(String::from).into();
        self.agents.push(Machine { level_max: self.level_max, child: None, data, words, listen: None });
        self.start_agent(place);
        let node = format!("node/agent-{place}");
        self.coracle(by, &["wait", "--for=create", &node, "--timeout", "120s"]).ok();
        self.coracle(by, &["wait", "--for=condition=Ready", &node, "--timeout", "120s"]).ok();
        place
    }

    /// Starts a node on its data.
    pub fn start_agent(&mut self, place: usize) {
        let Machine { data, words, .. } = &self.agents[place];
        let free = format!("127.0.2.{}:0", place + 1);
        let mut command = Command::new(&self.program);
        command.arg("agent").args(words);
        command.args(["--listen", &free, "--ingress-http", &free, "--ingress-https", &free, "--dns", &free]);
        command.args(["--node-name", &format!("agent-{place}")]).arg("--data-dir").arg(data);
        held_back(&mut command, &self.agents[place]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let _ = std::fs::remove_file(data.join("addresses.json"));
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        self.agents[place].child = Some(child);
    }

    /// Ends a node as a power cut would.
    pub fn kill_agent(&mut self, place: usize) {
        let mut child = self.agents[place].child.take().unwrap_or_else(|| panic!("agent {place} does not run"));
        child.kill().and_then(|()| child.wait()).unwrap_or_else(|error| panic!("cannot kill it: {error}"));
    }

    /// Where a node keeps what it knows.
    pub fn agent_data(&self, place: usize) -> &Path {
        &self.agents[place].data
    }

    /// Where a node's ingress answers HTTP.
    pub fn agent_ingress(&self, place: usize) -> SocketAddr {
        let told = told(&self.agents[place].data, "ingressHttp");
        told.parse().unwrap_or_else(|error| panic!("{told}: {error}"))
    }

    /// Starts a server on its data, where it was before.
    pub fn start(&mut self, place: usize) {
        self.start_all(&[place]);
    }

    /// Starts several, of which none may come up before others.
    pub fn start_all(&mut self, places: &[usize]) {
        for place in places {
            self.boot(*place);
        }
        for place in places {
            self.machines[*place].listen = Some(told(&self.machines[*place].data, "api"));
        }
    }

    fn boot(&mut self, place: usize) {
        let ip = format!("127.0.1.{}", place + 1);
        let free = format!("{ip}:0");
        let machine = &self.machines[place];
        let listen = machine.listen.clone().unwrap_or_else(|| free.clone());
        let mut command = Command::new(&self.program);
        // No node is to be lost because the machine is busy.
        command.env("CORACLE_NODE_MONITOR_GRACE_PERIOD", "60s");
        command.arg("server").args(&machine.words).args(["--listen", &listen]);
        command.args(["--ingress-http", &free, "--ingress-https", &free, "--dns", &free]);
        command.args(["--node-name", &format!("node-{place}")]).arg("--data-dir").arg(&machine.data);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        held_back(&mut command, machine);
        let addresses = machine.data.join("addresses.json");
        let _ = std::fs::remove_file(&addresses);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        self.machines[place].child = Some(child);
    }

    /// Ends a server as a power cut would.
    pub fn kill(&mut self, place: usize) {
        let mut child = self.machines[place].child.take().unwrap_or_else(|| panic!("server {place} does not run"));
        child.kill().and_then(|()| child.wait()).unwrap_or_else(|error| panic!("cannot kill it: {error}"));
    }

    /// Waits until a server has ended by itself.
    pub fn ended(&mut self, place: usize) {
        let child = self.machines[place].child.as_mut().unwrap_or_else(|| panic!("server {place} does not run"));
        eventually(120, || match child.try_wait() {
            Ok(Some(status)) if status.success() => panic!("server {place} ended as if that were right"),
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        self.machines[place].child = None;
    }

    /// Starts a server that is to end at once, and gives its words.
    pub fn refused(&self, place: usize) -> Output {
        let machine = &self.machines[place];
        let mut command = Command::new(&self.program);
        command.arg("server").args(&machine.words).args(["--listen", "127.0.1.250:0"]);
        command.arg("--data-dir").arg(&machine.data);
        held_back(&mut command, machine);
        Output::of(command, None)
    }

    /// Whether a server speaks no higher level than this, from its next start on.
    pub fn hold_back(&mut self, place: usize, level_max: Option<u32>) {
        self.machines[place].level_max = level_max;
    }

    /// Has the program upgrade machines, and replaces each when it says so: it is stopped as people stop it, and started anew without
    /// being held back. `replaced` is called before and after.
    pub fn upgrade(&mut self, words: &[&str], mut replaced: impl FnMut(&Self)) -> Output {
        let asked = self.folder.path().join("asked");
        let with = format!(
            "echo $CORACLE_NAME > {0}.new && mv {0}.new {0} && while [ -e {0} ]; do sleep 0.05; done",
            asked.display()
        );
        let mut command = Command::new(&self.program);
        command.arg("upgrade").args(words).args(["--with", &with]);
        command.env("CORACLE_KUBECONFIG", self.kubeconfig(0));
        let upgrading = std::thread::spawn(move || Output::of(command, None));
        while !upgrading.is_finished() {
            if let Ok(name) = std::fs::read_to_string(&asked) {
                replaced(self);
                self.replace(name.trim());
                replaced(self);
                std::fs::remove_file(&asked).unwrap_or_else(|error| panic!("{}: {error}", asked.display()));
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        self.level_max = None;
        upgrading.join().unwrap_or_else(|_| panic!("the upgrade was not to be run"))
    }

    fn replace(&mut self, name: &str) {
        if let Some(place) = name.strip_prefix("agent-") {
            let place: usize = place.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
            self.agents[place].level_max = None;
            stop(&mut self.agents[place]);
            return self.start_agent(place);
        }
        let place = self.machines.iter().position(|machine| machine.listen.as_deref() == Some(name));
        let place = place.unwrap_or_else(|| panic!("there is no server {name:?}"));
        self.machines[place].level_max = None;
        self.stop(place);
        self.start(place);
    }

    /// Stops a server as people stop it.
    pub fn stop(&mut self, place: usize) {
        stop(&mut self.machines[place]);
    }

    /// Where the API of a server answers.
    pub fn api(&self, place: usize) -> String {
        self.machines[place].listen.clone().unwrap_or_else(|| panic!("server {place} has not been started"))
    }

    /// The administrator's kubeconfig for one server.
    pub fn kubeconfig(&self, place: usize) -> PathBuf {
        self.machines[place].data.join("kubeconfig")
    }

    /// What a server's `addresses.json` says.
    pub fn address(&self, place: usize, name: &str) -> String {
        told(&self.machines[place].data, name)
    }

    /// A folder that goes with the servers.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command of the program against one server.
    pub fn coracle(&self, place: usize, words: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.args(words).env("CORACLE_KUBECONFIG", self.kubeconfig(place));
        Output::of(command, None)
    }

    /// Runs `kubectl` against one server.
    pub fn kubectl(&self, place: usize, words: &[&str], input: Option<&str>) -> Output {
        let mut command = Command::new("kubectl");
        command.args(words).env("KUBECONFIG", self.kubeconfig(place));
        command.env("HOME", self.folder().join("kubectl-home"));
        Output::of(command, input)
    }

    /// The servers as one of them tells.
    pub fn told(&self, place: usize) -> Vec<Told> {
        let text = self.coracle(place, &["member", "list"]).ok();
        let line = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [id, address, role, _version, _levels, leads @ ..] = &words[..] else { panic!("not a server: {line}") };
            let (is_voter, is_leader) = (*role == "voter", leads == ["yes"]);
            Told { id: (*id).into(), address: (*address).into(), is_voter, is_leader }
        };
        text.lines().skip(1).map(line).collect()
    }

    /// The number of a server.
    pub fn id(&self, place: usize) -> String {
        let all = self.told(self.alive());
        let found = all.iter().find(|told| told.address == self.api(place));
        found.map_or_else(|| panic!("server {place} is none of {all:?}"), |told| told.id.clone())
    }

    /// The server that leads, as one that runs tells.
    pub fn leader(&self) -> usize {
        eventually(60, || {
            let all = self.told(self.alive());
            let leader = all.iter().find(|told| told.is_leader).ok_or("nobody leads")?;
            let place =
                (0..self.machines.len()).find(|place| self.machines[*place].listen.as_ref() == Some(&leader.address));
            place.filter(|place| self.machines[*place].child.is_some()).ok_or_else(|| format!("{leader:?} is gone"))
        })
    }

    /// Waits until all that run tell of so many servers, all with a vote and one that leads.
    pub fn settled(&self, voters: usize) {
        for place in self.all_alive() {
            eventually(60, || {
                let all = self.told(place);
                let are_there = all.len() == voters && all.iter().all(|told| told.is_voter);
                (are_there && all.iter().any(|told| told.is_leader)).then_some(()).ok_or_else(|| format!("{all:?}"))
            });
        }
    }

    /// Those that run.
    pub fn all_alive(&self) -> Vec<usize> {
        (0..self.machines.len()).filter(|place| self.machines[*place].child.is_some()).collect()
    }

    fn alive(&self) -> usize {
        *self.all_alive().first().unwrap_or_else(|| panic!("no server runs"))
    }
}

/// What the `addresses.json` of a data directory says.
fn told(data: &Path, name: &str) -> String {
    eventually(120, || {
        let text = std::fs::read(data.join("addresses.json")).map_err(|error| error.to_string())?;
        let told: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        told[name].as_str().map(String::from).ok_or_else(|| format!("no {name}: {told}"))
    })
}

fn held_back(command: &mut Command, machine: &Machine) {
    if let Some(level) = machine.level_max {
        command.env("CORACLE_LEVEL_MAX", level.to_string());
    }
}

fn stop(machine: &mut Machine) {
    let mut child = machine.child.take().unwrap_or_else(|| panic!("{} does not run", machine.data.display()));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap_or_else(|error| panic!("cannot stop it: {error}"));
    let ended = child.wait().unwrap_or_else(|error| panic!("it did not end: {error}"));
    assert!(ended.success(), "{} ended with {ended}", machine.data.display());
}

impl Drop for Servers {
    fn drop(&mut self) {
        let machines = self.machines.iter_mut().chain(&mut self.agents);
        for child in machines.filter_map(|machine| machine.child.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
