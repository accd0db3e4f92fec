//! What the door does in a second: durable creates, long lists, patches; and what one client's storm does to another.
//!
//! `cargo bench -p apiserver --bench load [creates|lists|patches|storm]`. The server is a process of its own, and is asked over TLS
//! by clients on the same machine: what they use of the processors is lost to it, so the processor time of the server alone is
//! told too. Beside the figures stand floors measured in the same run: bare `fdatasync`, and a copy of the same bytes over TLS.

mod common;

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Sender, Served, ask, new_pod, quantile, request};
use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PODS: &str = "/api/v1/namespaces/default/pods";
const JSON: (&str, &str) = ("content-type", "application/json");
const STREAMS: usize = 256;
const CONNECTIONS: usize = 16;
const ROW: Duration = Duration::from_secs(4);
const LISTED: usize = 10_000;
const STORM_CONNECTIONS: usize = 32;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| !word.starts_with("--")).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let wants = |name: &str| words.is_empty() || words.contains(&name);
    match words.as_slice() {
        ["serve", directory] => return runtime.block_on(common::serve(directory.as_ref())),
        ["burn"] => burn(),
        ["storm-of", address, directory] => return runtime.block_on(storm(address, directory.as_ref())),
        _ => {}
    }
    if wants("creates") {
        runtime.block_on(creates());
    }
    if wants("patches") {
        runtime.block_on(patches());
    }
    if wants("lists") {
        runtime.block_on(lists());
    }
    if wants("storm") {
        runtime.block_on(storms());
    }
}

/// How long each took, in milliseconds, and what the server used of a processor for each, in microseconds.
struct Row {
    took: Vec<f64>,
    length: Duration,
    server_us: f64,
}

impl Row {
    fn tell(mut self, name: &str) {
        let rate = self.took.len() as f64 / self.length.as_secs_f64();
        let (p50, p99) = (quantile(&mut self.took, 0.5), quantile(&mut self.took, 0.99));
        println!(
            "{name:<44} {rate:>8.0} /s   p50 {p50:>7.2} ms   p99 {p99:>7.2} ms   server {:>6.1} us each",
            self.server_us
        );
    }
}

/// So many at once, each asking for what `make` says for its number, for a while.
async fn load(
    served: &Served,
    user: &str,
    at_once: usize,
    length: Duration,
    make: impl Fn(usize) -> http::Request<http_body_util::Full<bytes::Bytes>> + Clone + Send + 'static,
    expect: u16,
) -> Row {
    let mut senders: Vec<Sender> = Vec::new();
    for _ in 0..CONNECTIONS.min(at_once) {
        senders.push(served.connect(user).await);
    }
    let number = Arc::new(AtomicUsize::new(0));
    let before = served.processor_seconds();
    let began = Instant::now();
    let tasks: Vec<_> = (0..at_once)
        .map(|at| {
            let (sender, number, make) = (senders[at % senders.len()].clone(), number.clone(), make.clone());
            tokio::spawn(async move {
                let mut took = Vec::new();
                while began.elapsed() < length {
                    let request = make(number.fetch_add(1, Ordering::Relaxed));
                    let began = Instant::now();
                    let (code, _) = ask(&sender, request).await;
                    assert_eq!(code.as_u16(), expect);
                    took.push(began.elapsed().as_secs_f64() * 1e3);
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.expect("no failure"));
    }
    let length = began.elapsed();
    let server_us = (served.processor_seconds() - before) / took.len() as f64 * 1e6;
    Row { took, length, server_us }
}

fn create(name: String) -> http::Request<http_body_util::Full<bytes::Bytes>> {
    request(Method::POST, PODS, &[JSON, ("user-agent", "bench/v1")], new_pod(&name).to_string())
}

async fn creates() {
    let mut floor = bare_syncs();
    println!(
        "bare fdatasync of 1 KiB                      p50 {:.0} us  p99 {:.0} us",
        quantile(&mut floor, 0.5),
        quantile(&mut floor, 0.99)
    );
    let served = Served::start();
    for at_once in [1, 16, 64, STREAMS] {
        let make = move |number| create(format!("pod-{at_once}-{number}"));
        load(&served, "admin", at_once, ROW, make, 201)
            .await
            .tell(&format!("durable creates of pods, {at_once} at once"));
    }
    let make = move |number| {
        let map = json!({"metadata": {"name": format!("map-{number}"), "namespace": "default"}, "data": {"a": "b"}});
        request(Method::POST, "/api/v1/namespaces/default/configmaps", &[JSON], map.to_string())
    };
    load(&served, "admin", STREAMS, ROW, make, 201)
        .await
        .tell(&format!("durable creates of config maps, {STREAMS} at once"));
    let mut floor = bare_syncs();
    println!(
        "bare fdatasync of 1 KiB                      p50 {:.0} us  p99 {:.0} us",
        quantile(&mut floor, 0.5),
        quantile(&mut floor, 0.99)
    );
}

fn bare_syncs() -> Vec<f64> {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("floor");
    let mut file = File::create(&path).expect("a file");
    file.set_len(64 << 20).expect("room");
    file.sync_all().expect("synced");
    let mut took = Vec::new();
    for _ in 0..2_000 {
        let began = Instant::now();
        file.write_all(&[7; 1024]).expect("written");
        file.sync_data().expect("synced");
        took.push(began.elapsed().as_secs_f64() * 1e6);
    }
    std::fs::remove_file(path).expect("removed");
    took
}

async fn patches() {
    const NAMES: usize = 256;
    let served = Served::start();
    let sender = served.connect("admin").await;
    for at in 0..NAMES {
        ask(&sender, create(format!("pod-{at}"))).await;
    }
    let label = |number: usize| json!({"metadata": {"labels": {"round": number.to_string()}}});
    for (kind, name) in [("merge-patch+json", "merge"), ("strategic-merge-patch+json", "strategic")] {
        let kind = format!("application/{kind}");
        let make = move |number: usize| {
            let path = format!("{PODS}/pod-{}", number % NAMES);
            request(Method::PATCH, &path, &[("content-type", &kind)], label(number).to_string())
        };
        load(&served, "admin", 64, ROW, make, 200).await.tell(&format!("{name} patches, 64 at once"));
    }
    let make = move |number: usize| {
        let patch = json!([{"op": "add", "path": "/metadata/labels/round", "value": number.to_string()}]);
        let path = format!("{PODS}/pod-{}", number % NAMES);
        request(Method::PATCH, &path, &[("content-type", "application/json-patch+json")], patch.to_string())
    };
    load(&served, "admin", 64, ROW, make, 200).await.tell("json patches, 64 at once");
    let make = move |number: usize| {
        let name = format!("pod-{}", number % NAMES);
        let mut wanted = json!({"apiVersion": "v1", "kind": "Pod"});
        wanted["metadata"] = json!({"name": name, "labels": {"applied": number.to_string()}});
        let path = format!("{PODS}/{name}?fieldManager=bench&force=true");
        request(Method::PATCH, &path, &[("content-type", "application/apply-patch+yaml")], wanted.to_string())
    };
    load(&served, "admin", 64, ROW, make, 200).await.tell("server-side applies, 64 at once");
    let make = move |number: usize| request(Method::GET, &format!("{PODS}/pod-{}", number % NAMES), &[], "");
    load(&served, "admin", 64, ROW, make, 200).await.tell("gets, 64 at once");
}

async fn lists() {
    let mut served = Served::start();
    served.tell(&format!("pods {LISTED}"));
    let sender = served.connect("admin").await;
    let forms = [
        ("whole", "application/json", false),
        ("whole, gzip", "application/json", true),
        ("tables", "application/json;as=Table;g=meta.k8s.io;v=v1", false),
        ("metadata alone", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", false),
    ];
    for (name, accept, gzip) in forms {
        let mut took = Vec::new();
        let mut length = 0;
        let before = served.processor_seconds();
        for _ in 0..10 {
            let mut headers = vec![("accept", accept)];
            headers.extend(gzip.then_some(("accept-encoding", "gzip")));
            let began = Instant::now();
            let (code, read) = ask(&sender, request(Method::GET, "/api/v1/pods", &headers, "")).await;
            assert_eq!(code.as_u16(), 200);
            length = read;
            took.push(began.elapsed().as_secs_f64() * 1e3);
        }
        let server = (served.processor_seconds() - before) / 10.0 * 1e3;
        let floor = floor(length).await;
        let median = quantile(&mut took, 0.5);
        println!(
            "list of {LISTED} pods, {name:<16} {median:>8.1} ms, {:>6.1} MB, server {server:>6.1} ms; the same bytes over bare TLS {floor:>6.1} ms: {:.2} x",
            length as f64 / 1e6,
            median / floor
        );
    }
}

/// So many bytes copied piece by piece over a TLS connection of this process: the median of some times.
async fn floor(length: usize) -> f64 {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.into())
        .expect("a pair");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certified.cert.der().clone()).expect("a certificate");
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut stream = tokio_rustls::TlsAcceptor::from(Arc::new(server)).accept(stream).await.expect("shaken");
        let source = vec![7_u8; 64 * 1024];
        while stream.read_u8().await.is_ok() {
            let mut left = length;
            while left > 0 {
                let piece = source[..left.min(source.len())].to_vec();
                left -= piece.len();
                stream.write_all(&piece).await.expect("sent");
            }
            stream.flush().await.expect("sent");
        }
    });
    let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    let name = rustls_pki_types::ServerName::try_from("localhost").expect("a name");
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, stream).await.expect("shaken");
    let mut took = Vec::new();
    let mut read = vec![0; 256 * 1024];
    for _ in 0..10 {
        let began = Instant::now();
        stream.write_u8(1).await.expect("asked");
        let mut left = length;
        while left > 0 {
            left -= stream.read(&mut read).await.expect("bytes");
        }
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    quantile(&mut took, 0.5)
}

/// One user's storm of lists, and another user's gets meanwhile; then clients that take nothing of what they ask for.
async fn storms() {
    let mut served = Served::start();
    served.tell(&format!("pods {LISTED}"));
    let get = |number: usize| request(Method::GET, &format!("{PODS}/pod-{:05}", number % LISTED), &[], "");
    let quiet_user = "system:node:node-2";
    let mut quiet = load(&served, quiet_user, 1, ROW, get, 200).await;
    let quiet_p99 = quantile(&mut quiet.took, 0.99);
    quiet.tell("gets of a user, nothing else going on");
    // The floor: a client of the storm uses processors of this machine, and whoever does makes others wait for theirs.
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let burners: Vec<_> = (0..processors).map(|_| humble(&["burn"])).collect();
    let mut busy = load(&served, quiet_user, 1, ROW, get, 200).await;
    burners.into_iter().for_each(stop);
    let busy_p99 = quantile(&mut busy.took, 0.99);
    busy.tell(&format!("the same beside {processors} processes that only compute"));
    let before = served.memory();
    let storm = humble(&["storm-of", &served.address().to_string(), &served.directory().to_string_lossy()]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut beside = load(&served, quiet_user, 1, ROW, get, 200).await;
    let during = served.memory();
    stop(storm);
    let beside_p99 = quantile(&mut beside.took, 0.99);
    beside.tell(&format!("the same beside {STORM_CONNECTIONS} connections listing"));
    println!(
        "p99 beside the storm / p99 in quiet: {:.2}, / p99 beside computing: {:.2}; the storm costs {:.1} MB of memory",
        beside_p99 / quiet_p99,
        beside_p99 / busy_p99,
        during.saturating_sub(before) as f64 / 1e6
    );
    slow_readers(&served).await;
    slow_senders(&served).await;
}

/// This program as a process that lets others go first: it stands for another machine, which takes nobody's processor.
fn humble(arguments: &[&str]) -> std::process::Child {
    let program = std::env::current_exe().expect("this program");
    let started = std::process::Command::new("nice").args(["-n", "19"]).arg(program).args(arguments).spawn();
    started.expect("started")
}

fn stop(mut process: std::process::Child) {
    process.kill().expect("stopped");
    process.wait().expect("stopped");
}

/// Computes until it is stopped.
fn burn() {
    loop {
        std::hint::spin_loop();
    }
}

/// Lists over and over, on many connections, until it is stopped.
async fn storm(address: &str, directory: &std::path::Path) {
    let mut tasks = Vec::new();
    for _ in 0..STORM_CONNECTIONS {
        let sender = common::connect_to(address.parse().expect("an address"), directory, "system:node:node-1").await;
        tasks.push(tokio::spawn(async move {
            loop {
                ask(&sender, request(Method::GET, "/api/v1/pods", &[], "")).await;
            }
        }));
    }
    for task in tasks {
        let _ = task.await;
    }
}

/// Clients that ask for a long list, and read none of it.
async fn slow_readers(served: &Served) {
    const READERS: usize = 200;
    let before = served.memory();
    let mut held = Vec::new();
    for _ in 0..READERS {
        let mut stream = served.dial("system:node:node-1", "http/1.1").await;
        stream.write_all(b"GET /api/v1/pods HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("sent");
        held.push(stream);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = served.memory();
    println!(
        "{READERS} connections that read nothing of a list of {LISTED} pods: {:.1} MB of memory, {:.0} KiB each",
        after.saturating_sub(before) as f64 / 1e6,
        after.saturating_sub(before) as f64 / READERS as f64 / 1024.0
    );
}

/// Clients that send the most of a large body, and not its end.
async fn slow_senders(served: &Served) {
    const SENDERS: usize = 200;
    let before = served.memory();
    let mut held = Vec::new();
    let body = vec![b' '; 2_900_000];
    for _ in 0..SENDERS {
        let mut stream = served.dial("system:node:node-1", "http/1.1").await;
        let head = "POST /api/v1/namespaces/default/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 3000000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("sent");
        // As much as is taken.
        let _ = tokio::time::timeout(Duration::from_millis(50), stream.write_all(&body)).await;
        held.push(stream);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = served.memory();
    println!(
        "{SENDERS} connections that send 2.9 MB of a body and no end: {:.1} MB of memory, {:.0} KiB each",
        after.saturating_sub(before) as f64 / 1e6,
        after.saturating_sub(before) as f64 / SENDERS as f64 / 1024.0
    );
}
