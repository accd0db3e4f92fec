//! Whether pods are to leave the nodes that are lost: not if so many are lost at once that something else must be the matter.
//!
//! A server that has lost its own network sees all nodes go. Were it to move their pods, it would move them to nowhere, or pile
//! them on the few that are left. So, as with Kubernetes: while no node at all is ready, nobody has to go, and who was about to may
//! stay; in a zone of which most nodes are lost nobody else is sent off, until some are back or all are gone; a zone that is gone
//! altogether is one that has failed, and its pods leave for the others.
//!
//! A node counts as lost from the moment its link ended. That is before it is called so, and thus all that went at one time are
//! counted when the first of them is looked at.

use api::node_link::{Ended, LEASES};
use api::{Object, kinds};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Node;
use state::Snapshot;

use super::health;

/// What becomes of pods on a lost node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eviction {
    /// They leave when they have to.
    Goes,
    /// Those stay that have not been told to leave.
    Pauses,
    /// All stay.
    Stops,
}

/// The nodes of a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    lost: usize,
    living: usize,
}

/// So few are never a disruption of a zone, as Kubernetes has it.
const LOST_MIN: usize = 2;
/// From this share on a zone is disrupted, as Kubernetes has it.
const LOST_PERCENT: usize = 55;
/// A disruption is looked at again after this, and the later the more nodes there are: each lost one counts them all.
const AGAIN: SignedDuration = SignedDuration::from_secs(2);
const AGAIN_PER_NODE: SignedDuration = SignedDuration::from_millis(5);

/// What becomes of the pods of a node that is lost.
pub(super) fn eviction(object: &Object, view: &Snapshot) -> Eviction {
    let zone = zone(object);
    let (mut here, mut elsewhere) = (Count::default(), Count::default());
    for node in view.list(kinds::NODE) {
        let count = if self::zone(node) == zone { &mut here } else { &mut elsewhere };
        if is_lost(node, view) {
            count.lost += 1;
        } else {
            count.living += 1;
        }
    }
    judge(here, elsewhere)
}

/// When to look again at a node whose pods may not go now.
pub(super) fn again_after(view: &Snapshot) -> SignedDuration {
    AGAIN + AGAIN_PER_NODE * i32::try_from(view.count(kinds::NODE)).unwrap_or(i32::MAX)
}

fn judge(here: Count, elsewhere: Count) -> Eviction {
    let disrupted = here.lost > LOST_MIN && 100 * here.lost >= LOST_PERCENT * (here.lost + here.living);
    match (here.living, elsewhere.living) {
        (0, 0) => Eviction::Stops,
        (0, _) => Eviction::Goes,
        _ if disrupted => Eviction::Pauses,
        _ => Eviction::Goes,
    }
}

fn zone(node: &Object) -> [Option<&str>; 2] {
    ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"]
        .map(|label| node.meta().labels.get(label).map(AsRef::as_ref))
}

/// Whether a node is lost, or about to be called so.
fn is_lost(node: &Object, view: &Snapshot) -> bool {
    let lease = view.get(&kinds::LEASE.key(LEASES, node.key().name()));
    lease.and_then(Ended::of).is_some() || node.decode::<Node>().is_ok_and(|node| !health::is_ready(&node))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::notation::object;

    /// What becomes of the pods of the first node in a world of such nodes, each a letter for its zone and how it is:
    /// `+` ready, `-` not ready, `!` its link has just ended.
    #[track_caller]
    fn check(nodes: &str, expect: Eviction) {
        let mut objects = Vec::new();
        for (at, word) in nodes.split_whitespace().enumerate() {
            let (zone, how) = word.split_at(1);
            let ready = json!([{"type": "Ready", "status": if how == "-" { "Unknown" } else { "True" }}]);
            let labels = json!({"topology.kubernetes.io/zone": zone});
            let name = format!("n{at}");
            objects.push(object(
                kinds::NODE,
                &name,
                json!({"metadata": {"labels": labels}, "status": {"conditions": ready}}),
            ));
            if how == "!" {
                let annotations = json!({api::node_link::ENDED: "2026-11-21T12:00:00.000Z closed"});
                objects.push(object(
                    kinds::LEASE,
                    &format!("{LEASES}/{name}"),
                    json!({"metadata": {"annotations": annotations}}),
                ));
            }
        }
        let first = objects[0].clone();
        let objects = objects.into_iter().map(|object| object.at(api::Revision(1)));
        assert_eq!(eviction(&first, &Snapshot::load(api::Revision(1), objects)), expect, "{nodes}");
    }

    #[test]
    fn some_nodes_of_many_are_lost() {
        check("a- a+", Eviction::Goes);
        check("a- a- a+", Eviction::Goes);
        check("a- a- a- a+ a+ a+", Eviction::Goes);
    }

    #[test]
    fn most_nodes_of_a_zone_are_lost() {
        check("a- a- a- a+ a+", Eviction::Pauses);
        check("a- a! a! a+ a+", Eviction::Pauses);
        check("a- b- b- b- b+ a+", Eviction::Goes);
    }

    #[test]
    fn a_zone_or_everything_is_lost() {
        check("a- a- a- b+", Eviction::Goes);
        check("a-", Eviction::Stops);
        check("a- a! b- b!", Eviction::Stops);
    }
}
