//! The cluster's backup, for those who run it: a file of all there is, and the key that opens it.
//!
//! What is in volumes comes from their nodes while it is written, over the links that they keep: nothing of it lies here on the way.
//! The way back is the same: [`Backups::bring`] streams to a node what its volume waits for.
//!
//! Any server gives it, of the newest world there is. It is sealed before it leaves, so whoever may only take it
//! (`get` on `/coracle/v1/snapshot`) sees nothing; what opens it is told at a path of its own. The key is a secret of the cluster like
//! others, so all servers have the same one, and it outlives each of them.

mod volumes;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::{Object, Reason, StatusError, kinds};
use axum::body::Body;
use axum::extract::{Request, State};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::StatusCode;
use k8s_openapi::api::core::v1::Secret;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use sha2::{Digest, Sha256};
use state::{Guard, Snapshot, Txn};
use store::ProposeError;
use store::backup::{BackupError, Contents, Key, Tally, Writer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::answer::{self, Answer, Long, Refusal};
use crate::query::Query;
use crate::rest::unreadable;
use crate::{Charter, Door, registry, target};

/// The secret with the key, of the namespace [`HOME`], and what it is of.
const SECRET: &str = "coracle-snapshot-key";
const HOME: &str = "kube-system";
const TYPE: &str = "coracle.dev/snapshot-key";
const ENTRY: &str = "key";
/// Those who make the key at one time are as many as there are servers.
const TRIES: usize = 8;
/// What is written ahead of a client that reads slowly.
const PIECES_AHEAD: usize = 8;
/// What the file with all that makes a server is called in a backup.
pub const CHARTER_FILE: &str = "charter.json";
/// The folder that the files of the image registry are below in a backup.
pub const IMAGES_FOLDER: &str = "registry";

/// Which part of the cluster that is not objects goes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Images {
    /// None of its images.
    Left,
    /// All that this server's registry has.
    Taken,
}

/// Of which volumes goes along what is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volumes {
    /// Of none.
    Left,
    /// Of all that lie on nodes and are bound; where one cannot be had, there is no backup.
    All,
    /// Of those of them that can be had; the others are told by name.
    Available,
}

/// What a backup is to hold beside the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Which images.
    pub images: Images,
    /// Which volumes.
    pub volumes: Volumes,
    /// Only volumes of claims of these namespaces; of all if there are none.
    pub namespaces: Vec<String>,
}

/// Takes backups for others than clients.
#[derive(Clone)]
pub struct Backups(pub(crate) Arc<Door>);

/// A backup that is to be written.
pub struct Backup {
    contents: Contents,
    key: Key,
    world: Snapshot,
    charter: Charter,
    images: Option<PathBuf>,
    volumes: Option<volumes::Wanted>,
}

/// Hands on what is written, and waits for those who read.
struct Pipe(mpsc::Sender<io::Result<Bytes>>);

/// The key that opens backups.
pub(crate) async fn key(State(door): State<Arc<Door>>) -> Result<Answer, Refusal> {
    let key = Backups(door).key().await?;
    Ok(answer::value(StatusCode::OK, &json!({"key": key.reveal()})))
}

/// A backup, as a stream that is refused by whoever reads it if it ends too early.
pub(crate) async fn take(State(door): State<Arc<Door>>, request: Request) -> Result<Answer, Refusal> {
    let extent = extent(&Query::parse(request.uri().query()))?;
    let backup = Backups(door).begin(&extent).await?;
    let (send, receive) = mpsc::channel(PIECES_AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = backup.write(Pipe(send.clone())) {
            tracing::warn!(%error, "a snapshot was not taken to its end");
            // What was given up says so itself. Else the one who reads may be what failed.
            if !matches!(error, BackupError::GivenUp(_)) {
                let _ = send.blocking_send(Err(io::Error::other(error)));
            }
        }
    });
    let mut answer =
        answer::typed(StatusCode::OK, "application/octet-stream", Body::from_stream(ReceiverStream::new(receive)));
    answer.extensions_mut().insert(Long);
    Ok(answer)
}

/// What is asked for.
fn extent(query: &Query) -> Result<Extent, StatusError> {
    let images = match query.get("images") {
        None | Some("false") => Images::Left,
        Some("true") => Images::Taken,
        Some(other) => return Err(StatusError::bad_request(format!("images: {other:?} is not true or false"))),
    };
    let volumes = match query.get("volumes") {
        None | Some("none") => Volumes::Left,
        Some("all") => Volumes::All,
        Some("available") => Volumes::Available,
        Some(other) => {
            return Err(StatusError::bad_request(format!("volumes: {other:?} is not none, all or available")));
        }
    };
    let namespaces = query.get("namespaces").unwrap_or_default().split(',').filter(|name| !name.is_empty());
    Ok(Extent { images, volumes, namespaces: namespaces.map(str::to_owned).collect() })
}

// === impl Backups ===

impl Backups {
    /// The world as it is now, ready to be written.
    pub async fn begin(&self, extent: &Extent) -> Result<Backup, StatusError> {
        // Before the world: what is agreed there about authorities is then the newer of the two.
        let charter = self.0.charter.as_ref().ok_or_else(target::nothing_here)?;
        let charter = charter().map_err(StatusError::internal)?;
        let key = self.key().await?;
        let world = self.0.store.read().await.map_err(unreadable)?;
        let volumes = match extent.volumes {
            Volumes::Left => None,
            all => Some(volumes::Wanted::of(&self.0, &world, all, &extent.namespaces)?),
        };
        let counted = match extent.images {
            Images::Left => None,
            // Servers copy images from each other; this one may not have come to it yet.
            Images::Taken => Some(registry::gathered(&self.0, &world).await),
        };
        let contents = Contents {
            taken: (self.0.clock)().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            revision: world.revision().0,
            objects: world.objects().count() as u64,
            cluster: fingerprint(&charter)?,
            images: extent.images == Images::Taken,
            image_count: counted.map(|(here, _)| here),
            images_lost: counted.map(|(_, lost)| lost).filter(|lost| *lost > 0),
            volumes: volumes.as_ref().map(volumes::Wanted::count),
        };
        let images = (extent.images == Images::Taken).then(|| self.0.images.root().to_owned());
        Ok(Backup { contents, key, world, charter, images, volumes })
    }

    /// The cluster's key, made by whoever needs it first.
    pub async fn key(&self) -> Result<Key, StatusError> {
        let at = kinds::SECRET.key(HOME, SECRET);
        for _ in 0..TRIES {
            let world = self.0.store.read().await.map_err(unreadable)?;
            if let Some(secret) = world.get(&at) {
                return read(secret).ok_or_else(|| {
                    StatusError::internal(format!("secret {HOME}/{SECRET} holds no key of snapshots in {ENTRY:?}"))
                });
            }
            let key = Key::fresh();
            let made = Txn::create(self.secret(&key)?).guard(Guard::Alive(kinds::NAMESPACE.cluster_key(HOME)));
            match self.0.store.propose(made).await {
                Ok(_) => return Ok(key),
                Err(ProposeError::Conflict(_)) => {}
                Err(error) => return Err(StatusError::new(Reason::ServiceUnavailable, error.to_string())),
            }
        }
        Err(StatusError::new(Reason::ServiceUnavailable, format!("secret {HOME}/{SECRET} cannot be made")))
    }

    fn secret(&self, key: &Key) -> Result<Object, StatusError> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": TYPE,
            "metadata": {
                "name": SECRET, "namespace": HOME, "uid": self.0.uid(),
                "creationTimestamp": (self.0.clock)().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            },
            "data": {ENTRY: BASE64_STANDARD.encode(key.reveal())},
        });
        Object::from_tree(kinds::SECRET, secret).map_err(StatusError::internal)
    }
}

/// What the cluster is known by, as in the tokens that machines join with.
fn fingerprint(charter: &Charter) -> Result<String, StatusError> {
    let authority = CertificateDer::from_pem_slice(charter.ca.as_bytes()).map_err(StatusError::internal)?;
    Ok(hex::encode(Sha256::digest(authority)))
}

fn read(secret: &Object) -> Option<Key> {
    let secret = secret.decode::<Secret>().ok()?;
    let key = secret.data.as_ref()?.get(ENTRY)?;
    std::str::from_utf8(&key.0).ok()?.parse().ok()
}

// === impl Backup ===

impl Backup {
    /// What is in it.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Writes it, and says what came of the volumes. This takes as long as the other end does, and a thread of a runtime for what
    /// blocks.
    ///
    /// # Errors
    /// With [`BackupError::GivenUp`] what was written tells that itself.
    pub fn write(&self, out: impl Write) -> Result<Tally, BackupError> {
        let mut writer = Writer::begin(out, &self.key, &self.contents)?;
        let charter = serde_json::to_vec(&self.charter).map_err(io::Error::from)?;
        writer.file(CHARTER_FILE, charter.len() as u64, charter.as_slice())?;
        for object in self.world.objects() {
            writer.object(object)?;
        }
        if let Some(root) = &self.images {
            // What names content comes before it: what is pushed meanwhile is content that nothing names, not a name without.
            for part in ["repositories", "blobs"] {
                folder(&mut writer, &root.join(part), &format!("{IMAGES_FOLDER}/{part}"))?;
            }
        }
        if let Some(volumes) = &self.volumes
            && let Err(why) = volumes.write(&mut writer)?
        {
            writer.give_up(&why)?;
            return Err(BackupError::GivenUp(why));
        }
        let tally = writer.tally().clone();
        writer.finish().map(|_| tally)
    }
}

/// Adds the files below a folder, which lie under `name` in the backup.
fn folder(writer: &mut Writer<impl Write>, path: &Path, name: &str) -> Result<(), BackupError> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let Ok(child) = entry.file_name().into_string() else { continue };
        let name = format!("{name}/{child}");
        if entry.file_type()?.is_dir() {
            folder(writer, &entry.path(), &name)?;
        } else {
            let file = std::fs::File::open(entry.path())?;
            let length = file.metadata()?.len();
            writer.file(&name, length, file.take(length))?;
        }
    }
    Ok(())
}

// === impl Pipe ===

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads any more"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
