//! Servers whose answers are none: whoever asks them, through the edge or from a pod, is told so in time, and nothing is kept waiting or
//! grows by it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use harness::{Cluster, eventually, get};

use super::asked_while;
use super::pods::NEIGHBOUR;
use crate::{manifest, with};

/// Who answers how, and what a client outside makes of it: the status, and how its body came out.
#[rustfmt::skip]
const SERVERS: &[(&str, &str)] = &[
    ("serve-endless-head", "502 whole"),
    ("serve-endless-header", "502 whole"),
    ("serve-endless-hints", "502 whole"),
    ("serve-endless-continue", "502 whole"),
    ("serve-endless-trailers", "200 broken"),
    ("serve-endless-zeros", "200 broken"),
    ("serve-endless-extension", "200 broken"),
    ("serve-endless-chunks", "200 endless"),
    ("serve-endless-body", "200 endless"),
    ("serve-garbage", "502 whole"),
    ("serve-too-little", "200 broken"),
    ("serve-too-much", "200 whole"),
    ("serve-two-lengths", "502 whole"),
    ("serve-huge-length", "502 whole"),
    ("serve-half-a-head", "504 whole"),
    ("serve-never", "504 whole"),
    ("serve-hang-up", "502 whole"),
    ("serve-nobody-accepts", "504 whole"),
];

/// What counts as endless.
const ENDLESS_BYTES: usize = 8 << 20;

/// Longer than the edge waits for a head by these manifests, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(40);

/// How long they read nothing.
const DEAF: Duration = Duration::from_secs(5);

fn server(name: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: EXAMPLES/hostile/hostile.wasm
    args: [{name}]
    ports: [{{containerPort: 80}}]
    resources: {{limits: {{cpu: 200m, memory: 64Mi}}, requests: {{cpu: 10m}}}}
    readinessProbe: {{tcpSocket: {{port: 80}}, periodSeconds: 1, failureThreshold: 100}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}, annotations: {{coracle.dev/request-timeout: 3s, coracle.dev/idle-timeout: 3s}}}}
spec: {{rules: [{{host: {name}.localhost, http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: {name}, port: {{number: 80}}}}}}}}]}}}}]}}
"
    )
}

fn ask(ingress: SocketAddr, host: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(ingress)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET / HTTP/1.1\r\nhost: {host}.localhost\r\nconnection: close\r\n\r\n")?;
    Ok(stream)
}

/// How an answer came out: `STATUS whole`, `broken` or `endless`.
fn answer(ingress: SocketAddr, host: &str) -> std::io::Result<String> {
    let (mut stream, mut told) = (ask(ingress, host)?, Vec::new());
    let mut buffer = vec![0; 64 << 10];
    let is_endless = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break false,
            Ok(read) => told.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break false,
            Err(error) => return Err(error),
        }
        if told.len() > ENDLESS_BYTES {
            break true;
        }
    };
    let text = String::from_utf8_lossy(&told);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let is_whole = match length {
        Some(length) => body.len() == length,
        None => body.ends_with("0\r\n\r\n"),
    };
    let status = head.split(' ').nth(1).unwrap_or("no");
    let came = if is_endless { "endless" } else { ["broken", "whole"][usize::from(is_whole)] };
    Ok(format!("{status} {came}"))
}

fn resident_kib(cluster: &Cluster) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", cluster.pid())).expect("it runs");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells");
    resident.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn servers_that_answer_with_bombs_harm_nobody() {
    let cluster = with(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let text: String = SERVERS.iter().map(|(name, _)| server(name)).collect();
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), &format!("{NEIGHBOUR}{text}"))]).ok();
    let ingress = cluster.ingress();
    eventually(90, || match get(ingress, "neighbour.localhost", "/healthz") {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // A pod is ready when somebody listens; the one that accepts nobody does that too.
    let pods: Vec<String> = SERVERS.iter().map(|(name, _)| format!("pod/{name}")).collect();
    let words = ["wait", "--for=condition=Ready", "--timeout=120s"].into_iter().chain(pods.iter().map(String::as_str));
    cluster.coracle(&words.collect::<Vec<_>>()).ok();

    // From outside, all of them at the same time.
    let report = asked_while(&cluster, || {
        let asking = SERVERS.iter().map(|(name, expected)| {
            std::thread::spawn(move || {
                // One that is ready a moment before its route is there.
                let deadline = Instant::now() + PATIENCE;
                loop {
                    match answer(ingress, name) {
                        Ok(found) if found.starts_with("503") || found.starts_with("404") => {
                            assert!(Instant::now() < deadline, "{name}: {found}");
                            std::thread::park_timeout(Duration::from_millis(50));
                        }
                        found => return (name, found.unwrap_or_else(|error| error.to_string()), expected),
                    }
                }
            })
        });
        let asking: Vec<_> = asking.collect();
        let found = asking.into_iter().map(|asking| asking.join().expect("no panic"));
        // What breaks off at once may take the head with it.
        let is_as = |found: &str, expected: &str| found == expected || (found, expected) == ("no broken", "200 broken");
        let wrong: Vec<_> = found.filter(|(_, found, expected)| !is_as(found, expected)).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    });
    assert_eq!(report.dropped(), 0, "the neighbour answers: {:?} {:?}", report.answers, report.refusals);

    // From another pod: its instance hears of it, and is gone.
    for (name, expected) in
        SERVERS.iter().filter(|(name, _)| !name.contains("endless-chunks") && !name.contains("endless-body"))
    {
        if expected.starts_with("504") {
            continue;
        }
        let path = format!("/call?url=http://{name}/");
        let found = get(ingress, "neighbour.localhost", &path);
        let is_told = match (&found, *expected) {
            (Ok(answer), "502 whole") => answer.status == 502,
            (Ok(answer), "200 whole") => answer.status == 200 && answer.body == "hello",
            // The body breaks off, and with it the one in whose name it is passed on.
            (Ok(answer), _) => answer.status != 200,
            (Err(_), _) => expected.ends_with("broken"),
        };
        assert!(is_told, "{name}: {found:?}");
    }

    // Clients who read nothing of an answer without end: what waits for them is bounded.
    let before = resident_kib(&cluster);
    let deaf: Vec<TcpStream> = (0..50).map(|_| ask(ingress, "serve-endless-body").expect("a connection")).collect();
    let report = asked_while(&cluster, || std::thread::sleep(DEAF));
    let grown = resident_kib(&cluster).saturating_sub(before);
    assert_eq!(report.dropped(), 0, "the neighbour answers: {:?} {:?}", report.answers, report.refusals);
    assert!(grown < 96 << 10, "{grown} KiB for {} who read nothing", deaf.len());
}
