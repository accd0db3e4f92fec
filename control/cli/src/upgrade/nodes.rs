//! Nodes, one after the other: emptied before if that is wanted, and open to pods again when they are back.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use api::node_link::{LEASES, LINK};
use api::{Key, Object, kinds};
use client::{Client, ListOptions, PatchType};
use http::Method;
use network::tunnel::routes::ANNOTATION as DIALLED_AT;
use serde_json::{Value, json};

use super::{LOOK_EVERY, replace};
use crate::access;
use crate::args::UpgradeNodes;
use crate::member::{self, Members};
use crate::progress::{Progress, Step};

/// Somebody holds up an eviction for a while: it is asked for again.
const EVICT_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn upgrade(args: &UpgradeNodes) -> anyhow::Result<()> {
    let client = access::cluster(&args.access)?.client;
    let progress = Progress::new();
    let names = if args.nodes.is_empty() { apart(&client).await? } else { args.nodes.clone() };
    for name in names {
        let key = kinds::NODE.cluster_key(&name);
        let node = client.get(&key).await?.to_value()?;
        if !is_ready(&node) {
            bail!("node {name} is not ready: it is seen to before it is replaced");
        }
        let is_closed = node["spec"]["unschedulable"] == true;
        let step = progress.step(format!("node {name}"));
        let until = Instant::now() + args.replacing.timeout;
        if args.drain {
            close(&client, &key, true).await?;
            empty(&client, &name, until, &step).await?;
        }
        let link = link(&client, &name).await;
        replace(&args.replacing, &name, &step).await?;
        let version = back(&client, &key, link, until).await;
        let version = version.with_context(|| format!("node {name} is not back; no other was touched"))?;
        if args.drain && !is_closed {
            close(&client, &key, false).await?;
        }
        step.done(&version);
    }
    Ok(())
}

/// What nodes run, in lines.
pub(super) async fn table(client: &Client) -> anyhow::Result<Vec<Vec<String>>> {
    let (nodes, _) = client.list(kinds::NODE, None, &ListOptions::default()).await?;
    let mut lines = vec![["NODE", "VERSION", "READY"].map(str::to_owned).to_vec()];
    for node in nodes {
        let told = node.to_value()?;
        let ready = if is_ready(&told) { "yes" } else { "no" };
        lines.push(vec![node.key().name().to_owned(), version(&told), ready.to_owned()]);
    }
    Ok(lines)
}

/// The nodes that are in no server's process: those that are dialled elsewhere than servers.
async fn apart(client: &Client) -> anyhow::Result<Vec<String>> {
    let told: Members = client.get_json(member::PATH).await?;
    let servers: BTreeSet<&str> = told.all.iter().map(|member| &*member.address).collect();
    let (nodes, _) = client.list(kinds::NODE, None, &ListOptions::default()).await?;
    let is_apart = |node: &&Object| {
        let dialled = node.meta().annotations.get(DIALLED_AT);
        dialled.is_none_or(|dialled| !servers.contains(&**dialled))
    };
    Ok(nodes.iter().filter(is_apart).map(|node| node.key().name().to_owned()).collect())
}

/// Closes a node to pods, or opens it again.
async fn close(client: &Client, node: &Key, is_closed: bool) -> anyhow::Result<()> {
    let closed = if is_closed { json!(true) } else { Value::Null };
    client.patch(node, PatchType::Merge, &json!({"spec": {"unschedulable": closed}})).await?;
    Ok(())
}

/// Sends pods off until none is left but those that belong to the node.
async fn empty(client: &Client, node: &str, until: Instant, step: &Step) -> anyhow::Result<()> {
    loop {
        let options = ListOptions { fields: Some(format!("spec.nodeName={node}")), labels: None };
        let (pods, _) = client.list(kinds::POD, None, &options).await?;
        let mut left = Vec::new();
        for pod in pods {
            let told = pod.to_value()?;
            if stays(&told) {
                continue;
            }
            let (namespace, name) = (pod.key().namespace(), pod.key().name());
            left.push(format!("{namespace}/{name}"));
            if told["metadata"]["deletionTimestamp"].is_null() {
                let metadata = json!({"name": name, "namespace": namespace});
                let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}).to_string();
                let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction");
                if let Err(error) = client.send(Method::POST, &path, Some("application/json"), eviction).await {
                    // A budget may allow it later, and another may have been quicker.
                    step.note(&error.to_string());
                }
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > until {
            bail!("node {node} is closed to pods, and these have not left it: {}", left.join(", "));
        }
        tokio::time::sleep(EVICT_EVERY).await;
    }
}

/// Whether a pod is over, or of its node alone.
fn stays(pod: &Value) -> bool {
    let mut owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    let is_of_node = owners.any(|owner| owner["kind"] == "DaemonSet" && owner["controller"] == true);
    is_of_node || matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// Waits until a node has another link than before and is ready; tells its version.
async fn back(client: &Client, node: &Key, before: Option<String>, until: Instant) -> anyhow::Result<String> {
    let mut why = String::from("it has not been started anew");
    while Instant::now() < until {
        let now = link(client, node.name()).await;
        if now.is_some() && now != before {
            match client.get(node).await {
                Ok(object) => {
                    let told = object.to_value()?;
                    if is_ready(&told) {
                        return Ok(format!("version {}", version(&told)));
                    }
                    why = "it is not ready".into();
                }
                Err(error) => why = error.to_string(),
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!(why)
}

/// Which link is the node's.
async fn link(client: &Client, node: &str) -> Option<String> {
    let lease = client.get(&kinds::LEASE.key(LEASES, node)).await.ok()?;
    lease.meta().annotations.get(LINK).cloned()
}

fn is_ready(node: &Value) -> bool {
    let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn version(node: &Value) -> String {
    node["status"]["nodeInfo"]["kubeletVersion"].as_str().unwrap_or("<unknown>").to_owned()
}
