//! Pods with sockets: programs on plain `std::net` that bind, listen and find each other, none of them knowing where it runs.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use harness::{Cluster, eventually, get};
use serde_json::Value;

use crate::{manifest, with};

fn apply(cluster: &Cluster, text: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), text)]).ok();
}

fn pod(cluster: &Cluster, name: &str) -> Value {
    serde_json::from_str(&cluster.coracle(&["get", "pod", name, "-o", "json"]).ok()).expect("JSON")
}

/// The pod's status, once it is as wanted.
fn wait(cluster: &Cluster, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(60, || {
        let pod = pod(cluster, name);
        if wanted(&pod["status"]) { Ok(pod["status"].clone()) } else { Err(pod["status"].to_string()) }
    })
}

fn ready(cluster: &Cluster, name: &str) -> Value {
    wait(cluster, name, |status| status["containerStatuses"][0]["ready"] == true)
}

/// A pod of one container; what is not said of it is as usual.
fn a_pod(name: &str, spec: &str, container: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec: {{{spec} containers: [{{name: main, {container}}}]}}\n"
    )
}

/// Runs a program in a pod of its own until it has ended well, and gives what it said.
fn says(cluster: &Cluster, name: &str, spec: &str, image: &str, args: &[&str]) -> String {
    let container = format!("image: EXAMPLES/{image}/{image}.wasm, args: {args:?}");
    apply(cluster, &a_pod(name, &format!("restartPolicy: OnFailure, {spec}"), &container));
    wait(cluster, name, |status| status["phase"] == "Succeeded");
    cluster.coracle(&["logs", name]).ok().trim().to_owned()
}

#[test]
fn containers_of_a_pod_share_a_loopback_that_nobody_else_reaches() {
    let cluster = with(&[]);
    apply(
        &cluster,
        "apiVersion: v1
kind: Pod
metadata: {name: pair}
spec:
  restartPolicy: OnFailure
  containers:
  - {name: server, image: EXAMPLES/kv/kv.wasm, args: [serve, \"127.0.0.1:6379\"]}
  - {name: writer, image: EXAMPLES/kv/kv.wasm, args: [\"127.0.0.1:6379\", SET, tide, high]}
  - {name: reader, image: EXAMPLES/kv/kv.wasm, args: [\"localhost:6379\", PING]}
  - {name: server-six, image: EXAMPLES/kv/kv.wasm, args: [serve, \"[::1]:6379\"]}
  - {name: reader-six, image: EXAMPLES/kv/kv.wasm, args: [\"[::1]:6379\", GET, tide]}
",
    );
    let status = wait(&cluster, "pair", |status| {
        let ended = |name: &str| {
            let containers = status["containerStatuses"].as_array().into_iter().flatten();
            containers.filter(|one| one["name"] == name).any(|one| one["state"]["terminated"]["exitCode"] == 0)
        };
        ["writer", "reader", "reader-six"].into_iter().all(ended)
    });
    assert_eq!(cluster.coracle(&["logs", "pair", "-c", "writer"]).ok().trim(), "OK");
    assert_eq!(cluster.coracle(&["logs", "pair", "-c", "reader"]).ok().trim(), "PONG");
    // At ::1 is somebody else, who was told nothing.
    assert_eq!(cluster.coracle(&["logs", "pair", "-c", "reader-six"]).ok().trim(), "(nil)");
    let address = status["podIP"].as_str().expect("an address");
    let container = format!("image: EXAMPLES/kv/kv.wasm, args: [\"{address}:6379\", PING]");
    apply(&cluster, &a_pod("outsider", "restartPolicy: Never,", &container));
    wait(&cluster, "outsider", |status| status["phase"] == "Failed");
    let told = cluster.coracle(&["logs", "outsider"]).ok();
    assert!(told.to_lowercase().contains("refused"), "{told}");
}

#[test]
fn containers_of_a_pod_share_a_volume() {
    // The page of Kubernetes' documentation, with only the images changed.
    let cluster = with(&["two-containers/manifest.yaml", "probe"]);
    let status = wait(&cluster, "two-containers", |status| {
        let containers = status["containerStatuses"].as_array().into_iter().flatten();
        let has = |name: &str, state: &str| {
            containers.clone().any(|one| one["name"] == name && one["state"][state].is_object())
        };
        has("nginx-container", "running") && has("debian-container", "terminated")
    });
    let address = status["podIP"].as_str().expect("an address");
    let answer = eventually(30, || {
        let answer = get(cluster.ingress(), "probe.localhost", &format!("/call?url=http://{address}/"));
        answer.map_err(|error| error.to_string()).and_then(|answer| {
            if answer.status == 200 { Ok(answer.body) } else { Err(format!("{} {}", answer.status, answer.body)) }
        })
    });
    assert_eq!(answer, "Hello from the debian container\n");
}

#[test]
fn a_server_on_std_net_stands_behind_a_service() {
    let cluster = with(&[]);
    apply(
        &cluster,
        "apiVersion: apps/v1
kind: Deployment
metadata: {name: kv}
spec:
  replicas: 3
  selector: {matchLabels: {app: kv}}
  template:
    metadata: {labels: {app: kv}}
    spec:
      containers:
      - name: kv
        image: EXAMPLES/kv/kv.wasm
        args: [serve]
        ports: [{name: redis, containerPort: 6379}]
        readinessProbe: {tcpSocket: {port: redis}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: kv}
spec: {selector: {app: kv}, ports: [{port: 7000, targetPort: redis}]}
---
apiVersion: v1
kind: Pod
metadata: {name: deaf}
spec:
  containers:
  - name: kv
    image: EXAMPLES/kv/kv.wasm
    args: [serve]
    readinessProbe: {tcpSocket: {port: 7001}, periodSeconds: 1}
",
    );
    cluster.coracle(&["rollout", "status", "deploy/kv", "--timeout", "60s"]).ok();
    assert_eq!(says(&cluster, "short", "", "kv", &["kv:7000", "PING"]), "PONG");
    assert_eq!(says(&cluster, "long", "", "kv", &["kv.default.svc.cluster.local:7000", "PING"]), "PONG");
    // Each replica counts for itself: nine clients are not all the same one's.
    let containers: Vec<String> = (0..9)
        .map(|turn| format!("{{name: c{turn}, image: EXAMPLES/kv/kv.wasm, args: [\"kv:7000\", INCR, count]}}"))
        .collect();
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: many}}\nspec: {{restartPolicy: OnFailure, containers: [{}]}}\n",
        containers.join(", ")
    );
    apply(&cluster, &text);
    wait(&cluster, "many", |status| status["phase"] == "Succeeded");
    let counts: Vec<u32> = (0..9)
        .map(|turn| cluster.coracle(&["logs", "many", "-c", &format!("c{turn}")]).ok())
        .map(|log| log.trim().parse().unwrap_or_else(|_| panic!("{log}")))
        .collect();
    assert!(counts.iter().all(|count| (1..9).contains(count)), "{counts:?}");
    // Whose port nobody listens at is not ready, and says why.
    let status = pod(&cluster, "deaf")["status"]["containerStatuses"][0].clone();
    assert_eq!(status["ready"], false, "{status}");
    let told = cluster.coracle(&["describe", "pod/deaf"]).ok();
    assert!(told.contains("Readiness probe failed: dial tcp") && told.contains("connection refused"), "{told}");
}

#[test]
fn pods_bind_what_they_like() {
    let cluster = with(&[]);
    let server = "image: EXAMPLES/echo/echo.wasm, args: [\"0.0.0.0:8080\"], ports: [{containerPort: 8080}]";
    for name in ["one", "two"] {
        apply(&cluster, &a_pod(name, "", server));
    }
    apply(
        &cluster,
        "apiVersion: v1\nkind: Service\nmetadata: {name: one}\nspec: {selector: {app: one}, ports: [{name: t, port: 8080}, {name: u, port: 8080, protocol: UDP}]}\n",
    );
    for name in ["one", "two"] {
        let address = format!("{}:8080", ready(&cluster, name)["podIP"].as_str().expect("an address"));
        let heard = says(&cluster, &format!("to-{name}"), "", "dial", &["echo", &address, "300000", "3"]);
        assert_eq!(heard, "300000 bytes came back on each of 3 connections");
    }
    assert!(says(&cluster, "udp", "", "dial", &["udp", "one:8080", "ahoy"]).contains("ahoy"));
    assert!(says(&cluster, "half", "", "dial", &["half", "one:8080"]).starts_with("heard \"half a talk\""));
    // Who answers requests is reached by a connection as well.
    apply(&cluster, &a_pod("web", "", "image: EXAMPLES/hello/hello.wasm, ports: [{containerPort: 80}]"));
    let address = format!("{}:80", ready(&cluster, "web")["podIP"].as_str().expect("an address"));
    assert!(says(&cluster, "to-web", "", "dial", &["connect", &address]).ends_with(&format!("-> {address}")));
}

#[test]
fn both_generations_of_programs_meet_behind_services() {
    let cluster = with(&[]);
    let service = |name: &str, ports: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{app: {name}}}, ports: [{ports}]}}\n"
        )
    };
    let both = "{name: tcp, port: 7}, {name: udp, port: 7, protocol: UDP}";
    apply(&cluster, &a_pod("two", "", "image: EXAMPLES/echo/echo.wasm, args: [\"0.0.0.0:7\"]"));
    apply(&cluster, &service("two", both));
    for (name, how) in [("spliced", "serve"), ("copied", "copy")] {
        let container = format!("image: EXAMPLES/dial3/dial3.wasm, args: [{how}, \"7\"]");
        apply(&cluster, &a_pod(name, "", &container));
        apply(&cluster, &service(name, "{port: 7}"));
    }
    for name in ["two", "spliced", "copied"] {
        ready(&cluster, name);
    }
    for name in ["spliced", "copied"] {
        let words = ["echo", &format!("{name}:7"), "300000", "3"];
        let heard = says(&cluster, &format!("to-{name}"), "", "dial", &words);
        assert_eq!(heard, "300000 bytes came back on each of 3 connections");
    }
    let told = cluster.coracle(&["get", "service", "two", "-o", "json"]).ok();
    let told: Value = serde_json::from_str(&told).expect("an object");
    let address = told["spec"]["clusterIP"].as_str().expect("an address");
    let half = says(&cluster, "half", "", "dial3", &["half", address, "7"]);
    assert!(half.contains("heard \"half a talk\""), "{half}");
    assert_eq!(says(&cluster, "udp", "", "dial3", &["udp", address, "7"]), "heard [\"one\", \"two\"]");
    let found = says(&cluster, "lookup", "", "dial3", &["lookup", "two"]);
    let octets = format!("({})", address.replace('.', ", "));
    assert!(found.contains(&octets), "{octets} is not in {found}");
}

#[test]
fn names_are_looked_up_as_the_pod_says() {
    let cluster = with(&[]);
    apply(&cluster, &a_pod("db", "hostname: first, subdomain: shards,", "image: EXAMPLES/echo/echo.wasm"));
    apply(
        &cluster,
        "apiVersion: v1\nkind: Service\nmetadata: {name: shards}\nspec: {clusterIP: None, selector: {app: db}, ports: [{port: 7}]}\n",
    );
    let address = ready(&cluster, "db")["podIP"].as_str().expect("an address").to_owned();
    let look = |pod: &str, spec: &str, name: &str| says(&cluster, pod, spec, "dial", &["lookup", name]);
    assert!(look("by-host", "", "first.shards").contains(&address));
    assert!(look("by-service", "", "shards.default.svc").contains(&address));
    let alias = "hostAliases: [{ip: 10.9.9.9, hostnames: [sea.example]}],";
    assert!(look("by-alias", alias, "sea.example").contains("10.9.9.9"));
    let kv = "image: EXAMPLES/kv/kv.wasm, args: [serve]";
    apply(&cluster, &a_pod("kv", "", kv));
    let kv = ready(&cluster, "kv")["podIP"].as_str().expect("an address").to_owned();
    let alias = format!("hostAliases: [{{ip: {kv}, hostnames: [other.example]}}],");
    assert_eq!(says(&cluster, "by-both", &alias, "kv", &["other.example:6379", "PING"]), "PONG");
    let search = "dnsConfig: {searches: [shards.default.svc.cluster.local]},";
    assert!(look("by-search", search, "first").contains(&address));
    let own = look("itself", "", "itself");
    let itself = pod(&cluster, "itself")["status"]["podIP"].as_str().expect("an address").to_owned();
    assert!(own.contains(&itself), "{own}");
}

#[test]
fn a_pod_on_the_nodes_network_has_real_ports() {
    let cluster = with(&[]);
    // Free a moment ago; nobody else on the machine is told of it.
    let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let container = format!("image: EXAMPLES/echo/echo.wasm, args: [\"{address}\"]");
    apply(&cluster, &a_pod("real", "hostNetwork: true,", &container));
    let mut stream = eventually(60, || TcpStream::connect(address).map_err(|error| error.to_string()));
    stream.write_all(b"ahoy").and_then(|()| stream.shutdown(Shutdown::Write)).expect("written");
    let mut heard = String::new();
    stream.read_to_string(&mut heard).expect("heard");
    assert_eq!(heard, "ahoy");
    let status = pod(&cluster, "real")["status"].clone();
    assert_eq!(status["podIP"], status["hostIP"], "{status}");
}

#[test]
fn a_port_of_the_node_leads_to_a_pod() {
    let cluster = with(&[]);
    let free = || TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let (one, two) = (free(), free());
    let ports = format!("ports: [{{containerPort: 8080, hostPort: {}, hostIP: 127.0.0.1}}]", one.port());
    apply(&cluster, &a_pod("led-to", "", &format!("image: EXAMPLES/probe/probe.wasm, {ports}")));
    let ports = format!("ports: [{{containerPort: {}}}]", two.port());
    apply(&cluster, &a_pod("there", "hostNetwork: true,", &format!("image: EXAMPLES/probe/probe.wasm, {ports}")));
    for (address, name) in [(one, "led-to"), (two, "there")] {
        let answer = eventually(60, || get(address, "localhost", "/").map_err(|error| error.to_string()));
        assert_eq!((answer.status, answer.body.trim()), (200, name));
    }
    // With the pod the port goes.
    cluster.coracle(&["delete", "pod/led-to"]).ok();
    eventually(30, || match TcpStream::connect(one) {
        Ok(_) => Err("somebody still listens".to_owned()),
        Err(_) => Ok(()),
    });
}

#[test]
fn a_request_to_the_pods_own_loopback_reaches_the_container_beside() {
    let cluster = with(&[]);
    apply(
        &cluster,
        "apiVersion: v1
kind: Pod
metadata: {name: trio, labels: {app: trio}}
spec:
  containers:
  - {name: probe, image: EXAMPLES/probe/probe.wasm, ports: [{containerPort: 8080}]}
  - {name: hello, image: EXAMPLES/hello/hello.wasm, ports: [{containerPort: 80}]}
  - {name: chat, image: EXAMPLES/chat/chat.wasm, args: [\"127.0.0.1:9000\"]}
---
apiVersion: v1
kind: Service
metadata: {name: trio}
spec: {selector: {app: trio}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: trio}
spec: {rules: [{host: trio.localhost, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: trio, port: {number: 80}}}}]}}]}
",
    );
    let call = |url: &str| {
        let answer = get(cluster.ingress(), "trio.localhost", &format!("/call?url={url}"));
        answer.map_err(|error| error.to_string())
    };
    for (url, words) in [
        ("http://127.0.0.1:9000/", "WebSocket"),
        ("http://localhost:9000/", "WebSocket"),
        ("http://localhost/", "Hello"),
    ] {
        eventually(30, || match call(url) {
            Ok(answer) if answer.status == 200 && answer.body.contains(words) => Ok(()),
            other => Err(format!("{url}: {other:?}")),
        });
    }
    let address = pod(&cluster, "trio")["status"]["podIP"].as_str().expect("an address").to_owned();
    let shut = call(&format!("http://{address}:9000/")).expect("an answer");
    assert!(shut.status == 502 && shut.body.contains("ConnectionRefused"), "{shut:?}");
}
