//! Whom a rule about neighbours means, and how far its neighbourhood goes: pods of some namespaces with certain labels, and
//! the label of nodes that makes several of them one place.

use std::collections::{BTreeMap, BTreeSet};

use api::Object;
use api::selector::LabelSelector;
use k8s_openapi::api::core::v1::PodAffinityTerm;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

use crate::resident::Resident;

/// The namespaces of a world, whose labels rules may ask for.
pub(crate) type Namespaces = BTreeMap<String, Object>;

/// One such rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    pub(crate) topology_key: String,
    pods: LabelSelector,
    namespaces: BTreeSet<String>,
    namespaces_with: LabelSelector,
}

// === impl Term ===

impl Term {
    /// What a pod in `namespace` with `labels` means by a term.
    pub(crate) fn of(term: &PodAffinityTerm, namespace: &str, labels: &BTreeMap<String, String>) -> Self {
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(namespace.to_owned());
        }
        let keys = |keys: &Option<Vec<String>>| keys.clone().unwrap_or_default();
        let also = [("In", keys(&term.match_label_keys)), ("NotIn", keys(&term.mismatch_label_keys))];
        Self {
            topology_key: term.topology_key.clone(),
            pods: selector(term.label_selector.as_ref(), &also, labels),
            namespaces,
            namespaces_with: LabelSelector::of(term.namespace_selector.as_ref()).unwrap_or(LabelSelector::nothing()),
        }
    }

    /// Whether it means this pod.
    pub(crate) fn means(&self, pod: &Resident, namespaces: &Namespaces) -> bool {
        let with_labels =
            || namespaces.get(pod.namespace()).is_some_and(|it| self.namespaces_with.matches(&it.meta().labels));
        self.pods.matches(pod.labels()) && (self.namespaces.contains(pod.namespace()) || with_labels())
    }
}

/// A selector of pods that also asks for the pod's own values of some labels. Without a selector nobody is meant.
pub(crate) fn selector(
    given: Option<&meta::LabelSelector>,
    also: &[(&str, Vec<String>)],
    labels: &BTreeMap<String, String>,
) -> LabelSelector {
    let Some(mut wanted) = given.cloned() else { return LabelSelector::nothing() };
    for (operator, keys) in also {
        let told = keys.iter().filter_map(|key| Some((key, labels.get(key)?)));
        let asked = told.map(|(key, value)| meta::LabelSelectorRequirement {
            key: key.clone(),
            operator: (*operator).to_owned(),
            values: Some(vec![value.clone()]),
        });
        wanted.match_expressions.get_or_insert_default().extend(asked);
    }
    LabelSelector::try_from(&wanted).unwrap_or(LabelSelector::nothing())
}
