//! The whole program, measured: start, idle footprint, pod create → Ready, and a request on its way through ingress, service
//! and component, beside a bare hyper server and, where it is on the PATH, `wasmtime serve`.
//!
//! `cargo bench -p tests`; `IDLE_SECONDS` (60) and `LOAD_SECONDS` (5) say how long to take. Everything that is compared is
//! measured in the same run. Processor time is that of the serving process alone, which noise on the machine disturbs least.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use client::{Client, Kubeconfig};
use harness::measure::{Running, bare_hyper, median, processor_seconds};
use harness::{Cluster, Load, Plan, eventually, get};
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_coracle-under-test");
const STARTS: usize = 7;
const PODS: usize = 40;
const ROUNDS: usize = 3;
const CONNECTIONS: usize = 16;

fn main() -> anyhow::Result<()> {
    if std::env::args().any(|word| word == "bare-hyper") {
        return bare_hyper(BARE);
    }
    println!("the whole program, {} processors", std::thread::available_parallelism()?);
    starts()?;
    let cluster = Plan::new().apply(example("hello")).up(PROGRAM)?;
    pods(&cluster)?;
    requests(&cluster)?;
    drop(cluster);
    idle()
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

fn seconds(variable: &str, default: u64) -> Duration {
    Duration::from_secs(std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default))
}

/// From the start of the process to the first 200 of `/readyz`, on fresh data and on data that is there.
fn starts() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut again = Vec::new();
    let mut fresh = Vec::new();
    for round in 0..=STARTS {
        let own = folder.path().join(format!("fresh-{round}"));
        fresh.push(ready_after(&own)?);
        again.push(ready_after(&folder.path().join("fresh-0"))?);
    }
    println!("start to /readyz, fresh data:      {:>8.0} ms (median of {})", median(&fresh), fresh.len());
    println!("start to /readyz, data is there:   {:>8.0} ms (median of {})", median(&again), again.len());
    Ok(())
}

fn ready_after(data: &Path) -> anyhow::Result<f64> {
    let _ = fs::remove_file(data.join("kubeconfig"));
    let began = Instant::now();
    let child = Running::start(
        Command::new(PROGRAM)
            .args(["up", "--listen", "127.0.0.1:0", "--ingress-http", "127.0.0.1:0", "--ingress-https", "127.0.0.1:0"])
            .args(["--dns", "127.0.0.1:0", "--node-name", "node-1", "--data-dir"])
            .arg(data),
    )?;
    // The kubeconfig is written before the API answers, so whoever has it can begin to ask.
    let text = eventually(30, || fs::read_to_string(data.join("kubeconfig")).map_err(|error| error.to_string()));
    let client = Client::new(Kubeconfig::parse(&text)?.target(data)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        while client.send(http::Method::GET, "/readyz", None, "").await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let took = began.elapsed().as_secs_f64() * 1e3;
    drop(child);
    Ok(took)
}

/// From the request that creates a pod to the watch event that calls it Ready, one after the other.
fn pods(cluster: &Cluster) -> anyhow::Result<()> {
    let text = fs::read_to_string(cluster.kubeconfig())?;
    let client = Client::new(Kubeconfig::parse(&text)?.target(cluster.data())?);
    let whole: serde_json::Value = serde_json::from_str(&cluster.coracle(&["get", "deploy/hello", "-o", "json"]).ok())?;
    let image = whole["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let took = runtime.block_on(async {
        let mut took = Vec::new();
        for number in 0..PODS {
            let key = api::kinds::POD.key("default", &format!("bench-{number}"));
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": key.name(), "namespace": "default"},
                "spec": {"containers": [{"name": "main", "image": image}]}});
            let object = api::Object::from_value(api::kinds::POD, &pod)?;
            let options = client::ListOptions { fields: Some(format!("metadata.name={}", key.name())), labels: None };
            let (_, after) = client.list(api::kinds::POD, Some("default"), &options).await?;
            let mut events = client.watch(api::kinds::POD, Some("default"), &options, after).await?;
            let began = Instant::now();
            client.create(&object).await?;
            loop {
                match events.next().await?.context("the watch ended")? {
                    client::WatchEvent::Applied(pod) if is_ready(&pod) => break,
                    _ => {}
                }
            }
            took.push(began.elapsed().as_secs_f64() * 1e3);
            client.delete(&key, &client::DeleteOptions::default().grace(0)).await?;
        }
        anyhow::Ok(took)
    })?;
    println!("pod create -> Ready:               {:>8.1} ms (median of {PODS}, one after the other)", median(&took));
    Ok(())
}

fn is_ready(pod: &api::Object) -> bool {
    let value = pod.to_value().unwrap_or_default();
    let conditions = value["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Requests a second and processor time a request: the whole path, bare hyper, and `wasmtime serve`, in turns.
fn requests(cluster: &Cluster) -> anyhow::Result<()> {
    let load = seconds("LOAD_SECONDS", 5);
    let hyper = Running::start(Command::new(std::env::current_exe()?).arg("bare-hyper"))?;
    let flags = ["serve", "-Scli", "--addr", "127.0.0.1:18099"];
    let wasmtime = Running::start(Command::new("wasmtime").args(flags).arg(example("hello/hello.wasm"))).ok();
    let mut peers =
        vec![("bare hyper", BARE, hyper.pid()), ("ingress -> service -> component", cluster.ingress(), cluster.pid())];
    if let Some(wasmtime) = &wasmtime {
        peers.push(("wasmtime serve", SocketAddr::from(([127, 0, 0, 1], 18099)), wasmtime.pid()));
    }
    let mut figures = vec![(Vec::new(), Vec::new()); peers.len()];
    for (_, address, _) in &peers {
        eventually(30, || get(*address, "hello.localhost", "/").map_err(|error| error.to_string()));
    }
    for _ in 0..ROUNDS {
        for ((_, address, pid), (rate, cost)) in peers.iter().zip(&mut figures) {
            let (before, began) = (processor_seconds(*pid)?, Instant::now());
            let load_on = Load::start(*address, "hello.localhost", "/", CONNECTIONS);
            std::thread::sleep(load);
            let report = load_on.stop();
            anyhow::ensure!(report.dropped() == 0, "requests were dropped: {:?} {:?}", report.answers, report.failures);
            let total = report.total() as f64;
            rate.push(total / began.elapsed().as_secs_f64());
            cost.push((processor_seconds(*pid)? - before) / total * 1e6);
        }
    }
    let floor = (median(&figures[0].0), median(&figures[0].1));
    for ((name, ..), (rate, cost)) in peers.iter().zip(figures) {
        let (rate, cost) = (median(&rate), median(&cost));
        println!(
            "{name:<34} {rate:>8.0} requests/s ({:.2} of bare hyper), {cost:>5.0} us of processor each ({:.1} x)",
            rate / floor.0,
            cost / floor.1
        );
    }
    Ok(())
}

/// Memory of a cluster that nobody asks anything.
fn idle() -> anyhow::Result<()> {
    let cluster = Plan::new().up(PROGRAM)?;
    let time = seconds("IDLE_SECONDS", 60);
    let before = processor_seconds(cluster.pid())?;
    std::thread::sleep(time);
    let used = processor_seconds(cluster.pid())? - before;
    let status = fs::read_to_string(format!("/proc/{}/status", cluster.pid()))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: f64 = resident.trim().trim_end_matches(" kB").parse()?;
    println!(
        "idle for {} s:                     {:>8.1} MB resident, {:.2} % of a processor",
        time.as_secs(),
        kilobytes / 1e3,
        used / time.as_secs_f64() * 1e2
    );
    Ok(())
}

const BARE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 18098);
