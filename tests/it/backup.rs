//! A cluster is gone, and comes back from a file: other machines, the same objects.

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Cluster, Output, Plan, Servers, eventually, get, kubectl_is_there, peer_is_there};
use serde_json::Value;

use crate::{PROGRAM, example, manifest};

const CANARY: &str = "canary-2d90b1e4";

/// What there is beside the example.
const WORLD: &str = "apiVersion: v1
kind: Secret
metadata: {name: word}
stringData: {word: canary-2d90b1e4}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: EXAMPLES/hello/hello.wasm, env: [{name: GREETING, value: data}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: alone}
spec:
  containers:
  - name: alone
    image: EXAMPLES/hello/hello.wasm
    env: [{name: WORD, valueFrom: {secretKeyRef: {name: word, key: word}}}]
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: shelf}
spec:
  capacity: {storage: 1Mi}
  accessModes: [ReadWriteOnce]
  storageClassName: shelf
  local: {path: /nowhere}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node-1]}]}]}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

const BOAT: &str = "apiVersion: example.com/v1
kind: Boat
metadata: {name: coracle}
spec: {oars: 1}
";

/// What has to be there afterwards as it was before: objects of all sorts, and pods that keep who they are.
const KEPT: [&str; 9] = [
    "deploy/hello",
    "cm/hello-config",
    "svc/hello",
    "ing/hello",
    "secret/word",
    "sts/db",
    "pod/db-0",
    "pod/alone",
    "boat/coracle",
];

fn coracle(words: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(words);
    Output::of(command, None)
}

fn object(told: Output) -> Value {
    serde_json::from_str(&told.ok()).expect("JSON")
}

fn uids(cluster: &Cluster) -> Vec<Value> {
    KEPT.iter().map(|what| object(cluster.coracle(&["get", what, "-o", "json"]))["metadata"]["uid"].clone()).collect()
}

fn answers(cluster: &Cluster) {
    eventually(60, || {
        let answer = get(cluster.ingress(), "hello.localhost", "/").map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    });
}

/// A cluster with all of that, and what was saved of it: the file and the key.
fn saved(folder: &Path) -> (Cluster, PathBuf, PathBuf) {
    let world = manifest(folder, WORLD);
    let cluster = Plan::new().apply(example("hello")).apply(world).up(PROGRAM).expect("up");
    let boat = folder.join("boat.yaml");
    std::fs::write(&boat, BOAT).expect("written");
    let boat = boat.display().to_string();
    // The kind is served a moment after it is defined.
    eventually(60, || {
        let applied = cluster.coracle(&["apply", "-f", &boat]);
        if applied.code == 0 { Ok(()) } else { Err(format!("{applied:?}")) }
    });
    for pod in ["pod/db-0", "pod/alone"] {
        cluster.coracle(&["wait", pod, "--for", "condition=Ready", "--timeout", "120s"]).ok();
    }
    let (file, key) = (folder.join("all.snapshot"), folder.join("key"));
    let told = cluster.coracle(&["snapshot", "save", file.to_str().expect("a path"), "--images"]);
    assert!(told.stderr.contains("`coracle snapshot key`"), "{told:?}");
    assert!(told.ok().contains(" objects at revision "));
    std::fs::write(&key, cluster.coracle(&["snapshot", "key"]).ok()).expect("written");
    (cluster, file, key)
}

#[test]
fn a_cluster_that_is_gone_comes_back_from_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cluster, file, key) = saved(folder.path());
    let before = uids(&cluster);
    let bytes = std::fs::read(&file).expect("a file");
    let spoken = std::fs::read_to_string(&key).expect("a key");
    // "canary-2d90b1e4" in the base64 of the API, too.
    for word in [CANARY, "Y2FuYXJ5LTJkOTBiMWU0", spoken.trim(), "BEGIN PRIVATE KEY"] {
        assert!(!bytes.windows(word.len()).any(|window| window == word.as_bytes()), "{word}");
    }
    let file = file.to_str().expect("a path");
    let key = key.to_str().expect("a path");
    assert!(cluster.coracle(&["snapshot", "save", file]).refused().contains("is there already"));
    if kubectl_is_there() {
        for path in ["/coracle/v1/snapshot", "/coracle/v1/snapshot/key"] {
            let refused = cluster.kubectl(&["get", "--raw", path, "--as", "eve"]).refused();
            assert!(refused.contains("forbidden"), "{refused}");
        }
    }
    cluster.kill().expect("killed");

    let data = folder.path().join("again");
    let restore = |file: &str, key: &str, more: &[&str]| {
        let words = ["snapshot", "restore", file, "--key", key, "--data-dir", data.to_str().expect("a path")];
        coracle(&[&words, more].concat())
    };
    let broken = folder.path().join("broken.snapshot");
    let mut changed = bytes.clone();
    changed[bytes.len() / 2] ^= 1;
    for (content, why) in
        [(&bytes[..bytes.len() - 1], "cut off"), (&changed, "damaged"), (b"apiVersion", "not a snapshot")]
    {
        std::fs::write(&broken, content).expect("written");
        let refused = restore(broken.to_str().expect("a path"), key, &[]).refused();
        assert!(refused.contains(why), "{refused}");
        let listed = coracle(&["snapshot", "list", folder.path().to_str().expect("a path")]).ok();
        assert!(listed.contains(why) && listed.contains("whole"), "{listed}");
    }
    let other = folder.path().join("other");
    std::fs::write(&other, format!("coracle-snapshot-key-{}", "A".repeat(48))).expect("written");
    assert!(restore(file, other.to_str().expect("a path"), &[]).refused().contains("sealed with key"));
    let dry = restore(file, key, &["--dry-run"]);
    for part in ["to be given a node again: 4 Pod", "1 Node", "persistentvolume shelf lies on node-1"] {
        assert!(dry.stderr.contains(part), "{part} is missing in {dry:?}");
    }
    assert!(dry.ok().lines().any(|line| line.split_whitespace().eq(["Boat", "1"])));
    assert!(!data.exists(), "nothing was written so far");
    restore(file, key, &[]).ok();
    assert!(restore(file, key, &[]).refused().contains("is not empty"));

    let cluster = Plan::new().on(&data).called("node-2").up(PROGRAM).expect("up again");
    for pod in ["pod/db-0", "pod/alone"] {
        cluster.coracle(&["wait", pod, "--for", "condition=Ready", "--timeout", "120s"]).ok();
        assert_eq!(object(cluster.coracle(&["get", pod, "-o", "json"]))["spec"]["nodeName"], "node-2");
    }
    answers(&cluster);
    assert_eq!(uids(&cluster), before);
    assert_eq!(cluster.coracle(&["get", "nodes", "-o", "name"]).ok().trim(), "node/node-2");
    let pod = object(cluster.coracle(&["get", "pod/alone", "-o", "json"]));
    let revision: u64 =
        pod["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a number");
    assert!(revision > 1_000_000_000, "beyond whatever anybody remembers: {revision}");
    // It is the same cluster, so its key is the same, too.
    assert_eq!(cluster.coracle(&["snapshot", "key"]).ok(), spoken);
}

#[test]
fn three_servers_become_one_and_then_two() {
    let servers = Servers::of(PROGRAM, 3);
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("map.yaml"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: {a: b}\n")
        .expect("written");
    servers.coracle(0, &["apply", "-f", &path("map.yaml")]).ok();
    let uid = |servers: &Servers, place| {
        object(servers.coracle(place, &["get", "cm/one", "-o", "json"]))["metadata"]["uid"].clone()
    };
    let before = uid(&servers, 0);
    // Any of them has the newest, and all have one key.
    let follower = (servers.leader() + 1) % 3;
    servers.coracle(follower, &["snapshot", "save", &path("all.snapshot")]).ok();
    std::fs::write(path("key"), servers.coracle(servers.leader(), &["snapshot", "key"]).ok()).expect("written");
    drop(servers);

    let restore = |data: &Path| {
        let words = ["snapshot", "restore", &path("all.snapshot"), "--key", &path("key"), "--data-dir"];
        coracle(&[&words[..], &[data.to_str().expect("a path")]].concat()).ok();
    };
    let mut servers = Servers::begun(PROGRAM, restore);
    servers.settled(1);
    assert_eq!(uid(&servers, 0), before);
    let other = servers.join();
    servers.settled(2);
    assert_eq!(uid(&servers, other), before);
    assert_eq!(servers.told(other).len(), 2, "nobody of before is left");
}

/// The names of the snapshots in a folder.
fn kept(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".snapshot")).collect();
    names.sort();
    names
}

#[test]
fn snapshots_are_taken_by_themselves_and_the_oldest_go() {
    let words = ["--snapshot-every", "1s", "--snapshot-keep", "2"];
    let cluster = Plan::new().say(&words).up(PROGRAM).expect("up");
    let folder = cluster.data().join("snapshots");
    let first = eventually(60, || kept(&folder).first().cloned().ok_or("none yet".to_owned()));
    eventually(60, || {
        let names = kept(&folder);
        if names.len() == 2 && !names.contains(&first) { Ok(()) } else { Err(format!("{names:?}")) }
    });
    let told = cluster.coracle(&["snapshot", "schedule"]).ok();
    let says = |words: [&str; 2]| told.lines().any(|line| line.split_whitespace().eq(words));
    assert!(says(["every", "1s"]) && says(["keep", "2"]) && told.contains("last"), "{told}");
    let refused = cluster.coracle(&["snapshot", "schedule", "--keep", "0"]).refused();
    assert!(refused.contains("keep: \"0\" is not a number above nought"), "{refused}");
    cluster.coracle(&["snapshot", "schedule", "--every", "never"]).ok();
    // One may have been under way.
    let listed = eventually(60, || {
        let listed = cluster.coracle(&["snapshot", "list", folder.to_str().expect("a path")]);
        let lines = listed.stdout.lines().filter(|line| line.ends_with("whole")).count();
        if listed.code == 0 && lines == 2 { Ok(listed.stdout) } else { Err(format!("{listed:?}")) }
    });
    // The key that opens them is of the cluster, and not of those who take them.
    let name = kept(&folder).pop().expect("one");
    assert!(listed.contains(&name), "{listed}");
}

#[test]
fn of_several_servers_one_that_does_not_lead_takes_them() {
    let servers = Servers::of(PROGRAM, 3);
    servers.coracle(0, &["snapshot", "schedule", "--every", "1s"]).ok();
    eventually(120, || {
        let leader = servers.leader();
        let others = (0..3).filter(|place| *place != leader);
        let by_others: usize = others.map(|place| kept(&servers.data(place).join("snapshots")).len()).sum();
        if by_others > 0 { Ok(()) } else { Err("none by those who follow".to_owned()) }
    });
    // What one says, all know.
    let told = servers.coracle(2, &["snapshot", "schedule"]).ok();
    assert!(told.contains("begun"), "{told}");
}

/// A store that speaks S3, with a bucket `shelf`.
struct Shelf {
    folder: tempfile::TempDir,
    server: std::process::Child,
    port: u16,
}

impl Shelf {
    fn open() -> Option<Self> {
        if !peer_is_there("s3s-fs") {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("shelf")).expect("a bucket");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let server = Command::new("s3s-fs")
            .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--access-key", "me", "--secret-key", "secret"])
            .arg(folder.path())
            .env("RUST_LOG", "off")
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("s3s-fs starts");
        eventually(60, || std::net::TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string()));
        Some(Self { folder, server, port })
    }

    fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ACCESS_KEY_ID", "me".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
        ]
    }

    fn coracle(&self, cluster: &Cluster, words: &[&str]) -> Output {
        let mut command = Command::new(PROGRAM);
        command.args(words).env("CORACLE_KUBECONFIG", cluster.kubeconfig()).envs(self.environment());
        Output::of(command, None)
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn snapshots_are_kept_in_a_bucket() {
    let Some(shelf) = Shelf::open() else { return };
    let words = ["--snapshot-every", "1s", "--snapshot-keep", "2", "--snapshot-to", "s3://shelf/by/itself"];
    let plan =
        shelf.environment().into_iter().fold(Plan::new().say(&words), |plan, (name, value)| plan.with(name, value));
    let cluster = plan.up(PROGRAM).expect("up");
    let folder = shelf.folder.path().join("shelf/by/itself");
    let first = eventually(60, || kept(&folder).first().cloned().ok_or("none yet".to_owned()));
    eventually(60, || {
        let names = kept(&folder);
        if (1..=2).contains(&names.len()) && !names.contains(&first) { Ok(()) } else { Err(format!("{names:?}")) }
    });
    shelf.coracle(&cluster, &["snapshot", "schedule", "--every", "never"]).ok();
    let saved = shelf.coracle(&cluster, &["snapshot", "save", "--to", "s3://shelf/by-hand"]).ok();
    let (address, _) = saved.split_once(": ").expect("an address");
    assert!(address.starts_with("s3://shelf/by-hand/coracle-"), "{saved}");
    let listed = shelf.coracle(&cluster, &["snapshot", "list", "s3://shelf/by-hand"]).ok();
    assert!(listed.contains(address) && listed.trim_end().ends_with("whole"), "{listed}");
    let key = cluster.data().join("key");
    std::fs::write(&key, cluster.coracle(&["snapshot", "key"]).ok()).expect("written");
    let data = shelf.folder.path().join("again");
    let words = ["snapshot", "restore", address, "--key", key.to_str().expect("a path"), "--data-dir"];
    shelf.coracle(&cluster, &[&words[..], &[data.to_str().expect("a path")]].concat()).ok();
    assert!(data.join("pki/ca.key").exists());
    let wrong = shelf.coracle(&cluster, &["snapshot", "save", "--to", "s3://"]).refused();
    assert!(wrong.contains("names no bucket"), "{wrong}");
}
