//! Whom a pod is near to on which node, and whether it and they want that: affinity and anti-affinity between pods.
//!
//! All of it is counted once for a decision, by the values that nodes have for the labels that the rules name; then each node
//! is a few look-ups. Where nobody has such rules nothing is counted.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::Reason;
use crate::node::Node;
use crate::resident::Resident;
use crate::term::{Namespaces, Term};

/// What is counted for one pod that asks for a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Neighbours {
    /// Places where somebody is who wants none like the pod near.
    unwanted: HashSet<Place>,
    /// For each rule of the pod the places where those are whom it wants near.
    near: Vec<(String, HashSet<String>)>,
    /// Whether there is nobody yet whom the pod wants near, but itself.
    is_first: bool,
    /// For each rule of the pod the places where those are whom it wants far.
    apart: Vec<(String, HashSet<String>)>,
    /// How much the pod and those who are there like it.
    liked: HashMap<Place, i64>,
}

/// A label of nodes and one of its values.
type Place = (String, String);

/// As Kubernetes has it: that somebody insists on such a neighbour counts for a little with the neighbour, too.
const INSISTED_WEIGHT: i64 = 1;

// === impl Neighbours ===

impl Neighbours {
    /// What there is to know for `pod`.
    pub(crate) fn of<'a>(pod: &Resident, nodes: impl Iterator<Item = &'a Node>, namespaces: &Namespaces) -> Self {
        let manners = pod.manners();
        let mut counted = Self::default();
        if let Some(manners) = manners {
            let places =
                |terms: &[Term]| terms.iter().map(|term| (term.topology_key.clone(), HashSet::new())).collect();
            counted.near = places(&manners.near);
            counted.apart = places(&manners.apart);
            counted.is_first = !manners.near.is_empty() && manners.near.iter().all(|term| term.means(pod, namespaces));
        }
        for node in nodes {
            for there in node.residents.iter().filter(|there| manners.is_some() || there.manners().is_some()) {
                counted.meet(pod, there, node.labels(), namespaces);
            }
        }
        counted
    }

    fn meet(&mut self, pod: &Resident, there: &Resident, labels: &BTreeMap<String, String>, namespaces: &Namespaces) {
        let place = |term: &Term| Some((term.topology_key.clone(), labels.get(&term.topology_key)?.clone()));
        if let Some(theirs) = there.manners() {
            for term in theirs.apart.iter().filter(|term| term.means(pod, namespaces)) {
                self.unwanted.extend(place(term));
            }
            let insisted = theirs.near.iter().map(|term| (INSISTED_WEIGHT, term));
            for (weight, term) in theirs.likes.iter().map(|(weight, term)| (*weight, term)).chain(insisted) {
                if term.means(pod, namespaces) {
                    self.like(place(term), weight);
                }
            }
        }
        let Some(manners) = pod.manners() else { return };
        if !manners.near.is_empty() && manners.near.iter().all(|term| term.means(there, namespaces)) {
            for (key, values) in &mut self.near {
                values.extend(labels.get(key).cloned());
                self.is_first &= values.is_empty();
            }
        }
        for (term, (key, values)) in manners.apart.iter().zip(&mut self.apart) {
            if term.means(there, namespaces) {
                values.extend(labels.get(key).cloned());
            }
        }
        for (weight, term) in &manners.likes {
            if term.means(there, namespaces) {
                self.like(place(term), *weight);
            }
        }
    }

    fn like(&mut self, place: Option<Place>, weight: i64) {
        if let Some(place) = place {
            *self.liked.entry(place).or_default() += weight;
        }
    }

    /// Why the pod cannot be on a node with these labels, if it cannot.
    pub(crate) fn obstacle(&self, labels: &BTreeMap<String, String>) -> Option<Reason> {
        let is_there =
            |(key, values): &(String, HashSet<String>)| labels.get(key).is_some_and(|value| values.contains(value));
        let is_somewhere = self.near.iter().all(|(key, _)| labels.contains_key(key));
        if !(self.near.iter().all(is_there) || (self.is_first && is_somewhere)) {
            return Some(Reason::NotNear);
        }
        if self.apart.iter().any(is_there) {
            return Some(Reason::NotApart);
        }
        let is_unwanted = !self.unwanted.is_empty()
            && labels.iter().any(|(key, value)| self.unwanted.contains(&(key.clone(), value.clone())));
        is_unwanted.then_some(Reason::Unwanted)
    }

    /// How well a node with these labels is liked.
    pub(crate) fn liking(&self, labels: &BTreeMap<String, String>) -> i64 {
        if self.liked.is_empty() {
            return 0;
        }
        let of_label = |(key, value): (&String, &String)| self.liked.get(&(key.clone(), value.clone())).copied();
        labels.iter().filter_map(of_label).sum()
    }
}
