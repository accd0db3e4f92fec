//! Data that is kept as it was at one moment, and claims that are filled with it, as `kubectl` sees them.

use std::path::{Path, PathBuf};

use harness::{Cluster, Fleet, Plan, Server, eventually, kubectl_is_there};
use serde_json::Value;

use crate::{PROGRAM, apply, manifest, with};

const DATABASE: &str = "apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
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
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
";

const SNAPSHOT: &str = "apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {name: NAME}
spec: {source: {persistentVolumeClaimName: CLAIM}}
";

const RETAINED: &str = "apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotClass
metadata: {name: retained}
driver: coracle.dev/local-path
deletionPolicy: Retain
";

const CLAIM: &str = "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: NAME}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: SIZE}}
  SOURCE
";

const POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 1
  volumes:
  - {name: data, persistentVolumeClaim: {claimName: CLAIM}}
  containers:
  - name: box
    image: EXAMPLES/box/box.wasm
    command: [sleep, infinity]
    volumeMounts: [{mountPath: /data, name: data}]
";

fn snapshot(cluster: &Cluster, name: &str, claim: &str) {
    apply(cluster, &SNAPSHOT.replace("NAME", name).replace("CLAIM", claim));
}

fn claim(name: &str, size: &str, source: &str) -> String {
    CLAIM.replace("NAME", name).replace("SIZE", size).replace("SOURCE", source)
}

fn from_snapshot(name: &str) -> String {
    format!("dataSource: {{apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: {name}}}")
}

fn pod(cluster: &Cluster, name: &str, claim: &str) {
    apply(cluster, &POD.replace("NAME", name).replace("CLAIM", claim));
}

fn ready(cluster: &Cluster, pod: &str) {
    eventually(60, || match cluster.kubectl(&["get", pod]) {
        output if output.stderr.contains("not found") => Err(output.stderr),
        _ => Ok(()),
    });
    cluster.kubectl(&["wait", "--for=condition=Ready", pod, "--timeout=60s"]).ok();
}

fn is_kept(cluster: &Cluster, name: &str) {
    let what = format!("volumesnapshot/{name}");
    cluster.kubectl(&["wait", "--for=jsonpath={.status.readyToUse}=true", &what, "--timeout=60s"]).ok();
}

fn sh(cluster: &Cluster, pod: &str, script: &str) -> String {
    cluster.kubectl(&["exec", pod, "--", "sh", "-c", script]).ok()
}

fn says(cluster: &Cluster, what: &str, path: &str) -> String {
    cluster.kubectl(&["get", what, "-o", &format!("jsonpath={{{path}}}")]).ok()
}

fn soon_told(cluster: &Cluster, what: &str, expected: &str) {
    eventually(60, || match cluster.kubectl(&["describe", what]).ok() {
        told if told.contains(expected) => Ok(()),
        told => Err(format!("{expected:?} is not in {told}")),
    });
}

fn gone(cluster: &Cluster, what: &str) {
    eventually(60, || match cluster.kubectl(&["get", what]) {
        output if output.stderr.contains("not found") => Ok(()),
        output => Err(output.stdout),
    });
}

fn cells(cluster: &Cluster, words: &[&str]) -> Vec<String> {
    let words = [&["get", "--no-headers"], words].concat();
    cluster.kubectl(&words).ok().split_whitespace().map(str::to_owned).collect()
}

/// The archives of a data directory.
fn archives(data: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data.join("snapshots")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[test]
fn what_was_kept_of_a_database_comes_back_in_another_claim() {
    if !kubectl_is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let cluster = Plan::new().on(&data).up(PROGRAM).expect("up");
    let class = cells(&cluster, &["volumesnapshotclass"]);
    assert_eq!(class[..3], ["local-path", "coracle.dev/local-path", "Delete"]);
    apply(&cluster, DATABASE);
    ready(&cluster, "pod/db-0");
    sh(&cluster, "db-0", "mkdir /data/deep; echo old > /data/deep/file; echo same > /data/other");

    snapshot(&cluster, "before", "data-db-0");
    is_kept(&cluster, "before");
    let header = cluster.kubectl(&["get", "volumesnapshot"]).ok();
    let columns =
        "NAME READYTOUSE SOURCEPVC SOURCESNAPSHOTCONTENT RESTORESIZE SNAPSHOTCLASS SNAPSHOTCONTENT CREATIONTIME AGE";
    let header: Vec<&str> = header.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(header.join(" "), columns);
    let content = says(&cluster, "vs/before", ".status.boundVolumeSnapshotContentName");
    let row = cells(&cluster, &["vs", "before"]);
    assert_eq!(row[..6], ["before", "true", "data-db-0", "9", "local-path", &content]);
    let row = cells(&cluster, &["vsc", &content]);
    assert_eq!(
        row[..8],
        [&content, "true", "9", "Delete", "coracle.dev/local-path", "local-path", "before", "default"]
    );
    soon_told(&cluster, "vs/before", "Snapshot default/before is ready to use.");
    assert_eq!(archives(&data), [data.join("snapshots").join(format!("{content}.tar.gz"))]);

    // The database goes on, and the whole node falls over and comes back.
    sh(&cluster, "db-0", "echo new > /data/deep/file; rm /data/other");
    cluster.kill().expect("killed");
    std::fs::write(data.join("snapshots/.half.next"), "half").expect("written");
    let cluster = Plan::new().on(&data).up(PROGRAM).expect("up again");

    apply(&cluster, &claim("restored", "1Mi", &from_snapshot("before")));
    soon_told(&cluster, "pvc/restored", "waiting for first consumer");
    pod(&cluster, "reader", "restored");
    ready(&cluster, "pod/reader");
    assert_eq!(sh(&cluster, "reader", "cat /data/deep/file /data/other"), "old\nsame\n");
    soon_told(&cluster, "pvc/restored", "Successfully provisioned volume");
    assert_eq!(archives(&data).len(), 1, "what was half made is gone");

    // A copy of what it has now; the other spelling of a source means the same.
    let copy = "dataSourceRef: {kind: PersistentVolumeClaim, name: data-db-0}";
    apply(&cluster, &claim("copy", "2Mi", copy));
    pod(&cluster, "copier", "copy");
    ready(&cluster, "pod/db-0");
    ready(&cluster, "pod/copier");
    assert_eq!(sh(&cluster, "copier", "cat /data/deep/file; ls /data; echo mine > /data/deep/file"), "new\ndeep\n");
    assert_eq!(sh(&cluster, "db-0", "cat /data/deep/file"), "new\n");

    // With the snapshot goes the archive, and what was made from it stays.
    cluster.kubectl(&["delete", "vs", "before"]).ok();
    gone(&cluster, &format!("vsc/{content}"));
    assert_eq!(archives(&data), Vec::<PathBuf>::new());
    assert_eq!(sh(&cluster, "reader", "cat /data/deep/file"), "old\n");
}

#[test]
fn what_is_retained_outlives_its_snapshot_and_is_found_again() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    apply(&cluster, RETAINED);
    apply(&cluster, &claim("data", "1Mi", ""));
    pod(&cluster, "writer", "data");
    ready(&cluster, "pod/writer");
    sh(&cluster, "writer", "echo kept > /data/file");
    let retained = SNAPSHOT.replace("NAME", "first").replace("CLAIM", "data");
    apply(&cluster, &retained.replace("spec: {", "spec: {volumeSnapshotClassName: retained, "));
    is_kept(&cluster, "first");
    let content = says(&cluster, "vs/first", ".status.boundVolumeSnapshotContentName");
    let handle = says(&cluster, &format!("vsc/{content}"), ".status.snapshotHandle");
    cluster.kubectl(&["delete", "vs", "first"]).ok();
    cluster.kubectl(&["delete", "vsc", &content]).ok();
    cluster.kubectl(&["delete", "pod/writer", "pvc/data"]).ok();
    assert_eq!(archives(cluster.data()).len(), 1);

    let found = |name: &str, handle: &str| {
        format!(
            "apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotContent
metadata: {{name: {name}}}
spec:
  driver: coracle.dev/local-path
  deletionPolicy: Delete
  source: {{snapshotHandle: \"{handle}\"}}
  volumeSnapshotRef: {{namespace: default, name: {name}}}
---
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {{name: {name}}}
spec: {{source: {{volumeSnapshotContentName: {name}}}}}
"
        )
    };
    // One whose bytes are others is not taken for it.
    let other = format!("{}{}", &handle[..handle.len() - 64], "0".repeat(64));
    apply(&cluster, &found("other", &other));
    soon_told(&cluster, "vs/other", "is not what it was");
    apply(&cluster, &found("again", &handle));
    is_kept(&cluster, "again");
    assert_eq!(cells(&cluster, &["vs", "again"])[..4], ["again", "true", "again", "5"]);
    apply(&cluster, &claim("data", "1Mi", &from_snapshot("again")));
    pod(&cluster, "reader", "data");
    ready(&cluster, "pod/reader");
    assert_eq!(sh(&cluster, "reader", "cat /data/file"), "kept\n");
}

#[test]
fn what_cannot_be_kept_or_filled_is_told() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    snapshot(&cluster, "nothing", "none");
    let failed = "Failed to create snapshot content with error";
    soon_told(&cluster, "vs/nothing", &format!("{failed} persistentvolumeclaim \"none\" not found"));
    assert_eq!(says(&cluster, "vs/nothing", ".status.readyToUse"), "false");
    apply(&cluster, &claim("data", "1Mi", ""));
    snapshot(&cluster, "early", "data");
    soon_told(&cluster, "vs/early", &format!("{failed} the PVC data is not yet bound to a PV"));
    let both = SNAPSHOT.replace("NAME", "both").replace("{persistent", "{volumeSnapshotContentName: x, persistent");
    let folder = tempfile::tempdir().expect("a folder");
    let refused = cluster.kubectl(&["apply", "-f", &manifest(folder.path(), &both)]);
    assert!(refused.stderr.contains("spec.source: Invalid value"), "{}", refused.stderr);

    // Once there is something to keep, it is kept.
    pod(&cluster, "writer", "data");
    ready(&cluster, "pod/writer");
    is_kept(&cluster, "early");
    sh(&cluster, "writer", "seq 1000 > /data/file");
    snapshot(&cluster, "later", "data");
    is_kept(&cluster, "later");
    let provision = "failed to provision volume with StorageClass \"local-path\":";
    apply(&cluster, &claim("small", "1Ki", &from_snapshot("later")));
    soon_told(&cluster, "pvc/small", &format!("{provision} error getting handle for DataSource Type VolumeSnapshot"));
    soon_told(&cluster, "pvc/small", "requested volume size 1Ki is less than the size");
    apply(&cluster, &claim("missing", "1Mi", &from_snapshot("none")));
    soon_told(&cluster, "pvc/missing", "volumesnapshots.snapshot.storage.k8s.io \"none\" not found");
    let itself = "dataSource: {kind: PersistentVolumeClaim, name: itself}";
    apply(&cluster, &claim("itself", "1Mi", itself));
    soon_told(&cluster, "pvc/itself", "a claim cannot be filled from itself");
    let copy = "dataSource: {kind: PersistentVolumeClaim, name: data}";
    apply(&cluster, &claim("tight", "1Ki", copy));
    soon_told(&cluster, "pvc/tight", "requested volume size 1Ki is less than the size 1Mi for the source PVC");
}

/// A node on a machine of its own keeps and fills what lies on it, and may do no more than that.
#[test]
fn what_lies_on_another_machine_is_kept_there() {
    let fleet = Fleet::on_loopback(PROGRAM, Server::Alone, 1);
    let apply = |text: &str| fleet.coracle(&["apply", "-f", &manifest(fleet.folder(), text)]).ok();
    let get = |what: &str| -> Value {
        serde_json::from_str(&fleet.coracle(&["get", what, "-o", "json"]).stdout).unwrap_or_default()
    };
    let runs = |pod: &str| {
        eventually(60, || match get(pod) {
            pod if pod["status"]["phase"] == "Running" => Ok(()),
            pod => Err(pod["status"].to_string()),
        });
    };
    apply(&claim("data", "1Mi", ""));
    apply(&POD.replace("NAME", "writer").replace("CLAIM", "data"));
    runs("pod/writer");
    apply(&SNAPSHOT.replace("NAME", "kept").replace("CLAIM", "data"));
    eventually(60, || match get("volumesnapshot/kept") {
        kept if kept["status"]["readyToUse"] == true => Ok(()),
        kept => Err(kept["status"].to_string()),
    });
    apply(&claim("restored", "1Mi", &from_snapshot("kept")));
    apply(&POD.replace("NAME", "reader").replace("CLAIM", "restored"));
    runs("pod/reader");
    fleet.coracle(&["delete", "volumesnapshot/kept"]).ok();
    eventually(60, || match fleet.coracle(&["get", "volumesnapshotcontent"]).ok() {
        left if left.contains("snapcontent-") => Err(left),
        _ => Ok(()),
    });
}

#[test]
fn what_is_in_a_volume_is_carried_off_and_brought_back() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = Plan::new().up(PROGRAM).expect("a cluster");
    apply(&cluster, DATABASE);
    ready(&cluster, "pod/db-0");
    sh(&cluster, "db-0", "echo high > /data/tide; mkdir /data/deep; echo low > /data/deep/tide");
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let told = cluster.coracle(&["volume", "save", "data-db-0", &path("db.tar.gz")]).ok();
    assert!(told.ends_with(" of data-db-0\n"), "{told}");
    let again = cluster.coracle(&["volume", "save", "data-db-0", &path("db.tar.gz")]);
    assert!(again.code != 0 && again.stderr.contains("is there already"), "{again:?}");
    gone_all(&cluster, "volumesnapshots,volumesnapshotcontents");

    let restore = |file: &str, claim: &str| cluster.coracle(&["volume", "restore", &path(file), claim]);
    let told = restore("db.tar.gz", "copy").ok();
    assert!(
        told.starts_with("persistentvolumeclaim/copy created, to be filled from volumesnapshot/restored-"),
        "{told}"
    );
    pod(&cluster, "reader", "copy");
    ready(&cluster, "pod/reader");
    assert_eq!(sh(&cluster, "reader", "cat /data/tide /data/deep/tide"), "high\nlow\n");

    let taken = restore("db.tar.gz", "copy");
    assert!(taken.stderr.contains("persistentvolumeclaims \"copy\" already exists"), "{taken:?}");
    let whole = std::fs::read(path("db.tar.gz")).expect("a file");
    std::fs::write(path("half.tar.gz"), &whole[..whole.len() / 2]).expect("written");
    let half = restore("half.tar.gz", "half");
    assert!(half.stderr.contains("this is no archive of a volume"), "{half:?}");
    assert_eq!(cells(&cluster, &["pvc", "half", "--ignore-not-found"]), Vec::<String>::new());
    let snapshot = format!("vs/{}", says(&cluster, "pvc/copy", ".spec.dataSource.name"));
    cluster.coracle(&["volume", "save", &snapshot, &path("same.tar.gz")]).ok();
    assert_eq!(std::fs::read(path("same.tar.gz")).expect("a file"), whole);
}

fn gone_all(cluster: &Cluster, kinds: &str) {
    eventually(60, || match cluster.kubectl(&["get", kinds, "--all-namespaces", "-o", "name"]).ok() {
        none if none.is_empty() => Ok(()),
        some => Err(some),
    });
}
