//! What is in a namespace's volumes, as files beside its manifests, and back.
//!
//! A file is what a node packs of a volume that lies on it, `CLAIM.tar.gz`. On the way back the claim names it by its SHA-256, and gets
//! a volume on whichever node its first pod goes to; that node is given the file, and nobody mounts the volume before it has all of
//! it. Both go by way of the node's proxy, so whoever does this may use `nodes/proxy`: an administrator.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use api::snapshots::{self, Saved};
use api::{Key, Object, kinds, storage};
use client::Client;
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio_util::io::ReaderStream;

use super::Wanted;
use crate::progress::say;
use crate::verbs;

/// What the names of such files end with.
const ENDING: &str = ".tar.gz";
/// So much of a file is read at once.
const PIECE_BYTES: usize = 64 << 10;

/// Between two attempts to give a node what its volume waits for, and how many there are.
const AGAIN: Duration = Duration::from_secs(1);
const TRIES: usize = 20;

/// A file and what its content is called.
pub(super) struct Packed {
    file: PathBuf,
    saved: Saved,
}

/// Adds up what is written to it.
struct Sum<'a>(&'a mut Sha256);

/// Makes a file of what is in the volume of each claim that has one on a node; says of the others that there is none.
pub(super) async fn save(client: &Client, claims: &[&Object], folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for claim in claims {
        let (name, file) = (claim.key().name(), file(folder, claim.key().name()));
        ensure!(!file.exists(), "{} is there already", file.display());
        match home(client, claim).await? {
            Some((node, volume)) => {
                let bytes = fetch(client, &node, &volume, &file).await.with_context(|| format!("claim {name}"))?;
                say(&format!("{}: {bytes} bytes of {name}", file.display()));
            }
            None => say(&format!("warning: {name} has no volume that lies on a node; what is in it is not taken")),
        }
    }
    Ok(())
}

fn file(folder: &Path, claim: &str) -> PathBuf {
    folder.join(format!("{claim}{ENDING}"))
}

/// The node and the volume of a claim, if it is one that this cluster made there.
async fn home(client: &Client, claim: &Object) -> anyhow::Result<Option<(String, String)>> {
    let claim = claim.decode::<PersistentVolumeClaim>()?;
    let Some(name) = storage::volume_of(&claim).filter(|_| storage::is_bound(&claim)) else { return Ok(None) };
    let volume = client.get(&kinds::PERSISTENT_VOLUME.cluster_key(name)).await?;
    let typed = volume.decode::<PersistentVolume>()?;
    let source = typed.spec.as_ref().and_then(|spec| spec.csi.as_ref());
    let is_local = source.is_some_and(|source| source.driver == storage::LOCAL_PATH);
    let node = volume.meta().labels.get(storage::NODE_LABEL).filter(|_| is_local);
    Ok(node.map(|node| (node.clone(), name.to_owned())))
}

async fn fetch(client: &Client, node: &str, volume: &str, file: &Path) -> anyhow::Result<u64> {
    let next = file.with_extension("new");
    let fetched = receive(client, node, volume, &next).await.and_then(|bytes| {
        std::fs::rename(&next, file).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(bytes)
    });
    if fetched.is_err() {
        // What is not there need not be removed.
        let _ = std::fs::remove_file(&next);
    }
    fetched
}

async fn receive(client: &Client, node: &str, volume: &str, path: &Path) -> anyhow::Result<u64> {
    let request = Request::get(at(node, volume)).body(client::no_body())?;
    let answer = client.request(request).await?;
    let status = answer.status();
    let mut body = answer.into_body();
    if !status.is_success() {
        let refused = body.collect().await?.to_bytes();
        bail!("node {node} does not give it: {}", String::from_utf8_lossy(&refused).trim());
    }
    let unwritten = || format!("cannot write {}", path.display());
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).with_context(unwritten)?;
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.context("the node did not send all of it")?.into_data() {
            bytes += piece.len() as u64;
            file.write_all(&piece).with_context(unwritten)?;
        }
    }
    file.sync_all().with_context(unwritten)?;
    Ok(bytes)
}

/// The files of a folder by their claims, which have to be among these. All are read, and nothing is sent.
pub(super) fn look(folder: &Path, wanted: &[Wanted]) -> anyhow::Result<BTreeMap<Key, Packed>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let file = entry?.path();
        let name = file.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(ENDING));
        let Some(name) = name else { continue };
        let is_its = |one: &&Wanted| one.key.kind() == kinds::PERSISTENT_VOLUME_CLAIM && one.key.name() == name;
        let Some(claim) = wanted.iter().find(is_its) else {
            bail!("{} is of no claim that is in the manifests", file.display());
        };
        let mut digest = Sha256::new();
        let read = File::open(&file).and_then(|mut content| std::io::copy(&mut content, &mut Sum(&mut digest)));
        read.with_context(|| format!("cannot read {}", file.display()))?;
        let saved = Saved { name: format!("import-{name}"), hash: hex::encode(digest.finalize()) };
        found.insert(claim.key.clone(), Packed { file, saved });
    }
    Ok(found)
}

/// Fills the volumes of claims, each as soon as its first pod has a node.
pub(super) async fn fill(client: &Client, packed: &BTreeMap<Key, Packed>) -> anyhow::Result<()> {
    if !packed.is_empty() {
        say("volumes are filled when the pods of their claims have nodes; `--volumes-only` goes on with it later");
    }
    futures::future::try_join_all(packed.iter().map(|(claim, packed)| fill_one(client, claim, packed))).await?;
    Ok(())
}

async fn fill_one(client: &Client, key: &Key, packed: &Packed) -> anyhow::Result<()> {
    let told = || format!("persistentvolumeclaim/{}", key.name());
    let claim = client.get(key).await?;
    let waits_for = snapshots::restored_from(&*claim.decode::<PersistentVolumeClaim>()?);
    match waits_for {
        Some(saved) if saved == packed.saved => {}
        Some(_) => bail!("{} waits for something else than {}", told(), packed.file.display()),
        None => {
            println!("{} waits for nothing", told());
            return Ok(());
        }
    }
    let volume = kinds::PERSISTENT_VOLUME.cluster_key(&format!("pvc-{}", claim.meta().uid));
    for tries_left in (0..TRIES).rev() {
        let node = verbs::watch_until(client, &volume, |volume| volume.map(place)).await?;
        let Some(node) = node.with_context(told)? else { break };
        match send(client, &node, volume.name(), &packed.file).await {
            Ok(()) => break,
            Err(error) if tries_left == 0 => return Err(error.context(format!("{} is not filled", told()))),
            // The node may not have heard of its volume yet.
            Err(error) => tracing::debug!(%error, "not filled yet"),
        }
        tokio::time::sleep(AGAIN).await;
    }
    println!("{} filled", told());
    Ok(())
}

/// The node on which a volume waits; none if it has what it waited for.
fn place(volume: &Object) -> anyhow::Result<Option<String>> {
    let node = volume.meta().labels.get(storage::NODE_LABEL);
    match volume.meta().annotations.get(storage::FILLED_FROM) {
        Some(_) if storage::is_unfilled(volume) => Ok(node.cloned()),
        Some(_) => Ok(None),
        None => bail!("its class makes volumes that do not lie on nodes, and cannot be filled"),
    }
}

async fn send(client: &Client, node: &str, volume: &str, file: &Path) -> anyhow::Result<()> {
    let content = tokio::fs::File::open(file).await.with_context(|| format!("cannot read {}", file.display()))?;
    let pieces = ReaderStream::with_capacity(content, PIECE_BYTES);
    let frames = futures::StreamExt::map(pieces, |piece| piece.map(http_body::Frame::data));
    let body = StreamBody::new(frames).map_err(Into::into).boxed_unsync();
    let answer = client.request(Request::put(at(node, volume)).body(body)?).await?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let said = answer.into_body().collect().await?.to_bytes();
    bail!("node {node} does not take {}: {}", file.display(), String::from_utf8_lossy(&said).trim());
}

/// Where a node gives and takes what is in a volume.
fn at(node: &str, volume: &str) -> String {
    format!("/api/v1/nodes/{node}/proxy/volumes/{volume}")
}

// === impl Packed ===

impl Packed {
    /// Has a claim name what its volume is to be filled from.
    pub(super) fn name_in(&self, claim: &mut Value) {
        claim["metadata"]["annotations"][storage::RESTORED_FROM] = self.saved.to_string().into();
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }
}

// === impl Sum ===

impl Write for Sum<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
