//! The node's own object and its lease: that it is here, what it has, and that it is well.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::node_link::{LEASES, STOPPING};
use api::quantity::Quantity;
use api::{Key, Object, kinds};
use client::{Client, ClientError, PatchType};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use serde_json::{Value, json};
use state::Snapshot;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::config::Config;
use crate::context::Context;
use crate::eviction::Pressures;
use crate::machine::Machine;

/// Where other nodes dial this one, if that is not its first address.
const TUNNEL: &str = network::tunnel::routes::ANNOTATION;

/// What was not heard is said again after this.
const RETRY: Duration = Duration::from_secs(1);

/// A node that stops has more to do than to say so.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a node that says nothing more is given before it counts as lost, as with a kubelet.
const LEASE_SECONDS: u32 = 40;

/// A condition of a node: its name, whether it holds, the reason and the words.
type Told = (&'static str, &'static str, &'static str, &'static str);

/// The conditions of a node that is short of nothing.
const CONDITIONS: [Told; 4] = [
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
];

/// The same of one that is short of something.
const MEMORY_PRESSURE: Told =
    ("MemoryPressure", "True", "KubeletHasInsufficientMemory", "kubelet has insufficient memory available");
const DISK_PRESSURE: Told = ("DiskPressure", "True", "KubeletHasDiskPressure", "kubelet has disk pressure");

fn conditions(pressures: Pressures) -> [Told; 4] {
    let mut conditions = CONDITIONS;
    if pressures.memory {
        conditions[0] = MEMORY_PRESSURE;
    }
    if pressures.disk {
        conditions[1] = DISK_PRESSURE;
    }
    conditions
}

/// Keeps the node's object and lease true, for ever. However much there is to tell of pods, `client` tells of the node at once.
pub(crate) async fn keep(context: Arc<Context>, client: Client) {
    let mut pulse = tokio::time::interval(context.config.lease_period);
    pulse.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut pressures, mut linked) = (context.pressures.subscribe(), context.linked.subscribe());
    let mut view = context.view.clone();
    let mut registered = false;
    loop {
        tokio::select! {
            _ = pulse.tick() => {}
            Ok(()) = pressures.changed() => {}
            Ok(()) = linked.changed() => {}
            () = misjudged(&context, &mut view), if registered => {}
        }
        if context.is_stopping.load(Ordering::Relaxed) {
            // The last word has been said.
            std::future::pending::<()>().await;
        }
        if !registered {
            if let Err(error) = register(&context, &client).await {
                warn!(node = %context.config.node_name, %error, "not registered yet");
                pulse.reset_after(RETRY);
                continue;
            }
            info!(node = %context.config.node_name, "registered");
        }
        registered = match renew(&context, &client).await {
            // Somebody deleted the node: as with a kubelet, it comes back.
            Ok(still_there) => still_there,
            Err(error) => {
                warn!(%error, "lease not renewed");
                pulse.reset_after(RETRY);
                true
            }
        };
    }
}

/// Returns when the cluster says of the node what it does not say itself: that nothing is heard of it.
async fn misjudged(context: &Context, view: &mut watch::Receiver<Snapshot>) {
    let mut known = None;
    while view.changed().await.is_ok() {
        let node = view.borrow_and_update().get(&key(&context.config)).cloned();
        let Some(node) = node.filter(|node| known.replace(node.revision()) != Some(node.revision())) else { continue };
        if node.decode::<Node>().is_ok_and(|node| !is_told(&node, *context.pressures.borrow())) {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// Says that the node stops, where somebody is left who hears it: it is not ready, and may be back in a moment.
pub(crate) async fn part(context: &Context) {
    context.is_stopping.store(true, Ordering::Relaxed);
    if !context.config.says_farewell {
        return;
    }
    let now = format!("{:.0}", Timestamp::now());
    let ready = json!({
        "type": "Ready", "status": "False", "reason": STOPPING, "message": "node is shutting down",
        "lastHeartbeatTime": now, "lastTransitionTime": now,
    });
    let patch = json!({"status": {"conditions": [ready]}});
    let key = key(&context.config);
    let saying = context.client.patch_status(&key, PatchType::Strategic, &patch);
    match tokio::time::timeout(FAREWELL, saying).await {
        Ok(Ok(_)) => info!(node = %context.config.node_name, "said that it stops"),
        Ok(Err(error)) => debug!(%error, "nobody heard that the node stops"),
        Err(_) => debug!("nobody heard in time that the node stops"),
    }
}

async fn register(context: &Context, client: &Client) -> Result<(), ClientError> {
    let Context { config, .. } = context;
    let key = key(config);
    let (labels, annotations) = (labels(config), annotations(config));
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "spec": {},
        "metadata": {"name": config.node_name, "labels": labels, "annotations": annotations.clone().unwrap_or(json!({}))},
    });
    match client.create(&object(kinds::NODE, &node)?).await {
        Err(error) if error.is_conflict() => {
            client.patch(&key, PatchType::Merge, &json!({"metadata": {"labels": labels, "annotations": annotations.unwrap_or(json!({TUNNEL: null}))}})).await?;
        }
        created => {
            created?;
        }
    }
    report(context, client, None).await
}

/// Renews the lease, and the status when the cluster believes something else. False when the node is not in the cluster.
async fn renew(context: &Context, client: &Client) -> Result<bool, ClientError> {
    let Context { config, .. } = context;
    let pressures = *context.pressures.borrow();
    let lease = kinds::LEASE.key(LEASES, &config.node_name);
    let now = format!("{:.6}", Timestamp::now());
    let spec = json!({"holderIdentity": config.node_name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now});
    // It goes with the node.
    let known = context.view().get(&key(config)).map(|node| node.meta().uid.clone());
    let owner = known.map(|uid| json!([{"apiVersion": "v1", "kind": "Node", "name": config.node_name, "uid": uid}]));
    let metadata = owner.map_or(json!({}), |owner| json!({"ownerReferences": owner}));
    match client.patch(&lease, PatchType::Merge, &json!({"metadata": metadata, "spec": spec})).await {
        Err(error) if error.is_not_found() => {
            let mut lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec,
            });
            lease["metadata"]["name"] = config.node_name.as_str().into();
            lease["metadata"]["namespace"] = LEASES.into();
            client.create(&object(kinds::LEASE, &lease)?).await?;
        }
        renewed => {
            renewed?;
        }
    }
    let view = context.view();
    match view.get(&key(config)).map(Object::decode::<Node>) {
        Some(Ok(node)) if !is_told(&node, pressures) || !is_counted(&node, &context.machine) => {
            report(context, client, Some(&node)).await.map(|()| true)
        }
        Some(_) => Ok(true),
        // A view that is behind does not show the node either.
        None => match client.get(&key(config)).await {
            Err(error) if error.is_not_found() => Ok(false),
            _ => Ok(true),
        },
    }
}

/// Whether the cluster knows how the node is.
fn is_told(node: &Node, pressures: Pressures) -> bool {
    let known = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions(pressures)
        .iter()
        .all(|(kind, holds, ..)| known.iter().any(|condition| condition.type_ == *kind && condition.status == *holds))
}

async fn report(context: &Context, client: &Client, known: Option<&Node>) -> Result<(), ClientError> {
    let Context { config, machine, .. } = context;
    let pressures = *context.pressures.borrow();
    let status = status(config, machine, pressures, known, Timestamp::now());
    client.patch_status(&key(config), PatchType::Merge, &json!({"status": status})).await.map(|_| ())
}

fn key(config: &Config) -> Key {
    kinds::NODE.cluster_key(&config.node_name)
}

fn object(kind: api::GroupKind, value: &Value) -> Result<Object, ClientError> {
    Object::from_value(kind, value).map_err(|error| ClientError::Request(error.to_string()))
}

fn labels(config: &Config) -> Value {
    let mut labels = json!({
        "kubernetes.io/hostname": config.node_name, "kubernetes.io/os": "linux", "kubernetes.io/arch": Machine::architecture(),
        "beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": Machine::architecture(),
    });
    for (name, value) in &config.labels {
        labels[name] = value.as_str().into();
    }
    labels
}

/// Where the node is dialled, if that is not one of its addresses.
fn annotations(config: &Config) -> Option<Value> {
    let elsewhere = config.tunnel.filter(|tunnel| config.addresses.first() != Some(&tunnel.ip()))?;
    Some(json!({TUNNEL: elsewhere.to_string()}))
}

/// What pods may be given of what the node has: all of it. What others have counted of it (devices, licences) is in its capacity.
fn allocatable(machine: &Machine, known: Option<&Node>) -> Value {
    let mut all = json!(machine.quantities());
    let capacity = known.and_then(|node| node.status.as_ref()?.capacity.as_ref());
    for (name, amount) in capacity.into_iter().flatten() {
        if all.get(name).is_none() {
            all[name] = amount.0.as_str().into();
        }
    }
    all
}

/// Whether the cluster knows what pods may be given.
fn is_counted(node: &Node, machine: &Machine) -> bool {
    let wanted = allocatable(machine, Some(node));
    let wanted = wanted
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, amount)| Some((name.clone(), Quantity::of(&Written(amount.as_str()?.to_owned())))));
    let known = node.status.as_ref().and_then(|status| status.allocatable.as_ref()).into_iter().flatten();
    let known = known.map(|(name, amount)| (name.clone(), Quantity::of(amount)));
    wanted.collect::<BTreeMap<String, Quantity>>() == known.collect::<BTreeMap<String, Quantity>>()
}

/// The status of a node that is alive.
fn status(config: &Config, machine: &Machine, pressures: Pressures, known: Option<&Node>, now: Timestamp) -> Value {
    let mut allocatable = allocatable(machine, known);
    for (name, _) in known.iter().filter_map(|node| node.status.as_ref()?.allocatable.as_ref()).flatten() {
        if allocatable.get(name).is_none() {
            allocatable[name] = Value::Null;
        }
    }
    let known = known.and_then(|node| node.status.as_ref()?.conditions.as_deref()).unwrap_or_default();
    let seconds = format!("{now:.0}");
    let conditions: Vec<Value> = conditions(pressures)
        .iter()
        .map(|(kind, holds, reason, message)| {
            let same = known.iter().find(|known| known.type_ == *kind && known.status == *holds);
            let since = same.and_then(|known| known.last_transition_time.as_ref());
            let since = since.map_or_else(|| seconds.clone(), |time| format!("{:.0}", time.0));
            json!({
                "type": kind, "status": holds, "reason": reason, "message": message,
                "lastHeartbeatTime": seconds, "lastTransitionTime": since,
            })
        })
        .collect();
    let addresses =
        config.addresses.iter().map(|address| json!({"type": "InternalIP", "address": address.to_string()}));
    let name = json!({"type": "Hostname", "address": config.node_name});
    let version = concat!("v1.33.0+coracle-", env!("CARGO_PKG_VERSION"));
    json!({
        "addresses": addresses.chain([name]).collect::<Vec<_>>(),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": config.tunnel.map_or(0, |tunnel| tunnel.port())}},
        "capacity": machine.quantities(), "allocatable": allocatable, "conditions": conditions,
        "nodeInfo": {
            "machineID": machine.id, "systemUUID": machine.id, "bootID": machine.boot_id,
            "kernelVersion": machine.kernel, "osImage": machine.os_image, "operatingSystem": "linux",
            "architecture": Machine::architecture(), "kubeletVersion": version, "kubeProxyVersion": version,
            "containerRuntimeVersion": concat!("coracle://", env!("CARGO_PKG_VERSION")),
        },
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Resources;

    #[test]
    fn a_node_tells_that_it_is_well_and_what_it_has() {
        let config = Config::new("n1", "data");
        let machine = Machine::read(
            &Resources { cpu_millis: Some(2_000), memory_bytes: Some(1 << 30), pods: Some(10) },
            Path::new("none"),
        );
        let told = status(&config, &machine, Pressures::default(), None, Timestamp::UNIX_EPOCH);
        assert_eq!(told["nodeInfo"].as_object().map(serde_json::Map::len), Some(10));
        assert_eq!(told["capacity"], json!({"cpu": "2", "memory": "1048576Ki", "pods": "10"}));
        assert_eq!(told["conditions"][3]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        let node: Node = serde_json::from_value(json!({"metadata": {}, "status": told})).expect("a node");
        assert!(is_told(&node, Pressures::default()));
        assert!(!is_told(&node, Pressures { memory: true, disk: false }));
        assert!(!is_told(&Node::default(), Pressures::default()));
        assert!(is_counted(&node, &machine));
        assert_eq!(labels(&config)["kubernetes.io/hostname"], "n1");
    }

    #[test]
    fn what_others_have_counted_of_a_node_may_be_given_too() {
        let machine = Machine::read(
            &Resources { cpu_millis: Some(1), memory_bytes: Some(1 << 20), pods: Some(1_000) },
            Path::new("none"),
        );
        let own = json!({"cpu": "1m", "memory": "1024Ki", "pods": "1k"});
        let node = |dongles: Option<&str>, given: Option<&str>| {
            let with = |dongles: Option<&str>| {
                let mut all = own.clone();
                all.as_object_mut()
                    .expect("an object")
                    .extend(dongles.map(|it| ("example.com/dongle".to_owned(), it.into())));
                all
            };
            let status = json!({"capacity": with(dongles), "allocatable": with(given)});
            serde_json::from_value::<Node>(json!({"metadata": {}, "status": status})).expect("a node")
        };
        let told = |known: &Node| {
            let status =
                status(&Config::new("n1", "data"), &machine, Pressures::default(), Some(known), Timestamp::UNIX_EPOCH);
            status["allocatable"]["example.com/dongle"].clone()
        };
        assert!(is_counted(&node(None, None), &machine));
        assert!(is_counted(&node(Some("4"), Some("4")), &machine));
        assert!(!is_counted(&node(Some("4"), None), &machine));
        assert!(!is_counted(&node(None, Some("4")), &machine));
        assert_eq!(told(&node(Some("4"), None)), "4");
        assert_eq!(told(&node(None, Some("4"))), Value::Null);
    }

    #[test]
    fn a_node_tells_where_it_is_dialled() {
        let told = |tunnel: Option<&str>| {
            let address = "192.0.2.7".parse().expect("an address");
            let tunnel = tunnel.map(|tunnel| tunnel.parse().expect("an address"));
            let config = Config { addresses: vec![address], tunnel, ..Config::new("n1", "data") };
            let machine = Machine::read(
                &Resources { cpu_millis: Some(1), memory_bytes: Some(1), pods: Some(1) },
                Path::new("none"),
            );
            let status = status(&config, &machine, Pressures::default(), None, Timestamp::UNIX_EPOCH);
            (status["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64(), annotations(&config))
        };
        assert_eq!(told(Some("192.0.2.7:6443")), (Some(6443), None), "the address and the port say it");
        assert_eq!(told(Some("127.0.0.1:7000")), (Some(7000), Some(json!({TUNNEL: "127.0.0.1:7000"}))));
        assert_eq!(told(None), (Some(0), None));
    }
}
