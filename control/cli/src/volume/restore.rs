//! Restoring: a file is brought to a node, and becomes a `VolumeSnapshot` there and a claim that is filled from it.

use std::path::Path;

use anyhow::{Context, bail};
use api::snapshots::{GROUP, Handle, VERSION};
use api::{Key, Object, kinds, storage};
use client::{Client, ListOptions};
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use k8s_openapi::api::core::v1::Node;
use serde::Deserialize;
use serde_json::json;
use tokio_util::io::ReaderStream;

use super::{archive, create, unmake};
use crate::access;
use crate::args::RestoreVolume;

/// Room in a volume beside what its files hold: a file takes some of it even if it is empty.
const ROOM_MIN_BYTES: u64 = 1 << 20;

/// What a node says of what it was brought.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Taken {
    handle: String,
    restore_size: u64,
}

pub(super) async fn run(args: RestoreVolume) -> anyhow::Result<()> {
    let cluster = access::cluster(&args.access)?;
    let (client, namespace) = (&cluster.client, &*cluster.namespace);
    let claim = kinds::PERSISTENT_VOLUME_CLAIM.key(namespace, &args.claim);
    match client.get(&claim).await {
        Ok(_) => bail!("persistentvolumeclaims {:?} already exists", args.claim),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    let node = match &args.node {
        Some(node) => client.get(&kinds::NODE.cluster_key(node)).await?.key().name().to_owned(),
        None => first_node(client).await?,
    };
    let name = format!("restored-{}", uuid::Uuid::new_v4().simple());
    let taken = send(client, &node, &name, &args.file).await?;
    taken.handle.parse::<Handle>().ok().context("the node answered with no handle")?;
    let mut made = Vec::new();
    let done = make(client, &args, namespace, &name, &taken, &mut made).await;
    if done.is_err() {
        unmake(client, &made).await;
    }
    done?;
    println!("persistentvolumeclaim/{} created, to be filled from volumesnapshot/{name} on node {node}", args.claim);
    Ok(())
}

/// What names the archive, so that it goes with the snapshot, and the claim that wants what is in it.
async fn make(
    client: &Client,
    args: &RestoreVolume,
    namespace: &str,
    name: &str,
    taken: &Taken,
    made: &mut Vec<Key>,
) -> anyhow::Result<()> {
    let content = json!({
        "apiVersion": VERSION, "kind": "VolumeSnapshotContent", "metadata": {"name": name},
        "spec": {
            "driver": storage::LOCAL_PATH, "deletionPolicy": "Delete", "source": {"snapshotHandle": taken.handle},
            "volumeSnapshotRef": {"namespace": namespace, "name": name},
        },
    });
    made.push(create(client, kinds::VOLUME_SNAPSHOT_CONTENT, content).await?);
    let snapshot = json!({
        "apiVersion": VERSION, "kind": "VolumeSnapshot", "metadata": {"name": name, "namespace": namespace},
        "spec": {"source": {"volumeSnapshotContentName": name}},
    });
    made.push(create(client, kinds::VOLUME_SNAPSHOT, snapshot).await?);
    let size = args.size.clone().unwrap_or_else(|| taken.restore_size.max(ROOM_MIN_BYTES).to_string());
    let mut claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": args.claim, "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}},
            "dataSource": {"apiGroup": GROUP, "kind": "VolumeSnapshot", "name": name},
        },
    });
    if let Some(class) = &args.storage_class {
        claim["spec"]["storageClassName"] = class.as_str().into();
    }
    made.push(create(client, kinds::PERSISTENT_VOLUME_CLAIM, claim).await?);
    Ok(())
}

async fn first_node(client: &Client) -> anyhow::Result<String> {
    let (nodes, _) = client.list(kinds::NODE, None, &ListOptions::default()).await?;
    let mut fit: Vec<&str> = nodes.iter().filter(|node| takes_pods(node)).map(|node| node.key().name()).collect();
    fit.sort_unstable();
    Ok(fit.first().context("no node is ready and takes pods; say --node")?.to_string())
}

fn takes_pods(node: &Object) -> bool {
    let Ok(node) = node.decode::<Node>() else { return false };
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_ready = conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
    is_ready && node.spec.as_ref().is_none_or(|spec| spec.unschedulable != Some(true))
}

/// Streams the file to the node.
async fn send(client: &Client, node: &str, name: &str, path: &Path) -> anyhow::Result<Taken> {
    let file = tokio::fs::File::open(path).await.with_context(|| format!("cannot read {}", path.display()))?;
    let frames = futures::StreamExt::map(ReaderStream::new(file), |piece| piece.map(http_body::Frame::data));
    let body = StreamBody::new(frames).map_err(Into::into).boxed_unsync();
    let answer = client.request(Request::put(archive(node, name)).body(body)?).await?;
    let status = answer.status();
    let said = answer.into_body().collect().await?.to_bytes();
    if !status.is_success() {
        bail!("node {node} does not take {}: {}", path.display(), String::from_utf8_lossy(&said).trim());
    }
    serde_json::from_slice(&said).context("the node's answer")
}
