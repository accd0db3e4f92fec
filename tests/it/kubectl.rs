//! Stock `kubectl` drives the cluster and does not notice.

use std::process::{Command, Stdio};
use std::time::Duration;

use harness::{eventually, kubectl_is_there};

use crate::{example, with};

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

#[test]
fn the_daily_round() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&["hello"]);
    let k = |words: &[&str]| cluster.kubectl(words);

    contains(&k(&["version"]).ok(), &["Server Version: v1.33"]);
    contains(&k(&["cluster-info"]).ok(), &["Kubernetes control plane", "is running at"]);
    contains(&k(&["api-versions"]).ok(), &["apps/v1", "v1", "networking.k8s.io/v1", "discovery.k8s.io/v1"]);
    contains(&k(&["api-resources"]).ok(), &["deployments", "configmaps", "ingresses", "endpointslices", "leases"]);
    contains(
        &k(&["explain", "pod.spec.containers"]).ok(),
        &["KIND:       Pod", "FIELD: containers <[]Container>", "image\t<string>"],
    );
    contains(
        &k(&["explain", "deployment.spec.strategy"]).ok(),
        &["GROUP:      apps", "FIELD: strategy <DeploymentStrategy>"],
    );

    contains(
        &k(&["get", "all", "-o", "wide"]).ok(),
        &["pod/hello-", "service/hello", "deployment.apps/hello", "replicaset.apps/hello-", "10.42.", "10.43."],
    );
    contains(&k(&["get", "deploy", "hello"]).ok(), &["NAME    READY   UP-TO-DATE   AVAILABLE   AGE", "2/2"]);
    contains(&k(&["get", "nodes", "-o", "wide"]).ok(), &["node-1", "Ready", "v1.33", "coracle://"]);
    contains(
        &k(&["get", "pods", "-A", "--show-labels", "-l", "app=hello"]).ok(),
        &["NAMESPACE", "LABELS", "pod-template-hash="],
    );
    contains(&k(&["get", "ing"]).ok(), &["coracle", "hello.localhost", "80"]);
    contains(&k(&["get", "ns"]).ok(), &["default", "kube-system", "kube-public", "kube-node-lease"]);
    assert_eq!(k(&["get", "pods", "--field-selector", "status.phase=Running", "-o", "name"]).ok().lines().count(), 2);
    assert_eq!(k(&["get", "pods", "--chunk-size=1", "-o", "name"]).ok().lines().count(), 2);
    contains(&k(&["get", "nosuch"]).refused(), &["the server doesn't have a resource type \"nosuch\""]);
    contains(&k(&["get", "pod", "nope"]).refused(), &["Error from server (NotFound): pods \"nope\" not found"]);

    contains(
        &k(&["describe", "deployment", "hello"]).ok(),
        &[
            "2 desired | 2 updated | 2 total | 2 available | 0 unavailable",
            "ScalingReplicaSet",
            "NewReplicaSet:",
            "MinimumReplicasAvailable",
        ],
    );
    contains(
        &k(&["describe", "pods"]).ok(),
        &["Successfully assigned default/hello-", "Pulled", "Started", "ContainersReady", "IP:"],
    );
    contains(&k(&["describe", "service", "hello"]).ok(), &["Endpoints:", "10.42.", "TargetPort:"]);
    contains(&k(&["describe", "ingress", "hello"]).ok(), &["hello.localhost", "hello:http"]);
    contains(
        &k(&["describe", "node", "node-1"]).ok(),
        &["Ready", "Non-terminated Pods:", "default", "Allocated resources:"],
    );

    let pod = k(&["get", "pods", "-o", "jsonpath={.items[0].metadata.name}"]).ok();
    contains(&k(&["logs", &pod]).ok(), &[""]);
    contains(&k(&["scale", "deploy/hello", "--replicas=3"]).ok(), &["deployment.apps/hello scaled"]);
    contains(&k(&["rollout", "status", "deploy/hello", "--timeout=60s"]).ok(), &["successfully rolled out"]);
    contains(&k(&["wait", "--for=condition=Available", "deploy/hello", "--timeout=30s"]).ok(), &["condition met"]);
    contains(
        &k(&["wait", "--for=condition=Nope", "deploy/hello", "--timeout=1s"]).refused(),
        &["timed out waiting for the condition"],
    );

    contains(&k(&["label", "deploy", "hello", "tier=web"]).ok(), &["labeled"]);
    contains(&k(&["label", "deploy", "hello", "tier=db"]).refused(), &["already has a value (web)"]);
    contains(&k(&["annotate", "deploy", "hello", "note=1"]).ok(), &["annotated"]);
    contains(
        &k(&[
            "patch",
            "deploy",
            "hello",
            "-p",
            r#"{"spec":{"template":{"spec":{"containers":[{"name":"hello","env":[{"name":"MORE","value":"1"}]}]}}}}"#,
        ])
        .ok(),
        &["patched"],
    );
    contains(
        &k(&["get", "deploy", "hello", "-o", "jsonpath={.spec.template.spec.containers[0].env[*].name}"]).ok(),
        &["MORE", "POD_NAME"],
    );
    contains(
        &k(&["patch", "deploy", "hello", "--type=merge", "-p", r#"{"metadata":{"labels":{"tier":null}}}"#]).ok(),
        &["patched"],
    );
    contains(
        &k(&[
            "patch",
            "deploy",
            "hello",
            "--type=json",
            "-p",
            r#"[{"op":"replace","path":"/spec/replicas","value":2}]"#,
        ])
        .ok(),
        &["patched"],
    );
    let folder = tempfile::tempdir().expect("a folder");
    let editor = folder.path().join("editor.sh");
    std::fs::write(&editor, "sed -i 's/note: \"1\"/note: \"2\"/' \"$1\"\n").expect("written");
    let editor = format!("sh {}", editor.display());
    let edited = cluster.kubectl_with(&["edit", "deploy", "hello"], None, &[("KUBE_EDITOR", &editor)]);
    contains(&edited.ok(), &["edited"]);
    contains(&k(&["set", "env", "deploy/hello", "GREETING=Ahoy!"]).ok(), &["env updated"]);
    contains(&k(&["rollout", "status", "deploy/hello", "--timeout=60s"]).ok(), &["successfully rolled out"]);
    contains(&k(&["rollout", "history", "deploy/hello"]).ok(), &["REVISION", "CHANGE-CAUSE", "1", "2", "3"]);
    contains(&k(&["rollout", "undo", "deploy/hello"]).ok(), &["rolled back"]);
    contains(&k(&["rollout", "status", "deploy/hello", "--timeout=60s"]).ok(), &["successfully rolled out"]);
    assert_eq!(k(&["get", "rs", "-o", "name"]).ok().lines().count(), 3, "an undo takes up its old ReplicaSet");

    contains(&k(&["get", "ing", "hello"]).ok(), &["127.0.0.1"]);
    contains(&k(&["apply", "-f", &example("hello").display().to_string()]).ok(), &["deployment.apps/hello configured"]);
    contains(&k(&["rollout", "status", "deploy/hello", "--timeout=60s"]).ok(), &["successfully rolled out"]);
    contains(&k(&["events", "--for", "deployment/hello"]).ok(), &["ScalingReplicaSet"]);
    contains(&k(&["delete", "deploy", "hello"]).ok(), &["deployment.apps \"hello\" deleted"]);
    eventually(30, || {
        let left = k(&["get", "pods,rs", "-o", "name"]).ok();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn apply_and_its_relatives() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("web.yaml");
    let write = |text: &str| std::fs::write(&file, text).expect("written");
    let path = file.display().to_string();
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 0\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec:\n      containers:\n      - {name: main, image: \"web:v1\"}\n";
    write(deployment);
    contains(&k(&["apply", "-f", &path, "--dry-run=server"]).ok(), &["deployment.apps/web created (server dry run)"]);
    contains(&k(&["get", "deploy", "web"]).refused(), &["not found"]);
    contains(&k(&["apply", "-f", &path]).ok(), &["deployment.apps/web created"]);
    contains(&k(&["apply", "-f", &path]).ok(), &["deployment.apps/web unchanged"]);
    assert_eq!(k(&["diff", "-f", &path]).ok(), "");
    write(&deployment.replace("web:v1", "web:v2"));
    let diff = k(&["diff", "-f", &path]);
    assert_eq!(diff.code, 1, "{diff:?}");
    contains(&diff.stdout, &["-      - image: web:v1", "+      - image: web:v2"]);
    contains(&k(&["apply", "-f", &path]).ok(), &["deployment.apps/web configured"]);
    contains(
        &k(&["create", "-f", &path]).refused(),
        &["Error from server (AlreadyExists)", "deployments.apps \"web\" already exists"],
    );
    contains(&k(&["replace", "-f", &path]).ok(), &["deployment.apps/web replaced"]);
    contains(&k(&["rollout", "pause", "deploy/web"]).ok(), &["paused"]);
    contains(&k(&["rollout", "resume", "deploy/web"]).ok(), &["resumed"]);
    contains(&k(&["rollout", "restart", "deploy/web"]).ok(), &["restarted"]);
    contains(&k(&["set", "image", "deploy/web", "main=web:v3"]).ok(), &["image updated"]);

    // Bodies in protobuf.
    contains(&k(&["create", "namespace", "shop"]).ok(), &["namespace/shop created"]);
    contains(&k(&["create", "configmap", "c", "--from-literal=a=b", "-n", "shop"]).ok(), &["configmap/c created"]);
    contains(&k(&["create", "secret", "generic", "s", "--from-literal=a=b", "-n", "shop"]).ok(), &["secret/s created"]);
    contains(
        &k(&["create", "deployment", "d", "--image=web:v1", "--replicas=0", "-n", "shop"]).ok(),
        &["deployment.apps/d created"],
    );
    contains(&k(&["create", "service", "clusterip", "d", "--tcp=80:80", "-n", "shop"]).ok(), &["service/d created"]);
    contains(&k(&["create", "serviceaccount", "robot", "-n", "shop"]).ok(), &["serviceaccount/robot created"]);
    contains(
        &k(&["create", "ingress", "i", "--rule=shop.localhost/*=d:80", "-n", "shop"]).ok(),
        &["ingress.networking.k8s.io/i created"],
    );
    contains(&k(&["expose", "deploy", "d", "--port=81", "--name=e", "-n", "shop"]).ok(), &["service/e exposed"]);
    contains(&k(&["get", "secret", "s", "-n", "shop", "-o", "jsonpath={.data.a}"]).ok(), &["Yg=="]);
    contains(&k(&["delete", "namespace", "shop"]).ok(), &["namespace \"shop\" deleted"]);
    contains(&k(&["get", "all,cm,secret", "-n", "shop"]).stderr, &["No resources found in shop namespace."]);
}

#[test]
fn cascades_and_finalizers() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&["hello"]);
    let k = |words: &[&str]| cluster.kubectl(words);
    contains(&k(&["delete", "deploy", "hello", "--cascade=orphan"]).ok(), &["deleted"]);
    let owners = k(&["get", "rs", "-o", "jsonpath={.items[*].metadata.ownerReferences}"]).ok();
    assert_eq!(owners, "", "an orphan names no owner");
    assert_eq!(k(&["get", "pods", "-o", "name"]).ok().lines().count(), 2);
    contains(&k(&["apply", "-f", &example("hello/manifest.yaml").display().to_string()]).stderr, &[""]);
    contains(&k(&["delete", "deploy", "hello", "--cascade=foreground"]).ok(), &["deleted"]);

    let held = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"held","finalizers":["example.com/hold"]}}"#;
    cluster.kubectl_in(&["create", "-f", "-"], held).ok();
    k(&["delete", "configmap", "held", "--wait=false"]).ok();
    contains(&k(&["get", "configmap", "held", "-o", "jsonpath={.metadata.deletionTimestamp}"]).ok(), &["T"]);
    k(&["patch", "configmap", "held", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]).ok();
    contains(&k(&["get", "configmap", "held"]).refused(), &["not found"]);
}

#[test]
fn a_watch_tells_what_changes() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let mut command = Command::new("kubectl");
    command.args(["get", "configmaps", "-w", "--output-watch-events", "--request-timeout=20s"]);
    command.env("KUBECONFIG", cluster.kubeconfig()).env("HOME", cluster.data().join("watch-home"));
    let mut watching = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("kubectl starts");
    // Created again and again until the watch, which takes a moment to begin, has told of one.
    let mut out = watching.stdout.take().expect("piped");
    let (say, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        use std::io::{BufRead, BufReader};
        for line in BufReader::new(&mut out).lines().map_while(Result::ok) {
            let _ = say.send(line);
        }
    });
    let mut told = String::new();
    eventually(30, || {
        cluster.kubectl(&["create", "configmap", "seen"]).ok();
        cluster.kubectl(&["label", "configmap", "seen", "a=b"]).ok();
        cluster.kubectl(&["delete", "configmap", "seen"]).ok();
        while let Ok(line) = said.recv_timeout(Duration::from_millis(300)) {
            told.push_str(&line);
            told.push('\n');
        }
        let all = ["ADDED", "MODIFIED", "DELETED"].iter().all(|kind| told.contains(kind));
        if all { Ok(()) } else { Err(told.clone()) }
    });
    watching.kill().expect("still there");
    watching.wait().expect("ends");
}
