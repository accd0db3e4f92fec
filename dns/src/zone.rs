//! Every name of the cluster, with its records.
//!
//! The law is the Kubernetes DNS specification 1.1.0. A name that has names below it exists even if it has no record, and so
//! answers "no data" rather than "no such name"; a headless service without a ready endpoint does not exist at all.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use api::{GroupKind, kinds};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};
use ipnet::IpNet;
use state::Snapshot;

use crate::{Authority, Error};
use pods::{Made, PodNames};

pub(crate) use pods::Pods;

mod build;
mod pods;
pub(crate) mod wire;

/// How long an answer may be remembered, in seconds; also when it is a no. What Kubernetes' own servers say: short enough
/// that a roll-out is seen by those who remember.
pub const TTL: u32 = 5;

/// What the zone is made of beside pods, whose names are made when they are asked for.
pub(crate) const SOURCES: &[GroupKind] = &[kinds::SERVICE, kinds::ENDPOINT_SLICE, kinds::NAMESPACE, kinds::INGRESS];

/// The names of a cluster. It holds the zone of the cluster's domain and the reverse zones of its networks.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    apexes: Arc<[Apex]>,
    nodes: Arc<HashMap<LowerName, Node>>,
    /// A pod that has a name in a headless service has that backwards.
    pods: PodNames,
}

/// Whose terms a zone speaks in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Pods, and whoever else is on the pod network.
    Pods,
    /// Programs on the node, which reach services at the mirrored addresses.
    Node,
    /// Everybody: public names only.
    World,
}

/// What the zone says to a question.
#[derive(Debug, PartialEq)]
pub enum Answer<'a> {
    /// These records, and others that the asker will want next.
    Records {
        /// What was asked for.
        answers: Vec<Cow<'a, Record>>,
        /// The addresses of names in the answers.
        additionals: &'a [Record],
    },
    /// The name stands for another, which is to be looked up instead.
    Alias {
        /// The record that says so.
        record: &'a Record,
        /// The other name.
        target: &'a Name,
    },
    /// The name exists, but has no such record.
    NoData {
        /// The record that says how long this may be remembered.
        soa: &'a Record,
    },
    /// There is no such name.
    NoName {
        /// The record that says how long this may be remembered.
        soa: &'a Record,
    },
    /// The name is not the cluster's.
    Outside,
}

#[derive(Debug)]
struct Apex {
    name: LowerName,
    soa: Record,
}

#[derive(Debug, Default)]
struct Node {
    records: Vec<Record>,
    additionals: Vec<Record>,
}

// === impl Zone ===

impl Zone {
    /// The zone of a snapshot, as pods see it.
    pub fn new(authority: &Authority, snapshot: &Snapshot) -> Result<Self, Error> {
        Self::seen_by(View::Pods, authority, snapshot)
    }

    /// The zone of a snapshot, as these see it.
    pub fn seen_by(view: View, authority: &Authority, snapshot: &Snapshot) -> Result<Self, Error> {
        Self::with_pods(view, authority, snapshot, Pods::of(snapshot))
    }

    /// The same, of a snapshot whose pods are known.
    pub(crate) fn with_pods(view: View, authority: &Authority, snapshot: &Snapshot, pods: Pods) -> Result<Self, Error> {
        build::zone(view, authority, snapshot, pods)
    }

    /// The same zone, where nothing has changed but the pods.
    pub(crate) fn when_pods_are(&self, pods: Pods) -> Self {
        Self { pods: PodNames { pods, ..self.pods.clone() }, ..self.clone() }
    }

    /// What there is at `name`.
    pub fn lookup(&self, name: &LowerName, wanted: RecordType) -> Answer<'_> {
        let above = self.apexes.iter().filter(|apex| apex.name.zone_of(name));
        let Some(apex) = above.max_by_key(|apex| apex.name.num_labels()) else { return Answer::Outside };
        let Some(node) = self.nodes.get(name).or_else(|| self.wildcard(apex, name)) else {
            let is_wanted = |record: &Record| wanted == RecordType::ANY || wanted == record.record_type();
            return match self.pods.at(name) {
                Some(Made::Record(record)) if is_wanted(&record) => {
                    Answer::Records { answers: vec![Cow::Owned(*record)], additionals: &[] }
                }
                Some(_) => Answer::NoData { soa: &apex.soa },
                None => Answer::NoName { soa: &apex.soa },
            };
        };
        let wanted = match wanted {
            // One kind of record is answer enough to who does not say what for (RFC 8482).
            RecordType::ANY => node.records.first().map_or(RecordType::ANY, Record::record_type),
            wanted => wanted,
        };
        let answers = node.records.iter().filter(|record| record.record_type() == wanted);
        let answers: Vec<Cow<'_, Record>> = answers.map(Cow::Borrowed).collect();
        if !answers.is_empty() {
            let additionals = if wanted == RecordType::SRV { &node.additionals[..] } else { &[] };
            return Answer::Records { answers, additionals };
        }
        match node.records.first() {
            Some(record @ Record { data: RData::CNAME(target), .. }) => Answer::Alias { record, target },
            _ => Answer::NoData { soa: &apex.soa },
        }
    }

    /// What stands for all names that do not exist at this place. There is such a thing only in public zones, where
    /// Ingresses may have wildcards for hosts: no name of the cluster begins with a star.
    fn wildcard(&self, apex: &Apex, name: &LowerName) -> Option<&Node> {
        let mut above = name.base_name();
        while !self.nodes.contains_key(&above) {
            if !apex.name.zone_of(&above) || above.is_root() {
                return None;
            }
            above = above.base_name();
        }
        let star = Name::from(&above).prepend_label(&b"*"[..]).ok()?;
        self.nodes.get(&LowerName::new(&star))
    }

    /// Whether names that do not exist may have records.
    fn has_wildcards(&self, apex: &Apex) -> bool {
        self.nodes.keys().any(|name| name.is_wildcard() && apex.name.zone_of(name))
    }

    /// Every record but those of pods, in no order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.nodes.values().flat_map(|node| &node.records)
    }

    /// How many names there are beside those of pods.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

/// The name under which the addresses of `network` are named.
fn reverse_apex(network: &IpNet) -> Name {
    let whole_labels = match network {
        IpNet::V4(v4) => v4.prefix_len() / 8,
        IpNet::V6(v6) => v6.prefix_len() / 4,
    };
    Name::from(network.network()).trim_to(usize::from(whole_labels) + 2)
}

#[cfg(test)]
mod tests;
