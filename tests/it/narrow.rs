//! Nodes behind an address translator, whose way to the servers is a link of 1 Mbit/s.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Fleet, Narrow, Output, Size, eventually, get, kubectl_is_there, namespaces_are_possible};
use serde_json::Value;

use crate::forward::Helper;
use crate::{PROGRAM, example, manifest};

/// Half a second's worth waits in the box on the wall.
const LINK: Narrow = Narrow { bits_a_second: 1_000_000, delay: Duration::from_millis(50), queue_bytes: 64 << 10 };

const SERVERS: usize = 3;
/// A node near the servers, and two behind the link.
const NEAR: usize = SERVERS;
const FAR: [usize; 2] = [NEAR + 1, NEAR + 2];

/// So much more than the program is in the large image: half a minute over the link.
const WEIGHT_BYTES: usize = 3 << 20;

const POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME}}
spec:
  nodeSelector: {kubernetes.io/hostname: NODE}
  terminationGracePeriodSeconds: 1
  containers: [{name: NAME, image: 'IMAGE', ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: NAME}
spec: {rules: [{host: NAME.localhost, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: NAME, port: {number: 80}}}}]}}]}
";

const BOX: &str = "apiVersion: v1
kind: Pod
metadata: {name: box}
spec:
  nodeSelector: {kubernetes.io/hostname: NODE}
  terminationGracePeriodSeconds: 1
  containers: [{name: box, image: EXAMPLES/box/box.wasm, command: [sh, -c, 'echo ready; sleep infinity']}]
";

/// A component that nobody can deflate: the program, and a section of noise that means nothing.
fn heavy(folder: &std::path::Path) -> PathBuf {
    let mut bytes = std::fs::read(example("probe/probe.wasm")).expect("the component is there");
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    let payload: Vec<u8> = std::iter::repeat_with(|| {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise.to_le_bytes()
    })
    .take(WEIGHT_BYTES / 8)
    .flatten()
    .collect();
    let mut section = vec![5];
    section.extend_from_slice(b"noise");
    section.extend_from_slice(&payload);
    bytes.push(0);
    let mut length = section.len();
    while length > 0x7f {
        bytes.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).expect("seven bits"));
    bytes.extend_from_slice(&section);
    let file = folder.join("heavy.wasm");
    std::fs::write(&file, bytes).expect("a file");
    file
}

fn json(fleet: &Fleet, words: &[&str]) -> Value {
    let told = fleet.at_last(&[words, &["-o", "json"]].concat());
    serde_json::from_str(&told).unwrap_or_else(|error| panic!("{words:?}: {error}: {told}"))
}

/// The condition `Ready` of a node.
fn ready(fleet: &Fleet, node: usize) -> Value {
    let node = json(fleet, &["get", "node", &format!("node-{node}")]);
    let conditions = node["status"]["conditions"].as_array().expect("a list");
    conditions.iter().find(|one| one["type"] == "Ready").expect("it is told").clone()
}

/// How long ago a node has renewed its lease.
fn lease_age(fleet: &Fleet, node: usize) -> Duration {
    let lease = json(fleet, &["get", "lease", &format!("node-{node}"), "-n", "kube-node-lease"]);
    let renewed: jiff::Timestamp = lease["spec"]["renewTime"].as_str().expect("a time").parse().expect("a time");
    jiff::Timestamp::now().duration_since(renewed).try_into().unwrap_or_default()
}

fn run(fleet: &Fleet, name: &str, node: usize, image: &str) {
    let text = POD.replace("NAME", name).replace("NODE", &format!("node-{node}")).replace("IMAGE", image);
    fleet.at_last(&["apply", "-f", &manifest(fleet.folder(), &text)]);
}

/// Waits until a pod answers at the edge of its own node, asked there.
fn answers(fleet: &Fleet, name: &str, node: usize) {
    eventually(300, || match fleet.get(node, node, &format!("{name}.localhost"), "/healthz") {
        Ok((200, _)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

fn kubectl(fleet: &Fleet, words: &[&str]) -> Output {
    let mut command = fleet.namespaces().command(0, "kubectl");
    command.args(words).env("KUBECONFIG", fleet.kubeconfig()).env("HOME", fleet.folder().join("kubectl-home"));
    Output::of(command, None)
}

/// Everything that goes to a node behind the link goes there by the way back that it dialled.
fn is_reached(fleet: &Fleet) {
    let begun = Instant::now();
    assert!(fleet.at_last(&["logs", "box"]).contains("ready"));
    println!("logs: {:?}", begun.elapsed());
    if kubectl_is_there() {
        let begun = Instant::now();
        assert_eq!(kubectl(fleet, &["exec", "box", "--", "echo", "here"]).ok(), "here\n");
        println!("exec: {:?}", begun.elapsed());
    }
    let mut command: Command = fleet.namespaces().command(0, PROGRAM);
    command.args(["port-forward", "pod/small", "0:80"]).env("CORACLE_KUBECONFIG", fleet.kubeconfig());
    let forward = Helper::start(command);
    let begun = Instant::now();
    let answer = fleet.namespaces().on(0, || get(forward.address, "small", "/healthz")).expect("an answer");
    assert_eq!((answer.status, &*answer.body), (200, "ok\n"));
    println!("port-forward: {:?}", begun.elapsed());
}

#[test]
fn a_node_behind_one_megabit_and_an_address_translator_is_a_node_like_others() {
    if !namespaces_are_possible() {
        return;
    }
    // A node is given up as soon as anywhere.
    let environment = vec![("CORACLE_NODE_MONITOR_GRACE_PERIOD", "3s".to_owned())];
    let size = Size { servers: SERVERS, agents: 1, spare: FAR.len(), environment, ..Size::default() };
    let mut fleet = Fleet::of(PROGRAM, size);
    let mut link = fleet.namespaces().behind(&FAR, LINK);
    let mut before = link.crossed();
    let mut told = |what: &str, since: Instant| {
        let now = link.crossed();
        println!("{what}: {:?}, {}", since.elapsed(), now.since(before));
        let crossed = now.since(before);
        before = now;
        crossed
    };

    let begun = Instant::now();
    assert_eq!(fleet.join_with(&["--zone", "edge"]), FAR[0]);
    fleet.is_ready(FAR[0]);
    told("joined and ready", begun);
    // Nobody can dial it.
    let there = fleet.told(FAR[0], "ingressHttp");
    let dialled = Output::of(
        {
            let mut command = fleet.namespaces().command(0, "curl");
            command.args(["-sS", "--max-time", "3", &format!("http://{there}/")]);
            command
        },
        None,
    );
    assert_ne!(dialled.code, 0, "{dialled:?}");

    let begun = Instant::now();
    run(&fleet, "small", FAR[0], &example("probe/probe.wasm").display().to_string());
    answers(&fleet, "small", FAR[0]);
    told("a pod of 400 KB answers at its edge", begun);
    let text = BOX.replace("NODE", &format!("node-{}", FAR[0]));
    fleet.at_last(&["apply", "-f", &manifest(fleet.folder(), &text)]);
    fleet.coracle(&["wait", "--for=condition=Ready", "pod/box", "--timeout", "300s"]).ok();
    is_reached(&fleet);

    // It stays what it is while the link is full.
    let image = heavy(fleet.folder());
    fleet.at_last(&["push", &image.display().to_string(), "heavy:v1"]);
    let steady = ready(&fleet, FAR[0]);
    told("meanwhile", begun);
    let begun = Instant::now();
    run(&fleet, "heavy", FAR[0], "heavy:v1");
    let (mut oldest, mut slowest) = (Duration::ZERO, Duration::ZERO);
    loop {
        let asked = Instant::now();
        assert!(fleet.at_last(&["logs", "box"]).contains("ready"));
        slowest = slowest.max(asked.elapsed());
        oldest = oldest.max(lease_age(&fleet, FAR[0]));
        let now = ready(&fleet, FAR[0]);
        assert_eq!(
            (&now["status"], &now["lastTransitionTime"]),
            (&"True".into(), &steady["lastTransitionTime"]),
            "{now}"
        );
        match fleet.get(FAR[0], FAR[0], "heavy.localhost", "/healthz") {
            Ok((200, _)) => break,
            _ if begun.elapsed() > Duration::from_secs(300) => panic!("not within five minutes"),
            _ => {}
        }
    }
    let crossed = told("a pod of 3.5 MB answers", begun);
    println!("meanwhile the lease was at most {oldest:?} old, and logs took at most {slowest:?}");
    assert!(crossed.down > WEIGHT_BYTES as u64, "{crossed}");

    // Who is beside it takes from it what it has.
    let begun = Instant::now();
    assert_eq!(fleet.join_with(&["--zone", "edge"]), FAR[1]);
    fleet.is_ready(FAR[1]);
    told("another joined", begun);
    let begun = Instant::now();
    run(&fleet, "second", FAR[1], "heavy:v1");
    answers(&fleet, "second", FAR[1]);
    let crossed = told("the same image on the other", begun);
    assert!(crossed.down < WEIGHT_BYTES as u64, "it came over the link: {crossed}");
}
