//! Nodes that run nothing: each has its object, renews its lease, and tells of its pods what a node tells whose pods start well.
//!
//! To the cluster they are nodes as others are, and what they ask is judged as theirs: it is asked in their names, by an
//! administrator who may. What they lack is a connection of their own: thousands share a few, and one watch tells of the pods of all.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use client::{Body, Client};
use futures::StreamExt;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// As the agent has it.
const LEASE_PERIOD: Duration = Duration::from_secs(10);
const LEASE_SECONDS: u32 = 40;
/// Enough that writes share their commits; more only wait at the server.
const REPORTS_AT_ONCE: usize = 256;
const REGISTERED_AT_ONCE: usize = 64;
/// What is refused or lost is told again, as often as this.
const TRIES_MAX: u32 = 20;
const RETRY: Duration = Duration::from_millis(200);

/// Some hollow nodes.
pub struct HollowNodes {
    clients: Vec<Client>,
    /// The uids of the nodes, in the order of their numbers.
    uids: Vec<String>,
    late: AtomicU64,
}

/// Whether pods may come from the start on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedulable {
    /// At once.
    Yes,
    /// Once somebody says so.
    NotYet,
}

/// A pod that was given a node.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Its namespace and name.
    pub place: (String, String),
    /// Its uid.
    pub uid: String,
    /// The node.
    pub node: String,
}

// === impl HollowNodes ===

impl HollowNodes {
    /// Registers so many by these clients' connections, with room for 110 pods each, as a kubelet has.
    pub async fn register(clients: Vec<Client>, count: usize, schedulable: Schedulable) -> anyhow::Result<Self> {
        let mut nodes = Self { clients, uids: Vec::new(), late: AtomicU64::new(0) };
        let registering = (0..count).map(|number| nodes.join(number, schedulable));
        nodes.uids = futures::stream::iter(registering)
            .buffered(REGISTERED_AT_ONCE)
            .collect::<Vec<_>>()
            .await
            .into_iter()
            .collect::<anyhow::Result<_>>()?;
        Ok(nodes)
    }

    async fn join(&self, number: usize, schedulable: Schedulable) -> anyhow::Result<String> {
        let name = name(number);
        let labels =
            json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"});
        let spec = if schedulable == Schedulable::Yes { json!({}) } else { json!({"unschedulable": true}) };
        let node =
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": spec});
        let told = self.ask(number, Method::POST, "/api/v1/nodes", JSON, node.to_string()).await?;
        let told: Value = serde_json::from_slice(&told)?;
        let uid = told["metadata"]["uid"].as_str().context("a node has a uid")?.to_owned();
        let path = format!("/api/v1/nodes/{name}/status");
        self.ask(number, Method::PATCH, &path, MERGE, json!({"status": status(number)}).to_string()).await?;
        let mut lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": lease(&name)});
        lease["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}]);
        self.ask(number, Method::POST, LEASES, JSON, lease.to_string()).await?;
        Ok(uid)
    }

    /// Lets pods come to all of them; gives when the first could.
    pub async fn open(&self) -> anyhow::Result<Instant> {
        let begun = Instant::now();
        let patches = (0..self.uids.len()).map(|number| async move {
            let path = format!("/api/v1/nodes/{}", name(number));
            let patch = json!({"spec": {"unschedulable": null}}).to_string();
            send(&self.clients[number % self.clients.len()], None, Method::PATCH, &path, MERGE, patch).await
        });
        let mut patching = futures::stream::iter(patches).buffer_unordered(REGISTERED_AT_ONCE);
        while let Some(patched) = patching.next().await {
            patched?;
        }
        Ok(begun)
    }

    /// Renews the leases, each every ten seconds, one after the other; does not return.
    pub async fn live(self: Arc<Self>) {
        let every = LEASE_PERIOD / u32::try_from(self.uids.len().max(1)).unwrap_or(u32::MAX);
        let mut pulse = interval(every);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for number in (0..self.uids.len()).cycle() {
            pulse.tick().await;
            let nodes = self.clone();
            tokio::spawn(async move {
                let began = Instant::now();
                let name = name(number);
                let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": name, "uid": nodes.uids[number]}]);
                let patch = json!({"metadata": {"ownerReferences": owner}, "spec": lease(&name)});
                let path = format!("{LEASES}/{name}");
                let renewed = nodes.ask(number, Method::PATCH, &path, MERGE, patch.to_string()).await;
                if renewed.is_err() || began.elapsed() > LEASE_PERIOD {
                    nodes.late.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }

    /// How many renewals took longer than a period, or failed.
    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// Tells of every pod that comes out of `placed` that it runs, many at a time; returns when no more come.
    pub async fn report(&self, placed: tokio::sync::mpsc::UnboundedReceiver<Placed>) -> anyhow::Result<()> {
        let placed = futures::stream::unfold(placed, |mut placed| async move { Some((placed.recv().await?, placed)) });
        let mut reports = Box::pin(placed.map(|pod| self.runs(pod)).buffer_unordered(REPORTS_AT_ONCE));
        while let Some(told) = reports.next().await {
            told?;
        }
        Ok(())
    }

    async fn runs(&self, pod: Placed) -> anyhow::Result<()> {
        let number = number(&pod.node).with_context(|| format!("{} is no hollow node", pod.node))?;
        let (namespace, name) = &pod.place;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/status");
        let patch = json!({"metadata": {"uid": pod.uid}, "status": running(number)}).to_string();
        let mut tries = 0;
        loop {
            match self.ask(number, Method::PATCH, &path, MERGE, patch.clone()).await {
                Ok(_) => return Ok(()),
                Err(error) if tries >= TRIES_MAX => return Err(error.context(format!("{namespace}/{name}"))),
                Err(_) => tokio::time::sleep(RETRY).await,
            }
            tries += 1;
        }
    }

    /// Asks in the name of a node.
    async fn ask(
        &self,
        number: usize,
        method: Method,
        path: &str,
        content: &str,
        body: String,
    ) -> anyhow::Result<Bytes> {
        let client = &self.clients[number % self.clients.len()];
        send(client, Some(&name(number)), method, path, content, body).await
    }
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

/// Asks something, in the name of a node if it is given; an answer that is not a success is an error.
pub(crate) async fn send(
    client: &Client,
    node: Option<&str>,
    method: Method,
    path: &str,
    content: &str,
    body: String,
) -> anyhow::Result<Bytes> {
    let mut request = Request::builder().method(method).uri(path).header("content-type", content);
    if let Some(node) = node {
        request = request.header("impersonate-user", format!("system:node:{node}"));
        request = request.header("impersonate-group", "system:nodes");
    }
    let body: Body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    let answer = client.request(request.body(body)?).await?;
    let status = answer.status();
    let told = answer.into_body().collect().await?.to_bytes();
    ensure!(status.is_success(), "{path}: {status}: {}", String::from_utf8_lossy(&told));
    Ok(told)
}

fn name(number: usize) -> String {
    format!("hollow-{number}")
}

fn number(name: &str) -> Option<usize> {
    name.strip_prefix("hollow-")?.parse().ok()
}

fn lease(name: &str) -> Value {
    let now = format!("{:.6}", Timestamp::now());
    json!({"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now})
}

/// A node's own address, which nobody ever dials.
fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 16, 0, 1)) + u32::try_from(number).unwrap_or_default())
}

/// What a node that is well says of itself.
fn status(number: usize) -> Value {
    let now = format!("{:.0}", Timestamp::now());
    let conditions = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ];
    let conditions = conditions.map(|(kind, holds, reason, message)| {
        json!({"type": kind, "status": holds, "reason": reason, "message": message, "lastHeartbeatTime": now, "lastTransitionTime": now})
    });
    let room = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
    let addresses =
        json!([{"type": "InternalIP", "address": address(number)}, {"type": "Hostname", "address": name(number)}]);
    json!({"addresses": addresses, "capacity": room, "allocatable": room, "conditions": conditions})
}

/// What a node says of a pod whose only container runs and is ready.
fn running(node: usize) -> Value {
    let now = format!("{:.0}", Timestamp::now());
    let holds = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now});
    let conditions =
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"].map(holds);
    let container = json!({
        "name": "main", "image": "hollow:v1", "imageID": "hollow@sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "containerID": "hollow://0", "ready": true, "started": true, "restartCount": 0, "state": {"running": {"startedAt": now}},
    });
    json!({
        "phase": "Running", "hostIP": address(node), "hostIPs": [{"ip": address(node)}], "startTime": now, "qosClass": "Burstable",
        "conditions": conditions, "containerStatuses": [container],
    })
}
