//! A server and its nodes, each a process of its own, on loopback addresses or each in a network namespace.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Namespaces, Output, eventually};

/// A server and its nodes. The first machine is the server's.
pub struct Fleet {
    program: String,
    machines: Vec<Machine>,
    namespaces: Option<Namespaces>,
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

    fn start(
        program: &str,
        server: Server,
        agents: usize,
        namespaces: Option<Namespaces>,
        environment: Vec<(&'static str, String)>,
    ) -> Self {
        let folder = TempDir::new().unwrap_or_else(|error| panic!("no folder: {error}"));
        let mut fleet = Self { program: program.into(), machines: Vec::new(), namespaces, environment, folder };
        fleet.add("server", if server == Server::Alone { &["--no-node"] } else { &[] });
        fleet.kubectl_free(&["get", "nodes"]);
        let token = fleet.coracle(&["token", "--uses", "0"]).ok();
        let url = format!("https://{}", fleet.told(0, "api"));
        for _ in 0..agents {
            fleet.add("agent", &["--server", &url, "--token", token.trim()]);
        }
        for machine in usize::from(server == Server::Alone)..=agents {
            let node = format!("node/node-{machine}");
            fleet.coracle(&["wait", "--for=create", &node, "--timeout", "60s"]).ok();
            fleet.coracle(&["wait", "--for=condition=Ready", &node, "--timeout", "60s"]).ok();
            // Without a range of addresses it cannot be told where its pods are.
            eventually(60, || match fleet.coracle(&["get", &node, "-o", "json"]).stdout {
                told if told.contains("podCIDR") => Ok(()),
                told => Err(told),
            });
        }
        fleet
    }

    fn add(&mut self, role: &'static str, words: &[&str]) {
        let machine = self.machines.len();
        let data = self.folder.path().join(format!("machine-{machine}"));
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
        let first = self.machines.iter().find(|machine| machine.role == "agent");
        let words = first.map_or_else(|| panic!("there is no agent yet"), |agent| agent.words.clone());
        self.add("agent", &words.iter().map(String::as_str).collect::<Vec<_>>());
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
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        self.machines[machine].child = Some(child);
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

    fn kubectl_free(&self, words: &[&str]) {
        let _ = self.told(0, "api");
        self.coracle(words).ok();
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
