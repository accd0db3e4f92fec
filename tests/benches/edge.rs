//! The way in, beside others: wrk through the ingress to a component, and through haproxy and nginx to the same kind of answer.
//!
//! `cargo bench -p tests --bench edge`; `LOAD_SECONDS` (5) says how long each round takes. The proxies stand before a bare hyper
//! server, the least that can be behind them, and before `wasmtime serve`, which does the same work as the component behind
//! the ingress. All are measured in one run and in turns, so that all see the same machine.
//!
//! Told is processor time per request, of all processes on the way, from `/proc/PID/stat`: noise on the machine disturbs it
//! least. wrk has to be there (Debian: `wrk`); peers that are not installed (`haproxy`, `nginx`, `wasmtime`) are left out.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use harness::measure::{Running, bare_hyper, free, median, processor_seconds};
use harness::{Cluster, Plan, eventually, get, peer_is_there};

const PROGRAM: &str = env!("CARGO_BIN_EXE_coracle-under-test");
const ROUNDS: usize = 3;
const CONNECTIONS: &str = "32";

/// One way to an answer.
struct Way {
    name: &'static str,
    address: SocketAddr,
    /// Everybody whose work it is.
    pids: Vec<u32>,
    rates: Vec<f64>,
    costs: Vec<f64>,
}

fn main() -> anyhow::Result<()> {
    if let Some(port) = std::env::args().skip_while(|word| word != "bare-hyper").nth(1) {
        return bare_hyper(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse()?)));
    }
    if !peer_is_there("wrk") {
        println!("wrk is not installed: nothing is measured");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let cluster = Plan::new().apply(example("hello")).up(PROGRAM)?;
    let mut children = Vec::new();
    let floor = Way::new("bare hyper", free()?);
    let program = std::env::current_exe()?;
    let server = start(&mut children, Command::new(program).args(["bare-hyper", &floor.address.port().to_string()]))?;
    let mut ways = vec![floor.by(&[server])];
    for proxy in ["haproxy", "nginx"].into_iter().filter(|proxy| peer_is_there(proxy)) {
        let way = Way::new(if proxy == "haproxy" { "haproxy -> hyper" } else { "nginx -> hyper" }, free()?);
        let pid = start_proxy(&mut children, folder.path(), proxy, way.address, ways[0].address)?;
        ways.push(way.by(&[pid, server]));
    }
    ways.push(Way::new("ingress -> component", cluster.ingress()).by(&[cluster.pid()]));
    if peer_is_there("wasmtime") {
        let component = Way::new("wasmtime serve", free()?);
        let mut serve = Command::new("wasmtime");
        serve.args(["serve", "-Scli", "--addr", &component.address.to_string()]).arg(example("hello/hello.wasm"));
        let serving = start(&mut children, &mut serve)?;
        if peer_is_there("haproxy") {
            let way = Way::new("haproxy -> wasmtime serve", free()?);
            let pid = start_proxy(&mut children, folder.path(), "haproxy", way.address, component.address)?;
            ways.push(way.by(&[pid, serving]));
        }
        ways.push(component.by(&[serving]));
    }
    measure(&mut ways)?;
    report(&ways, &cluster);
    Ok(())
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

fn start(children: &mut Vec<Running>, command: &mut Command) -> anyhow::Result<u32> {
    let child = Running::start(command)?;
    let pid = child.pid();
    children.push(child);
    Ok(pid)
}

/// A proxy with one worker for each processor, as the ingress has, and no log, as it has none.
fn start_proxy(
    children: &mut Vec<Running>,
    folder: &Path,
    proxy: &str,
    at: SocketAddr,
    to: SocketAddr,
) -> anyhow::Result<u32> {
    let file = folder.join(format!("{proxy}-{}.conf", at.port()));
    let mut command = if proxy == "haproxy" {
        let text = format!(
            "global\n  maxconn 4096\ndefaults\n  mode http\n  timeout client 1m\n  timeout server 1m\n  timeout connect 5s\n  http-reuse always\nfrontend f\n  bind {at}\n  http-request set-header X-Forwarded-For %[src]\n  default_backend b\nbackend b\n  server s {to}\n"
        );
        fs::write(&file, text)?;
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        command
    } else {
        let own = folder.display();
        let text = format!(
            "daemon off;\nmaster_process off;\npid {own}/nginx.pid;\nerror_log /dev/null;\nevents {{ worker_connections 1024; }}\nhttp {{\n  access_log off;\n  client_body_temp_path {own};\n  proxy_temp_path {own};\n  fastcgi_temp_path {own};\n  uwsgi_temp_path {own};\n  scgi_temp_path {own};\n  keepalive_requests 100000000;\n  upstream b {{ server {to}; keepalive 64; keepalive_requests 100000000; }}\n  server {{ listen {at}; location / {{ proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; }} }}\n}}\n"
        );
        fs::write(&file, text)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).arg("-c").arg(&file);
        command
    };
    command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
    start(children, &mut command).with_context(|| format!("{proxy} does not start"))
}

fn measure(ways: &mut [Way]) -> anyhow::Result<()> {
    for way in ways.iter() {
        eventually(30, || match get(way.address, "hello.localhost", "/") {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{}: {other:?}", way.name)),
        });
    }
    for _ in 0..ROUNDS {
        for way in ways.iter_mut() {
            let before = way.processor_seconds()?;
            let (requests, rate) = wrk(way.address)?;
            way.rates.push(rate);
            way.costs.push((way.processor_seconds()? - before) / requests * 1e6);
        }
    }
    Ok(())
}

/// How many requests were answered, and how many in a second; none may fail.
fn wrk(address: SocketAddr) -> anyhow::Result<(f64, f64)> {
    let seconds = std::env::var("LOAD_SECONDS").unwrap_or_else(|_| "5".into());
    let output = Command::new("wrk")
        .args(["-t", "1", "-c", CONNECTIONS, "-d", &format!("{seconds}s"), "-H", "Host: hello.localhost"])
        .arg(format!("http://{address}/"))
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "requests failed:\n{text}");
    let number = |line: &str, at: usize| line.split_whitespace().nth(at)?.parse::<f64>().ok();
    let requests = text.lines().find(|line| line.contains("requests in")).and_then(|line| number(line, 0));
    let rate = text.lines().find(|line| line.contains("Requests/sec")).and_then(|line| number(line, 1));
    requests.zip(rate).with_context(|| format!("wrk says something else:\n{text}"))
}

fn report(ways: &[Way], cluster: &Cluster) {
    let ours = ways.iter().find(|way| way.address == cluster.ingress());
    let Some(ours) = ours else { return };
    for way in ways {
        let (rate, cost) = (median(&way.rates), median(&way.costs));
        let ratio = cost / median(&ours.costs);
        println!(
            "{:<28} {rate:>8.0} requests/s, {cost:>6.1} us of processor each, {ratio:>5.2} x ingress -> component",
            way.name
        );
    }
}

// === impl Way ===

impl Way {
    fn new(name: &'static str, address: SocketAddr) -> Self {
        Self { name, address, pids: Vec::new(), rates: Vec::new(), costs: Vec::new() }
    }

    fn by(self, pids: &[u32]) -> Self {
        Self { pids: pids.to_vec(), ..self }
    }

    fn processor_seconds(&self) -> anyhow::Result<f64> {
        self.pids.iter().map(|pid| processor_seconds(*pid)).sum()
    }
}
