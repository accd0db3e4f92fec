//! Servers and their nodes, each a process of its own, on loopback addresses or each in a network namespace.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::disk::SmallDisk;
use crate::{Clock, Namespaces, Output, eventually};

/// Servers and their nodes. The first machines are the servers', the first of all that of who founded the cluster.
pub struct Fleet {
    program: String,
    machines: Vec<Machine>,
    namespaces: Option<Namespaces>,
    /// Those that some machines have to themselves.
    clocks: BTreeMap<usize, Clock>,
    disks: BTreeMap<usize, SmallDisk>,
    /// Flags by their twins in the environment.
    environment: Vec<(&'static str, String)>,
    folder: TempDir,
}

struct Machine {
    /// None while it is off.
    child: Option<Child>,
    data: PathBuf,
    role: &'static str,
    words: Vec<String>,
    ip: String,
}

/// Stories that are not about lost nodes are not to lose one because the machine is busy.
const PATIENT: (&str, &str) = ("CORACLE_NODE_MONITOR_GRACE_PERIOD", "60s");

/// How many machines a fleet in namespaces has, and what they have been told.
#[derive(Clone, Debug, Default)]
pub struct Size {
    /// Servers, none of which is a node.
    pub servers: usize,
    /// Nodes behind them.
    pub agents: usize,
    /// Machines on which nothing runs yet.
    pub spare: usize,
    /// Flags for all that have them, by their twins in the environment.
    pub environment: Vec<(&'static str, String)>,
    /// Servers that have a clock of their own.
    pub clocks: Vec<usize>,
    /// Servers with a disk of their own, and of how many bytes.
    pub disks: Vec<(usize, u64)>,
}

/// Whether pods run on the server's machine too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// It is the node `node-0`.
    IsNode,
    /// It is none.
    Alone,
}

// === impl Fleet ===

impl Fleet {
    /// A server and `agents` nodes, `node-1` and so on, on loopback addresses.
    pub fn on_loopback(program: &str, server: Server, agents: usize) -> Self {
        Self::start(program, server, agents, None, Vec::new())
    }

    /// The same, with flags for all that have them, by their twins in the environment.
    pub fn told_so(program: &str, server: Server, agents: usize, environment: Vec<(&'static str, String)>) -> Self {
        Self::start(program, server, agents, None, environment)
    }

    /// A server and `agents` nodes, `node-1` and so on, each in a network namespace.
    pub fn in_namespaces(program: &str, server: Server, agents: usize) -> Self {
        let namespaces = Namespaces::new(agents + 1).unwrap_or_else(|why| panic!("{why}"));
        Self::start(program, server, agents, Some(namespaces), Vec::new())
    }

    /// A server and `agents` nodes on the first of these machines; the others have nothing to do with them.
    pub fn on_some_of(namespaces: Namespaces, program: &str, server: Server, agents: usize) -> Self {
        Self::start(program, server, agents, Some(namespaces), Vec::new())
    }

    /// Several servers and their nodes, each in a network namespace.
    pub fn of(program: &str, size: Size) -> Self {
        let machines = size.servers + size.agents + size.spare;
        let namespaces = Namespaces::new(machines).unwrap_or_else(|why| panic!("{why}"));
        let mut fleet = Self::nothing(program, Some(namespaces), size.environment);
        for server in size.clocks {
            let clock = Clock::new().unwrap_or_else(|error| panic!("{error:#}"));
            fleet.clocks.insert(server, clock);
        }
        for (server, bytes) in size.disks {
            fleet.disks.insert(server, SmallDisk::at(&fleet.place(server), bytes));
        }
        fleet.found(Server::Alone);
        for _ in 1..size.servers {
            let token = fleet.at_last(&["token", "create", "--role", "server"]);
            let url = format!("https://{}", fleet.told(0, "api"));
            fleet.add("server", &["--no-node", "--join", &url, "--token", token.trim()]);
        }
        fleet.settled();
        fleet.populate(size.servers..size.servers + size.agents);
        fleet
    }

    fn start(
        program: &str,
        server: Server,
        agents: usize,
        namespaces: Option<Namespaces>,
        environment: Vec<(&'static str, String)>,
    ) -> Self {
        let mut fleet = Self::nothing(program, namespaces, environment);
        fleet.found(server);
        fleet.populate(1..agents + 1);
        if server == Server::IsNode {
            fleet.is_ready(0);
        }
        fleet
    }

    fn nothing(program: &str, namespaces: Option<Namespaces>, environment: Vec<(&'static str, String)>) -> Self {
        let folder = TempDir::new().unwrap_or_else(|error| panic!("no folder: {error}"));
        let (clocks, disks) = (BTreeMap::new(), BTreeMap::new());
        Self { program: program.into(), machines: Vec::new(), namespaces, clocks, disks, environment, folder }
    }

    fn found(&mut self, server: Server) {
        self.add("server", if server == Server::Alone { &["--no-node"] } else { &[] });
        let _ = self.told(0, "api");
        self.coracle(&["get", "nodes"]).ok();
    }

    /// Lets nodes join, and waits until all are ready.
    fn populate(&mut self, places: Range<usize>) {
        let token = self.at_last(&["token", "--uses", "0"]);
        let url = format!("https://{}", self.told(0, "api"));
        for _ in places.clone() {
            self.add("agent", &["--server", &url, "--token", token.trim()]);
        }
        for place in places {
            self.is_ready(place);
        }
    }

    /// Waits until a machine's node is ready.
    pub fn is_ready(&self, machine: usize) {
        let node = format!("node/node-{machine}");
        // Without a range of addresses it cannot be told where its pods are. Among several servers none may lead for a moment.
        eventually(120, || {
            let told = self.coracle(&["get", &node, "-o", "json"]);
            let node: Value = serde_json::from_str(&told.stdout).map_err(|_| told.stderr)?;
            let conditions = node["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
            let is_ready = conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
            if is_ready && node["spec"]["podCIDR"].is_string() { Ok(()) } else { Err(node.to_string()) }
        });
    }

    /// Waits until every server has a vote.
    fn settled(&self) {
        let servers = self.machines.iter().filter(|machine| machine.role == "server").count();
        eventually(120, || {
            let told = self.coracle(&["member", "list"]).stdout;
            let voters = told.split_whitespace().filter(|word| *word == "voter").count();
            if voters == servers && told.contains("yes") { Ok(()) } else { Err(told) }
        });
    }

    /// Where a machine keeps its data, or will.
    fn place(&self, machine: usize) -> PathBuf {
        self.folder.path().join(format!("machine-{machine}"))
    }

    fn add(&mut self, role: &'static str, words: &[&str]) {
        let machine = self.machines.len();
        let data = self.place(machine);
        let ip = match &self.namespaces {
            Some(_) => Namespaces::address(machine),
            None => format!("127.0.0.{}", machine + 1),
        };
        let words = words.iter().map(ToString::to_string).collect();
        self.machines.push(Machine { child: None, data, role, words, ip: ip.clone() });
        self.boot(machine, &[format!("{ip}:0"), format!("{ip}:0")]);
    }

    /// Lets another node join as those before it did, and gives its place; it need not be there yet.
    pub fn join(&mut self) -> usize {
        self.join_with(&[])
    }

    /// The same, and it is told this too.
    pub fn join_with(&mut self, also: &[&str]) -> usize {
        let first = self.machines.iter().find(|machine| machine.role == "agent");
        let words = first.map_or_else(|| panic!("there is no agent yet"), |agent| agent.words.clone());
        self.add("agent", &words.iter().map(String::as_str).chain(also.iter().copied()).collect::<Vec<_>>());
        self.machines.len() - 1
    }

    /// Starts what is off on its data: a server where it was before, as the nodes know it.
    pub fn start_again(&mut self, machine: usize) {
        let listen = if self.machines[machine].role == "server" { self.told(machine, "api") } else { String::new() };
        let free = format!("{}:0", self.machines[machine].ip);
        let listen = if listen.is_empty() { free.clone() } else { listen };
        let _ = std::fs::remove_file(self.machines[machine].data.join("addresses.json"));
        self.boot(machine, &[listen, free]);
    }

    fn boot(&mut self, machine: usize, [listen, free]: &[String; 2]) {
        let Machine { data, role, words, .. } = &self.machines[machine];
        let mut command = self.command(machine);
        command.arg(role).args(words).args(["--listen", listen, "--ingress-http", free, "--ingress-https", free]);
        command.args(["--dns", free, "--node-name", &format!("node-{machine}")]).arg("--data-dir").arg(data);
        command.env(PATIENT.0, PATIENT.1).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.envs(self.clocks.get(&machine).into_iter().flat_map(Clock::environment));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        self.machines[machine].child = Some(child);
    }

    /// Whether a machine's process runs: one that has ended by itself does not.
    pub fn runs(&mut self, machine: usize) -> bool {
        let child = &mut self.machines[machine].child;
        if child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_)))) {
            *child = None;
        }
        child.is_some()
    }

    /// A machine's process.
    pub fn pid(&self, machine: usize) -> u32 {
        self.machines[machine].child.as_ref().unwrap_or_else(|| panic!("machine {machine} is off")).id()
    }

    /// The clock that a machine has to itself.
    pub fn clock(&mut self, machine: usize) -> &mut Clock {
        self.clocks.get_mut(&machine).unwrap_or_else(|| panic!("machine {machine} goes by everybody's clock"))
    }

    /// The disk that a machine has to itself.
    pub fn disk(&self, machine: usize) -> &SmallDisk {
        self.disks.get(&machine).unwrap_or_else(|| panic!("machine {machine} has everybody's disk"))
    }

    /// How many machines there are, those that are off too.
    pub fn machines(&self) -> usize {
        self.machines.len()
    }

    /// Ends a machine's process as a power cut would.
    pub fn kill(&mut self, machine: usize) {
        let mut child = self.machines[machine].child.take().unwrap_or_else(|| panic!("machine {machine} is off"));
        child.kill().and_then(|()| child.wait()).unwrap_or_else(|error| panic!("cannot kill it: {error}"));
    }

    /// Sends a machine's process a signal.
    pub fn signal(&self, machine: usize, signal: Signal) {
        let child = self.machines[machine].child.as_ref().unwrap_or_else(|| panic!("machine {machine} is off"));
        kill_process(Pid::from_child(child), signal).unwrap_or_else(|error| panic!("no signal: {error}"));
    }

    /// Asks a machine's process to end, and waits until it has.
    pub fn stop(&mut self, machine: usize) {
        self.signal(machine, Signal::TERM);
        let mut child = self.machines[machine].child.take().unwrap_or_else(|| panic!("machine {machine} is off"));
        eventually(60, || match child.try_wait() {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// Where a machine keeps its data.
    pub fn data(&self, machine: usize) -> &Path {
        &self.machines[machine].data
    }

    fn command(&self, machine: usize) -> Command {
        match &self.namespaces {
            Some(namespaces) => namespaces.command(machine, &self.program),
            None => Command::new(&self.program),
        }
    }

    /// The namespaces, where the fleet is in some.
    pub fn namespaces(&self) -> &Namespaces {
        self.namespaces.as_ref().unwrap_or_else(|| panic!("the fleet is on the loopback"))
    }

    /// What a machine's `addresses.json` says.
    pub fn told(&self, machine: usize, name: &str) -> String {
        let file = self.machines[machine].data.join("addresses.json");
        eventually(60, || {
            let bytes = std::fs::read(&file).map_err(|error| error.to_string())?;
            let told: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
            told[name].as_str().map(String::from).ok_or_else(|| format!("no {name}: {told}"))
        })
    }

    /// Where a machine's ingress answers HTTP.
    pub fn ingress(&self, machine: usize) -> SocketAddr {
        let told = self.told(machine, "ingressHttp");
        told.parse().unwrap_or_else(|error| panic!("{told}: {error}"))
    }

    /// Where a machine's ingress answers HTTPS.
    pub fn ingress_tls(&self, machine: usize) -> SocketAddr {
        let told = self.told(machine, "ingressHttps");
        told.parse().unwrap_or_else(|error| panic!("{told}: {error}"))
    }

    /// Runs a command of the program on the server's machine.
    pub fn coracle(&self, words: &[&str]) -> Output {
        let mut command = self.command(0);
        command.args(words).env("CORACLE_KUBECONFIG", self.kubeconfig());
        Output::of(command, None)
    }

    /// Has a command of the program succeed, however often it takes: among several servers none may lead for a moment.
    pub fn at_last(&self, words: &[&str]) -> String {
        eventually(120, || match self.coracle(words) {
            done if done.code == 0 => Ok(done.stdout),
            failed => Err(failed.stderr),
        })
    }

    /// Runs `kubectl` with the administrator's kubeconfig and a home of its own.
    pub fn kubectl(&self, words: &[&str], input: Option<&str>) -> Output {
        let mut command = Command::new("kubectl");
        command.args(words).env("KUBECONFIG", self.kubeconfig()).env("HOME", self.folder().join("kubectl-home"));
        Output::of(command, input)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.machines[0].data.join("kubeconfig")
    }

    /// A folder that goes with the fleet.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Gets `http://HOST/PATH` from the ingress of one machine, asked on another: the status and the body, or what went wrong.
    pub fn get(&self, on: usize, ingress: usize, host: &str, path: &str) -> Result<(u16, String), String> {
        let Some(namespaces) = &self.namespaces else {
            let answer = crate::get(self.ingress(ingress), host, path).map_err(|error| error.to_string())?;
            return Ok((answer.status, answer.body));
        };
        let mut command = namespaces.command(on, "curl");
        let url = format!("http://{}{path}", self.ingress(ingress));
        command.args(["-sS", "--max-time", "10", "-w", "\n%{http_code}", "-H", &format!("Host: {host}"), &url]);
        let output = Output::of(command, None);
        let (body, status) = output.stdout.rsplit_once('\n').unwrap_or_default();
        match status.parse() {
            Ok(status) if output.code == 0 => Ok((status, body.to_owned())),
            _ => Err(output.stderr),
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in self.machines.iter_mut().filter_map(|machine| machine.child.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
