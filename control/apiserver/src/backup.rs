//! The cluster's backup, for those who run it: a file of all there is, and the key that opens it.
//!
//! Any server gives it, of the newest world there is. It is sealed before it leaves, so whoever may only take it
//! (`get` on `/coracle/v1/snapshot`) sees nothing; what opens it is told at a path of its own. The key is a secret of the cluster like
//! others, so all servers have the same one, and it outlives each of them.

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
use store::backup::{BackupError, Contents, Key, Writer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::answer::{self, Answer, Long, Refusal};
use crate::query::Query;
use crate::rest::unreadable;
use crate::{Charter, Door, target};

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
    let images = match Query::parse(request.uri().query()).get("images") {
        None | Some("false") => Images::Left,
        Some("true") => Images::Taken,
        Some(other) => return Err(StatusError::bad_request(format!("images: {other:?} is not true or false")).into()),
    };
    let backup = Backups(door).begin(images).await?;
    let (send, receive) = mpsc::channel(PIECES_AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = backup.write(Pipe(send.clone())) {
            tracing::warn!(%error, "a snapshot was not taken to its end");
            // The one who reads may be what failed.
            let _ = send.blocking_send(Err(io::Error::other(error)));
        }
    });
    let mut answer =
        answer::typed(StatusCode::OK, "application/octet-stream", Body::from_stream(ReceiverStream::new(receive)));
    answer.extensions_mut().insert(Long);
    Ok(answer)
}

// === impl Backups ===

impl Backups {
    /// The world as it is now, ready to be written.
    pub async fn begin(&self, images: Images) -> Result<Backup, StatusError> {
        // Before the world: what is agreed there about authorities is then the newer of the two.
        let charter = self.0.charter.as_ref().ok_or_else(target::nothing_here)?;
        let charter = charter().map_err(StatusError::internal)?;
        let key = self.key().await?;
        let world = self.0.store.read().await.map_err(unreadable)?;
        let contents = Contents {
            taken: (self.0.clock)().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            revision: world.revision().0,
            objects: world.objects().count() as u64,
            cluster: fingerprint(&charter)?,
            images: images == Images::Taken,
        };
        let images = (images == Images::Taken).then(|| self.0.images.root().to_owned());
        Ok(Backup { contents, key, world, charter, images })
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

    /// Writes it. This takes as long as the other end does, and a thread.
    pub fn write(&self, out: impl Write) -> Result<(), BackupError> {
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
        writer.finish().map(drop)
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
