//! Nodes that are lost, and nodes at the edge: what happens to their pods, and what they do meanwhile.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness::{Fleet, Server, Signal, eventually};
use serde_json::Value;

use crate::{PROGRAM, manifest};

/// So many nodes, and a server that gives those up which have been silent for so long.
fn fleet(agents: usize, grace: &str) -> Fleet {
    Fleet::told_so(PROGRAM, Server::Alone, agents, vec![("CORACLE_NODE_MONITOR_GRACE_PERIOD", grace.to_owned())])
}

/// A Deployment of so many pods, each on a node of its own if there are enough, behind a service and a host.
fn web(replicas: usize) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - {{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {{matchLabels: {{app: web}}}}}}
      containers:
      - name: probe
        image: EXAMPLES/probe/probe.wasm
        ports: [{{containerPort: 80}}]
        env: [{{name: POD_NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: web}}
spec:
  rules:
  - host: web.localhost
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}
"
    )
}

/// A pod as the cluster tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    uid: String,
    node: String,
    ready: bool,
    ends: bool,
    restarts: u64,
}

fn pods(fleet: &Fleet) -> Vec<Told> {
    let list = fleet.coracle(&["get", "pods", "-o", "json"]).ok();
    let list: Value = serde_json::from_str(&list).expect("a list");
    let single = [list.clone()];
    let items = list["items"].as_array().map_or(&single[..], Vec::as_slice);
    let told = items.iter().filter(|pod| pod["kind"] == "Pod").map(|pod| {
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        Told {
            uid: pod["metadata"]["uid"].as_str().unwrap_or_default().into(),
            node: pod["spec"]["nodeName"].as_str().unwrap_or_default().into(),
            ready: conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"),
            ends: pod["metadata"]["deletionTimestamp"].is_string(),
            restarts: pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default(),
        }
    });
    let mut told: Vec<Told> = told.collect();
    told.sort();
    told
}

/// Waits until so many pods are ready, none of them on `lost`.
fn replaced(fleet: &Fleet, replicas: usize, lost: &str) -> Vec<Told> {
    eventually(120, || {
        let pods = pods(fleet);
        let good: Vec<Told> = pods.iter().filter(|pod| pod.ready && !pod.ends && pod.node != lost).cloned().collect();
        if good.len() == replicas { Ok(good) } else { Err(format!("{pods:?}")) }
    })
}

fn apply(fleet: &Fleet, text: &str) {
    fleet.coracle(&["apply", "-f", &manifest(fleet.folder(), text)]).ok();
}

/// How long something took, for whoever reads the log.
fn timed<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = act();
    println!("{what}: {:?}", began.elapsed());
    done
}

#[test]
fn the_pods_of_a_killed_node_are_replaced_at_once_and_not_twice() {
    let mut fleet = fleet(3, "60s");
    apply(&fleet, &web(3));
    let before = replaced(&fleet, 3, "");
    let lost = before.iter().find(|pod| pod.node == "node-2").expect("the pods are spread").clone();

    fleet.kill(2);
    let now = timed("killed node, pod replaced", || replaced(&fleet, 3, "node-2"));
    for pod in before.iter().filter(|pod| pod.node != "node-2") {
        assert!(now.contains(pod), "who was not there goes on as before: {pod:?} in {now:?}");
    }
    let node = fleet.coracle(&["get", "node/node-2", "-o", "json"]).ok();
    assert!(node.contains("node.kubernetes.io/unreachable"), "{node}");

    // It is back, and what it ran is not wanted any more.
    fleet.start_again(2);
    fleet.coracle(&["wait", "--for=condition=Ready", "node/node-2", "--timeout", "120s"]).ok();
    let after = eventually(120, || {
        let pods = pods(&fleet);
        if pods.len() == 3 && pods.iter().all(|pod| pod.ready && !pod.ends) {
            Ok(pods)
        } else {
            Err(format!("{pods:?}"))
        }
    });
    assert!(after.iter().all(|pod| pod.uid != lost.uid), "{after:?}");
    assert_eq!(after, now, "its return moves nobody");
}

#[test]
fn a_node_that_falls_silent_is_lost_and_its_pods_end_when_it_speaks_again() {
    let fleet = fleet(3, "6s");
    apply(&fleet, &web(3));
    let before = replaced(&fleet, 3, "");
    let old: Vec<String> = before.into_iter().filter(|pod| pod.node == "node-3").map(|pod| pod.uid).collect();
    assert!(!old.is_empty(), "the pods are spread");

    fleet.signal(3, Signal::STOP);
    timed("silent node, pod replaced", || replaced(&fleet, 3, "node-3"));
    assert!(pods(&fleet).iter().any(|pod| pod.ends), "nobody has said yet that the old one has ended");

    fleet.signal(3, Signal::CONT);
    fleet.coracle(&["wait", "--for=condition=Ready", "node/node-3", "--timeout", "120s"]).ok();
    let after = eventually(120, || {
        let pods = pods(&fleet);
        if pods.len() == 3 && pods.iter().all(|pod| pod.ready && !pod.ends) {
            Ok(pods)
        } else {
            Err(format!("{pods:?}"))
        }
    });
    assert!(after.iter().all(|pod| !old.contains(&pod.uid)), "the old one is gone: {after:?}");
}

#[test]
fn a_node_that_is_asked_to_stop_says_so_and_is_not_taken_for_lost() {
    let mut fleet = fleet(2, "60s");
    apply(&fleet, &web(2));
    replaced(&fleet, 2, "");
    fleet.stop(1);
    let node = fleet.coracle(&["get", "node/node-1", "-o", "json"]).ok();
    assert!(node.contains("NodeShutdown"), "it has said so: {node}");
    fleet.start_again(1);
    fleet.coracle(&["wait", "--for=condition=Ready", "node/node-1", "--timeout", "120s"]).ok();
    let node = fleet.coracle(&["get", "node/node-1", "-o", "json"]).ok();
    assert!(!node.contains("NodeShutdown") && !node.contains("node.kubernetes.io/unreachable"), "{node}");
    replaced(&fleet, 2, "");
}

/// A pod that is asked for what it was given, and its secret.
const SECRETIVE: &str = "apiVersion: v1
kind: Secret
metadata: {name: word}
stringData: {word: canary-of-the-edge}
---
apiVersion: v1
kind: Pod
metadata: {name: box, labels: {app: box}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: probe
    image: EXAMPLES/probe/probe.wasm
    ports: [{containerPort: 80}]
    env: [{name: WORD, valueFrom: {secretKeyRef: {name: word, key: word}}}]
    volumeMounts: [{name: words, mountPath: /words}]
    readinessProbe: {httpGet: {path: /healthz, port: 80}, periodSeconds: 1}
  volumes: [{name: words, secret: {secretName: word}}]
---
apiVersion: v1
kind: Service
metadata: {name: box}
spec: {selector: {app: box}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: box}
spec:
  rules:
  - host: box.localhost
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: box, port: {number: 80}}}}]}
";

/// Everything that a node is asked for, by its own ingress: a pod, its secrets, its token, names, and another service.
#[track_caller]
fn serves(fleet: &Fleet) {
    for (path, words) in [
        ("/env", "WORD=canary-of-the-edge"),
        ("/read?path=/words/word", "canary-of-the-edge"),
        ("/read?path=/var/run/secrets/kubernetes.io/serviceaccount/token", "ey"),
        ("/lookup?name=web.default.svc.cluster.local", "10.43."),
        ("/call?url=http://web/", "web-"),
    ] {
        eventually(120, || match fleet.get(1, 1, "box.localhost", path) {
            Ok((200, body)) if body.contains(words) => Ok(()),
            other => Err(format!("{path}: {other:?}")),
        });
    }
}

/// Every file of a folder and of those in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_node_that_is_cut_off_serves_on_and_starts_from_its_own_disk() {
    let mut fleet = fleet(1, "60s");
    apply(&fleet, SECRETIVE);
    apply(&fleet, &web(1));
    let before = replaced(&fleet, 2, "");
    serves(&fleet);
    // What it keeps is written behind what happens: all of it, once nothing has been written for a while.
    let kept = fleet.data(1).join("kept/world");
    eventually(120, || {
        let written = kept.metadata().and_then(|metadata| metadata.modified()).map_err(|error| error.to_string())?;
        let quiet = written.elapsed().unwrap_or_default();
        if quiet > Duration::from_secs(5) { Ok(()) } else { Err(format!("written {quiet:?} ago")) }
    });

    fleet.kill(0);
    serves(&fleet);
    fleet.kill(1);
    timed("start from the node's own disk", || {
        fleet.start_again(1);
        serves(&fleet);
    });
    let canary = b"canary-of-the-edge";
    for file in files(fleet.data(1)) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        assert!(!bytes.windows(canary.len()).any(|window| window == canary), "{}", file.display());
    }

    fleet.start_again(0);
    fleet.at_last(&["wait", "--for=condition=Ready", "node/node-1", "--timeout", "120s"]);
    let uids = |pods: &[Told]| pods.iter().map(|pod| pod.uid.clone()).collect::<Vec<_>>();
    eventually(120, || {
        let now = pods(&fleet);
        let good = uids(&now) == uids(&before) && now.iter().all(|pod| pod.ready && !pod.ends && pod.restarts == 1);
        if good { Ok(()) } else { Err(format!("{before:?}, then {now:?}")) }
    });
    serves(&fleet);
    // It is a node as before.
    fleet.coracle(&["scale", "deploy/web", "--replicas", "2"]).ok();
    replaced(&fleet, 3, "");
}
