//! Volumes whose files are objects of a store: a real server that speaks S3 (`s3s-fs`) and checks who asks. Its objects are files of a
//! folder, so that a story sees what is really stored.

use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use harness::{Cluster, Fleet, Output, Plan, Server, eventually, kubectl_is_there, peer_is_there};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream as Connection};
use tokio::runtime::Runtime;

use crate::hook::acceptor;
use crate::{PROGRAM, manifest};

const BUCKET: &str = "shelf";
const PORT: u16 = 9000;

/// A secret, a class and a claim.
const STORAGE: &str = "apiVersion: v1
kind: Secret
metadata: {name: shelf-key}
stringData: {accessKeyID: me, secretAccessKey: SECRET}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: shelf}
provisioner: coracle.dev/s3
allowVolumeExpansion: true
parameters:
  endpoint: URL
  bucket: shelf
  prefix: volumes
  csi.storage.k8s.io/node-stage-secret-name: shelf-key
  csi.storage.k8s.io/node-stage-secret-namespace: ${pvc.namespace}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  storageClassName: shelf
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Mi}}
";

const POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 1
  NODE
  volumes:
  - {name: data, persistentVolumeClaim: {claimName: data}}
  containers:
  - name: box
    image: EXAMPLES/box/box.wasm
    command: [sleep, infinity]
    volumeMounts: [{mountPath: /data, name: data}]
";

/// What is stored, and who serves it at times.
struct Shelf {
    home: Ipv4Addr,
    folder: TempDir,
    server: Option<Child>,
}

/// Whoever is spoken to by `kubectl`.
trait Kubectl {
    fn kubectl(&self, words: &[&str]) -> Output;
    fn apply(&self, text: &str);
}

// === impl Shelf ===

impl Shelf {
    /// A store with a bucket that nobody serves yet.
    fn new() -> Option<Self> {
        if !peer_is_there("s3s-fs") || !peer_is_there("curl") || !kubectl_is_there() {
            return None;
        }
        let folder = TempDir::new().expect("a folder");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("a bucket");
        Some(Self { home: own_address(), folder, server: None })
    }

    fn url(&self) -> String {
        format!("http://{}:{PORT}", self.home)
    }

    fn open(&mut self) {
        let server = Command::new("s3s-fs")
            .args(["--host", &self.home.to_string(), "--port", &PORT.to_string()])
            .args(["--access-key", "me", "--secret-key", "secret"])
            .arg(self.folder.path())
            .env("RUST_LOG", "off")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("s3s-fs starts");
        self.server = Some(server);
        eventually(20, || TcpStream::connect((self.home, PORT)).map_err(|error| error.to_string()));
    }

    fn close(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    fn storage(&self) -> String {
        STORAGE.replace("URL", &self.url()).replace("SECRET", "secret")
    }

    /// Somebody else stores something.
    fn put(&self, key: &str, text: &str) {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("object");
        std::fs::write(&file, text).expect("written");
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", "me:secret", "-T"]).arg(file);
        curl.args(["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", &format!("{}/{BUCKET}/{key}", self.url())]);
        Output::of(curl, None).ok();
    }

    /// Where the objects of a volume are.
    fn objects(&self, volume: &str) -> PathBuf {
        self.folder.path().join(BUCKET).join("volumes").join(volume)
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.close();
    }
}

/// A loopback address that no other process of this machine takes, and none twice.
fn own_address() -> Ipv4Addr {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Numbers of processes have 22 bits; the last three are left for those of one process.
    let number = (std::process::id() << 3) | (TAKEN.fetch_add(1, Ordering::Relaxed) & 7);
    Ipv4Addr::from(0x7f00_0000 | (0x0040_0000 ^ (number & 0x00ff_ffff)))
}

impl Kubectl for Cluster {
    fn kubectl(&self, words: &[&str]) -> Output {
        Cluster::kubectl(self, words)
    }

    fn apply(&self, text: &str) {
        let folder = TempDir::new().expect("a folder");
        self.coracle(&["apply", "-f", &manifest(folder.path(), text)]).ok();
    }
}

impl Kubectl for Fleet {
    fn kubectl(&self, words: &[&str]) -> Output {
        Fleet::kubectl(self, words, None)
    }

    fn apply(&self, text: &str) {
        self.coracle(&["apply", "-f", &manifest(self.folder(), text)]).ok();
    }
}

fn pod(name: &str, node: &str) -> String {
    let node =
        if node.is_empty() { String::new() } else { format!("nodeSelector: {{kubernetes.io/hostname: {node}}}") };
    POD.replace("NAME", name).replace("NODE", &node)
}

fn ready(at: &impl Kubectl, pod: &str) {
    at.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{pod}"), "--timeout=90s"]).ok();
}

fn sh(at: &impl Kubectl, pod: &str, script: &str) -> Output {
    at.kubectl(&["exec", pod, "--", "sh", "-c", script])
}

fn says(at: &impl Kubectl, what: &str, path: &str) -> String {
    at.kubectl(&["get", what, "-o", &format!("jsonpath={{{path}}}")]).ok()
}

#[track_caller]
fn soon_told(at: &impl Kubectl, what: &str, expected: &str) {
    eventually(60, || match at.kubectl(&["describe", what]).ok() {
        told if told.contains(expected) => Ok(()),
        told => Err(format!("{expected:?} is not in {told}")),
    });
}

#[track_caller]
fn gone(at: &impl Kubectl, what: &str) {
    eventually(60, || match at.kubectl(&["get", what]) {
        output if output.stderr.contains("not found") => Ok(()),
        output => Err(output.stdout),
    });
}

fn volume(at: &impl Kubectl) -> String {
    eventually(30, || match says(at, "pvc/data", ".spec.volumeName") {
        volume if !volume.is_empty() => Ok(volume),
        _ => Err("no volume".into()),
    })
}

/// One node after the other: the second gets the claim when the first has let go of it, and finds what the first wrote.
#[test]
fn what_a_pod_wrote_another_reads_on_another_node() {
    let Some(mut shelf) = Shelf::new() else { return };
    shelf.open();
    let fleet = Fleet::on_loopback(PROGRAM, Server::IsNode, 1);
    fleet.apply(&shelf.storage());
    let volume = volume(&fleet);
    fleet.apply(&pod("one", "node-0"));
    ready(&fleet, "one");
    sh(&fleet, "one", "mkdir -p /data/deep/er; echo tide > /data/deep/er/file; echo gone > /data/gone; rm /data/gone")
        .ok();
    fleet.apply(&pod("two", "node-1"));
    soon_told(&fleet, "pod/two", "had a pod on another node that uses the same ReadWriteOnce PersistentVolumeClaim");
    sh(&fleet, "one", "echo last > /data/last").ok();
    fleet.kubectl(&["delete", "pod", "one"], None).ok();
    ready(&fleet, "two");
    assert_eq!(sh(&fleet, "two", "cat /data/deep/er/file /data/last; ls /data").ok(), "tide\nlast\ndeep\nlast\n");
    // Many may read what nobody writes: a volume by hand, on both nodes at once.
    let attributes = format!("{{endpoint: \"{}\", bucket: shelf, prefix: volumes/{volume}}}", shelf.url());
    fleet.apply(&format!(
        "apiVersion: v1
kind: PersistentVolume
metadata: {{name: by-hand}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadOnlyMany]
  storageClassName: \"\"
  csi:
    driver: coracle.dev/s3
    volumeHandle: by-hand
    volumeAttributes: {attributes}
    nodeStageSecretRef: {{name: shelf-key, namespace: default}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: read}}
spec: {{storageClassName: \"\", volumeName: by-hand, accessModes: [ReadOnlyMany], resources: {{requests: {{storage: 1Mi}}}}}}
"
    ));
    for node in ["node-0", "node-1"] {
        let name = format!("reader-{node}");
        fleet.apply(&pod(&name, node).replace("claimName: data", "claimName: read"));
        ready(&fleet, &name);
        assert_eq!(sh(&fleet, &name, "cat /data/last").ok(), "last\n");
        sh(&fleet, &name, "echo no > /data/last").refused();
    }
    fleet.kubectl(&["delete", "pod", "two", "reader-node-0", "reader-node-1"], None).ok();
    assert!(shelf.objects(&volume).join("last").is_file());
    fleet.kubectl(&["delete", "pvc", "data"], None).ok();
    gone(&fleet, &format!("pv/{volume}"));
    assert!(!shelf.objects(&volume).join("last").exists(), "Delete removes the objects");
}

#[test]
fn a_store_that_is_not_there_or_lets_nobody_in_is_told_and_tried_again() {
    let Some(mut shelf) = Shelf::new() else { return };
    let cluster = Plan::new().up(PROGRAM).expect("up");
    cluster.apply(&format!("{}---\n{}", shelf.storage().replace(": secret}", ": wrong}"), pod("one", "")));
    soon_told(&cluster, "pod/one", "MountVolume.SetUp failed for volume \"data\" : ");
    soon_told(&cluster, "pod/one", "Connection refused");
    shelf.open();
    soon_told(&cluster, "pod/one", "SignatureDoesNotMatch");
    assert_eq!(says(&cluster, "pod/one", ".status.containerStatuses[0].state.waiting.reason"), "ContainerCreating");
    cluster.apply(&shelf.storage());
    ready(&cluster, "one");
    // More than the claim is not written.
    assert!(sh(&cluster, "one", "seq 200000 > /data/big").refused().contains("I/O error"));
    sh(&cluster, "one", "rm /data/big; mkdir /data/part; echo in > /data/part/file").ok();
    // One folder of the volume, and no more of it.
    let part = pod("two", "").replace("mountPath: /data,", "mountPath: /data, subPath: part, readOnly: true,");
    cluster.apply(&part);
    ready(&cluster, "two");
    assert_eq!(sh(&cluster, "two", "ls /data; cat /data/file").ok(), "file\nin\n");
    sh(&cluster, "two", "rm /data/file").refused();
    // Others' versions are not overwritten.
    let object = shelf.objects(&volume(&cluster)).join("part/file");
    eventually(30, || std::fs::read_to_string(&object).map_err(|error| error.to_string()));
    shelf.put(&format!("volumes/{}/part/file", volume(&cluster)), "theirs\n");
    sh(&cluster, "one", "echo ours > /data/part/file").ok();
    soon_told(
        &cluster,
        "pod/one",
        "part/file was changed in the store by somebody else; what was written here is in part/file.conflict-",
    );
    let listed = sh(&cluster, "one", "ls /data/part").ok();
    let aside = listed.lines().find(|name| name.starts_with("file.conflict-")).expect("ours is there");
    let both = format!("cat /data/part/file /data/part/{aside}");
    assert_eq!(sh(&cluster, "one", &both).ok(), "theirs\nours\n");
}

#[test]
fn what_could_not_be_uploaded_is_in_the_end() {
    let Some(mut shelf) = Shelf::new() else { return };
    shelf.open();
    let folder = TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let cluster = Plan::new().on(&data).up(PROGRAM).expect("up");
    cluster.apply(&format!("{}---\n{}", shelf.storage(), pod("one", "")));
    ready(&cluster, "one");
    let objects = shelf.objects(&volume(&cluster));
    shelf.close();
    sh(&cluster, "one", "echo kept > /data/file").ok();
    soon_told(&cluster, "pod/one", "what was written could not be uploaded");
    cluster.kill().expect("killed");
    shelf.open();
    let cluster = Plan::new().on(&data).up(PROGRAM).expect("up again");
    eventually(60, || match std::fs::read_to_string(objects.join("file")) {
        Ok(text) if text == "kept\n" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // A pod is not gone before its files are stored.
    eventually(60, || match sh(&cluster, "one", "cat /data/file") {
        output if output.code == 0 => Ok(()),
        output => Err(output.stderr),
    });
    shelf.close();
    sh(&cluster, "one", "echo more > /data/last").ok();
    cluster.kubectl(&["delete", "pod", "one", "--wait=false"]).ok();
    soon_told(&cluster, "pod/one", "UnmountVolume.TearDown failed for volume \"data\"");
    shelf.open();
    gone(&cluster, "pod/one");
    assert_eq!(std::fs::read_to_string(objects.join("last")).expect("stored"), "more\n");
}

/// The key-value server of the examples answers when what it was told is safe: here that is in the store.
#[test]
fn what_is_in_sync_is_stored() {
    let Some(mut shelf) = Shelf::new() else { return };
    shelf.open();
    let cluster = Plan::new().up(PROGRAM).expect("up");
    let server = pod("kv", "").replace("box/box.wasm", "kv/kv.wasm");
    let server = server.replace("command: [sleep, infinity]", "args: [serve, \"0.0.0.0:6379\", /data]");
    cluster.apply(&format!("{}---\n{server}", shelf.storage()));
    ready(&cluster, "kv");
    let objects = shelf.objects(&volume(&cluster));
    let say = |words: &[&str]| cluster.kubectl(&[&["exec", "kv", "--", "kv", "127.0.0.1:6379"], words].concat());
    eventually(30, || match say(&["SET", "tide", "0"]) {
        output if output.stdout == "OK\n" => Ok(()),
        output => Err(format!("{output:?}")),
    });
    let stored = || -> String {
        let files = std::fs::read_dir(&objects).into_iter().flatten().flatten();
        files
            .map(|file| String::from_utf8_lossy(&std::fs::read(file.path()).unwrap_or_default()).into_owned())
            .collect()
    };
    for wave in 1..10 {
        say(&["SET", "tide", &format!("high-{wave}")]).ok();
        assert!(stored().contains(&format!("high-{wave}")), "wave {wave} is not in {}", stored());
    }
}

/// The store is reached by TLS alone, from an authority that only the claim's secret names.
#[test]
fn a_store_with_a_certificate_of_its_own_authority_is_believed_if_the_secret_says_so() {
    let Some(mut shelf) = Shelf::new() else { return };
    shelf.open();
    let (acceptor, certificate) = acceptor(&shelf.home.to_string());
    let runtime = Runtime::new().expect("a runtime");
    let listener = runtime.block_on(TcpListener::bind((shelf.home, 0))).expect("a port");
    let front = listener.local_addr().expect("an address");
    let behind = (shelf.home, PORT);
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let (mut outer, mut inner) = tokio::try_join!(acceptor.accept(stream), Connection::connect(behind))?;
                tokio::io::copy_bidirectional(&mut outer, &mut inner).await
            });
        }
    });
    let cluster = Plan::new().up(PROGRAM).unwrap_or_else(|error| panic!("{error:#}"));
    let storage = STORAGE.replace("URL", &format!("https://{front}")).replace("SECRET", "secret");
    cluster.apply(&storage);
    cluster.apply(&pod("box", ""));
    soon_told(&cluster, "pod/box", "FailedMount");
    let patch = serde_json::json!({"stringData": {"ca.crt": certificate}}).to_string();
    cluster.kubectl(&["patch", "secret", "shelf-key", "-p", &patch]).ok();
    ready(&cluster, "box");
    sh(&cluster, "box", "echo tide > /data/file && cat /data/file").ok();
    let volume = volume(&cluster);
    cluster.kubectl(&["delete", "pod", "box"]).ok();
    eventually(60, || {
        let found = shelf.objects(&volume).join("file");
        if found.exists() { Ok(()) } else { Err(format!("{} is not there", found.display())) }
    });
}
