//! A place for names; what is in it goes when it goes.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use serde_json::Value;

use super::{AGE, NAME, text};
use crate::rules::{self, Causes, NameRule};
use crate::{Column, Names, Resource, Scope, Subresource, cells};

/// The kind.
#[derive(Debug)]
pub struct Namespaces;

/// Kept by the server until everything in the namespace is gone.
const FINALIZER: &str = "kubernetes";

impl Resource for Namespaces {
    type Object = Namespace;

    const NAMES: &'static Names = &Names {
        group: "",
        version: "v1",
        kind: "Namespace",
        plural: "namespaces",
        singular: "namespace",
        short: &["ns"],
        categories: &[],
        scope: Scope::Cluster,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status, Subresource::Finalize];
    const NAME_RULE: NameRule = NameRule::Label;
    const COLUMNS: &'static [Column] = &[NAME, text("Status", "Whether it is active or on its way out."), AGE];
    const SELECTABLE: &'static [&'static str] = &["status.phase"];

    fn default(namespace: &mut Namespace) {
        let name = namespace.metadata.name.clone().unwrap_or_default();
        namespace.metadata.labels.get_or_insert_default().insert("kubernetes.io/metadata.name".into(), name);
        namespace.status.get_or_insert_default().phase.get_or_insert_with(|| "Active".into());
    }

    fn prepare_create(namespace: &mut Namespace) {
        let finalizers = namespace.spec.get_or_insert_default().finalizers.get_or_insert_default();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(FINALIZER.into());
        }
    }

    fn prepare_update(namespace: &mut Namespace, old: &Namespace) {
        // Only the finalize subresource changes them.
        namespace.spec.clone_from(&old.spec);
    }

    fn validate(namespace: &Namespace, causes: &mut Causes) {
        for finalizer in namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten()) {
            for problem in rules::qualified_name(finalizer) {
                causes.invalid("spec.finalizers", finalizer, &problem);
            }
        }
    }

    fn cells(namespace: &Namespace, now: Timestamp) -> Vec<Value> {
        vec![cells::name(&namespace.metadata), phase(namespace).into(), cells::age(&namespace.metadata, now)]
    }

    fn fields(namespace: &Namespace) -> Vec<(&'static str, String)> {
        vec![("status.phase", phase(namespace).into())]
    }
}

fn phase(namespace: &Namespace) -> &str {
    namespace.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}
