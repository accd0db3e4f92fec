//! A pod for a node.

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod};

use super::crew::Crew;
use super::eligible;
use crate::revisions::REVISION_LABEL;
use crate::template;

/// The field by which a term names a node.
const NAME_FIELD: &str = "metadata.name";

/// The `n`th new pod of this look, for `node`. What the template asks of nodes has been asked; what remains is the node's name.
pub(super) fn of(crew: &Crew<'_>, node: &str, n: usize) -> Pod {
    let name = template::free_name(crew.object, crew.object.key().name(), n, crew.view, crew.look);
    let mut pod = template::pod(crew.spec.template.clone(), crew.object, name);
    pod.metadata.labels.get_or_insert_default().insert(REVISION_LABEL.into(), crew.hash.into());
    let spec = pod.spec.get_or_insert_default();
    spec.tolerations = Some(eligible::tolerations(spec));
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    let name =
        NodeSelectorRequirement { key: NAME_FIELD.into(), operator: "In".into(), values: Some(vec![node.to_owned()]) };
    let term = NodeSelectorTerm { match_fields: Some(vec![name]), match_expressions: None };
    affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
    pod
}

/// The node that a pod is on, or is for.
pub(super) fn target(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = crate::pods::node(pod) {
        return Some(node.to_owned());
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let name = fields.into_iter().find(|field| field.key == NAME_FIELD && field.operator == "In")?;
    name.values.as_ref()?.first().cloned()
}
