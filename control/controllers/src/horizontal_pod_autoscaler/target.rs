//! What an autoscaler scales: anything that has a scale.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::selector::LabelSelector;
use api::{Admission, FieldValidation, Kinds, Object, Operation, SharedKind, catalog, kinds};
use k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use state::{Snapshot, Txn};

use crate::{Look, pods};

/// An object that has a scale.
pub(super) struct Target<'v> {
    pub(super) object: &'v Object,
    kind: SharedKind,
    /// How many replicas it is to have.
    pub(super) wanted: i32,
    /// Which pods are its own; empty where it does not say.
    pub(super) selector: String,
}

/// A pod as it is stored and as it is read.
pub(super) type Read<'v> = (&'v Object, Arc<Pod>);

// === impl Target ===

impl<'v> Target<'v> {
    /// What is referred to, or why it cannot be scaled.
    pub(super) fn find(
        reference: &CrossVersionObjectReference,
        namespace: &str,
        view: &'v Snapshot,
    ) -> Result<Self, String> {
        let version = reference.api_version.as_deref().unwrap_or("v1");
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let kind = kind(group, &reference.kind, view).ok_or_else(|| {
            let wanted = format!("no matches for kind {:?} in group {group:?}", reference.kind);
            format!("unable to determine resource for scale target reference: {wanted}")
        })?;
        let key = kind.group_kind().key(namespace, &reference.name);
        let not_found = || format!("{} {:?} not found", kind.names().resource(), reference.name);
        let object = view.get(&key).ok_or_else(not_found)?;
        let scale = kind.scale(object).ok_or("the server could not find the requested resource")?;
        let wanted = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
        let selector = scale.pointer("/status/selector").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Self { object, kind, wanted: i32::try_from(wanted).unwrap_or(i32::MAX), selector })
    }

    /// Its pods, whatever they are doing, or why nobody knows them.
    pub(super) fn pods(&self, view: &'v Snapshot) -> Result<Vec<Read<'v>>, String> {
        let selector: LabelSelector = self.selector.parse().map_err(|error| format!("{error}"))?;
        let pods = view.list_in(kinds::POD, self.object.key().namespace());
        let own = pods.filter(|pod| selector.matches(&pod.meta().labels));
        Ok(own.filter_map(|pod| Some((pod, pod.decode::<Pod>().ok()?))).collect())
    }

    /// Whether any of its pods is ready.
    pub(super) fn is_ready(&self, view: &'v Snapshot) -> bool {
        self.pods(view).is_ok_and(|pods| pods.iter().any(|(_, pod)| pods::is_ready(pod)))
    }

    /// The labels that its pods have, or would have.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let value: Value = serde_json::from_slice(self.object.body()).unwrap_or_default();
        let template = value.pointer("/spec/template/metadata/labels").cloned();
        let labels = template.and_then(|labels| serde_json::from_value(labels).ok());
        labels.unwrap_or_else(|| {
            let words = self.selector.split(',').filter_map(|word| word.split_once('='));
            words.map(|(name, value)| (name.to_owned(), value.trim_start_matches('=').to_owned())).collect()
        })
    }

    /// The target with so many replicas, if its kind admits that.
    pub(super) fn with(&self, replicas: i32, look: Look<'_>) -> Result<Txn, String> {
        let scale = json!({"spec": {"replicas": replicas}});
        let value = self.kind.with_scale(self.object, &scale).map_err(|refusal| refusal.message)?;
        let admission = Admission {
            operation: Operation::Update { old: self.object },
            namespace: self.object.key().namespace(),
            validation: FieldValidation::Ignore,
            duplicates: &[],
            now: look.now,
        };
        let admitted = self.kind.admit(value, &admission).map_err(|refusal| refusal.message)?;
        Ok(Txn::replace(self.object, admitted.object))
    }
}

/// The kind of this name, one of the program's own or one that the cluster was taught.
fn kind(group: &str, name: &str, view: &Snapshot) -> Option<SharedKind> {
    let is_it = |names: &api::Names| names.group == group && names.kind == name;
    if let Some(kind) = catalog::all().iter().find(|kind| is_it(kind.names())) {
        return Some(SharedKind::Known(*kind));
    }
    let taught = Kinds::default().after(view.list(kinds::CUSTOM_RESOURCE_DEFINITION));
    taught.all().iter().find(|kind| is_it(kind.names())).cloned()
}
