//! Saving: the archive of a snapshot becomes a file, which has its name only once it is what its handle says.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use api::snapshots::{Handle, VERSION, VolumeSnapshot, VolumeSnapshotContent};
use api::{Key, Object, kinds};
use client::Client;
use http::Request;
use http_body_util::BodyExt;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{archive, create, unmake};
use crate::args::SaveVolume;
use crate::{access, verbs};

/// A large volume takes as long as its disk.
const PATIENCE: Duration = Duration::from_secs(3600);

pub(super) async fn run(args: SaveVolume) -> anyhow::Result<()> {
    let cluster = access::cluster(&args.access)?;
    let (client, namespace) = (&cluster.client, &*cluster.namespace);
    ensure!(!args.file.exists(), "{} is there already", args.file.display());
    let named = args.what.strip_prefix("vs/").or_else(|| args.what.strip_prefix("volumesnapshot/"));
    let bytes = match named {
        Some(name) => fetch(client, &kinds::VOLUME_SNAPSHOT.key(namespace, name), &args.file).await?,
        None => {
            client.get(&kinds::PERSISTENT_VOLUME_CLAIM.key(namespace, &args.what)).await?;
            let snapshot = json!({
                "apiVersion": VERSION, "kind": "VolumeSnapshot",
                "metadata": {"name": format!("save-{}", uuid::Uuid::new_v4().simple()), "namespace": namespace},
                "spec": {"source": {"persistentVolumeClaimName": args.what}},
            });
            let made = create(client, kinds::VOLUME_SNAPSHOT, snapshot).await?;
            let fetched = fetch(client, &made, &args.file).await;
            unmake(client, &[made]).await;
            fetched?
        }
    };
    println!("{}: {bytes} bytes of {}", args.file.display(), args.what);
    Ok(())
}

/// Waits until there is something to be fetched, and has it in a file.
async fn fetch(client: &Client, snapshot: &Key, file: &Path) -> anyhow::Result<u64> {
    let kept =
        tokio::time::timeout(PATIENCE, verbs::watch_until(client, snapshot, |object| standing(object, snapshot)));
    let content = kept.await.context("the node does not end with it")???;
    let content = client.get(&kinds::VOLUME_SNAPSHOT_CONTENT.cluster_key(&content)).await?;
    let content = content.decode::<VolumeSnapshotContent>()?;
    let handle = content.handle().and_then(|handle| handle.parse::<Handle>().ok());
    let handle = handle.with_context(|| format!("{} is not kept on a node of this cluster", snapshot.name()))?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let next = folder.join(format!(".{}.new", uuid::Uuid::new_v4().simple()));
    let received = receive(client, &handle, &next).await.and_then(|bytes| {
        std::fs::rename(&next, file).with_context(|| format!("cannot write {}", file.display()))?;
        File::open(folder).and_then(|folder| folder.sync_all()).context("cannot write the folder")?;
        Ok(bytes)
    });
    if received.is_err() {
        // What is not there need not be removed.
        let _ = std::fs::remove_file(&next);
    }
    received
}

/// What holds the data, once it is there; why it never will be.
fn standing(object: Option<&Object>, key: &Key) -> Option<anyhow::Result<String>> {
    let Some(object) = object else { return Some(Err(anyhow::anyhow!("{} is gone", key.name()))) };
    let snapshot = match object.decode::<VolumeSnapshot>() {
        Ok(snapshot) => snapshot,
        Err(error) => return Some(Err(error.into())),
    };
    match (snapshot.content(), snapshot.status.as_ref().and_then(|status| status.error.as_ref())) {
        (Some(content), _) if snapshot.is_ready() => Some(Ok(content.to_owned())),
        (_, Some(error)) => {
            let why = error.message.clone().unwrap_or_else(|| "it cannot be kept".into());
            Some(Err(anyhow::anyhow!(why)))
        }
        _ => None,
    }
}

async fn receive(client: &Client, handle: &Handle, path: &Path) -> anyhow::Result<u64> {
    let request = Request::get(archive(&handle.node, &handle.name)).body(client::no_body())?;
    let answer = client.request(request).await?;
    let status = answer.status();
    let mut body = answer.into_body();
    if !status.is_success() {
        let refused = body.collect().await?.to_bytes();
        bail!("node {} does not give it: {}", handle.node, String::from_utf8_lossy(&refused).trim());
    }
    let unwritten = || format!("cannot write {}", path.display());
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).with_context(unwritten)?;
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.context("the node did not send all of it")?.into_data() {
            digest.update(&piece);
            bytes += piece.len() as u64;
            file.write_all(&piece).with_context(unwritten)?;
        }
    }
    let found = hex::encode(digest.finalize());
    ensure!(found == handle.hash, "what node {} sent is not what was kept: its SHA-256 is {found}", handle.node);
    file.sync_all().with_context(unwritten)?;
    Ok(bytes)
}
