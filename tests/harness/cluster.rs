//! One cluster in one process.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::clock::Clock;
use crate::kubectl::Output;

/// The slowest machine that is to pass starts a cluster within this.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// Longest a graceful stop may take.
const STOP_PATIENCE: Duration = Duration::from_secs(40);

/// How a cluster is to be started.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    files: Vec<PathBuf>,
    data: Option<PathBuf>,
    node: Option<String>,
    flags: Vec<String>,
    user: Option<u32>,
    environment: Vec<(&'static str, PathBuf)>,
}

/// A running `coracle up`.
pub struct Cluster {
    program: PathBuf,
    child: Child,
    said: Receiver<String>,
    told: Vec<String>,
    /// Kept so that the folder lives as long as the cluster, when the cluster owns it.
    _folder: Option<TempDir>,
    data: PathBuf,
    addresses: Value,
}

// === impl Plan ===

impl Plan {
    /// An empty cluster in a folder of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also applies a file or folder.
    pub fn apply(mut self, file: impl Into<PathBuf>) -> Self {
        self.files.push(file.into());
        self
    }

    /// Also says this on the command line.
    pub fn say(mut self, words: &[&str]) -> Self {
        self.flags.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Uses a data directory that outlives the cluster.
    pub fn on(mut self, data: &Path) -> Self {
        self.data = Some(data.to_owned());
        self
    }

    /// Has this in its environment.
    pub fn with(mut self, name: &'static str, value: impl Into<PathBuf>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Calls its node so, instead of `node-1`.
    pub fn called(mut self, node: &str) -> Self {
        self.node = Some(node.to_owned());
        self
    }

    /// Runs it as this user, who has no rights of root; only root may say so.
    pub fn run_as(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    /// Has it go by this clock, which has to outlive it.
    pub fn by(mut self, clock: &Clock) -> Self {
        self.environment.extend(clock.environment());
        self
    }

    /// Starts the cluster with `program` and waits until it says that all is up.
    pub fn up(self, program: &str) -> anyhow::Result<Cluster> {
        let folder = self.data.is_none().then(TempDir::new).transpose()?;
        let data = match (&self.data, &folder) {
            (Some(data), _) => data.clone(),
            (None, Some(folder)) => folder.path().join("data"),
            (None, None) => bail!("a cluster needs a folder"),
        };
        let mut command = Command::new(program);
        if let Some(user) = self.user {
            command.uid(user).gid(user).env("HOME", "/nonexistent");
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.arg("up").args([
            "--listen",
            "127.0.0.1:0",
            "--ingress-http",
            "127.0.0.1:0",
            "--ingress-https",
            "127.0.0.1:0",
        ]);
        let node = self.node.as_deref().unwrap_or("node-1");
        command.args(["--dns", "127.0.0.1:0", "--node-name", node]).arg("--data-dir").arg(&data);
        command.args(&self.flags);
        for file in &self.files {
            command.arg("-f").arg(file);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (say, said) = mpsc::channel();
        for stream in [
            child.stdout.take().map(|out| Box::new(out) as Box<dyn Read + Send>),
            child.stderr.take().map(|err| Box::new(err) as Box<dyn Read + Send>),
        ] {
            let (say, stream) = (say.clone(), stream.context("the streams are piped")?);
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = say.send(line);
                }
            });
        }
        // Only the streams hold it now: when the program ends, so does the wait for what it says.
        drop(say);
        let mut cluster = Cluster {
            program: program.into(),
            child,
            said,
            told: Vec::new(),
            _folder: folder,
            data,
            addresses: Value::Null,
        };
        cluster.wait_for("Ctrl-C stops it.", START_PATIENCE)?;
        cluster.addresses = serde_json::from_slice(&std::fs::read(cluster.data.join("addresses.json"))?)?;
        Ok(cluster)
    }
}

// === impl Cluster ===

impl Cluster {
    /// Where the data is.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Where the administrator's kubeconfig is.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data.join("kubeconfig")
    }

    /// Where the ingress answers HTTP.
    pub fn ingress(&self) -> SocketAddr {
        self.address("ingressHttp")
    }

    /// Where the ingress answers HTTPS.
    pub fn ingress_tls(&self) -> SocketAddr {
        self.address("ingressHttps")
    }

    /// Where the API answers.
    pub fn api(&self) -> SocketAddr {
        self.address("api")
    }

    /// Where the DNS server answers.
    pub fn dns(&self) -> SocketAddr {
        self.address("dns")
    }

    /// Where the DNS server answers with addresses of the loopback.
    pub fn dns_mirror(&self) -> SocketAddr {
        self.address("dnsMirror")
    }

    fn address(&self, name: &str) -> SocketAddr {
        let told = self.addresses[name].as_str().and_then(|text| text.parse().ok());
        told.unwrap_or_else(|| panic!("addresses.json names no {name}: {}", self.addresses))
    }

    /// Everything that the program has said so far.
    pub fn told(&mut self) -> String {
        self.told.extend(self.said.try_iter());
        self.told.join("\n")
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs a command of the program against this cluster.
    pub fn coracle(&self, words: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.args(words).env("CORACLE_KUBECONFIG", self.kubeconfig());
        Output::of(command, None)
    }

    /// Ends the process as a power cut would: at once.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends the process as Ctrl-C does, and says how it ended.
    pub fn stop(mut self) -> anyhow::Result<String> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT)?;
        let until = Instant::now() + STOP_PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                let told = self.told();
                if status.success() {
                    return Ok(told);
                }
                bail!("ended with {status}:\n{told}");
            }
            if Instant::now() > until {
                bail!("did not stop:\n{}", self.told());
            }
            thread::park_timeout(Duration::from_millis(10));
        }
    }

    fn wait_for(&mut self, line: &str, patience: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + patience;
        loop {
            match self.said.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(said) => {
                    let found = said.contains(line);
                    self.told.push(said);
                    if found {
                        return Ok(());
                    }
                }
                Err(_) => bail!("the cluster did not say {line:?}:\n{}", self.told.join("\n")),
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until the answer is good, or fails with the last one after `seconds`.
pub fn eventually<T>(seconds: u64, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        match ask() {
            Ok(good) => return good,
            Err(last) if Instant::now() > until => panic!("not within {seconds} s: {last}"),
            Err(_) => thread::park_timeout(Duration::from_millis(25)),
        }
    }
}
