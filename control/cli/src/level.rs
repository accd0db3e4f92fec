//! A server's part in the level of its cluster: it says what it speaks, raises the level where it leads and all speak the next, and ends
//! where it does not speak what is in force.

use std::time::Duration;

use api::level::{self, Levels, Standing, Told};
use api::{Object, kinds};
use jiff::Timestamp;
use serde_json::json;
use state::{Guard, Snapshot, Txn};
use store::{Cluster, ProposeError, Store};

/// What could not be written is tried again after so long.
const PAUSE: Duration = Duration::from_millis(500);

/// A server that has its say.
pub(crate) struct Leveling {
    pub(crate) store: Store,
    pub(crate) told: Told,
}

/// What the server of this program says of itself.
pub(crate) fn told(levels: Levels) -> Told {
    Told { version: env!("CARGO_PKG_VERSION").into(), levels }
}

/// Whether a server that speaks these may be one of this world.
pub(crate) fn check(levels: Levels, world: &Snapshot) -> anyhow::Result<()> {
    Ok(levels.check(level::in_force(world.get(&level::key()))?)?)
}

// === impl Leveling ===

impl Leveling {
    /// Until `shutdown`; or until the level in force is one that this server does not speak, with words that say so.
    pub(crate) async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let (mut view, mut cluster) = (self.store.view(), self.store.cluster());
        let having_a_say = async {
            loop {
                let (world, members) = (view.borrow_and_update().clone(), cluster.borrow_and_update().clone());
                check(self.told.levels, &world)?;
                let Some(txn) = self.wanted(&world, &members)? else {
                    tokio::select! {
                        changed = view.changed() => if changed.is_err() { return Ok(()) },
                        changed = cluster.changed() => if changed.is_err() { return Ok(()) },
                    }
                    continue;
                };
                match self.store.propose(txn).await {
                    // Somebody else may have written meanwhile: then it is looked at again.
                    Ok(_) | Err(ProposeError::Conflict(_)) => {}
                    Err(error) => {
                        tracing::debug!(%error, "what this server speaks is not told yet");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = shutdown => Ok(()),
            ended = having_a_say => ended,
        }
    }

    /// What is to be written as things stand.
    fn wanted(&self, world: &Snapshot, members: &Cluster) -> anyhow::Result<Option<Txn>> {
        let me = self.store.member();
        let all = members.members.iter().map(|standing| standing.peer.member.to_string()).collect();
        let object = world.get(&level::key());
        let before = match object {
            Some(object) => Standing::read(object)?,
            None => Standing::default(),
        };
        let Some(next) = before.after(&me.to_string(), &self.told, &all, members.leader == Some(me)) else {
            return Ok(None);
        };
        if next.level > before.level {
            tracing::info!(level = next.level, "every server speaks it: the level is raised");
        }
        let home = kinds::NAMESPACE.cluster_key(level::NAMESPACE);
        Ok(match object {
            Some(object) => Some(replacing(object, &next)?),
            // A world in which nothing has a place yet.
            None if world.get(&home).is_none() => None,
            None => Some(Txn::create(fresh(&next)?).guard(Guard::Alive(home))),
        })
    }
}

fn replacing(object: &Object, standing: &Standing) -> anyhow::Result<Txn> {
    let mut value = object.to_value()?;
    value["data"] = standing.data();
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    Ok(Txn::replace(object, Object::from_tree(kinds::CONFIG_MAP, value)?))
}

fn fresh(standing: &Standing) -> anyhow::Result<Object> {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let metadata = json!({
        "name": level::NAME, "namespace": level::NAMESPACE, "creationTimestamp": now,
        "uid": uuid::Uuid::new_v4().to_string(),
    });
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": standing.data()});
    Ok(Object::from_tree(kinds::CONFIG_MAP, map)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(data: serde_json::Value) -> Result<(), String> {
        let metadata = json!({"name": level::NAME, "namespace": level::NAMESPACE});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
        let object = Object::from_value(kinds::CONFIG_MAP, &map).expect("a config map");
        let (world, _) = Snapshot::default().apply(&Txn::default().put(object)).expect("nothing guards");
        check(Levels { lowest: 1, highest: 2 }, &world).map_err(|error| error.to_string())
    }

    #[test]
    fn a_server_starts_only_at_a_level_that_it_reads() {
        assert_eq!(said(json!({"level": "2", "servers.json": "{}"})), Ok(()));
        let newer = said(json!({"level": "3"})).expect_err("it is not spoken");
        assert!(newer.contains("the cluster is at level 3"), "{newer}");
        let unreadable = said(json!({"level": "two"})).expect_err("it says nothing");
        assert!(unreadable.contains("kube-system/coracle-level does not say at which level"), "{unreadable}");
    }
}
