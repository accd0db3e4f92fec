//! Talk between pods, beside the same components on the kernel's loopback.
//!
//! `cargo bench -p tests --bench calls`. Here: pod → Service → pod, in process. There: the same two components, each in a
//! `wasmtime` of its own (Debian has none; `cargo install wasmtime-cli`), which talk over 127.0.0.1. Both take turns in one run.
//! What is told is the time of one question and its answer, as the asking component measures it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use harness::measure::{Running, free, median};
use harness::{Cluster, Plan, eventually, get, peer_is_there};

const PROGRAM: &str = env!("CARGO_BIN_EXE_coracle-under-test");
const ROUNDS: usize = 5;
/// Questions over one connection.
const QUESTIONS: &str = "20000";
const QUESTION_BYTES: &str = "64";
/// Requests that the asking component makes before it says how long each took; each is answered by a fresh instance.
const REQUESTS: u32 = 50;
/// How often it is asked for that. `wasmtime serve` fails a guest's writing when the answer is there first (now and then, and
/// the guest with it): what fails is left out.
const ASKED: usize = 40;

fn main() -> anyhow::Result<()> {
    if !peer_is_there("wasmtime") {
        println!("wasmtime is not on the PATH: nothing is measured");
        return Ok(());
    }
    let cluster = ["hello", "echo", "probe"].iter().fold(Plan::new(), |plan, name| plan.apply(example(name)));
    let cluster = cluster.up(PROGRAM)?;
    let _told = cluster.coracle(&["push", &component("dial").display().to_string(), "dial:bench"]).ok();

    let there = Kernel::start()?;
    let (mut sockets, mut requests) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for round in 0..ROUNDS {
        sockets.0.push(dial(&cluster, round)?);
        sockets.1.push(there.dial()?);
        requests.0.push(calls(cluster.ingress(), "hello")?);
        requests.1.push(calls(there.probe, &there.hello.to_string())?);
    }
    report("TCP round trip of 64 bytes, pod -> Service -> pod", &sockets);
    report("HTTP request, pod -> Service -> pod", &requests);
    Ok(())
}

fn report(what: &str, (here, there): &(Vec<f64>, Vec<f64>)) {
    let (here, there) = (median(here) / 1e3, median(there) / 1e3);
    let ratio = here / there;
    println!(
        "{what:<50} {here:>8.1} us, over the kernel's loopback {there:>8.1} us: {ratio:.2} x, medians of {ROUNDS}"
    );
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

fn component(name: &str) -> PathBuf {
    example(name).join(name).with_extension("wasm")
}

/// What `N ns each` says.
fn nanoseconds(text: &str) -> anyhow::Result<f64> {
    let number = text.strip_suffix(" ns each\n").and_then(|number| number.parse().ok());
    number.with_context(|| format!("not a time: {text}"))
}

/// The probe at `from` asks `host`.
fn calls(from: SocketAddr, host: &str) -> anyhow::Result<f64> {
    let path = format!("/calls?count={REQUESTS}&url=http://{host}/");
    let asked = (0..ASKED).map(|_| get(from, "probe.localhost", &path));
    let answered = asked.filter_map(Result::ok).filter(|answer| answer.status == 200);
    let took = answered.map(|answer| nanoseconds(&answer.body)).collect::<anyhow::Result<Vec<f64>>>()?;
    ensure!(took.len() > ASKED / 4, "{host} answered {} of {ASKED} times", took.len());
    Ok(median(&took))
}

/// A pod asks the Service `echo`.
fn dial(cluster: &Cluster, round: usize) -> anyhow::Result<f64> {
    let name = format!("dial-{round}");
    let manifest = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "containers": [{
            "name": "dial", "image": "dial:bench", "args": ["rounds", "echo:7", QUESTIONS, QUESTION_BYTES],
        }]},
    });
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("pod.yaml");
    std::fs::write(&file, manifest.to_string())?;
    cluster.coracle(&["apply", "-f", &file.display().to_string()]).ok();
    let told = eventually(60, || {
        let told = cluster.coracle(&["logs", &name]);
        if told.stdout.ends_with(" ns each\n") { Ok(told.stdout) } else { Err(told.stderr) }
    });
    cluster.coracle(&["delete", &format!("pod/{name}")]).ok();
    nanoseconds(&told)
}

/// The same components, each in a process of its own.
struct Kernel {
    echo: SocketAddr,
    hello: SocketAddr,
    probe: SocketAddr,
    _running: Vec<Running>,
}

// === impl Kernel ===

impl Kernel {
    fn start() -> anyhow::Result<Self> {
        let (echo, hello, probe) = (free()?, free()?, free()?);
        let serve = |name: &str, address: SocketAddr| {
            let flags = ["serve", "-Scli,inherit-network", "--addr", &address.to_string()];
            Running::start(Command::new("wasmtime").args(flags).arg(component(name)))
        };
        let mut echoing = Command::new("wasmtime");
        echoing.args(["run", "-Sinherit-network"]).arg(component("echo")).arg(echo.to_string());
        let running = vec![Running::start(&mut echoing)?, serve("hello", hello)?, serve("probe", probe)?];
        for address in [hello, probe] {
            eventually(30, || get(address, "localhost", "/").map_err(|error| error.to_string()));
        }
        eventually(30, || std::net::TcpStream::connect(echo).map_err(|error| error.to_string()));
        Ok(Self { echo, hello, probe, _running: running })
    }

    fn dial(&self) -> anyhow::Result<f64> {
        let mut dial = Command::new("wasmtime");
        dial.args(["run", "-Sinherit-network"]).arg(component("dial"));
        let told = dial.args(["rounds", &self.echo.to_string(), QUESTIONS, QUESTION_BYTES]).output()?;
        nanoseconds(&String::from_utf8_lossy(&told.stdout))
            .with_context(|| String::from_utf8_lossy(&told.stderr).into_owned())
    }
}
