//! Rolling updates under load: nobody who asks is turned away.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use harness::{Cluster, Load, eventually, get};
use serde_json::{Value, json};

use crate::{manifest, with};

#[test]
fn a_rolling_update_drops_no_request() {
    let cluster = with(&["hello"]);
    let patch = |greeting: &str| {
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: hello-config}}\ndata: {{GREETING: \"{greeting}\"}}\n"
        );
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, text).expect("written");
        cluster.coracle(&["apply", "-f", &file.display().to_string()]).ok();
    };
    let load = Load::start(cluster.ingress(), "hello.localhost", "/", 8);
    for greeting in ["One", "Two", "Three"] {
        patch(greeting);
        // A change of the template rolls the deployment, as `kubectl rollout restart` does.
        roll(&cluster, "hello", greeting);
        eventually(30, || match get(cluster.ingress(), "hello.localhost", "/") {
            Ok(answer) if answer.body.starts_with(greeting) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    let report = load.stop();
    assert_eq!(report.dropped(), 0, "{:?} {:?} {:?}", report.answers, report.refusals, report.failures);
    assert!(report.total() > 100, "the load was no load: {:?}", report.answers);
    let greeted = |word: &str| report.bodies.keys().any(|body| body.starts_with(word));
    assert!(greeted("Hello, world!") && greeted("Three"), "{:?}", report.bodies.keys());
}

fn roll(cluster: &Cluster, name: &str, mark: &str) {
    let deployment = format!("deploy/{name}");
    let whole = cluster.coracle(&["get", &deployment, "-o", "json"]).ok();
    let live: Value = serde_json::from_str(&whole).expect("JSON");
    let mut wanted =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": live["spec"]});
    wanted["spec"]["template"]["metadata"]["annotations"]["mark"] = mark.into();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("deployment.json");
    std::fs::write(&file, wanted.to_string()).expect("written");
    cluster.coracle(&["apply", "-f", &file.display().to_string()]).ok();
    cluster.coracle(&["rollout", "status", &deployment, "--timeout", "90s"]).ok();
}

/// Servers of sockets, who have all the time that their clients take.
const ECHO: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: echo}
spec:
  replicas: 2
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      terminationGracePeriodSeconds: 600
      containers:
      - name: echo
        image: EXAMPLES/echo/echo.wasm
        args: [\"0.0.0.0:7\"]
        readinessProbe: {tcpSocket: {port: 7}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {type: NodePort, selector: {app: echo}, ports: [{port: 7}]}
";

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// Says something and hears it again.
fn ask(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"ahoy")?;
    let mut heard = [0; 4];
    stream.read_exact(&mut heard)?;
    if &heard == b"ahoy" { Ok(()) } else { Err(io::Error::other(String::from_utf8_lossy(&heard))) }
}

/// A whole conversation: twice something, then the end of both halves.
fn talk(to: SocketAddr) -> io::Result<()> {
    let mut stream = connect(to)?;
    ask(&mut stream)?;
    ask(&mut stream)?;
    stream.shutdown(Shutdown::Write)?;
    match stream.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::Error::other("more than was said")),
    }
}

#[test]
fn a_rolling_update_drops_no_connection() {
    let cluster = with(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), ECHO)]).ok();
    cluster.coracle(&["rollout", "status", "deploy/echo", "--timeout", "60s"]).ok();
    let service: Value =
        serde_json::from_str(&cluster.coracle(&["get", "service", "echo", "-o", "json"]).ok()).expect("JSON");
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().and_then(|port| u16::try_from(port).ok());
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port.expect("a port was given")));
    eventually(30, || talk(at).map_err(|error| error.to_string()));

    let stop = Arc::new(AtomicBool::new(false));
    let talkers: Vec<_> = (0..4)
        .map(|_| {
            let stop = stop.clone();
            thread::spawn(move || {
                let talks = std::iter::repeat_with(|| talk(at)).take_while(|_| !stop.load(Ordering::Relaxed));
                talks.collect::<Vec<io::Result<()>>>()
            })
        })
        .collect();
    let mut kept = connect(at).expect("a connection");
    ask(&mut kept).expect("an answer");
    for mark in ["one", "two", "three"] {
        roll(&cluster, "echo", mark);
        ask(&mut kept).expect("who talks is waited for");
    }
    stop.store(true, Ordering::Relaxed);
    let talks: Vec<io::Result<()>> = talkers.into_iter().flat_map(|one| one.join().expect("no panic")).collect();
    let dropped: Vec<&io::Error> = talks.iter().filter_map(|talk| talk.as_ref().err()).collect();
    assert!(dropped.is_empty(), "{} of {} were dropped: {dropped:?}", dropped.len(), talks.len());
    assert!(talks.len() > 100, "the load was no load: {}", talks.len());

    // The last of its clients gone, the old pod goes too, long before its time is up.
    drop(kept);
    eventually(60, || {
        let told = cluster.coracle(&["get", "pods", "-o", "json"]).ok();
        let pods: Value = serde_json::from_str(&told).map_err(|error| error.to_string())?;
        let left = pods["items"].as_array().map_or(0, Vec::len);
        if left == 2 { Ok(()) } else { Err(format!("{left} pods are left")) }
    });
}
