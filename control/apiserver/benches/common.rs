//! What the benches of the door share: a server in a process of its own, told what to do by lines, and clients of it.
//!
//! The server is this very program, started again with the word `serve`, so that its memory and its processor time are its own.
//! Both processes read the one monotonic clock of the machine: when a world was published there and when a client heard of it
//! here can be compared.

#![allow(dead_code, reason = "each bench uses its part")]

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::{Object, kinds};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::time::{ClockId, clock_gettime};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use serde_json::json;
use state::Txn;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[path = "../tests/it/harness.rs"]
mod harness;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A server in a process of its own.
pub(crate) struct Served {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
    directory: tempfile::TempDir,
}

/// Somebody who asks over one connection.
pub(crate) type Sender = http2::SendRequest<Full<Bytes>>;

/// The users there are, and their groups. The first may do everything.
const USERS: [(&str, &[&str]); 3] = [
    ("admin", &[apiserver::MASTERS]),
    ("system:node:node-1", &[apiserver::NODES]),
    ("system:node:node-2", &[apiserver::NODES]),
];

/// As Go's client has it: what a client takes of one answer, and of all of a connection, before it says go on.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 30;

/// The monotonic clock of the machine, in nanoseconds.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// When worlds were published.
#[derive(Clone, Default)]
struct Stamps(Arc<Mutex<Vec<(u64, u64)>>>);

// === impl Stamps ===

impl tracing::Subscriber for Stamps {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "store::world"
    }

    fn event(&self, event: &tracing::Event<'_>) {
        struct Revision(u64);
        impl tracing::field::Visit for Revision {
            fn record_debug(&mut self, _: &tracing::field::Field, _: &dyn std::fmt::Debug) {}
            fn record_u64(&mut self, field: &tracing::field::Field, value: u64) {
                if field.name() == "revision" {
                    self.0 = value;
                }
            }
        }
        let at = now();
        let mut revision = Revision(0);
        event.record(&mut revision);
        self.0.lock().expect("nobody panics").push((revision.0, at));
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// The server's process: does what the lines say, and ends with its input.
pub(crate) async fn serve(directory: &Path) {
    let stamps = Stamps::default();
    tracing::subscriber::set_global_default(stamps.clone()).expect("the only one");
    let door = harness::Door::open().await;
    door.write_certificates(directory, &USERS);
    println!("{}", door.address);
    let (lines, mut told) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).for_each(|line| drop(lines.send(line))));
    while let Some(line) = told.recv().await {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
        match words.first() {
            // write COUNT NAMES PAUSE_US SALT: so many writes, one after the other, to so many objects in turn.
            Some(&"write") => {
                stamps.0.lock().expect("nobody panics").clear();
                for at in 0..number(1) {
                    let name = format!("object-{}", at.wrapping_mul(7_919) % number(2));
                    let txn = Txn::default().put(config_map(&name, number(4) + at));
                    door.store.propose(txn).await.expect("written");
                    tokio::time::sleep(Duration::from_micros(number(3))).await;
                }
                let stamps = std::mem::take(&mut *stamps.0.lock().expect("nobody panics"));
                let told: Vec<String> = stamps.iter().map(|(revision, at)| format!("{revision}:{at}")).collect();
                println!("{}", told.join(" "));
            }
            // pods COUNT: so many pods are there.
            Some(&"pods") => {
                for first in (0..number(1)).step_by(500) {
                    let pods = (first..number(1).min(first + 500)).map(|at| pod(&format!("pod-{at:05}")));
                    let txn = pods
                        .fold(Txn::default(), |txn, pod| txn.put(Object::from_value(kinds::POD, &pod).expect("a pod")));
                    door.store.propose(txn).await.expect("written");
                }
                println!("{}", door.store.snapshot().revision());
            }
            _ => println!("?"),
        }
    }
    door.close().await;
}

fn config_map(name: &str, salt: u64) -> Object {
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "labels": {"app": "bench"}},
        "data": {"salt": salt.to_string(), "text": "x".repeat(700)}});
    Object::from_value(kinds::CONFIG_MAP, &value).expect("an object")
}

/// A pod as one finds it in a cluster, scheduled and running: 3 KiB.
pub(crate) fn pod(name: &str) -> serde_json::Value {
    let mut pod = new_pod(name);
    pod["metadata"]["uid"] = format!("00000000-0000-4000-8000-{name:0>12}").into();
    pod["metadata"]["creationTimestamp"] = "2026-11-21T05:13:14Z".into();
    pod["spec"]["nodeName"] = "node-7".into();
    let condition = |name: &str| json!({"type": name, "status": "True", "lastTransitionTime": "2026-11-21T05:13:14Z", "lastProbeTime": null});
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition);
    pod["status"] = json!({
        "phase": "Running", "podIP": "10.42.0.9", "podIPs": [{"ip": "10.42.0.9"}], "hostIP": "192.0.2.7", "qosClass": "Burstable",
        "startTime": "2026-11-21T05:13:14Z",
        "conditions": conditions,
        "containerStatuses": [{"name": "main", "image": "web:v1", "imageID": "web@sha256:0", "ready": true, "started": true,
            "restartCount": 0, "state": {"running": {"startedAt": "2026-11-21T05:13:14Z"}}, "lastState": {}}],
    });
    pod
}

/// A pod as a client sends it.
pub(crate) fn new_pod(name: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web", "tier": "front", "pod-template-hash": "5d8f7c"},
            "annotations": {"example.org/why": "a benchmark needs pods that look like pods"}},
        "spec": {"containers": [{"name": "main", "image": "web:v1", "imagePullPolicy": "IfNotPresent",
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                "env": [{"name": "MODE", "value": "production"}, {"name": "LOG", "value": "info"}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 10},
                "volumeMounts": [{"name": "config", "mountPath": "/etc/web", "readOnly": true}]}],
            "volumes": [{"name": "config", "configMap": {"name": "web"}}]}})
}

// === impl Served ===

impl Served {
    /// Starts one, over an empty store.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["serve", directory.path().to_str().expect("a path")])
            // On the disk that the store of a real server would be on.
            .env("TMPDIR", env!("CARGO_TARGET_TMPDIR"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let input = child.stdin.take().expect("piped");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        let address = line.trim().parse().expect("an address");
        Self { child, input, output, address, directory }
    }

    /// Tells the server what to do, and waits for its answer.
    pub(crate) fn tell(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").expect("told");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("a line");
        answer.trim().into()
    }

    /// Its resident memory, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a process");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
        line.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok()).expect("a number") * 1024
    }

    /// Processor time that it has used so far, in seconds.
    pub(crate) fn processor_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("a process");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: f64 = fields[11..13].iter().filter_map(|field| field.parse::<f64>().ok()).sum();
        // Linux has told user space a hundred ticks a second on every architecture for decades.
        ticks / 100.0
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the certificates of its users are.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A TLS connection as this user.
    pub(crate) async fn dial(&self, user: &str, protocol: &str) -> TlsStream<TcpStream> {
        dial(self.address, self.directory(), user, protocol).await
    }

    /// A connection of HTTP/2 as this user.
    pub(crate) async fn connect(&self, user: &str) -> Sender {
        connect_to(self.address, self.directory(), user).await
    }
}

async fn dial(address: SocketAddr, directory: &Path, user: &str, protocol: &str) -> TlsStream<TcpStream> {
    let read = |name: &str| std::fs::read(directory.join(name)).expect("written by the server");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(read("ca"))).expect("a certificate");
    let key: PrivateKeyDer<'static> = PrivatePkcs8KeyDer::from(read(&format!("{user}.key"))).into();
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![CertificateDer::from(read(user))], key)
        .expect("a pair");
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await.expect("connected");
    stream.set_nodelay(true).expect("a socket");
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("shaken")
}

/// A connection of HTTP/2 as this user, to a server whose certificates are there.
pub(crate) async fn connect_to(address: SocketAddr, directory: &Path, user: &str) -> Sender {
    let stream = dial(address, directory, user, "h2").await;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(1 << 20);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.expect("h2");
    tokio::spawn(connection);
    sender
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request.
pub(crate) fn request(
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(format!("https://localhost{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).expect("a request")
}

/// Sends a request and hands over the answer before its body.
pub(crate) async fn send(sender: &Sender, request: Request<Full<Bytes>>) -> Response<Incoming> {
    let mut sender = sender.clone();
    std::future::poll_fn(|context| sender.poll_ready(context)).await.expect("ready");
    sender.send_request(request).await.expect("answered")
}

/// Sends a request and reads the answer to its end, without keeping it; how long it was.
pub(crate) async fn ask(sender: &Sender, request: Request<Full<Bytes>>) -> (StatusCode, usize) {
    let answer = send(sender, request).await;
    let code = answer.status();
    let mut body = answer.into_body();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame.expect("a frame").data_ref().map_or(0, Bytes::len);
    }
    (code, length)
}

/// One of them, by its place among all.
pub(crate) fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(((values.len() as f64 * part) as usize).min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}
