//! How soon a node is there, and how soon its pods are elsewhere when it is lost.
//!
//! `cargo bench -p tests --bench nodes`; `ROUNDS` (10) says how often. A server and its nodes are processes on loopback addresses; a
//! round lets one more node join, kills the process of one, and stops that of another so that its connections stay and nothing is
//! said. A replacement counts when it is Ready. Watched from outside by asking every few milliseconds, so a figure is late by as much.
//! `PROGRAM` names another build.

use std::time::{Duration, Instant};

use api::kinds;
use client::{Client, Kubeconfig, ListOptions};
use harness::{Fleet, Server, Signal};
use k8s_openapi::api::core::v1::{Node, Pod};

const BUILT: &str = env!("CARGO_BIN_EXE_coracle-under-test");
/// Nodes that carry the pods.
const NODES: usize = 4;
/// Pods of the Deployment.
const PODS: usize = 4;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> anyhow::Result<()> {
    let rounds: usize = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let program = std::env::var("PROGRAM").unwrap_or_else(|_| BUILT.to_owned());
    let usual = vec![("CORACLE_NODE_MONITOR_GRACE_PERIOD", "3s".to_owned())];
    let mut fleet = Fleet::told_so(&program, Server::Alone, NODES, usual);
    let image = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/hello/hello.wasm");
    fleet.coracle(&["push", image, "hello:v1"]).ok();
    let file = fleet.folder().join("web.yaml");
    std::fs::write(&file, deployment())?;
    fleet.coracle(&["apply", "-f", &file.display().to_string()]).ok();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let text = std::fs::read_to_string(fleet.kubeconfig())?;
    let seen = Seen { client: Client::new(Kubeconfig::parse(&text)?.target(fleet.folder())?), runtime };
    seen.until(|pods, _| settled(pods, ""))?;

    let (mut joins, mut kills, mut silences) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let began = Instant::now();
        let node = format!("node-{}", fleet.join());
        seen.until(|_, nodes| is_ready(nodes, &node))?;
        joins.push(began.elapsed());

        let victim = seen.with_a_pod()?;
        let began = Instant::now();
        fleet.kill(place(&victim));
        seen.until(|pods, _| settled(pods, &victim))?;
        kills.push(began.elapsed());
        fleet.start_again(place(&victim));
        seen.until(|pods, nodes| is_ready(nodes, &victim) && pods.len() == PODS)?;

        let victim = seen.with_a_pod()?;
        let began = Instant::now();
        fleet.signal(place(&victim), Signal::STOP);
        seen.until(|pods, _| settled(pods, &victim))?;
        silences.push(began.elapsed());
        fleet.signal(place(&victim), Signal::CONT);
        seen.until(|pods, nodes| is_ready(nodes, &victim) && pods.len() == PODS)?;
    }
    println!("{:<40}{:>10}{:>10}{:>10}", format!("{rounds} rounds"), "p50 ms", "p99 ms", "most");
    for (what, mut times) in [
        ("agent started → node Ready", joins),
        ("killed → replacement Ready", kills),
        ("silent → replacement Ready", silences),
    ] {
        times.sort();
        let at = |percent: usize| times[((times.len() * percent).div_ceil(100)).clamp(1, times.len()) - 1].as_millis();
        println!("{what:<40}{:>10}{:>10}{:>10}", at(50), at(99), at(100));
    }
    Ok(())
}

fn deployment() -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {PODS}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: hello, image: 'hello:v1', ports: [{{containerPort: 80}}]}}]
"
    )
}

fn place(node: &str) -> usize {
    node.trim_start_matches("node-").parse().unwrap_or_default()
}

fn on(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

fn pod_is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none()
        && conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True")
}

/// Whether as many pods as wanted are Ready elsewhere.
fn settled(pods: &[Pod], lost: &str) -> bool {
    pods.iter().filter(|pod| pod_is_ready(pod) && on(pod) != lost).count() == PODS
}

fn is_ready(nodes: &[Node], name: &str) -> bool {
    let named = nodes.iter().find(|node| node.metadata.name.as_deref() == Some(name));
    let conditions = named.and_then(|node| node.status.as_ref()?.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True")
}

/// The cluster as somebody outside sees it.
struct Seen {
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Seen {
    fn look(&self) -> anyhow::Result<(Vec<Pod>, Vec<Node>)> {
        let all = ListOptions::default();
        self.runtime.block_on(async {
            let (pods, _) = self.client.list(kinds::POD, Some("default"), &all).await?;
            let (nodes, _) = self.client.list(kinds::NODE, None, &all).await?;
            let pods = pods.iter().map(|pod| Ok(Pod::clone(&*pod.decode::<Pod>()?)));
            let nodes = nodes.iter().map(|node| Ok(Node::clone(&*node.decode::<Node>()?)));
            Ok((pods.collect::<anyhow::Result<_>>()?, nodes.collect::<anyhow::Result<_>>()?))
        })
    }

    fn until(&self, is_so: impl Fn(&[Pod], &[Node]) -> bool) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let (pods, nodes) = self.look()?;
            if is_so(&pods, &nodes) {
                return Ok(());
            }
            anyhow::ensure!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// A node that has a pod.
    fn with_a_pod(&self) -> anyhow::Result<String> {
        let (pods, _) = self.look()?;
        let first = pods.iter().find(|pod| pod_is_ready(pod)).map(on).map(str::to_owned);
        first.ok_or_else(|| anyhow::anyhow!("no pod is ready"))
    }
}
