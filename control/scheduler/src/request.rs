//! What a pod asks of its node, whoever it is: pods that ask the same are answered the same.

use std::sync::Arc;

use crate::Demand;

/// What a pod asks of a node, as far as that decides which nodes can take it, and who may be sent away for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Request(Arc<str>);

// === impl Demand ===

impl Demand {
    /// What it has in common with others. Nothing where the answer hangs on where others are, or on volumes: such a pod is asked
    /// about by itself.
    pub fn request(&self) -> Option<Request> {
        let pod = &self.resident;
        let minds_others = pod.manners().is_some_and(|manners| !manners.near.is_empty() || !manners.apart.is_empty());
        if minds_others || !pod.constraints().is_empty() || self.volumes.asks() {
            return None;
        }
        let asked = (pod.resources(), pod.ports(), &self.node_name, &self.node_selector, &self.required);
        // Whom the others there mind is told by its namespace and its labels.
        let who = (pod.namespace(), pod.labels(), pod.priority(), pod.preempts());
        Some(Request(format!("{asked:?} {who:?} {:?}", self.tolerations).into()))
    }
}
