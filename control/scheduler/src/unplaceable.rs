//! A "no" that carries every reason, in the words that people know from Kubernetes.

use std::collections::BTreeMap;
use std::fmt;

/// Why no node can take a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Unplaceable {
    /// How many nodes were asked.
    pub nodes: usize,
    /// How many of them gave each reason.
    pub reasons: BTreeMap<Reason, usize>,
    /// What is in the way on every node alike: it is with the pod.
    pub pod: Option<String>,
}

/// Why a node cannot take a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// It takes no new pods.
    Cordoned,
    /// The pod asks for another node by name.
    OtherNodeAskedFor,
    /// It has a taint that the pod does not tolerate.
    Tainted {
        /// The taint's key.
        key: String,
        /// The taint's value, often empty.
        value: String,
    },
    /// The pod's selector or affinity does not describe it.
    NotSelected,
    /// Others have ports of it that the pod asks for.
    PortsTaken,
    /// It has as many pods as it takes.
    TooManyPods,
    /// It has too little left of a resource.
    Insufficient(String),
    /// Another pod uses a claim that one pod at a time may use.
    ClaimTaken,
    /// A claim that pods of one node at a time may use is used on another.
    ClaimElsewhere,
    /// A claim has a volume that is not there any more.
    VolumeMissing,
    /// A claim has a volume that the node does not reach.
    VolumeElsewhere,
    /// There is no volume for a claim, and none can be made there.
    NoVolume,
    /// It has no label that the pod's spread constraints name.
    NoTopology,
    /// The pod would lie less evenly with its like than it may.
    Uneven,
    /// Nobody is near whom the pod wants near.
    NotNear,
    /// Somebody is near whom the pod wants far.
    NotApart,
    /// Somebody is near who wants the pod far.
    Unwanted,
}

// === impl Unplaceable ===

impl fmt::Display for Unplaceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        if let Some(why) = &self.pod {
            return write!(f, "0/{} nodes are available: {why}.", self.nodes);
        }
        let mut told: Vec<String> = self.reasons.iter().map(|(reason, nodes)| format!("{nodes} {reason}")).collect();
        told.sort();
        write!(f, "0/{} nodes are available: {}.", self.nodes, told.join(", "))
    }
}

// === impl Reason ===

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cordoned => f.write_str("node(s) were unschedulable"),
            Self::OtherNodeAskedFor => f.write_str("node(s) didn't match the requested node name"),
            Self::Tainted { key, value } => write!(f, "node(s) had untolerated taint {{{key}: {value}}}"),
            Self::NotSelected => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Self::PortsTaken => f.write_str("node(s) didn't have free ports for the requested pod ports"),
            Self::TooManyPods => f.write_str("Too many pods"),
            Self::Insufficient(resource) => write!(f, "Insufficient {resource}"),
            Self::ClaimTaken => f.write_str(
                "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
            ),
            Self::ClaimElsewhere => {
                f.write_str("node(s) had a pod on another node that uses the same ReadWriteOnce PersistentVolumeClaim")
            }
            Self::VolumeMissing => {
                f.write_str("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")
            }
            Self::VolumeElsewhere => f.write_str("node(s) had volume node affinity conflict"),
            Self::NoTopology => {
                f.write_str("node(s) didn't match pod topology spread constraints (missing required label)")
            }
            Self::Uneven => f.write_str("node(s) didn't match pod topology spread constraints"),
            Self::NotNear => f.write_str("node(s) didn't match pod affinity rules"),
            Self::NotApart => f.write_str("node(s) didn't match pod anti-affinity rules"),
            Self::Unwanted => f.write_str("node(s) didn't satisfy existing pods anti-affinity rules"),
            Self::NoVolume => f.write_str("node(s) didn't find available persistent volumes to bind"),
        }
    }
}
