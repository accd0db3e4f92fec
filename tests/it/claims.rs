//! Data that outlives pods: volumes, claims and classes of storage, as `kubectl` sees them.

use std::path::{Path, PathBuf};

use harness::{Cluster, Fleet, Plan, Server, eventually, kubectl_is_there};
use serde_json::Value;

use crate::{PROGRAM, apply, manifest, with};

/// The pages "Configure a Pod to Use a PersistentVolume for Storage" of Kubernetes' documentation, with another image and folder.
const TASK: &str = "apiVersion: v1
kind: PersistentVolume
metadata: {name: task-pv-volume, labels: {type: local}}
spec:
  storageClassName: manual
  capacity: {storage: 10Gi}
  accessModes: [ReadWriteOnce]
  hostPath: {path: FOLDER}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: task-pv-claim}
spec:
  storageClassName: manual
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 3Gi}}
---
apiVersion: v1
kind: Pod
metadata: {name: task-pv-pod}
spec:
  terminationGracePeriodSeconds: 1
  volumes:
  - {name: task-pv-storage, persistentVolumeClaim: {claimName: task-pv-claim}}
  containers:
  - name: task-pv-container
    image: EXAMPLES/box/box.wasm
    command: [sleep, infinity]
    volumeMounts: [{mountPath: /usr/share/nginx/html, name: task-pv-storage}]
";

const CLAIM: &str = "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Mi}}
";

const POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 1
  volumes:
  - {name: data, persistentVolumeClaim: {claimName: data}}
  containers:
  - name: box
    image: EXAMPLES/box/box.wasm
    command: [sleep, infinity]
    volumeMounts: [{mountPath: /data, name: data}]
";

fn pod(cluster: &Cluster, name: &str) {
    apply(cluster, &POD.replace("NAME", name));
}

fn ready(cluster: &Cluster, pod: &str) {
    cluster.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{pod}"), "--timeout=60s"]).ok();
}

fn sh(cluster: &Cluster, pod: &str, script: &str) -> harness::Output {
    cluster.kubectl(&["exec", pod, "--", "sh", "-c", script])
}

/// What a path of an object says.
fn says(cluster: &Cluster, what: &str, path: &str) -> String {
    cluster.kubectl(&["get", what, "-o", &format!("jsonpath={{{path}}}")]).ok()
}

fn soon_says(cluster: &Cluster, what: &str, path: &str, expected: &str) {
    eventually(30, || match says(cluster, what, path) {
        found if found == expected => Ok(()),
        found => Err(format!("{what} {path}: {found:?}, not {expected:?}")),
    });
}

/// Waits until `kubectl describe` tells it.
fn soon_told(cluster: &Cluster, what: &str, expected: &str) {
    eventually(30, || match cluster.kubectl(&["describe", what]).ok() {
        told if told.contains(expected) => Ok(()),
        told => Err(format!("{expected:?} is not in {told}")),
    });
}

fn gone(cluster: &Cluster, what: &str) {
    eventually(30, || match cluster.kubectl(&["get", what]) {
        output if output.stderr.contains("not found") => Ok(()),
        output => Err(output.stdout),
    });
}

/// Where the volume of the claim `data` lies.
fn directory(cluster: &Cluster) -> PathBuf {
    cluster.data().join("volumes").join(says(cluster, "pvc/data", ".spec.volumeName"))
}

#[test]
fn a_pod_is_configured_to_use_a_persistent_volume() {
    if !kubectl_is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("index.html"), "Hello from Kubernetes storage\n").expect("written");
    let cluster = with(&[]);
    apply(&cluster, &TASK.replace("FOLDER", &folder.path().display().to_string()));
    ready(&cluster, "task-pv-pod");
    let volume = cluster.kubectl(&["get", "pv", "task-pv-volume", "--no-headers"]).ok();
    let volume: Vec<&str> = volume.split_whitespace().collect();
    assert_eq!(volume[..7], ["task-pv-volume", "10Gi", "RWO", "Retain", "Bound", "default/task-pv-claim", "manual"]);
    let claim = cluster.kubectl(&["get", "pvc", "task-pv-claim", "--no-headers"]).ok();
    let claim: Vec<&str> = claim.split_whitespace().collect();
    assert_eq!(claim[..6], ["task-pv-claim", "Bound", "task-pv-volume", "10Gi", "RWO", "manual"]);
    let script = "cat /usr/share/nginx/html/index.html; echo mine > /usr/share/nginx/html/mine";
    assert_eq!(sh(&cluster, "task-pv-pod", script).ok(), "Hello from Kubernetes storage\n");
    // Retain: the volume keeps its data, and the name of the claim that it was released by.
    cluster.kubectl(&["delete", "pod", "task-pv-pod"]).ok();
    cluster.kubectl(&["delete", "pvc", "task-pv-claim"]).ok();
    soon_says(&cluster, "pv/task-pv-volume", ".status.phase", "Released");
    apply(&cluster, &TASK.replace("FOLDER", &folder.path().display().to_string()));
    let none = "storageclass.storage.k8s.io \"manual\" not found";
    soon_told(&cluster, "pvc/task-pv-claim", none);
    cluster
        .kubectl(&[
            "patch",
            "pv",
            "task-pv-volume",
            "--type=json",
            "-p",
            r#"[{"op":"remove","path":"/spec/claimRef"}]"#,
        ])
        .ok();
    ready(&cluster, "task-pv-pod");
    assert_eq!(sh(&cluster, "task-pv-pod", "cat /usr/share/nginx/html/mine").ok(), "mine\n");
    // One that is bound is not gone before its claim.
    cluster.kubectl(&["delete", "pv", "task-pv-volume", "--wait=false"]).ok();
    let told = cluster.kubectl(&["get", "pv", "task-pv-volume"]).ok();
    assert!(told.contains("Terminating"), "{told}");
    cluster.kubectl(&["delete", "pod/task-pv-pod", "pvc/task-pv-claim"]).ok();
    gone(&cluster, "pv/task-pv-volume");
    assert_eq!(std::fs::read_to_string(folder.path().join("mine")).expect("it stays"), "mine\n");
}

#[test]
fn what_a_claim_holds_outlives_pods_and_the_process() {
    if !kubectl_is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let cluster = Plan::new().on(&data).up(PROGRAM).expect("up");
    let class = cluster.kubectl(&["get", "storageclass", "--no-headers"]).ok();
    let class: Vec<&str> = class.split_whitespace().collect();
    let expected = ["local-path", "(default)", "coracle.dev/local-path", "Delete", "WaitForFirstConsumer", "true"];
    assert_eq!(class[..6], expected);
    apply(&cluster, CLAIM);
    soon_told(&cluster, "pvc/data", "waiting for first consumer to be created before binding");
    assert_eq!(says(&cluster, "pvc/data", ".status.phase"), "Pending");
    pod(&cluster, "one");
    ready(&cluster, "one");
    soon_told(&cluster, "pvc/data", "Successfully provisioned volume pvc-");
    assert_eq!(says(&cluster, "pvc/data", ".metadata.annotations.volume\\.kubernetes\\.io/selected-node"), "node-1");
    sh(&cluster, "one", "echo kept > /data/file").ok();
    cluster.kubectl(&["delete", "pod", "one"]).ok();
    pod(&cluster, "two");
    ready(&cluster, "two");
    assert_eq!(sh(&cluster, "two", "cat /data/file; echo more >> /data/file").ok(), "kept\n");
    cluster.kill().expect("killed");

    let cluster = Plan::new().on(&data).up(PROGRAM).expect("up again");
    eventually(30, || match sh(&cluster, "two", "cat /data/file") {
        output if output.stdout == "kept\nmore\n" => Ok(()),
        output => Err(format!("{output:?}")),
    });
    // A claim that a pod uses waits for the pod; what it held goes with it.
    let directory = directory(&cluster);
    assert!(directory.join("file").is_file());
    cluster.kubectl(&["delete", "pvc", "data", "--wait=false"]).ok();
    let told = cluster.kubectl(&["get", "pvc", "data"]).ok();
    assert!(told.contains("Terminating"), "{told}");
    assert_eq!(sh(&cluster, "two", "cat /data/file").ok(), "kept\nmore\n");
    cluster.kubectl(&["delete", "pod", "two"]).ok();
    gone(&cluster, "pvc/data");
    let volume = format!("pv/{}", directory.file_name().expect("a name").to_string_lossy());
    gone(&cluster, &volume);
    assert!(!directory.exists(), "Delete removes the directory");
}

#[test]
fn a_volume_that_is_to_be_retained_is() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    apply(&cluster, CLAIM);
    pod(&cluster, "one");
    ready(&cluster, "one");
    sh(&cluster, "one", "echo kept > /data/file").ok();
    let directory = directory(&cluster);
    let volume = format!("pv/{}", directory.file_name().expect("a name").to_string_lossy());
    // As "Change the Reclaim Policy of a PersistentVolume" has it.
    cluster.kubectl(&["patch", &volume, "-p", r#"{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}"#]).ok();
    cluster.kubectl(&["delete", "pod/one", "pvc/data"]).ok();
    soon_says(&cluster, &volume, ".status.phase", "Released");
    cluster.kubectl(&["delete", &volume]).ok();
    gone(&cluster, &volume);
    assert_eq!(std::fs::read_to_string(directory.join("file")).expect("it stays"), "kept\n");
}

#[test]
fn a_claim_for_one_pod_is_given_to_one_pod() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    pod(&cluster, "one");
    soon_told(&cluster, "pod/one", "0/1 nodes are available: persistentvolumeclaim \"data\" not found.");
    apply(&cluster, &CLAIM.replace("ReadWriteOnce", "ReadWriteOncePod"));
    ready(&cluster, "one");
    pod(&cluster, "two");
    let taken = "0/1 nodes are available: 1 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode.";
    soon_told(&cluster, "pod/two", taken);
    cluster.kubectl(&["delete", "pod", "one"]).ok();
    ready(&cluster, "two");
}

#[test]
fn paths_of_the_node_are_what_their_types_say_and_where_it_allows() {
    if !kubectl_is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (open, closed) = (folder.path().join("open"), folder.path().join("closed"));
    for path in [&open, &closed] {
        std::fs::create_dir(path).expect("a folder");
    }
    std::fs::write(open.join("file"), "here\n").expect("written");
    let cluster = Plan::new().say(&["--host-path", &open.display().to_string()]).up(PROGRAM).expect("up");
    let pod = |name: &str, path: &Path, kind: &str| {
        let volume = format!("hostPath: {{path: {}, type: {kind}}}", path.display());
        let claimed = "persistentVolumeClaim: {claimName: data}";
        apply(&cluster, &POD.replace("NAME", name).replace(claimed, &volume));
    };
    pod("made", &open.join("new/deep"), "DirectoryOrCreate");
    ready(&cluster, "made");
    sh(&cluster, "made", "echo hi > /data/hi").ok();
    assert_eq!(std::fs::read_to_string(open.join("new/deep/hi")).expect("a file"), "hi\n");
    pod("missing", &open.join("missing"), "Directory");
    soon_told(&cluster, "pod/missing", "hostPath type check failed");
    pod("socket", &open, "Socket");
    soon_told(&cluster, "pod/socket", "hostPath type Socket is not supported: guests are given directories and files");
    pod("closed", &closed, "\"\"");
    soon_told(&cluster, "pod/closed", "is not one that this node allows");
    assert_eq!(says(&cluster, "pod/closed", ".status.containerStatuses[0].state.waiting.reason"), "ContainerCreating");
    std::os::unix::fs::symlink(&closed, open.join("way-out")).expect("a link");
    pod("way-out", &open.join("way-out"), "Directory");
    soon_told(&cluster, "pod/way-out", "is not one that this node allows");
}

/// A node on a machine of its own makes the directory and removes it, though it is told of no claims but those of its pods.
#[test]
fn a_claim_on_another_machine_has_its_data_there() {
    let fleet = Fleet::on_loopback(PROGRAM, Server::Alone, 1);
    let apply = |text: &str| fleet.coracle(&["apply", "-f", &manifest(fleet.folder(), text)]).ok();
    apply(&format!("{CLAIM}---\n{}", POD.replace("NAME", "one")));
    let get = |what: &str| -> Value {
        serde_json::from_str(&fleet.coracle(&["get", what, "-o", "json"]).stdout).unwrap_or_default()
    };
    eventually(60, || match get("pod/one") {
        pod if pod["status"]["phase"] == "Running" => Ok(()),
        pod => Err(pod["status"].to_string()),
    });
    let claim = get("pvc/data");
    let volume = claim["spec"]["volumeName"].as_str().expect("a volume").to_owned();
    assert_eq!(
        get(&format!("pv/{volume}"))["metadata"]["labels"]["coracle.dev/node"],
        get("pod/one")["spec"]["nodeName"]
    );
    fleet.coracle(&["delete", "pod/one"]).ok();
    fleet.coracle(&["delete", "pvc/data"]).ok();
    eventually(60, || match fleet.coracle(&["get", &format!("pv/{volume}")]) {
        output if output.stderr.contains("not found") => Ok(()),
        output => Err(format!("{output:?}")),
    });
}

#[test]
fn a_claim_holds_what_it_says_and_may_grow() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    apply(&cluster, CLAIM);
    let scratch = "\n    - {mountPath: /tmp, name: tmp}\n  volumes:\n  - {name: tmp, emptyDir: {sizeLimit: 10Ki}}\n";
    let pod = POD.replace("NAME", "one").replace(
        "volumeMounts: [{mountPath: /data, name: data}]\n",
        "volumeMounts:\n    - {mountPath: /data, name: data}",
    );
    let pod = pod.replacen("  volumes:\n", "", 1).replacen(
        "  - {name: data, persistentVolumeClaim: {claimName: data}}\n",
        "",
        1,
    );
    apply(
        &cluster,
        &format!("{}{scratch}  - {{name: data, persistentVolumeClaim: {{claimName: data}}}}\n", pod.trim_end()),
    );
    ready(&cluster, "one");
    let big = "seq 200000 > /data/big";
    // The C library of guests tells every failed write of a stream as an I/O error.
    let told = sh(&cluster, "one", big).refused();
    assert!(told.contains("I/O error"), "{told}");
    let length = || std::fs::metadata(directory(&cluster).join("big")).expect("a file").len();
    assert!((1 << 19..=1 << 20).contains(&length()), "{} bytes of 1Mi", length());
    // What is taken away makes room.
    sh(&cluster, "one", "rm /data/big; seq 100000 > /data/small").ok();
    assert!(sh(&cluster, "one", "seq 10000 > /tmp/file").refused().contains("I/O error"));
    sh(&cluster, "one", "seq 100 > /tmp/file").ok();
    let more = r#"{"spec":{"resources":{"requests":{"storage":"3Mi"}}}}"#;
    cluster.kubectl(&["patch", "pvc", "data", "-p", more]).ok();
    soon_says(&cluster, "pvc/data", ".status.capacity.storage", "3Mi");
    soon_told(&cluster, "pvc/data", "Resize volume succeeded");
    eventually(30, || match sh(&cluster, "one", big) {
        output if output.code == 0 => Ok(()),
        output => Err(output.stderr),
    });
}

/// The key-value server of the examples answers when what it was told is on the disk.
#[test]
fn a_server_finds_again_what_it_was_told() {
    if !kubectl_is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let cluster = Plan::new().on(&data).up(PROGRAM).expect("up");
    let server = POD.replace("NAME", "kv").replace("box/box.wasm", "kv/kv.wasm");
    let server = server.replace("command: [sleep, infinity]", "args: [serve, \"0.0.0.0:6379\", /data]");
    apply(&cluster, &format!("{CLAIM}---\n{server}"));
    ready(&cluster, "kv");
    let say = |cluster: &Cluster, command: &[&str]| {
        cluster.kubectl(&[&["exec", "kv", "--", "kv", "127.0.0.1:6379"], command].concat())
    };
    eventually(30, || match say(&cluster, &["SET", "tide", "high"]) {
        output if output.stdout == "OK\n" => Ok(()),
        output => Err(format!("{output:?}")),
    });
    for _ in 0..3 {
        say(&cluster, &["INCR", "waves"]).ok();
    }
    cluster.kill().expect("killed");
    let cluster = Plan::new().on(&data).up(PROGRAM).expect("up again");
    eventually(30, || match say(&cluster, &["GET", "tide"]) {
        output if output.stdout == "high\n" => Ok(()),
        output => Err(format!("{output:?}")),
    });
    assert_eq!(say(&cluster, &["INCR", "waves"]).ok(), "4\n");
}
