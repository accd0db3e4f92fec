//! A pod as others see it that share nodes with it, or would.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use api::{Key, kinds};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, TopologySpreadConstraint, WeightedPodAffinityTerm};

use crate::Resources;
use crate::term::Term;

/// A pod on a node, or one that asks for a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resident {
    pub(crate) pod: Arc<Pod>,
    pub(crate) resources: Resources,
    /// What it wants of its neighbours; most pods want nothing.
    pub(crate) manners: Option<Arc<Manners>>,
}

/// What a pod wants of its neighbours.
#[derive(Clone, Debug, Default)]
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
    pub(crate) fn of(pod: Arc<Pod>) -> Self {
        let resources = Resources::asked_by(&pod);
        let manners = Manners::of(&pod).map(Arc::new);
        Self { pod, resources, manners }
    }

    pub(crate) fn key(&self) -> Key {
        kinds::POD.key(self.namespace(), self.pod.metadata.name.as_deref().unwrap_or_default())
    }

    pub(crate) fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub(crate) fn labels(&self) -> &BTreeMap<String, String> {
        static NONE: LazyLock<BTreeMap<String, String>> = LazyLock::new(BTreeMap::new);
        self.pod.metadata.labels.as_ref().unwrap_or(&NONE)
    }

    /// How evenly it wants to lie with its like.
    pub(crate) fn constraints(&self) -> &[TopologySpreadConstraint] {
        let spec = self.pod.spec.as_ref();
        spec.and_then(|spec| spec.topology_spread_constraints.as_deref()).unwrap_or_default()
    }

    /// Whether others may be sent away for it.
    pub(crate) fn preempts(&self) -> bool {
        let policy = self.pod.spec.as_ref().and_then(|spec| spec.preemption_policy.as_deref());
        policy != Some("Never")
    }

    pub(crate) fn priority(&self) -> i32 {
        self.pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)
    }

    /// Since when it is there.
    pub(crate) fn started(&self) -> Option<Timestamp> {
        let started = self.pod.status.as_ref().and_then(|status| status.start_time.as_ref());
        started.or(self.pod.metadata.creation_timestamp.as_ref()).map(|time| time.0)
    }

    /// Whether it is on its way out.
    pub(crate) fn is_leaving(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }
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
