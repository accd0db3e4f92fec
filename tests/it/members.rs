//! Several servers are one control plane: each answers, and it outlives each of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use api::{Object, kinds};
use client::{Client, Kubeconfig, ListOptions};
use harness::{Servers, eventually, get, kubectl_is_there};
use serde_json::{Value, json};

use crate::{PROGRAM, manifest};

fn config_map(name: &str) -> Object {
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}});
    Object::from_value(kinds::CONFIG_MAP, &value).expect("a config map")
}

fn client_of(servers: &Servers, place: usize) -> Client {
    let file = servers.kubeconfig(place);
    let text = std::fs::read_to_string(&file).expect("a kubeconfig");
    let config = Kubeconfig::parse(&text).expect("a kubeconfig");
    Client::new(config.target(file.parent().expect("a folder")).expect("a target"))
}

/// What a writer was told: when each of its objects was acknowledged.
type Acknowledged = BTreeMap<String, Instant>;

/// Creates one object after the other, asking the next server whenever one does not answer.
async fn write(name: String, clients: Vec<Client>, stop: Arc<AtomicBool>) -> Acknowledged {
    let mut acknowledged = Acknowledged::new();
    let mut server = 0;
    for number in 0.. {
        let name = format!("{name}-{number}");
        loop {
            if stop.load(Ordering::Relaxed) {
                return acknowledged;
            }
            match clients[server % clients.len()].create(&config_map(&name)).await {
                Ok(_) => break,
                // It was not told to us, and yet it is there.
                Err(error) if error.to_string().contains("already exists") => break,
                Err(_) => server += 1,
            }
        }
        acknowledged.insert(name, Instant::now());
    }
    acknowledged
}

/// The longest time behind `from` in which nothing was acknowledged.
fn longest_gap(from: Instant, writers: &[Acknowledged]) -> Duration {
    let mut moments: Vec<Instant> =
        writers.iter().flat_map(|one| one.values().copied()).filter(|at| *at > from).collect();
    moments.push(from);
    moments.sort();
    moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

#[test]
fn every_server_answers_and_all_say_the_same() {
    let servers = Servers::of(PROGRAM, 3);
    for (place, writer) in (0..3).zip(["one", "two", "three"]) {
        servers.coracle(place, &["get", "nodes"]).ok();
        if !kubectl_is_there() {
            continue;
        }
        servers.kubectl(place, &["create", "configmap", writer, "--from-literal=a=b"], None).ok();
        for other in 0..3 {
            // What was acknowledged anywhere is read everywhere at once.
            let found = servers.kubectl(other, &["get", "configmap", writer, "-o", "jsonpath={.data.a}"], None).ok();
            assert_eq!(found, "b", "{writer}, written at {place}, asked at {other}");
        }
        let again = servers.kubectl((place + 1) % 3, &["create", "configmap", writer], None);
        assert!(again.stderr.contains("already exists"), "{again:?}");
        // A watch at one server tells of what is written at another.
        let wait = ["wait", "--for=jsonpath={.data.a}=c", &format!("configmap/{writer}"), "--timeout=60s"];
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| servers.kubectl(place, &wait, None));
            let patch = ["patch", "configmap", writer, "-p", r#"{"data":{"a":"c"}}"#];
            servers.kubectl((place + 2) % 3, &patch, None).ok();
            waiting.join().expect("it waits").ok();
        });
    }
    // Controllers run at one of them, wherever the deployment was made.
    let refused = servers.coracle(1, &["member", "remove", "7"]);
    assert!(refused.stderr.contains("7 is not a member of this cluster"), "{refused:?}");
    let target = (servers.leader() + 1) % 3;
    servers.coracle(target, &["member", "lead", &servers.id(target)]).ok();
    assert_eq!(servers.leader(), target);
    servers.coracle(0, &["wait", "--for=condition=Ready", "node/node-0", "--timeout", "60s"]).ok();
    // A token for nodes makes no server.
    let token = servers.coracle(0, &["token", "create"]).ok();
    let (_, secret) = token.trim().split_once('.').expect("a fingerprint and a token");
    let answer = std::process::Command::new("curl")
        .args(["-sk", "-XPOST", "-H", &format!("Authorization: Bearer {secret}")])
        .arg(format!("https://{}/coracle/v1/join/server", servers.api(1)))
        .output();
    if let Ok(answer) = answer {
        let told: Value = serde_json::from_slice(&answer.stdout).expect("an answer");
        assert_eq!(told["code"], 401, "{told}");
    }
}

#[test]
fn a_leader_that_is_killed_takes_nothing_along() {
    let mut servers = Servers::of(PROGRAM, 3);
    // The pod runs at the first server, which is not the one that is killed.
    let text = "apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: web, image: EXAMPLES/probe/probe.wasm, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec: {rules: [{host: web.localhost, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
";
    let file = manifest(servers.folder(), text);
    servers.coracle(0, &["apply", "-f", &file]).ok();
    servers.coracle(0, &["wait", "--for=condition=Ready", "pod/web", "--timeout", "120s"]).ok();
    let ingress = servers.address(0, "ingressHttp").parse().expect("an address");
    eventually(60, || match get(ingress, "web.localhost", "/") {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for round in 0..2 {
        let victim = 1 + round % 2;
        eventually(60, || {
            if servers.leader() == victim {
                return Ok(());
            }
            let moved = servers.coracle(0, &["member", "lead", &servers.id(victim)]);
            Err(format!("{moved:?}"))
        });
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let clients = servers.all_alive().into_iter().map(|place| client_of(&servers, place)).collect();
                runtime.spawn(write(format!("r{round}-w{writer}"), clients, stop.clone()))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(500));
        let killed = Instant::now();
        servers.kill(victim);
        let mut asked = 0;
        while killed.elapsed() < Duration::from_secs(4) {
            let answer = get(ingress, "web.localhost", "/").expect("the ingress does not need the leader");
            assert_eq!(answer.status, 200);
            asked += 1;
        }
        stop.store(true, Ordering::Relaxed);
        let told: Vec<Acknowledged> =
            writers.into_iter().map(|writer| runtime.block_on(writer).expect("it writes")).collect();
        let gap = longest_gap(killed, &told);
        let count: usize = told.iter().map(BTreeMap::len).sum();
        println!(
            "killed under load: {count} writes acknowledged, the next after {} ms; {asked} requests served",
            gap.as_millis()
        );
        servers.start(victim);
        servers.settled(3);
        for place in 0..3 {
            let client = client_of(&servers, place);
            let every = ListOptions::default();
            let list = client.list(kinds::CONFIG_MAP, Some("default"), &every);
            let (found, _) = runtime.block_on(list).expect("a list");
            let found: std::collections::BTreeSet<&str> = found.iter().map(|object| object.key().name()).collect();
            let lost: Vec<&String> =
                told.iter().flat_map(BTreeMap::keys).filter(|name| !found.contains(name.as_str())).collect();
            assert!(lost.is_empty(), "acknowledged, and not at server {place}: {lost:?}");
        }
        assert!(told.iter().flat_map(BTreeMap::values).any(|at| *at > killed), "somebody was answered afterwards");
    }
}

#[test]
fn a_server_that_is_lost_is_replaced() {
    let mut servers = Servers::of(PROGRAM, 3);
    servers.coracle(0, &["get", "nodes"]).ok();
    let lost = (0..3).rev().find(|place| *place != servers.leader()).expect("there are three");
    let id = servers.id(lost);
    servers.kill(lost);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let by = servers.all_alive()[0];
    runtime.block_on(client_of(&servers, by).create(&config_map("before"))).expect("two are enough");
    servers.coracle(by, &["member", "remove", &id]).ok();
    let new = servers.join();
    servers.settled(3);
    assert!(servers.told(new).iter().all(|told| told.id != id));
    runtime.block_on(client_of(&servers, new).get(&kinds::CONFIG_MAP.key("default", "before"))).expect("it has all");
    // The new one counts: it and one of the old are enough.
    servers.kill(by);
    let left = servers.all_alive();
    eventually(30, || {
        let created = runtime.block_on(client_of(&servers, left[0]).create(&config_map("after")));
        created
            .map(drop)
            .or_else(|error| if error.to_string().contains("already exists") { Ok(()) } else { Err(error.to_string()) })
    });
}

#[test]
fn a_server_that_was_removed_ends_and_does_not_come_back() {
    let mut servers = Servers::of(PROGRAM, 3);
    let gone = (1..3).find(|place| *place != servers.leader()).expect("there are three");
    let id = servers.id(gone);
    servers.coracle(0, &["member", "remove", &id]).ok();
    servers.ended(gone);
    let refused = servers.refused(gone);
    assert!(refused.stderr.contains("this server was removed from its cluster"), "{refused:?}");
    // One that was away while it happened is told when it comes back.
    let away = 3 - gone;
    let new = servers.join();
    servers.settled(3);
    let id = servers.id(away);
    servers.kill(away);
    servers.coracle(0, &["member", "remove", &id]).ok();
    let refused = servers.refused(away);
    assert!(refused.stderr.contains("this server was removed from its cluster"), "{refused:?}");
    servers.coracle(new, &["get", "nodes"]).ok();
    let told = servers.told(new);
    assert_eq!(told.len(), 2, "{told:?}");
}
