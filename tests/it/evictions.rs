//! Pods that a node sends off: it runs out of memory, or they keep more on its disk than they may.

use harness::{Cluster, Plan, eventually};
use serde_json::Value;

use crate::{PROGRAM, apply, with};

fn pod(name: &str, deed: &str, resources: &str, more: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: Always
  {more}
  containers:
  - name: main
    image: EXAMPLES/hostile/hostile.wasm
    args: [{deed}]
    resources: {{{resources}}}
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes: [{{name: data, emptyDir: {{}}}}]
"
    )
}

fn object(cluster: &Cluster, kind: &str, name: &str) -> Value {
    serde_json::from_str(&cluster.coracle(&["get", kind, name, "-o", "json"]).ok()).expect("JSON")
}

/// The program is much to compile where many things are compiled at once.
const SENT_OFF_WITHIN_SECONDS: u64 = 240;

/// Waits until a pod was sent off, and tells why.
fn evicted(cluster: &Cluster, name: &str) -> String {
    eventually(SENT_OFF_WITHIN_SECONDS, || {
        let status = object(cluster, "pod", name)["status"].clone();
        let is_out = status["phase"] == "Failed" && status["reason"] == "Evicted";
        if is_out { Ok(status["message"].as_str().unwrap_or_default().to_owned()) } else { Err(status.to_string()) }
    })
}

#[test]
fn a_pod_that_keeps_too_much_on_the_disk_goes() {
    let cluster = with(&[]);
    let limit = "limits: {ephemeral-storage: 4Mi}";
    apply(&cluster, &pod("files", "disk-fill-and-stay", limit, ""));
    apply(&cluster, &pod("talker", "log-lines", limit, ""));
    for name in ["files", "talker"] {
        let message = evicted(&cluster, name);
        assert_eq!(message, "Pod ephemeral local storage usage exceeds the total limit of containers 4Mi. ", "{name}");
        let conditions = object(&cluster, "pod", name)["status"]["conditions"].clone();
        let told =
            conditions.as_array().and_then(|all| all.iter().find(|one| one["type"] == "DisruptionTarget").cloned());
        assert_eq!(told.expect("a condition")["reason"], "TerminationByKubelet");
    }
    let uid = object(&cluster, "pod", "files")["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    eventually(20, || {
        if cluster.data().join("pods").join(&uid).exists() { Err("its files are left".to_owned()) } else { Ok(()) }
    });
    // It was cut off in the middle of a line.
    let log = cluster.coracle(&["logs", "talker", "--tail", "5"]).ok();
    assert!(log.contains("dull"), "its log can be read: {log:?}");
    eventually(20, || match cluster.coracle(&["describe", "pod/files"]).ok() {
        told if told.contains("Evicted") => Ok(()),
        told => Err(told),
    });
}

/// A pod that keeps so many lines on the disk, was promised so much of it, and matters so much; it says when they are all there,
/// and leaves them alone when it starts again.
fn keeper(name: &str, lines: u32, promised: &str, class: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  priorityClassName: '{class}'
  terminationGracePeriodSeconds: 1
  tolerations: [{{key: node.kubernetes.io/disk-pressure, operator: Exists, effect: NoSchedule}}]
  containers:
  - name: main
    image: EXAMPLES/box/box.wasm
    command: [sh, -c, 'test -e /data/all || seq {lines} > /data/lines && echo > /data/all && echo kept && sleep infinity']
    resources: {{requests: {{ephemeral-storage: {promised}}}}}
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes: [{{name: data, emptyDir: {{}}}}]
"
    )
}

const IMPORTANT: &str = "---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: important}
value: 1000
";

#[test]
fn a_node_short_of_disk_sends_off_who_has_more_than_he_was_promised_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let up = |words: &[&str]| Plan::new().on(&data).say(words).up(PROGRAM).unwrap_or_else(|error| panic!("{error:#}"));
    let cluster = up(&[]);
    let pods = [
        IMPORTANT.to_owned(),
        keeper("kept", 300_000, "64Mi", ""),
        keeper("much", 300_000, "0", ""),
        keeper("little", 30_000, "0", ""),
        keeper("needed", 300_000, "0", "important"),
    ];
    apply(&cluster, &pods.concat());
    let all = ["much", "little", "needed", "kept"];
    for name in all {
        eventually(SENT_OFF_WITHIN_SECONDS, || {
            let told = cluster.coracle(&["logs", name]);
            if told.stdout.contains("kept") { Ok(()) } else { Err(object(&cluster, "pod", name)["status"].to_string()) }
        });
    }
    cluster.stop().expect("it stops");

    // However large the disk is, there is less on it than that.
    let cluster = up(&["--eviction-hard", "nodefs.available<1000Ti"]);
    for name in all {
        let message = evicted(&cluster, name);
        let told = "The node was low on resource: ephemeral-storage. Threshold quantity: 1000Ti, available: ";
        assert!(message.starts_with(told), "{message}");
    }
    let ended = |name: &str| {
        let conditions = object(&cluster, "pod", name)["status"]["conditions"].clone();
        let told =
            conditions.as_array().and_then(|all| all.iter().find(|one| one["type"] == "DisruptionTarget").cloned());
        told.expect("a condition")["lastTransitionTime"].as_str().unwrap_or_default().to_owned()
    };
    let times = all.map(ended);
    assert!(times.is_sorted(), "{all:?} went at {times:?}");
    let node = object(&cluster, "node", "node-1");
    let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let pressure = conditions.iter().find(|one| one["type"] == "DiskPressure").expect("a condition");
    assert_eq!((&pressure["status"], &pressure["reason"]), (&"True".into(), &"KubeletHasDiskPressure".into()));
    assert!(node["spec"]["taints"].to_string().contains("node.kubernetes.io/disk-pressure"), "{}", node["spec"]);

    // Nobody is sent there, and who comes although he knows is not taken.
    let patient = keeper("patient", 1, "0", "").replace("key: node.kubernetes.io/disk-pressure", "key: something-else");
    apply(&cluster, &patient);
    apply(&cluster, &keeper("bold", 1, "0", ""));
    let rejected = evicted(&cluster, "bold");
    assert_eq!(rejected, "Pod was rejected: The node had condition: [DiskPressure]. ");
    let why = "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }";
    eventually(30, || match cluster.coracle(&["describe", "pod/patient"]).ok() {
        told if told.contains(why) => Ok(()),
        told => Err(told),
    });
}

#[test]
fn a_node_short_of_memory_sends_off_who_was_promised_least() {
    let short = ["--memory", "256Mi", "--eviction-hard", "memory.available<128Mi"];
    let plan = Plan::new().say(&short).say(&["--eviction-pressure-transition-period", "3s"]);
    let cluster = plan.up(PROGRAM).unwrap_or_else(|error| panic!("{error:#}"));
    let promised = "requests: {memory: 32Mi, cpu: 10m}, limits: {memory: 32Mi, cpu: 10m}";
    apply(&cluster, &pod("promised", "net-silent-connections", promised, ""));
    apply(&cluster, &pod("greedy", "memory-hold", "", ""));
    let message = evicted(&cluster, "greedy");
    assert!(
        message.starts_with("The node was low on resource: memory. Threshold quantity: 128Mi, available: "),
        "{message}"
    );
    assert!(message.contains("Container main was using ") && message.contains("request is 0"), "{message}");

    let node = || object(&cluster, "node", "node-1");
    let pressure = |node: &Value| {
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions
            .iter()
            .find(|one| one["type"] == "MemoryPressure")
            .map(|one| one["status"].clone())
            .unwrap_or_default()
    };
    let is_tainted = |node: &Value| node["spec"]["taints"].to_string().contains("node.kubernetes.io/memory-pressure");
    // It is told for a while after it is over.
    eventually(30, || {
        let node = node();
        if pressure(&node) == "True" && is_tainted(&node) { Ok(()) } else { Err(node["status"].to_string()) }
    });
    eventually(60, || {
        let node = node();
        if pressure(&node) == "False" && !is_tainted(&node) { Ok(()) } else { Err(node["status"].to_string()) }
    });
    assert_eq!(
        object(&cluster, "pod", "promised")["status"]["reason"],
        Value::Null,
        "who keeps to what he asked for stays"
    );
}
