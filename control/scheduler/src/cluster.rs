//! All nodes with what is left of them: the scheduler's table, and the decision over it.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use api::{Key, Object, kinds};
use k8s_openapi::api::core::v1::{self, Pod};
use state::Snapshot;

use crate::fit::Around;
use crate::neighbours::Neighbours;
use crate::node::Node;
use crate::resident::Resident;
use crate::spreading::Spreading;
use crate::term::Namespaces;
use crate::volumes::Choice;
use crate::{Demand, Unplaceable, fit, score};

/// The name of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(Arc<str>);

/// Every node, its room, and who is on it.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) index: HashMap<NodeName, usize>,
    /// How many pods of an owner each node has; nodes without one are left out.
    siblings: HashMap<Arc<str>, BTreeMap<usize, u32>>,
    /// Claims for one pod, or for the pods of one node, that were given to one since; and its node.
    pub(crate) claimed: BTreeMap<Key, NodeName>,
    /// On which node each pod is.
    places: HashMap<Key, usize>,
    /// Who was taken to be on a node though the world does not say so, and where,
    assumed: Vec<(Key, usize)>,
    /// and who was taken to have left though he is there.
    dismissed: Vec<Key>,
    namespaces: Namespaces,
    /// Whether a pod that is there wants something of its neighbours.
    has_manners: bool,
}

/// What a table that followed the world has met on the way.
#[derive(Debug, Default)]
pub struct Followed<'a> {
    /// The pods that are others now, as they were and as they are.
    pub pods: Vec<(Option<&'a Object>, Option<&'a Object>)>,
    /// Whether a [`Request`](crate::Request) that was refused may be answered otherwise now. As long as it is not so, it is not.
    pub gives: bool,
}

// === impl Cluster ===

impl Cluster {
    /// The nodes of a snapshot with the pods that are bound to them. Pods that have ended take no room, and nodes on their way
    /// out take no pods.
    pub fn of(view: &Snapshot) -> Self {
        let mut cluster = Self { namespaces: namespaces(view), ..Self::default() };
        for object in view.list(kinds::NODE).filter(|node| !node.meta().is_terminating()) {
            if let Ok(node) = object.decode::<v1::Node>() {
                cluster.add(Node::new(object.key().name(), node));
            }
        }
        for place in 0..cluster.nodes.len() {
            let name = cluster.nodes[place].name.clone();
            for pod in view.pods_on(name.as_str()) {
                cluster.learn(pod);
            }
        }
        cluster
    }

    /// Brings what was of an earlier world to a later one, and forgets what was only assumed. It costs what has changed between the two,
    /// and not what there is; and it is what [`of`](Self::of) makes of the later one, but for the order of nodes.
    pub fn follow<'a>(&mut self, earlier: &'a Snapshot, view: &'a Snapshot) -> Followed<'a> {
        let assumed = std::mem::take(&mut self.assumed);
        for (pod, _) in &assumed {
            self.unsettle(pod);
        }
        self.claimed.clear();
        for pod in std::mem::take(&mut self.dismissed) {
            if let Some(pod) = earlier.get(&pod) {
                self.learn(pod);
            }
        }
        let mut gives = self.describe(earlier, view);
        if !view.agrees(earlier, kinds::NAMESPACE) {
            self.namespaces = namespaces(view);
            gives = true;
        }
        let pods: Vec<_> = view.changes(earlier, kinds::POD).collect();
        for (before, after) in &pods {
            gives |= match after {
                Some(after) => self.learn(after),
                None => before.is_some_and(|before| self.unsettle(before.key()).is_some()),
            };
        }
        // What was taken for granted and did not come true.
        gives |= assumed.iter().any(|(pod, place)| self.places.get(pod) != Some(place));
        Followed { pods, gives }
    }

    /// Takes up what nodes say of themselves, who has come and who has gone; whether pods may be answered otherwise for it.
    fn describe(&mut self, earlier: &Snapshot, view: &Snapshot) -> bool {
        let mut is_news = false;
        for (before, after) in view.changes(earlier, kinds::NODE) {
            let Some(name) = before.or(after).map(|node| node.key().name()) else { continue };
            let after = after.filter(|node| !node.meta().is_terminating());
            match (self.index.get(name).copied(), after.and_then(|node| node.decode::<v1::Node>().ok())) {
                (Some(place), Some(typed)) => is_news |= self.nodes[place].describe(typed),
                (Some(place), None) => {
                    self.remove(place);
                    is_news = true;
                }
                (None, Some(typed)) => {
                    self.add(Node::new(name, typed));
                    for pod in view.pods_on(name) {
                        self.learn(pod);
                    }
                    is_news = true;
                }
                (None, None) => {}
            }
        }
        is_news
    }

    fn add(&mut self, node: Node) {
        self.index.insert(node.name.clone(), self.nodes.len());
        self.nodes.push(node);
    }

    /// Takes a node out, with whoever is on it; the last takes its place.
    fn remove(&mut self, place: usize) {
        let on = |node: &Node| node.residents.clone();
        let gone = on(&self.nodes[place]);
        let moved = self.nodes.last().filter(|_| place + 1 < self.nodes.len()).map(on).unwrap_or_default();
        for pod in gone.iter().chain(&moved) {
            self.unsettle(pod.key());
        }
        self.index.remove(&self.nodes.swap_remove(place).name);
        if let Some(node) = self.nodes.get(place) {
            self.index.insert(node.name.clone(), place);
        }
        for pod in moved {
            self.settle(place, pod);
        }
    }

    /// Takes up a pod as it is now: somewhere, if it is on a node and has not ended. Whether it leaves some of what it took.
    fn learn(&mut self, object: &Object) -> bool {
        let pod = object.decode::<Pod>().ok().filter(|pod| !has_ended(pod));
        let node = pod.as_ref().and_then(|pod| pod.spec.as_ref()?.node_name.as_deref());
        let place = node.and_then(|node| self.index.get(node)).copied();
        let Some((pod, place)) = pod.zip(place) else { return self.unsettle(object.key()).is_some() };
        let now = Resident::of(&pod);
        if self.places.get(object.key()) == Some(&place) && self.nodes[place].exchange(&now) {
            return false;
        }
        let before = self.unsettle(object.key());
        let leaves = before.is_some_and(|(at, before)| at != place || !before.takes_as(&now));
        self.settle(place, now);
        leaves
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The best node for a pod; among equals, `seed` decides.
    pub fn place(&self, demand: &Demand, seed: u64) -> Result<NodeName, Unplaceable> {
        let siblings = demand.resident.owner().and_then(|owner| self.siblings.get(owner));
        let siblings_most = siblings.into_iter().flat_map(BTreeMap::values).copied().max().unwrap_or(0);
        let around = self.survey(demand, || self.nodes.iter());
        let enough = enough(self.nodes.len());
        let mut fitting = Vec::with_capacity(enough);
        let mut refused = Unplaceable { nodes: self.nodes.len(), ..Unplaceable::default() };
        for place in self.round(seed) {
            let node = &self.nodes[place];
            let obstacles = fit::obstacles(node, demand, &around, &self.claimed);
            if obstacles.is_empty() {
                let count = siblings.and_then(|siblings| siblings.get(&place)).copied().unwrap_or(0);
                fitting.push((place, score::score(node, demand, count, siblings_most)));
                if fitting.len() == enough {
                    break;
                }
            } else if fitting.is_empty() {
                for reason in obstacles {
                    *refused.reasons.entry(reason).or_default() += 1;
                }
            }
        }
        if let Some(neighbours) = &around.neighbours {
            self.weigh(&mut fitting, |node| neighbours.liking(node.labels()));
        }
        if let Some(spreading) = &around.spreading {
            self.weigh(&mut fitting, |node| -spreading.crowd(node.labels()));
        }
        let best = fitting.into_iter().max_by_key(|(place, score)| (*score, lot(seed, *place)));
        best.map(|(place, _)| self.nodes[place].name.clone()).ok_or(refused)
    }

    /// All places, from one on that chance chooses.
    fn round(&self, seed: u64) -> impl Iterator<Item = usize> + use<> {
        let count = self.nodes.len();
        let first = usize::try_from(lot(seed, count) % count.max(1) as u64).unwrap_or(0);
        (first..count).chain(0..first)
    }

    /// What there is to know of others on the nodes, where anybody has rules about others.
    pub(crate) fn survey<'a, Nodes: Iterator<Item = &'a Node>>(
        &self,
        demand: &Demand,
        nodes: impl Fn() -> Nodes,
    ) -> Around {
        let pod = &demand.resident;
        let has_manners = self.has_manners || pod.manners().is_some();
        let spreads = !pod.constraints().is_empty();
        Around {
            neighbours: has_manners.then(|| Neighbours::of(pod, nodes(), &self.namespaces)),
            spreading: spreads.then(|| Spreading::of(demand, nodes)),
        }
    }

    /// Adds to the nodes' scores by a figure of theirs, whatever its measure.
    fn weigh(&self, fitting: &mut [(usize, i64)], figure: impl Fn(&Node) -> i64) {
        let figures: Vec<i64> = fitting.iter().map(|(place, _)| figure(&self.nodes[*place])).collect();
        let (least, most) = (figures.iter().min().copied(), figures.iter().max().copied());
        for ((_, score), figure) in fitting.iter_mut().zip(figures) {
            *score += score::share(figure, least.unwrap_or(0), most.unwrap_or(0));
        }
    }

    /// Takes a decision as carried out, so that the next one knows of it.
    pub fn assume(&mut self, node: &NodeName, demand: &Demand) {
        if let Some(place) = self.index.get(node) {
            self.assumed.push((demand.resident.key().clone(), *place));
            self.settle(*place, demand.resident.clone());
        }
        let claimed = demand.volumes.exclusive.iter().chain(&demand.volumes.shared);
        self.claimed.extend(claimed.map(|claim| (claim.clone(), node.clone())));
    }

    /// What becomes of the pod's claims that wait for it, on the node that it was given.
    pub fn choices(&self, node: &NodeName, demand: &Demand) -> Vec<(Key, Choice)> {
        let found = self.index.get(node).map(|place| &self.nodes[*place]);
        found.and_then(|found| demand.volumes.choose(node.as_str(), found.labels())).unwrap_or_default()
    }

    /// Takes a pod to have left its node, so that the next decision knows of it.
    pub(crate) fn dismiss(&mut self, pod: &Key) {
        self.unsettle(pod);
        self.dismissed.push(pod.clone());
    }

    fn settle(&mut self, place: usize, pod: Resident) {
        self.unsettle(pod.key());
        self.has_manners |= pod.manners().is_some();
        if let Some(owner) = pod.owner() {
            *self.siblings.entry(owner.clone()).or_default().entry(place).or_default() += 1;
        }
        self.places.insert(pod.key().clone(), place);
        self.nodes[place].take(pod);
    }

    /// The pod is nowhere any more; where it was, and as whom.
    fn unsettle(&mut self, pod: &Key) -> Option<(usize, Resident)> {
        let place = self.places.remove(pod)?;
        let released = self.nodes[place].release(pod)?;
        if let Some(owner) = released.owner()
            && let Some(siblings) = self.siblings.get_mut(owner)
        {
            let left = siblings.get(&place).map_or(0, |count| count - 1);
            if left > 0 {
                siblings.insert(place, left);
            } else {
                siblings.remove(&place);
            }
            if siblings.is_empty() {
                self.siblings.remove(owner);
            }
        }
        Some((place, released))
    }
}

fn namespaces(view: &Snapshot) -> Namespaces {
    view.list(kinds::NAMESPACE).map(|it| (it.key().name().to_owned(), it.clone())).collect()
}

/// Of how many nodes that can take a pod the best is good enough, as Kubernetes has it: half of them, fewer of many, and never of fewer than
/// a hundred.
fn enough(nodes: usize) -> usize {
    let percent = 50_usize.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(100)
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// A lot drawn for a place: the same for the same seed, without order among places.
fn lot(seed: u64, place: usize) -> u64 {
    let mut lot = seed ^ (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    lot = (lot ^ (lot >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    lot = (lot ^ (lot >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    lot ^ (lot >> 31)
}

// === impl NodeName ===

impl NodeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for NodeName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for NodeName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
pub(crate) mod tests;
