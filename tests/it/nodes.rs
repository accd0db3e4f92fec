//! A node of its own: an agent that joins a server with a token.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::{Output, eventually, get};
use serde_json::Value;

use crate::{PROGRAM, example};

/// A process that ends with the value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(words: &[&str]) -> Process {
    let mut command = Command::new(PROGRAM);
    // No node is to be lost because the machine is busy.
    command.env("CORACLE_NODE_MONITOR_GRACE_PERIOD", "60s");
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    Process(command.spawn().expect("the program starts"))
}

#[test]
fn an_agent_joins_and_runs_pods() {
    let folder = tempfile::tempdir().expect("a folder");
    let [server, node] = ["server", "node"].map(|name| folder.path().join(name));
    let text = |path: &std::path::Path| path.display().to_string();
    let _server = start(&["server", "--no-node", "--listen", "127.0.0.1:0", "--data-dir", &text(&server)]);
    let read = |path: std::path::PathBuf| {
        eventually(60, || {
            let bytes = std::fs::read(&path).map_err(|error| error.to_string())?;
            serde_json::from_slice::<Value>(&bytes).map_err(|error| error.to_string())
        })
    };
    let api = read(server.join("addresses.json"))["api"].as_str().expect("an address").to_owned();
    let coracle = |words: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(words).env("CORACLE_KUBECONFIG", server.join("kubeconfig"));
        Output::of(command, None)
    };
    let ended = coracle(&["token"]).ok();
    let fingerprint = ended.split_once('.').expect("a fingerprint and a secret").0.to_owned();
    coracle(&["token", "delete", ended.trim()]).ok();
    let token = coracle(&["token", "create", "--ttl", "1h", "--description", "for edge-1"]).ok();
    assert!(token.starts_with(&format!("{fingerprint}.")), "{token}");
    let listed = coracle(&["token", "list"]).ok();
    assert!(listed.lines().count() == 2 && listed.contains("for edge-1"), "{listed}");
    let url = format!("https://{api}");
    let free = "127.0.0.1:0";
    let common =
        ["--listen", free, "--ingress-http", free, "--ingress-https", free, "--dns", free, "--node-name", "edge-1"];
    for wrong in ["0000.wrong", ended.trim()] {
        let mut command = Command::new(PROGRAM);
        let other = text(&folder.path().join("other"));
        command.args(["agent", "--server", &url, "--token", wrong, "--data-dir", &other]).args(common);
        let refused = Output::of(command, None).refused();
        assert!(refused.contains("did not let this node in"), "{refused}");
    }

    let mut words = vec!["agent", "--server", &url, "--token", token.trim(), "--data-dir"];
    let data = text(&node);
    words.push(&data);
    words.extend(common);
    let _agent = start(&words);
    let joined = || coracle(&["get", "node", "edge-1"]).code == 0;
    eventually(60, || if joined() { Ok(()) } else { Err("not there".into()) });
    let mut command = Command::new(PROGRAM);
    let third = text(&folder.path().join("third"));
    command.args(["agent", "--server", &url, "--token", token.trim(), "--data-dir", &third]).args(common);
    let refused = Output::of(command, None).refused();
    assert!(refused.contains("the token has been used as often as it may be"), "{refused}");
    coracle(&["wait", "--for=create", "node/edge-1", "--timeout", "60s"]).ok();
    coracle(&["wait", "--for=condition=Ready", "node/edge-1", "--timeout", "60s"]).ok();
    coracle(&["apply", "-f", &text(&example("hello"))]).ok();
    coracle(&["rollout", "status", "deploy/hello", "--timeout", "60s"]).ok();
    let ingress =
        read(node.join("addresses.json"))["ingressHttp"].as_str().expect("an address").parse().expect("an address");
    eventually(20, || match get(ingress, "hello.localhost", "/") {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // One of the two pods was asked; both tell their logs through the link that the node holds.
    let pods = coracle(&["get", "pods", "-o", "name"]).ok();
    let logs: Vec<String> = pods.lines().map(|pod| coracle(&["logs", pod]).ok()).collect();
    assert!(logs.iter().any(|log| log.contains("GET /")), "{logs:?}");
}

#[test]
fn a_node_gets_its_next_certificate_before_its_own_ends_and_after_it_was_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let [server, node] = ["server", "node"].map(|name| folder.path().join(name));
    let text = |path: &std::path::Path| path.display().to_string();
    let free = "127.0.0.1:0";
    let data = text(&server);
    let life = Duration::from_secs(9);
    let signing = format!("{}s", life.as_secs());
    let words = ["server", "--no-node", "--listen", free, "--data-dir", &data, "--cluster-signing-duration", &signing];
    let _server = start(&words);
    let addresses: Value = eventually(60, || {
        let bytes = std::fs::read(server.join("addresses.json")).map_err(|error| error.to_string())?;
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())
    });
    let url = format!("https://{}", addresses["api"].as_str().expect("an address"));
    let coracle = |words: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(words).env("CORACLE_KUBECONFIG", server.join("kubeconfig"));
        Output::of(command, None)
    };
    let token = coracle(&["token"]).ok();
    let (data, token) = (text(&node), token.trim().to_owned());
    let mut words = vec!["agent", "--server", &url, "--token", &token, "--data-dir", &data, "--node-name", "edge-1"];
    words.extend(["--listen", free, "--ingress-http", free, "--ingress-https", free, "--dns", free]);
    let agent = start(&words);
    let papers = node.join("node.pem");
    let read = || std::fs::read_to_string(&papers).map_err(|error| error.to_string());
    let next_after = |before: &str| {
        eventually(60, || match read()? {
            same if same == before => Err("not yet".into()),
            next => Ok(next),
        })
    };
    let first = eventually(60, read);
    coracle(&["wait", "--for=create", "node/edge-1", "--timeout", "60s"]).ok();
    let second = next_after(&first);
    drop(agent);

    // It comes back when its certificate is over.
    let written = std::fs::metadata(&papers).and_then(|metadata| metadata.modified()).expect("a time");
    eventually(60, || match written.elapsed() {
        Ok(elapsed) if elapsed > life + Duration::from_secs(1) => Ok(()),
        elapsed => Err(format!("{elapsed:?}")),
    });
    let _agent = start(&words);
    next_after(&second);
    coracle(&["apply", "-f", &text(&example("hello"))]).ok();
    coracle(&["rollout", "status", "deploy/hello", "--timeout", "60s"]).ok();
    let pods = coracle(&["get", "pods", "-o", "name"]).ok();
    coracle(&["logs", pods.lines().next().expect("a pod")]).ok();
}
