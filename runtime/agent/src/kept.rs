//! What a node keeps of the world on its own disk, to begin with when nobody tells it anything.
//!
//! A node that is cut off goes on with what it has in memory; one that was switched off meanwhile has nothing there. So what it is
//! told is kept in a [vault](crate::vault) as it comes: its own pods and all that they use, and the services, endpoints, ingresses,
//! policies and nodes that every node knows; of other nodes' pods nothing. The tokens of its pods are kept as well. It is written by
//! difference, at most once a second, and only when something changed: an idle node writes nothing.
//!
//! A node starts from it only when no server answers. It then takes for true what it was last told: that its pods have the addresses
//! and the images they had, and that their tokens are good for whoever still believes them. When a server answers, its world takes
//! the place of this one, and every difference is a change like any other.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::{GroupKind, Key, Object, Revision, kinds};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use state::Snapshot;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::context::Context;
use crate::desired::Uid;
use crate::vault::{Change, Found, Vault};
use crate::volumes::tokens::{Ask, Held};

/// What a node keeps. Cloning shares it.
#[derive(Clone)]
pub struct Kept(Arc<Shared>);

struct Shared {
    vault: Mutex<Vault>,
    /// Changes that are to be written with the next.
    waiting: Mutex<Vec<Change>>,
    /// There are such.
    news: Notify,
    /// Whether the node began with this, and has not been heard by any server since.
    is_alone: AtomicBool,
}

/// A token as it lies there.
#[derive(Serialize, Deserialize)]
struct Token {
    text: String,
    expires: Timestamp,
}

/// So long changes are gathered.
const PAUSE: Duration = Duration::from_secs(1);
/// What the names of entries begin with.
const OBJECT: &str = "object ";
const TOKEN: &str = "token ";
const SERVER: &str = "server";

// === impl Kept ===

impl Kept {
    /// Opens what a node has kept in a directory; what was damaged is told, and left out.
    pub fn open(directory: &Path) -> std::io::Result<Self> {
        let (vault, found) = Vault::open(directory)?;
        match found {
            Found::Whole => {}
            Found::CutOff(records) => {
                warn!(directory = %directory.display(), records, "the end of what was kept cannot be read: it is left out");
            }
            Found::Damaged => {
                warn!(directory = %directory.display(), "what was kept is damaged: it is not used");
            }
        }
        Ok(Self(Arc::new(Shared {
            vault: Mutex::new(vault),
            waiting: Mutex::default(),
            news: Notify::new(),
            is_alone: AtomicBool::new(false),
        })))
    }

    /// The world as it was last told, if any of it is here.
    pub fn world(&self) -> Option<Snapshot> {
        let vault = self.0.vault.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = vault.entries().iter().filter(|(name, _)| name.starts_with(OBJECT));
        let objects: Vec<Object> = rows.filter_map(|(_, bytes)| object(bytes)).collect();
        let revision = objects.iter().map(Object::revision).max()?;
        Some(Snapshot::load(revision, objects))
    }

    /// The node begins with this, because nobody tells it anything.
    pub fn begin_alone(&self) {
        self.0.is_alone.store(true, Ordering::Relaxed);
    }

    /// Somebody hears it again.
    pub(crate) fn end_alone(&self) {
        if self.0.is_alone.swap(false, Ordering::Relaxed) {
            info!("a server answers: the node is alone no longer");
        }
    }

    /// Whether the node began with this, and nobody has heard it since.
    pub(crate) fn is_alone(&self) -> bool {
        self.0.is_alone.load(Ordering::Relaxed)
    }

    /// Keeps a token of a pod.
    pub(crate) fn keep_token(&self, uid: &Uid, ask: &Ask, held: &Held) {
        let token = Token { text: held.text.clone(), expires: held.expires };
        let bytes = serde_json::to_vec(&token).unwrap_or_default();
        self.put(token_name(uid, ask), bytes);
    }

    /// Keeps where the server was found.
    pub fn keep_server(&self, address: SocketAddr) {
        if self.server() != Some(address) {
            self.put(SERVER.to_owned(), address.to_string().into_bytes());
        }
    }

    /// Where the server was found last.
    pub fn server(&self) -> Option<SocketAddr> {
        let vault = self.0.vault.lock().unwrap_or_else(PoisonError::into_inner);
        std::str::from_utf8(vault.entries().get(SERVER)?).ok()?.parse().ok()
    }

    fn put(&self, name: String, content: Vec<u8>) {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((name, Some(content)));
        self.0.news.notify_one();
    }

    /// A token that a pod had.
    pub(crate) fn token(&self, uid: &Uid, ask: &Ask) -> Option<Held> {
        let vault = self.0.vault.lock().unwrap_or_else(PoisonError::into_inner);
        let token: Token = serde_json::from_slice(vault.entries().get(&token_name(uid, ask))?).ok()?;
        Some(Held { text: token.text, expires: token.expires })
    }

    /// Writes down what is different from what lies there.
    fn write(&self, world: &Snapshot, node: &str) -> std::io::Result<()> {
        let mut vault = self.0.vault.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes = std::mem::take(&mut *self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        changes.extend(difference(vault.entries(), world, node));
        vault.change(changes)
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("is_alone", &self.is_alone()).finish_non_exhaustive()
    }
}

/// Writes down what the node is told, for ever; what it hears once it has been asked to stop it does not keep, because that is
/// about a node that is not there.
pub(crate) async fn keep(context: Arc<Context>) {
    let Some(kept) = context.config.kept.clone() else { return std::future::pending().await };
    let (mut view, mut linked): (watch::Receiver<Snapshot>, _) = (context.view.clone(), context.linked.subscribe());
    let linking = async {
        while linked.changed().await.is_ok() {
            kept.end_alone();
        }
    };
    let writing = async {
        loop {
            let world = view.borrow_and_update().clone();
            // What it began with is there; and nobody has told it anything yet.
            if world.revision() > Revision::ZERO && !kept.is_alone() && !context.is_stopping.load(Ordering::Relaxed) {
                let (kept, node) = (kept.clone(), context.config.node_name.clone());
                let written = tokio::task::spawn_blocking(move || kept.write(&world, &node)).await;
                if let Ok(Err(error)) = written {
                    warn!(%error, "what the node is told could not be kept");
                }
            }
            tokio::time::sleep(PAUSE).await;
            tokio::select! {
                changed = view.changed() => if changed.is_err() {
                    return;
                },
                () = kept.0.news.notified() => {}
            }
        }
    };
    tokio::join!(linking, writing);
}

/// What makes the entries those of this world.
fn difference(entries: &BTreeMap<String, Vec<u8>>, world: &Snapshot, node: &str) -> Vec<Change> {
    let here: BTreeMap<&str, &Object> = world.pods_on(node).map(|pod| (&*pod.meta().uid, pod)).collect();
    let wanted: BTreeMap<String, &Object> =
        world.objects().filter(|object| concerns(object, &here)).map(|object| (name(object.key()), object)).collect();
    let is_over = |entry: &str| match entry.strip_prefix(TOKEN) {
        Some(token) => token.split(' ').next().is_none_or(|uid| !here.contains_key(uid)),
        None => entry.starts_with(OBJECT) && !wanted.contains_key(entry),
    };
    let gone = entries.keys().filter(|entry| is_over(entry)).map(|entry| (entry.clone(), None));
    let changed = wanted
        .iter()
        .filter(|(entry, object)| entries.get(*entry).and_then(|row| revision(row)) != Some(object.revision()));
    gone.chain(changed.map(|(entry, object)| (entry.clone(), Some(row(object))))).collect()
}

/// Whether an object matters to a node with these pods: everything it is told, but for pods of others.
fn concerns(object: &Object, here: &BTreeMap<&str, &Object>) -> bool {
    object.key().kind() != kinds::POD || here.contains_key(&*object.meta().uid)
}

fn name(key: &Key) -> String {
    format!("{OBJECT}{} {}/{}", key.kind(), key.namespace(), key.name())
}

fn token_name(uid: &str, ask: &Ask) -> String {
    format!("{TOKEN}{uid} {} {}", ask.seconds, ask.audience.as_deref().unwrap_or_default())
}

/// An object as it lies there: its revision, its group and its kind, each with a line end, and its JSON.
fn row(object: &Object) -> Vec<u8> {
    let GroupKind { group, kind } = object.key().kind();
    let mut row = object.revision().0.to_le_bytes().to_vec();
    row.extend_from_slice(format!("{group}\n{kind}\n").as_bytes());
    object.write_json(&mut row);
    row
}

fn revision(row: &[u8]) -> Option<Revision> {
    row.first_chunk::<8>().map(|bytes| Revision(u64::from_le_bytes(*bytes)))
}

fn object(row: &[u8]) -> Option<Object> {
    let revision = revision(row)?;
    let mut parts = row[8..].splitn(3, |byte| *byte == b'\n');
    let mut word = || std::str::from_utf8(parts.next()?).ok();
    let kind = GroupKind::learned(word()?, word()?)?;
    Some(Object::parse(kind, parts.next()?.to_vec()).ok()?.at(revision))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::object as parsed;

    fn thing(kind: &str, name: &str, revision: u64, node: &str) -> Object {
        parsed(&format!(
            r#"{{"apiVersion":"v1","kind":"{kind}","metadata":{{"name":"{name}","namespace":"shop","uid":"u-{name}"}},
                "spec":{{"nodeName":"{node}","containers":[]}}}}"#
        ))
        .at(Revision(revision))
    }

    fn load(objects: impl IntoIterator<Item = Object>) -> Snapshot {
        Snapshot::load(Revision(1), objects)
    }

    fn names(changes: &[Change]) -> Vec<String> {
        let shown = |(name, content): &Change| format!("{}{name}", if content.is_some() { '+' } else { '-' });
        changes.iter().map(shown).collect()
    }

    #[test]
    fn a_node_keeps_what_concerns_it_and_writes_only_what_changed() {
        let directory = tempfile::tempdir().expect("a directory");
        let kept = Kept::open(directory.path()).expect("a vault");
        let before = load([thing("Pod", "a", 3, "n1"), thing("Pod", "b", 4, "n2"), thing("Service", "s", 2, "")]);
        kept.write(&before, "n1").expect("written");
        let told = Kept::open(directory.path()).expect("a vault").world().expect("a world");
        let mut known: Vec<&str> = told.objects().map(|object| object.key().name()).collect();
        known.sort_unstable();
        assert_eq!((known, told.revision()), (vec!["a", "s"], Revision(3)));
        assert_eq!(told.pods_on("n1").count(), 1);

        let after = load([thing("Pod", "a", 5, "n1"), thing("Pod", "b", 6, "n2")]);
        let vault = kept.0.vault.lock().expect("nobody else");
        assert!(difference(vault.entries(), &before, "n1").is_empty());
        let changes = difference(vault.entries(), &after, "n1");
        assert_eq!(names(&changes), ["-object Service shop/s", "+object Pod shop/a"]);
    }

    #[test]
    fn a_token_stays_as_long_as_its_pod() {
        let directory = tempfile::tempdir().expect("a directory");
        let (uid, ask) = (Uid::from("u-a"), Ask { audience: Some("vault".into()), seconds: 600 });
        let held = Held { text: "secret".into(), expires: Timestamp::UNIX_EPOCH };
        let kept = Kept::open(directory.path()).expect("a vault");
        kept.keep_token(&uid, &ask, &held);
        kept.write(&load([thing("Pod", "a", 3, "n1")]), "n1").expect("written");
        let again = Kept::open(directory.path()).expect("a vault");
        assert_eq!(again.token(&uid, &ask), Some(held));
        assert_eq!(again.token(&uid, &Ask { audience: None, seconds: 600 }), None);
        again.write(&load([thing("Pod", "b", 4, "n1")]), "n1").expect("written");
        assert_eq!(again.token(&uid, &ask), None);
    }
}
