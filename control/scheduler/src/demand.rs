//! What a pod asks of a node, read once and compared with many.

use std::collections::BTreeMap;

use api::kinds;
use k8s_openapi::api::core::v1::{NodeSelectorTerm, Pod, PreferredSchedulingTerm, Toleration};

use state::Snapshot;

use crate::Unplaceable;
use crate::resident::Resident;
use crate::volumes::VolumeDemand;

/// What a pod asks of a node.
#[derive(Clone, Debug)]
pub struct Demand {
    pub(crate) resident: Resident,
    pub(crate) node_name: Option<String>,
    pub(crate) node_selector: BTreeMap<String, String>,
    /// The node must be described by one of them; `None` asks nothing.
    pub(crate) required: Option<Vec<NodeSelectorTerm>>,
    pub(crate) preferred: Vec<PreferredSchedulingTerm>,
    pub(crate) tolerations: Vec<Toleration>,
    pub(crate) volumes: VolumeDemand,
}

// === impl Demand ===

impl Demand {
    /// What `pod` asks, its claims included; or why no node will do, whichever it is.
    pub fn in_world(pod: &Pod, view: &Snapshot) -> Result<Self, Unplaceable> {
        match VolumeDemand::of(pod, view) {
            Ok(volumes) => Ok(Self { volumes, ..Self::of(pod) }),
            Err(why) => Err(Unplaceable { nodes: view.count(kinds::NODE), pod: Some(why), ..Unplaceable::default() }),
        }
    }

    /// What `pod` asks, but for its claims.
    pub fn of(pod: &Pod) -> Self {
        let spec = pod.spec.as_ref();
        let affinity = spec.and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
        let required = affinity.and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref());
        let preferred = affinity.and_then(|it| it.preferred_during_scheduling_ignored_during_execution.as_ref());
        Self {
            resident: Resident::of(pod),
            node_name: spec.and_then(|spec| spec.node_name.clone()).filter(|name| !name.is_empty()),
            node_selector: spec.and_then(|spec| spec.node_selector.clone()).unwrap_or_default(),
            required: required.map(|selector| selector.node_selector_terms.clone()),
            preferred: preferred.cloned().unwrap_or_default(),
            tolerations: spec.and_then(|spec| spec.tolerations.clone()).unwrap_or_default(),
            volumes: VolumeDemand::default(),
        }
    }

    /// Whether pods that matter less may be sent away for this one.
    pub fn preempts(&self) -> bool {
        self.resident.preempts()
    }
}
