//! A server's part in a rotation: it goes along with what is agreed, says so, and takes the next step when all have said so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use api::{Object, Reason, StatusError, authority, kinds};
use apiserver::AuthorityChange;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use state::{Guard, Snapshot, Txn};
use store::{Cluster, ProposeError, Store};
use tokio::sync::Mutex;

use super::agreed::{self, Agreed, Phase};
use crate::administrator::Administrator;
use crate::papers::Own;
use crate::pki::Authority;

/// The entry of the secret with what is agreed,
const AGREED: &str = "authorities.json";
/// and the one that says how far each server has come.
const REACHED: &str = "servers.json";

/// What could not be written is tried again after so long.
const PAUSE: Duration = Duration::from_millis(500);
/// Others may be quicker, but not for ever.
const TRIES: usize = 8;

/// A server that goes along.
#[derive(Clone)]
pub(crate) struct Rotation {
    pub(crate) authority: Arc<Authority>,
    pub(crate) store: Store,
    /// The certificates of this process.
    pub(crate) own: Own,
    pub(crate) administrator: Administrator,
    /// The node in this process.
    pub(crate) node: Option<String>,
    /// How far this process has gone along; one goes at a time.
    pub(crate) gone: Arc<Mutex<u64>>,
}

/// What the secret says.
#[derive(Clone, Debug, PartialEq)]
struct Written {
    agreed: Agreed,
    reached: BTreeMap<String, u64>,
}

// === impl Rotation ===

impl Rotation {
    /// Goes along with what is agreed, until `shutdown`.
    pub(crate) async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let (mut view, mut cluster) = (self.store.view(), self.store.cluster());
        let going = async {
            loop {
                let (world, members) = (view.borrow_and_update().clone(), cluster.borrow_and_update().clone());
                match self.look(&world, &members).await {
                    Ok(true) => {
                        tokio::select! {
                            changed = view.changed() => if changed.is_err() { return },
                            changed = cluster.changed() => if changed.is_err() { return },
                        }
                    }
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(error = format!("{error:#}"), "the change of authorities does not go on");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = shutdown => {}
            () = going => {}
        }
        Ok(())
    }

    /// Goes along; whether nothing is left to do.
    async fn look(&self, world: &Snapshot, members: &Cluster) -> anyhow::Result<bool> {
        let mut gone = self.gone.lock().await;
        if let Some(secret) = world.get(&authority::key()) {
            let written = Written::read(secret)?;
            if written.agreed.step > *gone {
                self.adopt(&written.agreed)?;
                *gone = written.agreed.step;
            }
            let all = numbers(members);
            if let Some(next) = written.after(&self.store.member().to_string(), *gone, &all) {
                return self.propose(next.replacing(secret)?).await.map(|()| false);
            }
        }
        let signer = self.authority.agreed().signer()?;
        let node = self.node.as_ref().and_then(|node| world.get(&kinds::NODE.cluster_key(node)));
        let told = |node: &&Object| node.meta().annotations.get(authority::SIGNER_ANNOTATION) != Some(&signer);
        if let Some(node) = node.filter(told) {
            let mut value = node.to_value()?;
            value["metadata"]["annotations"][authority::SIGNER_ANNOTATION] = signer.into();
            return self.propose(replacing(node, value)?).await.map(|()| false);
        }
        Ok(true)
    }

    /// Has this process go by what is agreed: the disk first, then whom it trusts, what it shows, and what people read.
    fn adopt(&self, agreed: &Agreed) -> anyhow::Result<()> {
        self.authority.adopt(agreed)?;
        self.own.renew()?;
        self.administrator.write()?;
        tracing::info!(step = agreed.step, phase = agreed.phase.name(), "went along with a change of authorities");
        Ok(())
    }

    /// Somebody else may have written meanwhile: then it is looked at again.
    async fn propose(&self, txn: Txn) -> anyhow::Result<()> {
        match self.store.propose(txn).await {
            Ok(_) | Err(ProposeError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn told(&self) -> Result<Value, StatusError> {
        let world = self.store.read().await.map_err(unavailable)?;
        let written = match world.get(&authority::key()) {
            Some(secret) => Written::read(secret).map_err(internal)?,
            // Nobody has ever wanted another.
            None => Written { agreed: self.authority.agreed(), reached: BTreeMap::new() },
        };
        let Written { agreed, reached } = &written;
        let signer = agreed.signer().map_err(internal)?;
        let authorities = std::iter::once(agreed.signing.certificate.as_str()).chain(agreed.other());
        let known: Result<Vec<String>, _> = authorities.map(agreed::fingerprint).collect();
        let members = self.store.cluster().borrow().clone();
        let addresses: BTreeMap<String, String> = members
            .members
            .iter()
            .map(|standing| (standing.peer.member.to_string(), standing.peer.address.clone()))
            .collect();
        let is_behind: Vec<String> = agreed::behind(&numbers(&members), reached, agreed.step);
        let servers = addresses.iter().map(|(id, address)| {
            json!({"id": id, "address": address, "hasGoneOver": agreed.step == 0 || !is_behind.contains(id)})
        });
        let nodes = world.list(kinds::NODE).map(|node| {
            let told = node.meta().annotations.get(authority::SIGNER_ANNOTATION);
            json!({"name": node.key().name(), "hasGoneOver": told == Some(&signer)})
        });
        Ok(json!({
            "phase": agreed.phase.name(), "step": agreed.step, "authorities": known.map_err(internal)?,
            "servers": servers.collect::<Vec<_>>(), "nodes": nodes.collect::<Vec<_>>(),
        }))
    }

    async fn rotate(&self) -> Result<(), StatusError> {
        for _ in 0..TRIES {
            let world = self.store.read().await.map_err(unavailable)?;
            let members = self.store.cluster().borrow().clone();
            // Whatever this server has missed of it, it is to begin from there.
            self.look(&world, &members).await.map_err(internal)?;
            let agreed = self.authority.successor(Timestamp::now()).map_err(internal)?;
            let Some(agreed) = agreed else {
                let why =
                    "an authority is on its way out already; retire it first, with `coracle certificate retire-ca`";
                return Err(StatusError::new(Reason::Conflict, why));
            };
            let written = Written { agreed, reached: BTreeMap::new() };
            let txn = match world.get(&authority::key()) {
                Some(secret) => written.replacing(secret).map_err(internal)?,
                None => {
                    let home = kinds::NAMESPACE.cluster_key(authority::NAMESPACE);
                    Txn::create(written.object().map_err(internal)?).guard(Guard::Alive(home))
                }
            };
            match self.store.propose(txn).await {
                Ok(_) => return Ok(()),
                Err(ProposeError::Conflict(_)) => {}
                Err(error) => return Err(unavailable(error)),
            }
        }
        Err(StatusError::new(Reason::Conflict, "it is changed by others at the same time; ask again"))
    }

    /// Retires the last authority; tells who is left out by that.
    async fn retire(&self, force: bool) -> Result<Vec<String>, StatusError> {
        for _ in 0..TRIES {
            let told = self.told().await?;
            let world = self.store.read().await.map_err(unavailable)?;
            let Some(secret) = world.get(&authority::key()) else {
                return Err(StatusError::new(Reason::Conflict, "no authority is on its way out"));
            };
            let written = Written::read(secret).map_err(internal)?;
            let Some(agreed) = written.agreed.retired() else {
                let why = format!("no authority can be retired: it is {}", written.agreed.phase.name());
                return Err(StatusError::new(Reason::Conflict, why));
            };
            let left = left_out(&told);
            if !left.is_empty() && !force {
                let why = format!(
                    "these have not gone over, and could not come back: {}; wait for them, remove them, or leave them out with --force",
                    left.join(", ")
                );
                return Err(StatusError::new(Reason::Conflict, why));
            }
            let written = Written { agreed, ..written };
            match self.store.propose(written.replacing(secret).map_err(internal)?).await {
                Ok(_) => return Ok(left),
                Err(ProposeError::Conflict(_)) => {}
                Err(error) => return Err(unavailable(error)),
            }
        }
        Err(StatusError::new(Reason::Conflict, "it is changed by others at the same time; ask again"))
    }
}

impl apiserver::Rotation for Rotation {
    fn status(&self) -> BoxFuture<'_, Result<Value, StatusError>> {
        Box::pin(self.told())
    }

    fn change(&self, asked: AuthorityChange) -> BoxFuture<'_, Result<Value, StatusError>> {
        Box::pin(async move {
            let left = match asked {
                AuthorityChange::Rotate => self.rotate().await.map(|()| Vec::new())?,
                AuthorityChange::Retire { force } => self.retire(force).await?,
            };
            let mut told = self.told().await?;
            told["leftOut"] = json!(left);
            Ok(told)
        })
    }
}

impl fmt::Debug for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotation").finish_non_exhaustive()
    }
}

/// Those of whom a status says that they have not gone over.
fn left_out(told: &Value) -> Vec<String> {
    let of = |list: &str, what: &str, name: &str| -> Vec<String> {
        let all = told[list].as_array().into_iter().flatten();
        let behind = all.filter(|one| one["hasGoneOver"] != true);
        behind.map(|one| format!("{what} {}", one[name].as_str().unwrap_or_default())).collect()
    };
    [of("servers", "server", "address"), of("nodes", "node", "name")].concat()
}

fn numbers(cluster: &Cluster) -> BTreeSet<String> {
    cluster.members.iter().map(|standing| standing.peer.member.to_string()).collect()
}

fn replacing(old: &Object, mut value: Value) -> anyhow::Result<Txn> {
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    Ok(Txn::replace(old, Object::from_tree(old.key().kind(), value)?))
}

fn internal(error: anyhow::Error) -> StatusError {
    StatusError::internal(format!("{error:#}"))
}

fn unavailable(error: impl fmt::Display) -> StatusError {
    StatusError::new(Reason::ServiceUnavailable, error.to_string())
}

// === impl Written ===

impl Written {
    fn read(secret: &Object) -> anyhow::Result<Self> {
        let secret = secret.decode::<Secret>().context("what is agreed about authorities cannot be read")?;
        let entry = |name: &str| {
            let ByteString(bytes) = secret.data.as_ref()?.get(name)?;
            std::str::from_utf8(bytes).ok()
        };
        let agreed = Agreed::read(entry(AGREED).context("the secret with the authorities does not hold them")?)?;
        let reached = serde_json::from_str(entry(REACHED).unwrap_or("{}"));
        Ok(Self { agreed, reached: reached.context("how far servers have come cannot be read")? })
    }

    /// What is to be written when `me` has come to `step`: that it has, and the next step if all have come so far.
    fn after(&self, me: &str, step: u64, all: &BTreeSet<String>) -> Option<Self> {
        let mut next = self.clone();
        next.reached.retain(|server, _| all.contains(server));
        if all.contains(me) {
            next.reached.insert(me.to_owned(), step);
        }
        let is_known = !all.is_empty() && agreed::behind(all, &next.reached, self.agreed.step).is_empty();
        if is_known && let Some(turned) = self.agreed.turned() {
            next.agreed = turned;
        }
        (next != *self).then_some(next)
    }

    fn data(&self) -> anyhow::Result<Value> {
        let told = |text: String| ByteString(text.into_bytes());
        Ok(json!({
            AGREED: told(serde_json::to_string(&self.agreed)?),
            REACHED: told(serde_json::to_string(&self.reached)?),
            authority::BUNDLE: told(self.agreed.bundle()),
        }))
    }

    fn replacing(&self, secret: &Object) -> anyhow::Result<Txn> {
        let mut value = secret.to_value()?;
        value["data"] = self.data()?;
        replacing(secret, value)
    }

    fn object(&self) -> anyhow::Result<Object> {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let metadata = json!({
            "name": authority::SECRET, "namespace": authority::NAMESPACE, "creationTimestamp": now,
            "uid": uuid::Uuid::new_v4().to_string(),
        });
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": authority::TYPE, "metadata": metadata, "data": self.data()?,
        });
        Ok(Object::from_tree(kinds::SECRET, secret)?)
    }
}

// === impl Phase ===

impl Phase {
    /// One word for it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Introduced { .. } => "introduced",
            Self::Turned { .. } => "turned",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Pair;

    fn pair(name: &str) -> Pair {
        Pair { certificate: name.into(), key: name.into() }
    }

    #[test]
    fn the_next_signs_when_all_servers_know_it() {
        let agreed = Agreed::founded(pair("A")).introduced(pair("B"), String::new(), String::new()).expect("a step");
        let written = Written { agreed, reached: BTreeMap::new() };
        let all: BTreeSet<String> = ["1", "2"].map(String::from).into();
        let one = written.after("1", 1, &all).expect("it says so");
        assert_eq!((one.agreed.step, one.reached.len()), (1, 1));
        assert_eq!(one.after("1", 1, &all), None, "saying it again changes nothing");
        assert_eq!(one.after("2", 0, &all).map(|next| next.agreed.step), Some(1), "it is not so far");
        let both = one.after("2", 1, &all).expect("both have");
        assert_eq!((both.agreed.step, both.agreed.signing.certificate.as_str()), (2, "B"));
        assert_eq!(both.after("1", 2, &all).map(|next| next.agreed.step), Some(2), "nobody is retired by itself");
        // Who is removed is not waited for.
        let alone: BTreeSet<String> = ["1".to_owned()].into();
        assert_eq!(one.after("1", 1, &alone).map(|next| next.agreed.step), Some(2));
        assert_eq!(written.after("1", 1, &BTreeSet::new()), None, "who knows of nobody decides nothing");
        let read = Written::read(&both.object().expect("a secret")).expect("read");
        assert_eq!(read, both);
    }

    #[test]
    fn who_is_left_out_is_named() {
        let told = json!({
            "servers": [{"address": "a:1", "hasGoneOver": true}, {"address": "b:1", "hasGoneOver": false}],
            "nodes": [{"name": "n1", "hasGoneOver": false}, {"name": "n2", "hasGoneOver": true}],
        });
        assert_eq!(left_out(&told), ["server b:1", "node n1"]);
    }
}
