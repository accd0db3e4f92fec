//! Whether pods are to leave the nodes that are lost: not if so many are lost at once that something else must be the matter.
//!
//! A server that has lost its own network sees all nodes go. Were it to move their pods, it would move them to nowhere, or pile
//! them on the few that are left. So, as with Kubernetes: while no node at all is ready, nobody has to go, and who was about to may
//! stay; in a zone of which most nodes are lost nobody else is sent off, until some are back or all are gone; a zone that is gone
//! altogether is one that has failed, and its pods leave for the others.
//!
//! A node counts as lost from the moment its link ended. That is before it is called so, and thus all that went at one time are
//! counted when the first of them is looked at.

use std::collections::{BTreeSet, HashMap};

use api::node_link::{Ended, LEASES};
use api::{GroupKind, Key, Object, kinds};
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

/// How many nodes of each zone are lost. It follows the world, so that it costs what has changed since it was asked last and not what
/// there is: when many nodes are lost, each of them asks.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// The nodes and leases that were counted.
    world: Snapshot,
    /// As what each node was counted, by its name.
    counted: HashMap<String, (Zone, bool)>,
    zones: HashMap<Zone, Count>,
    all: Count,
}

/// Region and zone.
type Zone = [Option<String>; 2];

/// What decides whether a node is lost.
const COUNTED: [GroupKind; 2] = [kinds::NODE, kinds::LEASE];

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
/// A disruption is looked at again after this, and the later the more nodes there are: each lost one looks again.
const AGAIN: SignedDuration = SignedDuration::from_secs(2);
const AGAIN_PER_NODE: SignedDuration = SignedDuration::from_millis(5);

// === impl Census ===

impl Census {
    /// What becomes of the pods of a node that is lost.
    pub(super) fn eviction(&mut self, node: &Object, view: &Snapshot) -> Eviction {
        self.follow(view);
        let here = self.zones.get(&zone(node)).copied().unwrap_or_default();
        let elsewhere = Count { lost: self.all.lost - here.lost, living: self.all.living - here.living };
        judge(here, elsewhere)
    }

    fn follow(&mut self, view: &Snapshot) {
        let earlier = std::mem::replace(&mut self.world, view.part(&COUNTED));
        let changes = COUNTED.into_iter().flat_map(|kind| view.changes(&earlier, kind));
        let changed = changes.filter_map(|(before, after)| after.or(before)).map(Object::key);
        let nodes = changed.filter(|key| key.kind() == kinds::NODE || key.namespace() == LEASES);
        for name in nodes.map(Key::name).collect::<BTreeSet<&str>>() {
            let now = view.get(&kinds::NODE.cluster_key(name)).map(|node| (zone(node), is_lost(node, view)));
            self.count(name, now);
        }
    }

    fn count(&mut self, name: &str, now: Option<(Zone, bool)>) {
        let before = self.counted.get(name);
        if before == now.as_ref() {
            return;
        }
        if let Some((zone, is_lost)) = before {
            *self.all.of(*is_lost) -= 1;
            if let Some(count) = self.zones.get_mut(zone) {
                *count.of(*is_lost) -= 1;
                if *count == Count::default() {
                    self.zones.remove(zone);
                }
            }
        }
        match now {
            Some((zone, is_lost)) => {
                *self.all.of(is_lost) += 1;
                *self.zones.entry(zone.clone()).or_default().of(is_lost) += 1;
                self.counted.insert(name.to_owned(), (zone, is_lost));
            }
            None => {
                self.counted.remove(name);
            }
        }
    }
}

// === impl Count ===

impl Count {
    fn of(&mut self, is_lost: bool) -> &mut usize {
        if is_lost { &mut self.lost } else { &mut self.living }
    }
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

fn zone(node: &Object) -> Zone {
    ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"].map(|label| node.meta().labels.get(label).cloned())
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
        check_next(&mut Census::default(), nodes, expect);
    }

    /// The same, by a census of other worlds.
    #[track_caller]
    fn check_next(census: &mut Census, nodes: &str, expect: Eviction) {
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
        assert_eq!(census.eviction(&first, &Snapshot::load(api::Revision(1), objects)), expect, "{nodes}");
    }

    #[test]
    fn a_census_follows_the_world() {
        let mut census = Census::default();
        check_next(&mut census, "a- a- a- a+ a+ a+", Eviction::Goes);
        check_next(&mut census, "a- a! a! a+ a+", Eviction::Pauses);
        check_next(&mut census, "a- b- b- b- b+ a+", Eviction::Goes);
        check_next(&mut census, "a-", Eviction::Stops);
        check_next(&mut census, "a- a- a- b+", Eviction::Goes);
        check_next(&mut census, "a- a- a- a+ a+", Eviction::Pauses);
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
