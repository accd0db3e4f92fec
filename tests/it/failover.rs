//! Nodes and clients outlive the server that they were given, and reach everything by any other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use harness::{Servers, eventually, get, kubectl_is_there};
use serde_json::Value;

use crate::{PROGRAM, example, manifest};

/// A pod on each of two nodes, an address for both of them, and a shell on the first node.
const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
      containers: [{name: web, image: EXAMPLES/probe/probe.wasm, ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec: {rules: [{host: web.localhost, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: box}
spec:
  nodeSelector: {kubernetes.io/hostname: agent-0}
  terminationGracePeriodSeconds: 1
  containers: [{name: box, image: EXAMPLES/box/box.wasm, command: [sh, -c, 'echo ready; sleep infinity']}]
";

fn json(servers: &Servers, place: usize, words: &[&str]) -> Value {
    let told = servers.coracle(place, &[words, &["-o", "json"]].concat()).ok();
    serde_json::from_str(&told).unwrap_or_else(|error| panic!("{words:?}: {error}: {told}"))
}

/// The pods of the deployment by their uid, each with how often it was started again.
fn pods(servers: &Servers, place: usize) -> BTreeMap<String, u64> {
    let list = json(servers, place, &["get", "pods", "-l", "app=web"]);
    let pods = list["items"].as_array().expect("a list").iter();
    pods.map(|pod| {
        let uid = pod["metadata"]["uid"].as_str().expect("a uid").to_owned();
        (uid, pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default())
    })
    .collect()
}

/// Everything that goes to a node goes there by this server.
fn reaches_the_nodes(servers: &Servers, place: usize) {
    eventually(60, || match servers.coracle(place, &["logs", "box"]) {
        told if told.stdout.contains("ready") => Ok(()),
        told => Err(format!("by server {place}: {told:?}")),
    });
    if !kubectl_is_there() {
        return;
    }
    let say = |words: &[&str]| servers.kubectl(place, words, None);
    assert_eq!(say(&["exec", "box", "--", "echo", "here"]).ok(), "here\n");
    for pod in say(&["get", "pods", "-l", "app=web", "-o", "name"]).ok().lines() {
        let path = format!("/api/v1/namespaces/default/pods/{}:80/proxy/", pod.trim_start_matches("pod/"));
        say(&["get", "--raw", &path]).ok();
    }
    for node in ["agent-0", "agent-1"] {
        say(&["get", "--raw", &format!("/api/v1/nodes/{node}/proxy/healthz")]).ok();
        assert!(say(&["top", "node", node, "--no-headers"]).ok().contains(node));
    }
}

/// Asks the edge of a node until it is told to stop, and counts; every request is answered.
fn ask(edge: std::net::SocketAddr, stop: &AtomicBool, asked: &AtomicUsize) {
    while !stop.load(Ordering::Relaxed) {
        let answer = get(edge, "web.localhost", "/").expect("the edge needs no server");
        assert_eq!(answer.status, 200, "{}", answer.body);
        asked.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn nodes_and_clients_outlive_the_server_they_were_given() {
    let mut servers = Servers::alone(PROGRAM, 3);
    for _ in 0..2 {
        servers.agent(0);
    }
    let file = manifest(servers.folder(), WEB);
    servers.coracle(0, &["apply", "-f", &file]).ok();
    servers.coracle(0, &["rollout", "status", "deploy/web", "--timeout", "120s"]).ok();
    servers.coracle(0, &["wait", "--for=condition=Ready", "pod/box", "--timeout", "120s"]).ok();

    // Everybody is told of all three.
    let mut all: Vec<String> = (0..3).map(|place| servers.api(place)).collect();
    all.sort();
    for agent in 0..2 {
        let file = servers.agent_data(agent).join("servers");
        eventually(60, || {
            let kept = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
            let mut kept: Vec<&str> = kept.lines().collect();
            kept.sort_unstable();
            if kept == all { Ok(()) } else { Err(format!("{kept:?}")) }
        });
    }
    for place in 0..3 {
        reaches_the_nodes(&servers, place);
    }
    if kubectl_is_there() {
        let other = format!("coracle@{}", servers.api(1));
        eventually(60, || {
            let told = servers.kubectl(0, &["--context", &other, "get", "nodes"], None);
            if told.stdout.contains("agent-0") { Ok(()) } else { Err(format!("{told:?}")) }
        });
    }

    // The one that leads is the one that the nodes were given.
    eventually(60, || {
        if servers.leader() == 0 {
            return Ok(());
        }
        Err(format!("{:?}", servers.coracle(0, &["member", "lead", &servers.id(0)])))
    });
    let before = pods(&servers, 1);
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let edges = [servers.agent_ingress(0), servers.agent_ingress(1)];
    for edge in edges {
        eventually(60, || match get(edge, "web.localhost", "/") {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    std::thread::scope(|scope| {
        let asking = edges.map(|edge| {
            let (stop, asked) = (&stop, &asked);
            scope.spawn(move || ask(edge, stop, asked))
        });
        let soon = asked.load(Ordering::Relaxed) + 20;
        eventually(60, || if asked.load(Ordering::Relaxed) > soon { Ok(()) } else { Err("nobody asks".into()) });
        servers.kill(0);
        // A command that knows of the others asks them.
        eventually(60, || match servers.coracle(0, &["get", "nodes"]) {
            told if told.stdout.contains("agent-1") => Ok(()),
            told => Err(format!("{told:?}")),
        });
        servers.coracle(1, &["scale", "deploy/web", "--replicas=4"]).ok();
        servers.coracle(2, &["rollout", "status", "deploy/web", "--timeout", "120s"]).ok();
        let after = pods(&servers, 2);
        for (uid, restarts) in &before {
            assert_eq!(after.get(uid), Some(restarts), "nothing was started again: {before:?}, {after:?}");
        }
        for place in [1, 2] {
            reaches_the_nodes(&servers, place);
        }
        for agent in ["agent-0", "agent-1"] {
            let node = json(&servers, 1, &["get", "node", agent]);
            let conditions = node["status"]["conditions"].as_array().expect("a list");
            let ready = conditions.iter().find(|condition| condition["type"] == "Ready").expect("it is told");
            assert_eq!(ready["status"], "True", "{agent}: {ready}");
        }
        stop.store(true, Ordering::Relaxed);
        for asking in asking {
            asking.join().expect("every request is answered");
        }
    });
    println!("{} requests, every one answered", asked.load(Ordering::Relaxed));
    // The one that was away reaches all again.
    servers.start(0);
    servers.settled(3);
    reaches_the_nodes(&servers, 0);
}

/// A pod that nobody has pulled yet.
const LATE: &str = "apiVersion: v1
kind: Pod
metadata: {name: late}
spec: {containers: [{name: late, image: 'late:v1', ports: [{containerPort: 80}]}]}
";

#[test]
fn an_image_outlives_the_server_that_it_was_pushed_to() {
    let mut servers = Servers::alone(PROGRAM, 3);
    servers.agent(1);
    let component = example("probe/probe.wasm").display().to_string();
    servers.coracle(0, &["push", &component, "late:v1"]).ok();
    if kubectl_is_there() {
        // What was pushed anywhere is known everywhere at once, and is given by whoever is asked.
        for place in 0..3 {
            let told = servers.kubectl(place, &["get", "--raw", "/v2/late/tags/list"], None).ok();
            assert!(told.contains("v1"), "{told}");
            let told = servers.kubectl(place, &["get", "--raw", "/v2/late/manifests/v1"], None).ok();
            assert!(told.contains("application/wasm"), "{told}");
        }
    }
    let blobs = |place: usize| {
        let names = std::fs::read_dir(servers.data(place).join("registry/blobs")).expect("a folder");
        let mut names: Vec<_> = names.map(|name| name.expect("a name").file_name()).collect();
        names.sort();
        names
    };
    for place in [1, 2] {
        eventually(120, || {
            let (there, here) = (blobs(0), blobs(place));
            if here == there && here.len() == 3 { Ok(()) } else { Err(format!("{there:?}, {here:?}")) }
        });
    }
    servers.kill(0);
    let file = manifest(servers.folder(), LATE);
    eventually(60, || match servers.coracle(1, &["apply", "-f", &file]) {
        told if told.code == 0 => Ok(()),
        told => Err(format!("{told:?}")),
    });
    servers.coracle(2, &["wait", "--for=condition=Ready", "pod/late", "--timeout", "120s"]).ok();
}

/// Its link must be with another server: nobody in its own process is left to tell of its end. Silence would be noticed after a minute.
#[test]
fn a_node_that_dies_with_its_server_is_missed_at_once() {
    let mut servers = Servers::begun(PROGRAM, |_| {});
    let told = |servers: &Servers, place: usize, words: &[&str]| -> Value {
        let told = servers.coracle(place, &[&["get"], words, &["-o", "json"]].concat()).stdout;
        serde_json::from_str(&told).unwrap_or_default()
    };
    let link = |servers: &Servers| {
        let lease = told(servers, 0, &["lease", "node-0", "-n", "kube-node-lease"]);
        lease["metadata"]["annotations"]["coracle.dev/link"].as_str().map(str::to_owned)
    };
    let at_home = eventually(60, || link(&servers).ok_or_else(|| "it has no link".to_owned()));
    servers.join();
    servers.join();
    servers.settled(3);
    eventually(60, || match link(&servers) {
        Some(link) if link != at_home => Ok(()),
        _ => Err("its link is with its own server still".to_owned()),
    });
    servers.kill(0);
    eventually(30, || {
        let node = told(&servers, 1, &["node", "node-0"]);
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|one| one["type"] == "Ready").map(|one| one["status"].clone());
        if ready.as_ref().is_some_and(|ready| ready != "True") { Ok(()) } else { Err(node.to_string()) }
    });
}
