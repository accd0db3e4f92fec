//! What is in volumes goes into a snapshot of the cluster, and comes back in another one, on another machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Cluster, Fleet, Output, Plan, Server, eventually, kubectl_is_there};
use serde_json::Value;

use crate::{PROGRAM, apply, manifest};

const DATABASE: &str = "apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: box
        image: EXAMPLES/box/box.wasm
        command: [sleep, infinity]
        volumeMounts: [{mountPath: /data, name: data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 16Mi}}}
";

const POD_WITH_CLAIM: &str = "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: NAME}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 1
  nodeName: NODE
  volumes: [{name: data, persistentVolumeClaim: {claimName: NAME}}]
  containers:
  - name: box
    image: EXAMPLES/box/box.wasm
    command: [sleep, infinity]
    volumeMounts: [{mountPath: /data, name: data}]
";

const PODS: [&str; 2] = ["db-0", "db-1"];
/// So few blocks of a kibibyte, or of half of one, a file may have: fewer than an archive, or the store's log.
const FILE_BLOCKS_MAX: &str = "100";

fn sh(cluster: &Cluster, pod: &str, script: &str) -> String {
    cluster.kubectl(&["exec", pod, "--", "sh", "-c", script]).ok()
}

fn ready(cluster: &Cluster) {
    for pod in PODS {
        let what = format!("pod/{pod}");
        eventually(60, || match cluster.kubectl(&["get", &what]) {
            output if output.stderr.contains("not found") => Err(output.stderr),
            _ => Ok(()),
        });
        cluster.kubectl(&["wait", "--for=condition=Ready", &what, "--timeout=120s"]).ok();
    }
}

fn coracle(words: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(words);
    Output::of(command, None)
}

fn object(told: Output) -> Value {
    serde_json::from_str(&told.ok()).expect("JSON")
}

/// All files of all volumes below a data directory, by their paths from there.
fn contents(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let volumes = data.join("volumes");
    let (mut found, mut open) = (BTreeMap::new(), vec![volumes.clone()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                open.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(&volumes).expect("below").to_owned();
                found.insert(name, std::fs::read(entry.path()).expect("a file"));
            }
        }
    }
    found
}

/// A cluster with a database that has written something, and what was saved of it: with volumes, and the key.
fn saved(folder: &Path) -> (Cluster, PathBuf, PathBuf) {
    let cluster = Plan::new().on(&folder.join("before")).up(PROGRAM).expect("up");
    apply(&cluster, DATABASE);
    ready(&cluster);
    for (pod, last) in PODS.into_iter().zip(["200000", "190000"]) {
        sh(&cluster, pod, &format!("mkdir /data/deep; echo {pod} > /data/deep/name; seq {last} > /data/numbers"));
    }
    let (file, key) = (folder.join("all.snapshot"), folder.join("key"));
    let told = cluster.coracle(&["snapshot", "save", file.to_str().expect("a path"), "--images", "--volumes"]).ok();
    assert!(told.contains(", 2 volumes of "), "{told}");
    std::fs::write(&key, cluster.coracle(&["snapshot", "key"]).ok()).expect("written");
    (cluster, file, key)
}

#[test]
fn what_is_in_volumes_comes_back_with_the_cluster() {
    if !kubectl_is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (cluster, file, key) = saved(folder.path());
    // What was written behind the snapshot is not in it.
    sh(&cluster, "db-0", "echo later > /data/later");
    let mistyped = cluster.coracle(&["snapshot", "save", &path("some.snapshot"), "--volumes-of", "defualt"]).refused();
    assert!(mistyped.contains("there is no namespace defualt"), "{mistyped}");
    let some =
        cluster.coracle(&["snapshot", "save", &path("some.snapshot"), "--volumes-of", "kube-public,kube-system"]).ok();
    assert!(some.contains(", 0 volumes of 0 B"), "{some}");
    cluster.coracle(&["snapshot", "save", &path("none.snapshot")]).ok();
    cluster.kill().expect("killed");
    let mut before = contents(&folder.path().join("before"));
    assert!(before.len() == 5 && before.values().any(|content| content.len() > 1_000_000), "{:?}", before.keys());
    before.retain(|name, _| !name.ends_with("later"));

    let listed = coracle(&["snapshot", "list", folder.path().to_str().expect("a path")]).ok();
    let columns = |name: &str| -> Vec<String> {
        let line = listed.lines().find(|line| line.contains(name)).expect("a line");
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
    };
    assert!(columns("all.snapshot")[4] == "1" && columns("all.snapshot")[5].starts_with("2, "), "{listed}");
    assert_eq!(columns("none.snapshot")[4..6], ["no", "no"]);

    let data = folder.path().join("again");
    let (file, key, again) = (file.display().to_string(), key.display().to_string(), data.display().to_string());
    let restore = |file: &str, more: &[&str]| {
        let words = ["snapshot", "restore", file, "--key", &key, "--data-dir", &again];
        coracle(&[&words, more].concat())
    };
    // Most of the file is what was in volumes.
    let bytes = std::fs::read(&file).expect("a file");
    let (mut changed, cut) = (bytes.clone(), &bytes[..bytes.len() - 100_000]);
    let at = bytes.len() - 100_000;
    changed[at] ^= 4;
    for (content, why) in [(changed.as_slice(), "damaged"), (cut, "cut off")] {
        std::fs::write(path("broken"), content).expect("written");
        let refused = restore(&path("broken"), &[]).refused();
        assert!(refused.contains(why), "{refused}");
    }
    let dry = restore(&file, &["--dry-run"]);
    assert!(dry.stderr.contains("to be filled again, 2 volumes of "), "{dry:?}");
    assert!(dry.stderr.contains("default/data-db-0, default/data-db-1"), "{dry:?}");
    assert!(!dry.stderr.contains("is not in the file"), "{dry:?}");
    let without = restore(&path("none.snapshot"), &["--dry-run"]);
    assert!(without.stderr.matches("is not in the file").count() == 2, "{without:?}");
    assert!(!data.exists(), "nothing was written so far");

    // Where there is no room for it, nothing of it stays.
    let mut tight = Command::new("sh");
    tight.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {FILE_BLOCKS_MAX}; exec \"$0\" \"$@\"")).arg(PROGRAM);
    tight.args(["snapshot", "restore", &file, "--key", &key, "--data-dir", &again]);
    let refused = Output::of(tight, None).refused();
    assert!(refused.contains("nothing was restored"), "{refused}");
    let mut left: Vec<_> = std::fs::read_dir(&data).expect("a folder").flatten().map(|it| it.file_name()).collect();
    left.sort();
    assert_eq!(left, ["layout", "lock"]);

    restore(&file, &[]).ok();
    assert_eq!(std::fs::read_dir(data.join("restored")).expect("a folder").count(), 2);
    // The power fails whenever it likes: what was half done is done again.
    Plan::new().on(&data).called("node-2").up(PROGRAM).expect("up").kill().expect("killed");
    let cluster = Plan::new().on(&data).called("node-2").up(PROGRAM).expect("up again");
    ready(&cluster);
    assert_eq!(contents(&data), before);
    for pod in PODS {
        assert_eq!(sh(&cluster, pod, "cat /data/deep/name"), format!("{pod}\n"));
    }
    eventually(60, || if data.join("restored").exists() { Err("archives are left".into()) } else { Ok(()) });
    for pod in PODS {
        let claim = object(cluster.kubectl(&["get", "pvc", &format!("data-{pod}"), "-o", "json"]));
        assert!(claim["metadata"]["annotations"]["coracle.dev/restored-from"].is_null(), "{claim}");
        let volume = claim["spec"]["volumeName"].as_str().expect("a volume").to_owned();
        let volume = object(cluster.kubectl(&["get", "pv", &volume, "-o", "json"]));
        assert_eq!(volume["metadata"]["labels"]["coracle.dev/node"], "node-2");
    }

    // It is a volume like any other, so it can be saved again, and outlives the process.
    sh(&cluster, "db-1", "echo more > /data/more");
    let told = cluster.coracle(&["snapshot", "save", &path("second.snapshot"), "--volumes"]).ok();
    assert!(told.contains(", 2 volumes of "), "{told}");
    cluster.kill().expect("killed");
    let cluster = Plan::new().on(&data).called("node-2").up(PROGRAM).expect("up again");
    ready(&cluster);
    assert_eq!(sh(&cluster, "db-1", "cat /data/more /data/deep/name"), "more\ndb-1\n");
}

/// A namespace moves with its data.
#[test]
fn a_namespace_takes_its_data_along() {
    if !kubectl_is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let cluster = Plan::new().on(&folder.path().join("data")).up(PROGRAM).expect("up");
    apply(&cluster, DATABASE);
    ready(&cluster);
    for pod in PODS {
        sh(&cluster, pod, &format!("echo {pod} > /data/name; seq 20000 > /data/numbers"));
    }
    let before = contents(&folder.path().join("data"));
    let exported = cluster.coracle(&["export", "--volumes", &path("volumes")]);
    assert!(exported.stderr.contains(" bytes of data-db-1"), "{exported:?}");
    std::fs::write(path("all.yaml"), exported.ok()).expect("written");

    let (yaml, volumes) = (path("all.yaml"), path("volumes"));
    let import = |namespace: &str, more: &[&str]| {
        cluster.coracle(&[&["import", &yaml, "--volumes", &volumes, "-n", namespace], more].concat())
    };
    let dry = import("other", &["--dry-run"]).ok();
    assert!(dry.contains("data-db-0 would be created, and filled from "), "{dry}");
    let told = import("other", &[]).ok();
    assert!(told.contains("persistentvolumeclaim/data-db-0 filled\n"), "{told}");
    for pod in PODS {
        let what = format!("pod/{pod}");
        cluster.kubectl(&["wait", "-n", "other", "--for=condition=Ready", &what, "--timeout=120s"]).ok();
        let name = cluster.kubectl(&["exec", "-n", "other", pod, "--", "cat", "/data/name"]).ok();
        assert_eq!(name, format!("{pod}\n"));
    }
    let files = |of: &BTreeMap<PathBuf, Vec<u8>>| -> Vec<Vec<u8>> {
        let mut files: Vec<Vec<u8>> = of.values().cloned().collect();
        files.sort();
        files
    };
    let twice: Vec<Vec<u8>> = files(&before).into_iter().flat_map(|file| [file.clone(), file]).collect();
    assert_eq!(files(&contents(&folder.path().join("data"))), twice);
    assert!(import("other", &["--volumes-only"]).ok().contains("waits for nothing"));

    // What nobody asks for is a mistake.
    std::fs::write(path("volumes/stray.tar.gz"), "x").expect("written");
    let stray = import("third", &[]).refused();
    assert!(stray.contains("stray.tar.gz is of no claim"), "{stray}");
}

/// A node that is away is told, and kept waiting for by nobody who does not want to.
#[test]
fn what_lies_on_a_node_that_is_away_is_told_by_name() {
    let mut fleet = Fleet::on_loopback(PROGRAM, Server::Alone, 2);
    for node in ["node-1", "node-2"] {
        let text = POD_WITH_CLAIM.replace("NAME", &format!("on-{node}")).replace("NODE", node);
        fleet.coracle(&["apply", "-f", &manifest(fleet.folder(), &text)]).ok();
        fleet.coracle(&["wait", &format!("pod/on-{node}"), "--for", "condition=Ready", "--timeout", "120s"]).ok();
    }
    let path = |name: &str| fleet.folder().join(name).display().to_string();
    let (all, available, refused) = (path("all.snapshot"), path("available.snapshot"), path("refused.snapshot"));
    let told = fleet.coracle(&["snapshot", "save", &all, "--volumes"]).ok();
    assert!(told.contains(", 2 volumes of "), "{told}");
    fleet.kill(2);
    eventually(60, || {
        let told = fleet.coracle(&["snapshot", "save", &refused, "--volumes"]);
        let why = "cannot be had: default/on-node-2 (node node-2 is not connected)";
        if told.code != 0 && told.stderr.contains(why) { Ok(()) } else { Err(format!("{told:?}")) }
    });
    assert!(!Path::new(&refused).exists());
    let told = fleet.coracle(&["snapshot", "save", &available, "--volumes=available"]);
    assert!(told.stderr.contains("could not be had: default/on-node-2 on node node-2"), "{told:?}");
    assert!(told.ok().contains(", 1 volumes of "));
    let listed = coracle(&["snapshot", "list", &available]).ok();
    assert!(listed.contains("1 of 2, "), "{listed}");

    let schedule = |words: &[&str]| fleet.coracle(&[&["snapshot", "schedule"], words].concat());
    let wrong = schedule(&["--volumes", "some"]).refused();
    assert!(wrong.contains("possible values: none, all, available"), "{wrong}");
    schedule(&["--every", "1s", "--volumes", "available"]).ok();
    eventually(60, || {
        let told = schedule(&[]).ok();
        let left = "default/on-node-2 on node node-2";
        if told.lines().any(|line| line.starts_with("without") && line.ends_with(left)) { Ok(()) } else { Err(told) }
    });
    schedule(&["--volumes", "all"]).ok();
    eventually(60, || {
        let told = schedule(&[]).ok();
        let is_told = told.lines().any(|line| line.starts_with("trouble") && line.contains("default/on-node-2"));
        if is_told { Ok(()) } else { Err(told) }
    });
}
