//! A server and its nodes, each a process of its own, on loopback addresses or each in a network namespace.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

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
    child: Child,
    data: PathBuf,
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

    fn add(&mut self, role: &str, words: &[&str]) {
        let machine = self.machines.len();
        let data = self.folder.path().join(format!("machine-{machine}"));
        let ip = match &self.namespaces {
            Some(_) => Namespaces::address(machine),
            None => format!("127.0.0.{}", machine + 1),
        };
        let free = format!("{ip}:0");
        let mut command = self.command(machine);
        command.arg(role).args(words).args(["--listen", &free, "--ingress-http", &free, "--ingress-https", &free]);
        command.args(["--dns", &free, "--node-name", &format!("node-{machine}")]).arg("--data-dir").arg(&data);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        self.machines.push(Machine { child, data });
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
        for machine in &mut self.machines {
            let _ = machine.child.kill();
            let _ = machine.child.wait();
        }
    }
}
