//! Pods of different nodes reach each other, services and the edges of all nodes; what is cut off comes back.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::time::{Duration, Instant};

use harness::{Fleet, Server, eventually, namespaces_are_possible, peer_is_there};

use crate::{PROGRAM, manifest};

/// A pod on each node, a service and a host for each pod, and a service for all of them.
fn pods(nodes: impl Iterator<Item = usize>) -> String {
    let mut text = String::from(
        "apiVersion: v1\nkind: Service\nmetadata: {name: all}\nspec: {selector: {app: probe}, ports: [{port: 80}]}\n",
    );
    for node in nodes {
        let _ = write!(
            text,
            "---
apiVersion: v1
kind: Pod
metadata: {{name: on-{node}, labels: {{app: probe, on: \"{node}\"}}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: node-{node}}}
  terminationGracePeriodSeconds: 1
  containers:
  - name: probe
    image: EXAMPLES/probe/probe.wasm
    ports: [{{containerPort: 80}}]
    env: [{{name: POD_NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: at-{node}}}
spec: {{selector: {{on: \"{node}\"}}, ports: [{{port: 80}}]}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: at-{node}}}
spec:
  rules:
  - host: at-{node}.localhost
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: at-{node}, port: {{number: 80}}}}}}}}]}}
"
        );
    }
    text
}

/// Applies the pods and waits until all are ready.
fn populate(fleet: &Fleet, nodes: std::ops::RangeInclusive<usize>) -> Vec<String> {
    let file = manifest(fleet.folder(), &pods(nodes.clone()));
    fleet.coracle(&["apply", "-f", &file]).ok();
    nodes
        .map(|node| {
            let pod = format!("pod/on-{node}");
            fleet.coracle(&["wait", "--for=condition=Ready", &pod, "--timeout", "120s"]).ok();
            let yaml = fleet.coracle(&["get", &pod, "-o", "json"]).ok();
            let pod: serde_json::Value = serde_json::from_str(&yaml).expect("an object");
            pod["status"]["podIP"].as_str().expect("an address").to_owned()
        })
        .collect()
}

/// The answer to `path` of the pod `at` a node, by the ingress of another.
#[track_caller]
fn expect(fleet: &Fleet, seconds: u64, ingress: usize, at: usize, path: &str, words: &str) {
    eventually(seconds, || match fleet.get(ingress, ingress, &format!("at-{at}.localhost"), path) {
        Ok((200, body)) if body.contains(words) => Ok(()),
        other => Err(format!("ingress of node {ingress}, pod of node {at}, {path}: {other:?}")),
    });
}

#[test]
fn pods_of_three_nodes_are_one_network() {
    let fleet = Fleet::on_loopback(PROGRAM, Server::IsNode, 2);
    let addresses = populate(&fleet, 0..=2);
    for ingress in 0..=2 {
        for at in 0..=2 {
            expect(&fleet, 20, ingress, at, "/", &format!("on-{at}"));
        }
    }
    for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1), (2, 0), (0, 2)] {
        let words = format!("on-{to}");
        expect(&fleet, 20, from, from, &format!("/call?url=http://{}/", addresses[to]), &words);
        expect(&fleet, 20, from, from, &format!("/call?url=http://at-{to}/"), &words);
    }
    // A service of all: each pod gets its turn but the one that asks, which is the busiest of them just then.
    for at in [0, 2] {
        expect(&fleet, 30, 1, 1, "/call?url=http://all.default.svc.cluster.local/", &format!("on-{at}"));
    }
    // A pod that nobody has is nobody's answer, on whichever node it would be.
    let (status, body) = fleet.get(1, 1, "at-1.localhost", "/call?url=http://10.42.0.250/").expect("an answer");
    assert!(status != 200 || !body.contains("on-"), "{status} {body}");
}

/// Services of the pod on node 1, each with a word of its own, and one of all that keeps its clients.
const WAYS: &str = "apiVersion: v1
kind: Service
metadata: {name: outer}
spec: {type: NodePort, externalTrafficPolicy: Local, selector: {on: \"1\"}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: anywhere}
spec: {type: NodePort, selector: {on: \"1\"}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: inner}
spec: {internalTrafficPolicy: Local, selector: {on: \"1\"}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: at-1.default.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec: {sessionAffinity: ClientIP, selector: {app: probe}, ports: [{port: 80}]}
";

#[test]
fn services_go_the_ways_that_they_are_told() {
    let fleet = Fleet::on_loopback(PROGRAM, Server::IsNode, 1);
    populate(&fleet, 0..=1);
    fleet.coracle(&["apply", "-f", &manifest(fleet.folder(), WAYS)]).ok();
    let node_port = |service: &str, node: usize| {
        let told = fleet.coracle(&["get", "service", service, "-o", "json"]).ok();
        let service: serde_json::Value = serde_json::from_str(&told).expect("an object");
        let port = service["spec"]["ports"][0]["nodePort"].as_u64().expect("a port was given");
        std::net::SocketAddr::new(fleet.ingress(node).ip(), u16::try_from(port).expect("a port"))
    };
    let leads = |service: &str, node: usize| {
        let answer = harness::get(node_port(service, node), "anything", "/");
        answer.is_ok_and(|answer| answer.status == 200 && answer.body.trim() == "on-1")
    };
    for (service, node) in [("anywhere", 0), ("anywhere", 1), ("outer", 1)] {
        eventually(20, || if leads(service, node) { Ok(()) } else { Err(format!("{service} at node {node}")) });
    }
    // By now node 0 knows of all of them, and has no pod of this one.
    assert!(!leads("outer", 0), "from outside it stays on the node");

    for from in [0, 1] {
        expect(&fleet, 20, from, from, "/call?url=http://alias/", "on-1");
    }
    expect(&fleet, 20, 1, 1, "/call?url=http://inner/", "on-1");
    let away = fleet.get(0, 0, "at-0.localhost", "/call?url=http://inner/").expect("an answer");
    assert_ne!(away.0, 200, "from inside it stays on the node: {away:?}");

    let kept = |from: usize| {
        let ask = || fleet.get(from, from, &format!("at-{from}.localhost"), "/call?url=http://sticky/");
        eventually(20, || match ask() {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let heard: std::collections::BTreeSet<String> = (0..20).map(|_| ask().expect("an answer").1).collect();
        assert_eq!(heard.len(), 1, "one client, one pod: {heard:?}");
    };
    kept(0);
    kept(1);
}

/// An echo on a node, behind a service and a port of every node.
fn echo(node: usize) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: echo, labels: {{app: echo}}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: node-{node}}}
  terminationGracePeriodSeconds: 1
  containers:
  - {{name: echo, image: EXAMPLES/echo/echo.wasm, args: [\"0.0.0.0:7\"]}}
---
apiVersion: v1
kind: Service
metadata: {{name: echo}}
spec:
  type: NodePort
  selector: {{app: echo}}
  ports:
  - {{name: tcp, port: 7, nodePort: 30007}}
  - {{name: udp, port: 7, protocol: UDP, nodePort: 30007}}
"
    )
}

/// Askers on a node, each a name and its words.
fn askers(node: usize, askers: &[(&str, String)]) -> String {
    askers.iter().fold(String::new(), |mut text, (name, words)| {
        let _ = write!(
            text,
            "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: node-{node}}}
  restartPolicy: OnFailure
  containers:
  - {{name: dial, image: EXAMPLES/dial/dial.wasm, args: [{words}]}}
"
        );
        text
    })
}

#[test]
fn sockets_reach_pods_of_other_nodes() {
    let fleet = Fleet::on_loopback(PROGRAM, Server::IsNode, 2);
    let apply = |text: &str| fleet.coracle(&["apply", "-f", &manifest(fleet.folder(), text)]).ok();
    apply(&echo(2));
    fleet.coracle(&["wait", "--for=condition=Ready", "pod/echo", "--timeout", "120s"]).ok();
    let pod: serde_json::Value =
        serde_json::from_str(&fleet.coracle(&["get", "pod/echo", "-o", "json"]).ok()).expect("an object");
    let address = pod["status"]["podIP"].as_str().expect("an address").to_owned();
    let asked = [
        ("many", "echo, \"echo:7\", \"300000\", \"16\"".into()),
        ("half", format!("half, \"{address}:7\"")),
        ("datagram", format!("udp, \"{address}:7\", ahoy")),
        ("datagram-to-service", "udp, \"echo:7\", ahoy".into()),
    ];
    apply(&askers(1, &asked));
    for (pod, words) in [
        ("many", "300000 bytes came back on each of 16 connections"),
        ("half", "heard \"half a talk\", then the end"),
        ("datagram", "ahoy"),
        ("datagram-to-service", "ahoy"),
    ] {
        eventually(60, || {
            let logs = fleet.coracle(&["logs", pod]);
            if logs.stdout.contains(words) { Ok(()) } else { Err(format!("{pod}: {logs:?}")) }
        });
    }
    // From outside, by the port of a node on which no such pod is.
    let port = std::net::SocketAddr::new(fleet.ingress(0).ip(), 30_007);
    eventually(20, || tcp(port).map_err(|error| error.to_string()));
    eventually(20, || udp(port).map_err(|error| error.to_string()));
}

fn tcp(port: std::net::SocketAddr) -> std::io::Result<()> {
    let mut socket = std::net::TcpStream::connect(port)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.write_all(b"ahoy")?;
    socket.shutdown(std::net::Shutdown::Write)?;
    let mut heard = String::new();
    socket.read_to_string(&mut heard)?;
    if heard == "ahoy" { Ok(()) } else { Err(std::io::Error::other(heard)) }
}

fn udp(port: std::net::SocketAddr) -> std::io::Result<()> {
    let socket = std::net::UdpSocket::bind((port.ip(), 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.connect(port)?;
    socket.send(b"ahoy")?;
    let mut heard = [0; 16];
    let length = socket.recv(&mut heard)?;
    if &heard[..length] == b"ahoy" { Ok(()) } else { Err(std::io::Error::other("something else")) }
}

#[test]
fn a_node_that_cannot_be_dialled_is_reached_through_the_server() {
    if !namespaces_are_possible() || !peer_is_there("curl") {
        return;
    }
    let fleet = Fleet::in_namespaces(PROGRAM, Server::Alone, 2);
    // Both see the server, and not each other.
    for (machine, other) in [(1, 2), (2, 1)] {
        let address = harness::Namespaces::address(other);
        let mut command = fleet.namespaces().command(machine, "ip");
        command.args(["route", "add", "blackhole", &address]);
        harness::Output::of(command, None).ok();
    }
    let addresses = populate(&fleet, 1..=2);
    for (from, to) in [(1, 2), (2, 1)] {
        let words = format!("on-{to}");
        expect(&fleet, 20, from, to, "/", &words);
        expect(&fleet, 20, from, from, &format!("/call?url=http://{}/", addresses[to - 1]), &words);
    }
}

#[test]
fn a_node_that_is_cut_off_loses_nothing_of_its_own_and_is_back_within_seconds() {
    if !namespaces_are_possible() || !peer_is_there("curl") {
        return;
    }
    let fleet = Fleet::in_namespaces(PROGRAM, Server::Alone, 3);
    let addresses = populate(&fleet, 1..=3);
    for ingress in 1..=3 {
        for at in 1..=3 {
            expect(&fleet, 20, ingress, at, "/", &format!("on-{at}"));
        }
    }
    expect(&fleet, 20, 1, 1, &format!("/call?url=http://{}/", addresses[2]), "on-3");
    expect(&fleet, 20, 2, 2, "/call?url=http://at-3/", "on-3");

    fleet.namespaces().cut(3);
    // Its pods are lost to others, who are told so; theirs are not.
    eventually(20, || match fleet.get(1, 1, "at-3.localhost", "/") {
        Ok((status, _)) if status >= 500 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    for (ingress, at) in [(1, 2), (2, 1)] {
        let began = Instant::now();
        expect(&fleet, 0, ingress, at, "/", &format!("on-{at}"));
        assert!(began.elapsed() < Duration::from_secs(5), "a lost node slows nobody down");
    }
    for _ in 0..10 {
        expect(&fleet, 0, 1, 1, "/call?url=http://all/", "on-");
    }
    // To itself it has everything that is on it.
    expect(&fleet, 0, 3, 3, "/", "on-3");
    expect(&fleet, 0, 3, 3, &format!("/call?url=http://{}/", addresses[2]), "on-3");
    expect(&fleet, 0, 3, 3, "/call?url=http://at-3/", "on-3");

    fleet.namespaces().join(3);
    expect(&fleet, 15, 1, 3, "/", "on-3");
    expect(&fleet, 15, 3, 1, "/", "on-1");
    expect(&fleet, 15, 2, 2, "/call?url=http://at-3/", "on-3");
    expect(&fleet, 15, 3, 3, &format!("/call?url=http://{}/", addresses[1]), "on-2");
}

#[test]
fn what_a_node_has_another_gets_from_it_and_checks() {
    if !harness::kubectl_is_there() {
        return;
    }
    let fleet = Fleet::on_loopback(PROGRAM, Server::Alone, 3);
    let fetched = |node: usize, from: &str| {
        let metrics = fleet.kubectl(&["get", "--raw", &format!("/api/v1/nodes/node-{node}/proxy/metrics")], None).ok();
        let line = format!("coracle_images_fetched_total{{from=\"{from}\"}} ");
        let count = metrics.lines().find_map(|told| told.strip_prefix(&line)).map(str::to_owned);
        count.unwrap_or_else(|| panic!("{line:?} is not in {metrics}"))
    };
    populate(&fleet, 1..=1);
    assert_eq!((fetched(1, "registry"), fetched(1, "node")), ("1".into(), "0".into()));
    populate(&fleet, 2..=2);
    assert_eq!((fetched(2, "registry"), fetched(2, "node")), ("0".into(), "1".into()));

    // Bytes that are not what they are called are nobody's component.
    for machine in [1, 2] {
        for entry in std::fs::read_dir(fleet.data(machine).join("images/sha256")).expect("images").flatten() {
            std::fs::write(entry.path(), "something else").expect("written");
        }
    }
    populate(&fleet, 3..=3);
    assert_eq!((fetched(3, "registry"), fetched(3, "node")), ("1".into(), "0".into()));
}
