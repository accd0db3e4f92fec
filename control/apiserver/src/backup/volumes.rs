//! What is in volumes that lie on nodes: out of them into a backup, and back.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use api::{Key, Object, Reason, StatusError, kinds, snapshots, storage};
use axum::body::{Body, BodyDataStream};
use bytes::{Buf, Bytes};
use futures::StreamExt;
use http::Request;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use state::Snapshot;
use store::backup::{BackupError, Writer};
use tokio::runtime::Handle;
use tokio_util::io::ReaderStream;

use super::{Backups, Volumes};
use crate::Door;

/// So much of an archive is read at once.
const PIECE_BYTES: usize = 64 << 10;
/// What a node says of what it does not do is a line.
const REFUSAL_BYTES_MAX: usize = 4 << 10;

/// The volumes that are wanted.
pub(super) struct Wanted {
    door: Arc<Door>,
    extent: Volumes,
    volumes: Vec<Volume>,
}

/// A volume that lies on a node and is bound, or is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Volume {
    /// Whose it is, as people say it.
    claim: String,
    at: At,
}

/// Where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    Node {
        name: String,
        node: String,
    },
    /// It is yet to be filled, from the last backup.
    Nowhere,
}

/// Reads what a node sends, and waits for it.
struct Incoming {
    runtime: Handle,
    pieces: BodyDataStream,
    piece: Bytes,
}

/// The volumes of a world that lie on nodes and have what claims of these namespaces need, by claim.
fn volumes(world: &Snapshot, namespaces: &[String]) -> Vec<Volume> {
    let claims = world.list(kinds::PERSISTENT_VOLUME_CLAIM).filter(|claim| !claim.meta().is_terminating());
    let claims = claims.filter(|claim| {
        namespaces.is_empty() || namespaces.iter().any(|namespace| namespace == claim.key().namespace())
    });
    let mut found: Vec<(Key, Volume)> = claims
        .filter_map(|claim| {
            let claim_name = format!("{}/{}", claim.key().namespace(), claim.key().name());
            Some((claim.key().clone(), Volume { claim: claim_name, at: place(world, claim)? }))
        })
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found.into_iter().map(|(_, volume)| volume).collect()
}

fn place(world: &Snapshot, object: &Object) -> Option<At> {
    let claim = object.decode::<PersistentVolumeClaim>().ok()?;
    if !storage::is_bound(&claim) {
        return snapshots::restored_from(&claim).map(|_| At::Nowhere);
    }
    let volume = world.get(&kinds::PERSISTENT_VOLUME.cluster_key(storage::volume_of(&claim)?))?;
    let is_made = volume.meta().annotations.get(storage::PROVISIONED_BY).is_some_and(|by| by == storage::LOCAL_PATH);
    let typed = volume.decode::<PersistentVolume>().ok()?;
    let is_its = is_made && !volume.meta().is_terminating() && storage::is_kept_for(&typed, &claim);
    let node = volume.meta().labels.get(storage::NODE_LABEL).filter(|_| is_its)?;
    Some(At::Node { name: volume.key().name().to_owned(), node: node.clone() })
}

// === impl Wanted ===

impl Wanted {
    /// Those of a world; where all are wanted and one cannot be had, that is told now.
    pub(super) fn of(
        door: &Arc<Door>,
        world: &Snapshot,
        extent: Volumes,
        namespaces: &[String],
    ) -> Result<Self, StatusError> {
        let is_there = |name: &&String| world.get(&kinds::NAMESPACE.cluster_key(name)).is_some();
        if let Some(missing) = namespaces.iter().find(|name| !is_there(name)) {
            let why = format!("there is no namespace {missing}, so nothing of its volumes can be saved");
            return Err(StatusError::new(Reason::BadRequest, why));
        }
        let wanted = Self { door: door.clone(), extent, volumes: volumes(world, namespaces) };
        let lacking = wanted.volumes.iter().filter_map(|volume| wanted.obstacle(volume).map(|why| (volume, why)));
        let lacking: Vec<String> = lacking.map(|(volume, why)| format!("{} ({why})", volume.claim)).collect();
        if extent == Volumes::All && !lacking.is_empty() {
            let lacking = lacking.join(", ");
            let why = format!("what is in the volumes of these claims cannot be had: {lacking}");
            return Err(StatusError::new(Reason::ServiceUnavailable, why));
        }
        Ok(wanted)
    }

    pub(super) fn count(&self) -> u64 {
        self.volumes.len() as u64
    }

    /// Writes all of them; where one that has to be there is not, why.
    pub(super) fn write(&self, writer: &mut Writer<impl Write>) -> Result<Result<(), String>, BackupError> {
        for volume in &self.volumes {
            let Err(why) = self.write_one(volume, writer)? else { continue };
            if self.extent == Volumes::All {
                return Ok(Err(format!("{}: {why}", volume.claim)));
            }
            tracing::warn!(claim = %volume.claim, %why, "what is in a volume is not in the snapshot");
            let node = match &volume.at {
                At::Node { node, .. } => format!(" on node {node}"),
                At::Nowhere => String::new(),
            };
            writer.left(format!("{}{node}", volume.claim));
        }
        Ok(Ok(()))
    }

    fn write_one(&self, volume: &Volume, writer: &mut Writer<impl Write>) -> Result<Result<(), String>, BackupError> {
        let At::Node { name, node } = &volume.at else { return Ok(Err(self.obstacle(volume).unwrap_or_default())) };
        let runtime = Handle::current();
        let body = match runtime.block_on(ask(&self.door, node, name)) {
            Ok(body) => body,
            Err(why) => return Ok(Err(why)),
        };
        let incoming = Incoming { runtime, pieces: body.into_data_stream(), piece: Bytes::new() };
        let written = writer.volume(name, incoming)?;
        Ok(written.map_err(|error| format!("node {node} broke off: {error}")))
    }

    fn obstacle(&self, volume: &Volume) -> Option<String> {
        match &volume.at {
            At::Nowhere => Some("it is not filled yet".into()),
            At::Node { node, .. } if !self.door.links.is_linked(node) => Some(format!("node {node} is not connected")),
            At::Node { .. } => None,
        }
    }
}

/// Asks a node for what is in a volume.
async fn ask(door: &Door, node: &str, volume: &str) -> Result<Body, String> {
    let request = Request::get(format!("/volumes/{volume}")).body(Body::empty());
    let answer = door.links.ask(node, request.map_err(|error| error.to_string())?).await;
    let answer = answer.map_err(|refused| refused.to_string())?;
    if answer.status().is_success() {
        return Ok(answer.into_body());
    }
    Err(refusal(node, answer).await)
}

async fn refusal(node: &str, answer: http::Response<Body>) -> String {
    let status = answer.status();
    let said = axum::body::to_bytes(answer.into_body(), REFUSAL_BYTES_MAX).await.unwrap_or_default();
    format!("node {node} says {status}: {}", String::from_utf8_lossy(&said).trim())
}

// === impl Backups ===

impl Backups {
    /// Streams an archive that lies here to the node on which this volume waits for it. The node has it, all of it and safe on its
    /// disk, when this returns.
    ///
    /// # Errors
    /// In words, if the archive cannot be read or the node does not take it; the volume is as it was.
    pub async fn bring(&self, node: &str, volume: &str, archive: &Path) -> Result<(), String> {
        let file = tokio::fs::File::open(archive).await;
        let file = file.map_err(|error| format!("{}: {error}", archive.display()))?;
        let body = Body::from_stream(ReaderStream::with_capacity(file, PIECE_BYTES));
        let request = Request::put(format!("/volumes/{volume}")).body(body);
        let answer = self.0.links.ask(node, request.map_err(|error| error.to_string())?).await;
        let answer = answer.map_err(|refused| refused.to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(refusal(node, answer).await) }
    }
}

// === impl Incoming ===

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.runtime.block_on(self.pieces.next()) {
                Some(piece) => self.piece = piece.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(buffer.len());
        self.piece.split_to(count).copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
