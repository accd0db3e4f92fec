//! What is left of a namespace that ends, told in the conditions by which people find out what keeps it.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::custom::CustomResourceDefinition;
use api::{GroupKind, catalog, kinds};
use k8s_openapi::api::core::v1::Namespace;
use state::Snapshot;

use crate::Look;
use crate::conditions::{Says, namespace_says};

/// Objects by their resource, and holds on them by their finalizer.
#[derive(Debug, Default)]
pub(super) struct Remains {
    by_resource: BTreeMap<String, usize>,
    by_finalizer: BTreeMap<String, usize>,
}

// === impl Remains ===

impl Remains {
    /// What a world has of a namespace.
    pub(super) fn of(namespace: &str, view: &Snapshot) -> Self {
        let mut found = Self::default();
        for kind in view.kinds() {
            let resource = resource(kind, view);
            for object in view.list_in(kind, namespace) {
                *found.by_resource.entry(resource.clone()).or_default() += 1;
                for finalizer in &object.meta().finalizers {
                    *found.by_finalizer.entry(finalizer.clone()).or_default() += 1;
                }
            }
        }
        found
    }

    /// Lets the namespace tell of it.
    pub(super) fn tell(&self, namespace: &mut Namespace, look: Look<'_>) {
        let conditions = &mut namespace.status.get_or_insert_default().conditions;
        let mut say = |kind, status, reason, message: &str| {
            namespace_says(conditions, Says { kind, status, reason, message }, &look.time());
        };
        // Nothing has to be discovered or parsed here, so neither can fail; tools look for the words all the same.
        say(
            "NamespaceDeletionDiscoveryFailure",
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        );
        say(
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        );
        say(
            "NamespaceDeletionContentFailure",
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        );
        let kind = "NamespaceContentRemaining";
        match listed(&self.by_resource, "has") {
            None => say(kind, "False", "ContentRemoved", "All content successfully removed"),
            Some(left) => {
                say(kind, "True", "SomeResourcesRemain", &format!("Some resources are remaining: {left}"));
            }
        }
        let kind = "NamespaceFinalizersRemaining";
        match listed(&self.by_finalizer, "in") {
            None => say(kind, "False", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
            Some(left) => {
                let message = format!("Some content in the namespace has finalizers remaining: {left}");
                say(kind, "True", "SomeFinalizersRemain", &message);
            }
        }
    }
}

/// The plural and the group, as people ask for objects of a kind.
fn resource(kind: GroupKind, view: &Snapshot) -> String {
    let plural = catalog::by_kind(kind).map(|kind| kind.names().plural.to_owned()).or_else(|| {
        let taught = view.list(kinds::CUSTOM_RESOURCE_DEFINITION).filter_map(|one| one.decode().ok());
        let mut names =
            taught.map(|one: Arc<CustomResourceDefinition>| (one.spec.group.clone(), one.spec.names.clone()));
        names.find(|(group, names)| *group == kind.group && names.kind == kind.kind).map(|(_, names)| names.plural)
    });
    format!("{}.{}", plural.as_deref().unwrap_or(kind.kind), kind.group)
}

fn listed(counts: &BTreeMap<String, usize>, word: &str) -> Option<String> {
    let told: Vec<String> =
        counts.iter().map(|(name, count)| format!("{name} {word} {count} resource instances")).collect();
    (!told.is_empty()).then(|| told.join(", "))
}
