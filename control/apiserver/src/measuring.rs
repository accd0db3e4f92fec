//! What pods and nodes use, asked of the nodes when somebody wants to know it.
//!
//! Each node tells everything it measures at once, over a window of its own, and keeps that for a moment; nothing is kept here. A
//! node that does not answer has no figures, and neither have its pods.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::quantity::Quantity;
use api::{Key, Kind, Object, kinds, measured};
use axum::body::Body;
use futures::future::join_all;
use http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use state::Snapshot;

use crate::link::Links;
use crate::{body, containers};

/// A node measures for a second when nobody asked it lately; one that takes much longer is busy with more important things.
const PATIENCE: Duration = Duration::from_secs(10);

/// A kubelet's summary, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Summary {
    node: Used,
    pods: Vec<UsedByPod>,
    /// In seconds.
    window: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct UsedByPod {
    pod_ref: PodRef,
    containers: Vec<Used>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodRef {
    namespace: String,
    name: String,
    uid: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Used {
    name: String,
    cpu: Processor,
    memory: Memory,
    /// Of containers that answer requests.
    requests_per_second: Option<f64>,
    requests_in_flight: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Processor {
    time: String,
    usage_nano_cores: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Memory {
    working_set_bytes: u64,
}

/// A world of the figures that `kind` is about: all of them, those of a namespace, or those of one object.
pub(crate) async fn measure(links: &Links, kind: &dyn Kind, world: &Snapshot, namespace: &str, name: &str) -> Snapshot {
    let of_pods = kind.names().kind == measured::PODS.names().kind;
    let nodes = if of_pods { nodes_of_pods(world, namespace, name) } else { nodes(world, name) };
    let asking = nodes.iter().map(|node| async move { Some((node.as_str(), ask(links, node).await?)) });
    let told: BTreeMap<&str, Summary> = join_all(asking).await.into_iter().flatten().collect();
    let objects = told.iter().flat_map(|(node, summary)| {
        if of_pods {
            summary.pods.iter().filter_map(|pod| pod_metrics(pod, summary, world)).collect::<Vec<Object>>()
        } else {
            node_metrics(node, summary, world).into_iter().collect()
        }
    });
    Snapshot::load(world.revision(), objects.map(|object| object.at(world.revision())))
}

impl Links {
    /// What these pods of a world use and are asked: as `metrics.k8s.io` and `custom.metrics.k8s.io` tell it.
    pub async fn figures(&self, world: &Snapshot, pods: &[Key]) -> Vec<Object> {
        let node = |pod: &Key| containers::Containers::of(world.get(pod)?).ok()?.node().map(str::to_owned);
        let nodes: BTreeSet<String> = pods.iter().filter_map(node).collect();
        let told = join_all(nodes.iter().map(|node| ask(self, node))).await;
        let wanted: BTreeSet<&Key> = pods.iter().collect();
        let is_wanted = |pod: &&UsedByPod| wanted.contains(&pod.key());
        let of = |summary: &Summary| {
            let pods = summary.pods.iter().filter(is_wanted);
            pods.flat_map(|pod| pod_metrics(pod, summary, world).into_iter().chain(pod.figures(summary.window)))
                .collect()
        };
        told.iter().flatten().flat_map(|summary| -> Vec<Object> { of(summary) }).collect()
    }
}

// === impl UsedByPod ===

impl UsedByPod {
    fn key(&self) -> Key {
        kinds::POD.key(&self.pod_ref.namespace, &self.pod_ref.name)
    }

    /// What it was asked, where any of its containers answers requests.
    fn figures(&self, window: f64) -> Vec<Object> {
        let Some(at) = self.containers.first().map(|one| &one.cpu.time) else { return Vec::new() };
        let rate = self.containers.iter().filter_map(|one| one.requests_per_second).reduce(|sum, one| sum + one);
        let in_flight = self.containers.iter().filter_map(|one| one.requests_in_flight).reduce(|sum, one| sum + one);
        let whole = |count: u64| Quantity::units(i64::try_from(count).unwrap_or(i64::MAX));
        let figures = [
            (measured::REQUESTS_PER_SECOND, rate.map(|rate| Quantity::millis((rate * 1000.0).round() as i64))),
            (measured::REQUESTS_IN_FLIGHT, in_flight.map(whole)),
        ];
        let figure = |(metric, value): (&str, Option<Quantity>)| {
            measured::figure("pods", &self.key(), metric, value?, at, window.round() as u64)
        };
        figures.into_iter().filter_map(figure).collect()
    }
}

fn nodes(world: &Snapshot, name: &str) -> BTreeSet<String> {
    let nodes = world.list(kinds::NODE).map(|node| node.key().name().to_owned());
    nodes.filter(|node| name.is_empty() || node == name).collect()
}

fn nodes_of_pods(world: &Snapshot, namespace: &str, name: &str) -> BTreeSet<String> {
    let is_meant = |key: &Key| {
        (namespace.is_empty() || *key.namespace() == *namespace) && (name.is_empty() || *key.name() == *name)
    };
    let pods = world.list(kinds::POD).filter(|pod| is_meant(pod.key()));
    pods.filter_map(|pod| containers::Containers::of(pod).ok()?.node().map(str::to_owned)).collect()
}

async fn ask(links: &Links, node: &str) -> Option<Summary> {
    let request = Request::get("/stats/summary").body(Body::empty()).ok()?;
    let answer = tokio::time::timeout(PATIENCE, links.ask(node, request)).await.ok()?.ok()?;
    if answer.status() != StatusCode::OK {
        return None;
    }
    serde_json::from_slice(&body::read(answer.into_body()).await.ok()?).ok()
}

fn pod_metrics(used: &UsedByPod, summary: &Summary, world: &Snapshot) -> Option<Object> {
    let PodRef { namespace, name, uid } = &used.pod_ref;
    let pod = world.get(&kinds::POD.key(namespace, name)).filter(|pod| *pod.meta().uid == **uid)?;
    let containers = used.containers.iter().map(|one| json!({"name": one.name, "usage": usage(one)}));
    let mut value = metrics(&measured::PODS, pod, used.containers.first()?, summary);
    value["containers"] = containers.collect();
    Object::from_value(measured::PODS.group_kind(), &value).ok()
}

fn node_metrics(name: &str, summary: &Summary, world: &Snapshot) -> Option<Object> {
    let node = world.get(&kinds::NODE.cluster_key(name))?;
    let mut value = metrics(&measured::NODES, node, &summary.node, summary);
    value["usage"] = usage(&summary.node);
    Object::from_value(measured::NODES.group_kind(), &value).ok()
}

/// What figures of pods and of nodes have in common.
fn metrics(kind: &dyn Kind, of: &Object, used: &Used, summary: &Summary) -> Value {
    let mut value = json!({
        "kind": kind.names().kind, "apiVersion": kind.names().api_version(),
        "metadata": {"name": of.key().name(), "creationTimestamp": used.cpu.time},
        "timestamp": used.cpu.time, "window": format!("{:.3}s", summary.window),
    });
    if !of.key().namespace().is_empty() {
        value["metadata"]["namespace"] = of.key().namespace().into();
    }
    if !of.meta().labels.is_empty() {
        value["metadata"]["labels"] = json!(of.meta().labels);
    }
    value
}

fn usage(used: &Used) -> Value {
    let memory = used.memory.working_set_bytes.div_ceil(1024);
    json!({"cpu": format!("{}n", used.cpu.usage_nano_cores), "memory": format!("{memory}Ki")})
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Revision;
    use jiff::Timestamp;

    fn world() -> Snapshot {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web-0", "namespace": "shop", "uid": "u1", "labels": {"app": "web"}},
            "spec": {"nodeName": "n1", "containers": [{"name": "a"}]},
        });
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
        let objects = [(kinds::POD, pod), (kinds::NODE, node)];
        let objects = objects.map(|(kind, value)| Object::from_value(kind, &value).expect("an object").at(Revision(3)));
        Snapshot::load(Revision(3), objects)
    }

    fn summary() -> Summary {
        let used = |name: &str, cpu: u64, memory: u64| {
            let cpu = json!({"time": "2026-11-21T12:00:00Z", "usageNanoCores": cpu});
            json!({"name": name, "cpu": cpu, "memory": {"workingSetBytes": memory}})
        };
        let pod = |uid: &str| {
            let pod_ref = json!({"namespace": "shop", "name": "web-0", "uid": uid});
            json!({"podRef": pod_ref, "containers": [used("a", 1_500_000, 1 << 20), used("b", 500_000, 1)]})
        };
        let value = json!({"node": used("", 2_000_000_000, 1 << 30), "pods": [pod("u0"), pod("u1")], "window": 1.5});
        serde_json::from_value(value).expect("a summary")
    }

    #[test]
    fn figures_are_of_the_pod_that_is_there_now() {
        let (world, summary) = (world(), summary());
        assert_eq!(pod_metrics(&summary.pods[0], &summary, &world), None, "an earlier pod of the name");
        let told = pod_metrics(&summary.pods[1], &summary, &world).expect("figures");
        let value = told.to_value().expect("JSON");
        assert_eq!(value["containers"][1], json!({"name": "b", "usage": {"cpu": "500000n", "memory": "1Ki"}}));
        assert_eq!((&value["window"], &value["metadata"]["labels"]["app"]), (&json!("1.500s"), &json!("web")));
        let cells = measured::PODS.cells(&told, Timestamp::UNIX_EPOCH);
        assert_eq!(json!(cells), json!(["web-0", "2m", "1025Ki", "1.500s"]));
    }

    #[test]
    fn a_node_has_figures_of_its_own() {
        let told = node_metrics("n1", &summary(), &world()).expect("figures");
        let cells = measured::NODES.cells(&told, Timestamp::UNIX_EPOCH);
        assert_eq!(json!(cells), json!(["n1", "2", "1Gi", "1.500s"]));
        assert_eq!(node_metrics("n2", &summary(), &world()), None);
    }

    #[test]
    fn only_nodes_that_have_something_to_tell_are_asked() {
        let world = world();
        assert_eq!(nodes_of_pods(&world, "", ""), BTreeSet::from(["n1".to_owned()]));
        assert_eq!(nodes_of_pods(&world, "shop", "web-1"), BTreeSet::new());
        assert_eq!(nodes(&world, "n1").len(), 1);
        assert_eq!(nodes(&world, "n2").len(), 0);
    }
}
