//! Another version in the place of the one that runs, machine by machine: everything goes on, and nothing is lost.
//!
//! There is one version here, so the older one is this one held back: it speaks no higher level, writes nothing of it, and does not
//! read what is written at it.

use std::time::Duration;

use harness::{Clients, Load, Observer, Servers, eventually};
use serde_json::Value;

use crate::{PROGRAM, manifest};

/// A pod, and the way to it by the edge of every node.
const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: EXAMPLES/probe/probe.wasm, ports: [{containerPort: 80}]}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {selector: {matchLabels: {app: web}}, minAvailable: 1}
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

/// The level in force, and what each server speaks, as one of them tells.
fn level(servers: &Servers, place: usize) -> (String, Vec<String>) {
    let told = servers.coracle(place, &["get", "configmap/coracle-level", "-n", "kube-system", "-o", "json"]).ok();
    let told: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
    let said: Value = serde_json::from_str(told["data"]["servers.json"].as_str().unwrap_or("{}")).expect("JSON");
    let said = said.as_object().expect("servers").values().map(|said| said["highest"].to_string()).collect();
    (told["data"]["level"].as_str().unwrap_or_default().to_owned(), said)
}

#[test]
fn servers_and_nodes_are_replaced_one_by_one_while_everything_goes_on() {
    let mut servers = Servers::held_back(PROGRAM, 3, 1);
    for _ in 0..2 {
        servers.agent(0);
    }
    let file = manifest(servers.folder(), WEB);
    servers.coracle(0, &["apply", "-f", &file]).ok();
    servers.coracle(0, &["rollout", "status", "deploy/web", "--timeout", "120s"]).ok();
    eventually(30, || match level(&servers, 0) {
        (level, said) if level == "1" && said == ["1", "1", "1"] => Ok(()),
        other => Err(format!("{other:?}")),
    });

    let observer = Observer::of(&servers).expect("somebody who looks");
    let clients = Clients::start(&observer, 3);
    let edge = servers.agent_ingress(1);
    eventually(30, || {
        harness::get(edge, "web.localhost", "/")
            .ok()
            .filter(|answer| answer.status == 200)
            .ok_or_else(|| "not yet".to_owned())
    });
    let load = Load::start_paced(edge, "web.localhost", "/", 4, Duration::from_millis(5));
    let mut replaced = 0;
    let told = servers.upgrade(&["servers"], |servers| {
        replaced += 1;
        // Whoever is left tells; before the third and last has come back nobody speaks another level.
        if replaced < 6 {
            let alive = servers.told(0).into_iter().filter(|told| told.is_voter).count();
            assert_eq!((alive, level(servers, 0).0.as_str()), (3, "1"), "after {replaced} steps");
        }
    });
    assert_eq!(told.stdout, "", "{told:?}");
    assert_eq!((told.code, replaced), (0, 6), "{told:?}");
    assert!(told.stderr.ends_with("the cluster is at level 2\n"), "{told:?}");
    assert_eq!(told.stderr.matches("version 0.1.0, levels 1-2").count(), 3, "{told:?}");
    servers.settled(3);
    for place in 0..3 {
        eventually(30, || match level(&servers, place) {
            (level, said) if level == "2" && said == ["2", "2", "2"] => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    // Nodes are a level behind meanwhile. One is emptied, and the other answers.
    let told = servers.upgrade(&["nodes", "--drain", "agent-0"], |_| {});
    assert!(told.code == 0 && told.stderr.contains("node agent-0"), "{told:?}");
    let report = load.stop();
    assert_eq!((&report.failures, &report.refusals), (&Vec::new(), &Vec::new()), "no request is lost");
    assert_eq!(report.answers.keys().copied().collect::<Vec<_>>(), [200]);
    let counts = clients.ledger().counts();
    let wrong = clients.stop(&observer, 3).expect("each server tells what it has");
    assert_eq!(wrong, Vec::<String>::new(), "no write is lost, and no read stale");
    eprintln!("{counts:?}, {:?} answers", report.answers);
    assert!(counts.acknowledged > 100 && report.answers[&200] > 100);
    servers.upgrade(&["nodes"], |_| {}).ok();
    let told = servers.coracle(0, &["upgrade", "check"]).ok();
    assert!(told.contains("CAN BE SPARED") && !told.contains("no:"), "{told}");
    assert!(told.ends_with("the cluster is at level 2\n"), "{told}");

    let refused = servers.coracle(0, &["delete", "configmap/coracle-level", "-n", "kube-system"]);
    assert!(refused.code != 0 && refused.stderr.contains("it is what the servers speak"), "{refused:?}");

    // There is no way back: not for a server that was one, and not for one that wants to be.
    servers.stop(2);
    servers.hold_back(2, Some(1));
    let refused = servers.refused(2);
    let words = "the cluster is at level 2, and this program speaks 1: start a version that speaks level 2";
    assert!(refused.code != 0 && refused.stderr.contains(words), "{refused:?}");
    servers.hold_back(2, None);
    servers.start(2);
    servers.settled(3);
    let token = servers.coracle(0, &["token", "create", "--role", "server"]).ok();
    let url = format!("https://{}", servers.api(0));
    let refused = servers.stranger(&["--level-max", "1", "--no-node", "--join", &url, "--token", token.trim()]);
    assert!(refused.code != 0 && refused.stderr.contains(words), "{refused:?}");
    // The token is not used up by that.
    assert_eq!(servers.join_with(token.trim()), 3);
}

#[test]
fn a_server_that_is_needed_is_not_taken_away() {
    let mut servers = Servers::alone(PROGRAM, 3);
    let leader = servers.leader();
    let away = (0..3).find(|place| *place != leader).expect("three");
    servers.kill(away);
    let api = servers.api(away);
    let told = servers.coracle(leader, &["upgrade", "check"]);
    assert!(told.code != 0 && told.stderr.contains("not every server can be spared"), "{told:?}");
    assert!(told.stdout.contains("1 of 3 votes would be left, and a write takes 2"), "{told:?}");
    let told = servers.coracle(leader, &["upgrade", "servers", "--with", "false"]);
    // The one that is away may be replaced, and is not; no other is touched.
    let is_kept =
        told.stderr.contains(&format!("\"false\" failed for {api}")) || told.stderr.contains("cannot be spared");
    assert!(told.code != 0 && is_kept, "{told:?}");
    servers.start(away);
    servers.settled(3);
}
