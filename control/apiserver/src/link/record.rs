//! What is written of a node's link: that it is the node's, and that it ended.
//!
//! Both are one small write each for as long as a link lasts; what tells that the node lives meanwhile is said on the link alone,
//! and stored nowhere.

use std::sync::Arc;
use std::time::Duration;

use api::node_link::{ENDED, Ended, How, LEASES, LINK};
use api::{Object, kinds};
use jiff::Timestamp;
use serde_json::json;
use state::{Snapshot, Txn};
use store::{ProposeError, Store};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{Clock, Door};

/// One link of one node.
#[derive(Clone)]
pub(crate) struct Record {
    store: Store,
    clock: Clock,
    node: String,
    /// Tells the links of the node apart, on whichever server they are.
    id: String,
}

/// While nobody leads, so long is waited between tries.
const RETRY: Duration = Duration::from_millis(50);

// === impl Record ===

impl Record {
    /// A new link of a node.
    pub(crate) fn new(door: &Arc<Door>, node: &str) -> Self {
        Self { store: door.store.clone(), clock: door.clock.clone(), node: node.to_owned(), id: door.uid() }
    }

    /// Writes that this is the node's link from now on; given up when `over`.
    pub(crate) async fn begin(&self, over: CancellationToken) {
        let uid = &self.id;
        self.write(&over, |world| begun(world, &self.node, &self.id, uid, (self.clock)())).await;
    }

    /// Writes that this link has ended, if it is still the node's; given up when `closing`.
    pub(crate) async fn end(&self, how: How, closing: CancellationToken) {
        let ended = Ended { at: (self.clock)(), how };
        self.write(&closing, |world| over(world, &self.node, &self.id, ended)).await;
    }

    async fn write(&self, given_up: &CancellationToken, decide: impl Fn(&Snapshot) -> Txn) {
        while !given_up.is_cancelled() {
            let txn = decide(&self.store.snapshot());
            if txn.is_empty() {
                return;
            }
            match self.store.propose(txn).await {
                Ok(_) | Err(ProposeError::Closed) => return,
                Err(ProposeError::Conflict(_)) => {}
                Err(error @ ProposeError::NotLeader { .. }) => {
                    debug!(node = %self.node, %error, "the state of a link is not written yet");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

fn begun(world: &Snapshot, node: &str, link: &str, uid: &str, now: Timestamp) -> Txn {
    let key = kinds::LEASE.key(LEASES, node);
    let Some(lease) = world.get(&key) else {
        let owner = world.get(&kinds::NODE.cluster_key(node)).map(
            |node| json!([{"apiVersion": "v1", "kind": "Node", "name": node.key().name(), "uid": node.meta().uid}]),
        );
        let mut lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": node, "namespace": LEASES, "uid": uid, "creationTimestamp": format!("{now:.0}"),
                "annotations": {LINK: link},
            },
            "spec": {"holderIdentity": node},
        });
        if let Some(owner) = owner {
            lease["metadata"]["ownerReferences"] = owner;
        }
        return Object::from_tree(kinds::LEASE, lease).map(Txn::create).unwrap_or_default();
    };
    annotated(lease, Some(link), None)
}

fn over(world: &Snapshot, node: &str, link: &str, ended: Ended) -> Txn {
    let lease = world.get(&kinds::LEASE.key(LEASES, node));
    let ours = lease.filter(|lease| lease.meta().annotations.get(LINK).is_none_or(|known| known == link));
    ours.map_or_else(Txn::default, |lease| annotated(lease, None, Some(ended)))
}

/// The lease with another link, which has not ended, or with the end of the one it has.
fn annotated(lease: &Object, link: Option<&str>, ended: Option<Ended>) -> Txn {
    let Ok(mut value) = lease.to_value() else { return Txn::default() };
    let annotations = &mut value["metadata"]["annotations"];
    if !annotations.is_object() {
        *annotations = json!({});
    }
    if let Some(link) = link {
        annotations[LINK] = link.into();
    }
    match ended {
        Some(ended) => annotations[ENDED] = ended.to_string().into(),
        None => drop(annotations.as_object_mut().and_then(|all| all.remove(ENDED))),
    }
    Object::from_tree(kinds::LEASE, value).map(|after| Txn::replace(lease, after)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-21T12:00:00.500Z";

    /// What is written on the lease of a node when each of these happens, one after the other: `+a` is that link a begins,
    /// `-a` that it ends.
    #[track_caller]
    fn check(story: &str, expect: &str) {
        let now: Timestamp = NOW.parse().expect("a time");
        let mut world = Snapshot::default();
        for step in story.split_whitespace() {
            let (how, link) = step.split_at(1);
            let txn = match how {
                "+" => begun(&world, "n1", link, "u", now),
                _ => over(&world, "n1", link, Ended { at: now, how: How::Closed }),
            };
            if !txn.is_empty() {
                world = world.apply(&txn).expect("nobody is in the way").0;
            }
        }
        let lease = world.get(&kinds::LEASE.key(LEASES, "n1")).expect("a lease");
        let annotations = &lease.meta().annotations;
        let told = [LINK, ENDED].map(|name| annotations.get(name).map(ToString::to_string).unwrap_or_default());
        assert_eq!(told.join(" ").trim(), expect, "{story}");
    }

    #[test]
    fn only_the_end_of_the_newest_link_is_one() {
        check("+a", "a");
        check("+a -a", &format!("a {NOW} closed"));
        check("+a +b -a", "b");
        check("+a -a +b", "b");
        check("+a +b -a -b", &format!("b {NOW} closed"));
    }
}
