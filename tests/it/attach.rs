//! At the streams of a container itself: `attach` and `run -i`; and what containers use: `top`.

use std::io::{Read, Write};
use std::process::Stdio;

use harness::{Cluster, eventually, kubectl_is_there};
use serde_json::{Value, json};

use crate::{example, with};

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

/// A cluster with a pod of the box, and its image by the name of `box:v1`.
fn with_box() -> Cluster {
    let cluster = with(&["box"]);
    cluster.coracle(&["push", &example("box/box.wasm").display().to_string(), "box:v1"]).ok();
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/box", "--timeout=60s"]).ok();
    cluster
}

fn run(cluster: &Cluster, name: &str, image: &str, spec: &str) {
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  containers:\n  - name: main\n    image: {image}\n{spec}"
    );
    cluster.kubectl_in(&["apply", "-f", "-"], &pod).ok();
    cluster.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"]).ok();
}

#[test]
fn a_container_is_attached_to() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with_box();
    // Its input stays open when a client goes, until somebody says that it is over.
    run(&cluster, "reader", "box:v1", "    command: [cat]\n    stdin: true\n");
    let mut command = cluster.command("kubectl".as_ref());
    command.args(["attach", "-i", "reader"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = command.spawn().expect("kubectl is there");
    client.stdin.as_mut().expect("piped").write_all(b"first\n").expect("it listens");
    let mut heard = [0; 6];
    client.stdout.as_mut().expect("piped").read_exact(&mut heard).expect("it answers");
    assert_eq!(&heard, b"first\n");
    client.kill().and_then(|()| client.wait()).expect("it is ours");
    eventually(30, || match cluster.kubectl(&["logs", "reader"]).ok().as_str() {
        "first\n" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert_eq!(cluster.kubectl(&["get", "pod", "reader", "-o", "jsonpath={.status.phase}"]).ok(), "Running");

    // With `stdinOnce` the first client's end is the input's.
    run(&cluster, "once", "box:v1", "    command: [wc, -l]\n    stdin: true\n    stdinOnce: true\n");
    let told = cluster.kubectl_in(&["attach", "-i", "once"], "1\n2\n3\n").ok();
    assert_eq!(told, "3\n");
    let phase = ["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/once", "--timeout=60s"];
    cluster.kubectl(&phase).ok();
}

#[test]
fn a_pod_is_run_and_talked_to() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with_box();
    let words = [
        "run",
        "talk",
        "-i",
        "--rm",
        "--restart=Never",
        "--image=box:v1",
        "--command",
        "--",
        "sh",
        "-c",
        "cat; exit 3",
    ];
    let told = cluster.kubectl_in(&words, "tide\n");
    assert_eq!(told.code, 3, "{told:?}");
    contains(&told.stdout, &["tide\n", "pod \"talk\" deleted"]);
    contains(&cluster.kubectl(&["get", "pod", "talk"]).refused(), &["pods \"talk\" not found"]);
    let quiet = [
        "run",
        "words",
        "--attach",
        "--rm",
        "-q",
        "--restart=Never",
        "--image=box:v1",
        "--command",
        "--",
        "sh",
        "-c",
        "sleep 2; echo spoken",
    ];
    contains(&cluster.kubectl(&quiet).ok(), &["spoken"]);
}

fn usage(cluster: &Cluster, path: &str) -> Value {
    let told = cluster.kubectl(&["get", "--raw", &format!("/apis/metrics.k8s.io/v1beta1/{path}")]).ok();
    serde_json::from_str(&told).expect("JSON")
}

#[test]
fn what_pods_use_is_measured() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with_box();
    let k = |words: &[&str]| cluster.kubectl(words);
    let ticker = example("ticker/ticker.wasm").display().to_string();
    cluster.coracle(&["push", &ticker, "ticker:v1"]).ok();
    let spin = "    args: [--count, '1', --spin]\n    resources: {limits: {cpu: 500m}}\n";
    run(&cluster, "busy", "ticker:v1", spin);
    contains(&k(&["api-versions"]).ok(), &["metrics.k8s.io/v1beta1"]);
    let table = k(&["top", "pod", "--containers"]).ok();
    contains(&table, &["POD", "NAME", "CPU(cores)", "MEMORY(bytes)", "box", "busy"]);
    contains(&k(&["top", "node"]).ok(), &["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)", "node-1"]);
    contains(&k(&["top", "pod", "-l", "app=box", "--no-headers"]).ok(), &["box"]);
    assert!(!k(&["top", "pod", "-l", "app=box"]).ok().contains("busy"));
    contains(&k(&["top", "pod", "-A", "--sum"]).ok(), &["NAMESPACE", "________"]);
    let nanos = |of: &Value| {
        let told = of["containers"][0]["usage"]["cpu"].as_str().unwrap_or_default().to_owned();
        told.trim_end_matches('n').parse::<u64>().unwrap_or_else(|_| panic!("{of}"))
    };
    eventually(60, || {
        let (busy, idle) =
            (usage(&cluster, "namespaces/default/pods/busy"), usage(&cluster, "namespaces/default/pods/box"));
        // Half a processor is all it gets; what it gets of that the machine decides.
        let (used, rest) = (nanos(&busy), nanos(&idle));
        if used > 10_000_000 && used < 800_000_000 && rest < used { Ok(()) } else { Err(format!("{busy} {idle}")) }
    });
    let idle = usage(&cluster, "namespaces/default/pods/box");
    let memory = idle["containers"][0]["usage"]["memory"].as_str().unwrap_or_default().to_owned();
    assert!(memory.ends_with("Ki") && memory != "0Ki", "a sleeping command holds its memory: {idle}");
    assert_eq!(usage(&cluster, "nodes/node-1")["kind"], "NodeMetrics");
    contains(&k(&["get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes/none"]).refused(), &["not found"]);
    contains(&k(&["get", "pods.metrics.k8s.io"]).ok(), &["NAME", "CPU", "MEMORY", "WINDOW"]);
    contains(
        &k(&["create", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes", "-f", "/dev/null"]).refused(),
        &["not supported"],
    );
}

#[test]
fn a_client_that_goes_takes_its_command_along() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with_box();
    let instances = || {
        let told = cluster.kubectl(&["get", "--raw", "/api/v1/nodes/node-1/proxy/stats/summary"]).ok();
        let told: Value = serde_json::from_str(&told).expect("JSON");
        told["pods"][0]["containers"][0]["instances"].as_u64().unwrap_or_else(|| panic!("{told}"))
    };
    assert_eq!(instances(), 1);
    let mut command = cluster.command("kubectl".as_ref());
    // It never reads: the command's output fills what there is of room, and waits.
    command.args(["exec", "box", "--", "yes"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = command.spawn().expect("kubectl is there");
    let mut first = [0; 2];
    client.stdout.as_mut().expect("piped").read_exact(&mut first).expect("it speaks");
    eventually(30, || if instances() == 2 { Ok(()) } else { Err(instances().to_string()) });
    client.kill().and_then(|()| client.wait()).expect("it is ours");
    eventually(30, || if instances() == 1 { Ok(()) } else { Err(instances().to_string()) });
}

/// On a node it is a pod of the machine itself: its network, and its files at `/host`.
#[test]
fn a_node_is_looked_at_from_a_pod_on_it() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with_box();
    let k = |words: &[&str]| cluster.kubectl(words);
    let debug = ["debug", "node/node-1", "--image=box:v1", "--profile=general", "--attach=false", "--", "ls", "/host"];
    let told = k(&debug);
    contains(&told.stderr, &["Warning: spec.hostPID: has no effect here"]);
    contains(&told.ok(), &["Creating debugging pod node-debugger-node-1-", "with container debugger on node node-1."]);
    let pods = k(&["get", "pods", "-o", "name"]).ok();
    let pod = pods.lines().find(|pod| pod.starts_with("pod/node-debugger-node-1-")).expect("it is there").to_owned();
    k(&["wait", "--for=jsonpath={.status.phase}=Succeeded", &pod, "--timeout=60s"]).ok();
    let listed = k(&["logs", &pod]).ok();
    assert!(listed.lines().any(|name| name == "usr") && listed.lines().any(|name| name == "etc"), "{listed}");
    let network = "jsonpath={.spec.hostNetwork} {.spec.nodeName} {.status.podIP}";
    let host = k(&["get", "node", "node-1", "-o", "jsonpath={.status.addresses[0].address}"]).ok();
    assert_eq!(k(&["get", &pod, "-o", network]).ok(), format!("true node-1 {host}"));
    let talk = ["debug", "-i", "-q", "node/node-1", "--image=box:v1", "--profile=general", "--", "head", "-n", "1"];
    contains(&cluster.kubectl_in(&talk, "tide\n").ok(), &["tide"]);
    contains(
        &k(&["debug", "node/nobody", "--image=box:v1", "--profile=general"]).refused(),
        &["nodes \"nobody\" not found"],
    );
}

#[test]
fn a_pod_is_looked_at_from_inside() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with_box();
    let k = |words: &[&str]| cluster.kubectl(words);
    k(&["debug", "box", "--image=box:v1", "-c", "look", "--", "sh", "-c", "echo seen; exit 4"]).ok();
    let state = |path: &str| {
        let path = format!("jsonpath={{.status.ephemeralContainerStatuses[0].state.terminated.{path}}}");
        k(&["get", "pod", "box", "-o", &path]).ok()
    };
    eventually(
        60,
        || if state("exitCode") == "4" { Ok(()) } else { Err(k(&["get", "pod", "box", "-o", "yaml"]).stdout) },
    );
    assert_eq!(k(&["logs", "box", "-c", "look"]).ok(), "seen\n");
    contains(&k(&["get", "pod", "box"]).ok(), &["1/1", "Running"]);
    contains(&k(&["describe", "pod", "box"]).ok(), &["Ephemeral Containers:\n  look:", "Exit Code:    4"]);
    let talk = ["debug", "-i", "-q", "box", "--image=box:v1", "-c", "talk", "--", "head", "-n", "1"];
    contains(&cluster.kubectl_in(&talk, "tide\n").ok(), &["tide"]);
    contains(&k(&["exec", "box", "-c", "box", "--", "echo", "still"]).ok(), &["still"]);
    k(&[
        "debug",
        "box",
        "--image=box:v1",
        "--copy-to=copy",
        "--container=box",
        "--set-image=*=box:v1",
        "--",
        "sleep",
        "60",
    ])
    .ok();
    k(&["wait", "--for=condition=Ready", "pod/copy", "--timeout=60s"]).ok();
    assert_eq!(k(&["get", "pod", "copy", "-o", "jsonpath={.spec.containers[0].command}"]).ok(), r#"["sleep","60"]"#);
}

/// A pod that is idle holds no memory, but for the instances that it is told to keep warm.
#[test]
fn instances_are_kept_warm_for_those_who_say_so() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&["hello"]);
    let annotated = |value: &str| {
        let patch = json!({"spec": {"template": {"metadata": {"annotations": {"coracle.dev/instances": value}}}}});
        cluster.kubectl(&["patch", "deploy", "hello", "-p", &patch.to_string()])
    };
    let memory = || {
        let told = usage(&cluster, "namespaces/default/pods");
        let of_pod = |pod: &Value| pod["containers"][0]["usage"]["memory"].as_str().unwrap_or_default() != "0Ki";
        told["items"].as_array().into_iter().flatten().filter(|pod| of_pod(pod)).count()
    };
    let settled = || cluster.kubectl(&["rollout", "status", "deploy/hello", "--timeout=60s"]).ok();
    settled();
    eventually(30, || if memory() == 0 { Ok(()) } else { Err(usage(&cluster, "namespaces/default/pods").to_string()) });
    let refused = annotated("some").refused();
    contains(
        &refused,
        &[
            "spec.template.metadata.annotations[coracle.dev/instances]: Invalid value: \"some\": must be 'fresh', 'reuse' or a number",
        ],
    );
    annotated("2").ok();
    settled();
    eventually(30, || if memory() == 2 { Ok(()) } else { Err(usage(&cluster, "namespaces/default/pods").to_string()) });
}
