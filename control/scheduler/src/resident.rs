//! A pod as others see it that share nodes with it, or would.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{Key, kinds};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, TopologySpreadConstraint, WeightedPodAffinityTerm};

use crate::Resources;
use crate::ports::HostPort;
use crate::term::Term;

/// A pod on a node, or one that asks for a node: what others ask about it, without the pod. Cloning shares it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resident(Arc<Facts>);

#[derive(Debug, PartialEq)]
struct Facts {
    key: Key,
    labels: BTreeMap<String, String>,
    /// The uid of its controlling owner.
    owner: Option<Arc<str>>,
    ports: Vec<HostPort>,
    resources: Resources,
    /// Most pods want nothing.
    manners: Option<Manners>,
    constraints: Vec<TopologySpreadConstraint>,
    priority: i32,
    preempts: bool,
    is_leaving: bool,
    started: Option<Timestamp>,
}

/// What a pod wants of its neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manners {
    /// Near all of these, or nowhere.
    pub(crate) near: Vec<Term>,
    /// Near none of these.
    pub(crate) apart: Vec<Term>,
    /// How much it would like to be near these; less than nothing means apart.
    pub(crate) likes: Vec<(i64, Term)>,
}

// === impl Resident ===

impl Resident {
    pub(crate) fn of(pod: &Pod) -> Self {
        let Pod { metadata, spec, status } = pod;
        let spec = spec.as_ref();
        let word = |word: &Option<String>| word.as_deref().unwrap_or_default().to_owned();
        let started = status.as_ref().and_then(|status| status.start_time.as_ref());
        let constraints = spec.and_then(|spec| spec.topology_spread_constraints.clone());
        Self(Arc::new(Facts {
            key: kinds::POD.key(&word(&metadata.namespace), &word(&metadata.name)),
            labels: metadata.labels.clone().unwrap_or_default(),
            owner: owner_of(pod),
            ports: HostPort::of(pod),
            resources: Resources::asked_by(pod),
            manners: Manners::of(pod),
            constraints: constraints.unwrap_or_default(),
            priority: spec.and_then(|spec| spec.priority).unwrap_or(0),
            preempts: spec.and_then(|spec| spec.preemption_policy.as_deref()) != Some("Never"),
            is_leaving: metadata.deletion_timestamp.is_some(),
            started: started.or(metadata.creation_timestamp.as_ref()).map(|time| time.0),
        }))
    }

    pub(crate) fn key(&self) -> &Key {
        &self.0.key
    }

    /// Whether it takes of a node what another did, and wants of its neighbours what that wanted.
    pub(crate) fn takes_as(&self, other: &Self) -> bool {
        self.resources() == other.resources() && self.ports() == other.ports() && self.manners() == other.manners()
    }

    pub(crate) fn namespace(&self) -> &str {
        self.0.key.namespace()
    }

    pub(crate) fn labels(&self) -> &BTreeMap<String, String> {
        &self.0.labels
    }

    /// The uid of the owner that manages it.
    pub(crate) fn owner(&self) -> Option<&Arc<str>> {
        self.0.owner.as_ref()
    }

    /// The node's ports that it takes for itself.
    pub(crate) fn ports(&self) -> &[HostPort] {
        &self.0.ports
    }

    pub(crate) fn resources(&self) -> &Resources {
        &self.0.resources
    }

    /// What it wants of its neighbours.
    pub(crate) fn manners(&self) -> Option<&Manners> {
        self.0.manners.as_ref()
    }

    /// How evenly it wants to lie with its like.
    pub(crate) fn constraints(&self) -> &[TopologySpreadConstraint] {
        &self.0.constraints
    }

    /// Whether others may be sent away for it.
    pub(crate) fn preempts(&self) -> bool {
        self.0.preempts
    }

    pub(crate) fn priority(&self) -> i32 {
        self.0.priority
    }

    /// Since when it is there.
    pub(crate) fn started(&self) -> Option<Timestamp> {
        self.0.started
    }

    /// Whether it is on its way out.
    pub(crate) fn is_leaving(&self) -> bool {
        self.0.is_leaving
    }
}

/// The uid of the owner that manages the pod.
fn owner_of(pod: &Pod) -> Option<Arc<str>> {
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str().into())
}

// === impl Manners ===

impl Manners {
    fn of(pod: &Pod) -> Option<Self> {
        let affinity = pod.spec.as_ref()?.affinity.as_ref()?;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let none = BTreeMap::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
        let terms = |terms: Option<&Vec<PodAffinityTerm>>| {
            terms.into_iter().flatten().map(|term| Term::of(term, namespace, labels)).collect::<Vec<_>>()
        };
        let liked = |terms: Option<&Vec<WeightedPodAffinityTerm>>, sign: i64| {
            let weighed = terms.into_iter().flatten();
            let weighed = weighed
                .map(|term| (sign * i64::from(term.weight), Term::of(&term.pod_affinity_term, namespace, labels)));
            weighed.collect::<Vec<_>>()
        };
        let (near, apart) = (affinity.pod_affinity.as_ref(), affinity.pod_anti_affinity.as_ref());
        let mut likes =
            liked(near.and_then(|near| near.preferred_during_scheduling_ignored_during_execution.as_ref()), 1);
        likes.extend(liked(
            apart.and_then(|apart| apart.preferred_during_scheduling_ignored_during_execution.as_ref()),
            -1,
        ));
        let manners = Self {
            near: terms(near.and_then(|near| near.required_during_scheduling_ignored_during_execution.as_ref())),
            apart: terms(apart.and_then(|apart| apart.required_during_scheduling_ignored_during_execution.as_ref())),
            likes,
        };
        let is_indifferent = manners.near.is_empty() && manners.apart.is_empty() && manners.likes.is_empty();
        (!is_indifferent).then_some(manners)
    }
}
