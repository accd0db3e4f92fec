//! Kinds whose objects are measured when they are asked for, and never stored: `metrics.k8s.io`.
//!
//! They are read, listed, selected and shown as others are; nobody writes them.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::catalog::{NAME, text};
use crate::kind::{Admission, Admitted, Column, Heading, Kind, Names, Scope, Subresource};
use crate::quantity::Quantity;
use crate::{GroupKind, Key, Object, Reason, StatusError};

/// A kind that is measured.
#[derive(Debug)]
pub struct Measured {
    names: &'static Names,
}

/// What may be asked of them.
pub const VERBS: [&str; 2] = ["get", "list"];

/// What nodes use.
pub static NODES: Measured = Measured { names: &names("NodeMetrics", "nodes", Scope::Cluster) };
/// What pods use, container by container.
pub static PODS: Measured = Measured { names: &names("PodMetrics", "pods", Scope::Namespaced) };

/// One figure of one object, as `custom.metrics.k8s.io` tells it.
pub const METRIC_VALUE: GroupKind = GroupKind::new("custom.metrics.k8s.io", "MetricValue");
/// How many requests a pod was asked in a second, its probes not counted.
pub const REQUESTS_PER_SECOND: &str = "requests-per-second";
/// How many requests a pod is answering.
pub const REQUESTS_IN_FLIGHT: &str = "requests-in-flight";
/// How many requests and connections wait for a service to have an endpoint.
pub const REQUESTS_WAITING: &str = "requests-waiting";

/// Where a figure of the object `name` of `plural` is found among what was measured: no object that is stored has such a name.
pub fn figure_key(plural: &str, namespace: &str, name: &str, metric: &str) -> Key {
    METRIC_VALUE.key(namespace, &format!("{plural}/{name}/{metric}"))
}

/// What was found at `at` of a metric of the object `of`, on average over so many seconds.
pub fn figure(plural: &str, of: &Key, metric: &str, value: Quantity, at: &str, window: u64) -> Option<Object> {
    let key = figure_key(plural, of.namespace(), of.name(), metric);
    let described =
        json!({"kind": of.kind().kind, "namespace": of.namespace(), "name": of.name(), "apiVersion": "/v1"});
    let value = json!({
        "kind": METRIC_VALUE.kind, "apiVersion": "custom.metrics.k8s.io/v1beta2",
        "metadata": {"namespace": key.namespace(), "name": key.name()},
        "describedObject": described, "metric": {"name": metric},
        "timestamp": at, "windowSeconds": window, "value": value.to_string(),
    });
    Object::from_value(METRIC_VALUE, &value).ok()
}

const COLUMNS: &[Column] = &[
    NAME,
    text("Cpu", "Processors in use, on average over the window."),
    text("Memory", "Memory in use."),
    text("Window", "How long was measured."),
];

const fn names(kind: &'static str, plural: &'static str, scope: Scope) -> Names {
    let (group, version) = ("metrics.k8s.io", "v1beta1");
    Names { group, version, kind, plural, singular: "", short: &[], categories: &[], scope }
}

/// All of them.
pub fn all() -> [&'static Measured; 2] {
    [&NODES, &PODS]
}

/// The kind at a place of the API, if it is one of these.
pub fn by_resource(group: &str, version: &str, plural: &str) -> Option<&'static dyn Kind> {
    let is_it =
        |kind: &&Measured| (kind.names.group, kind.names.version, kind.names.plural) == (group, version, plural);
    all().into_iter().find(is_it).map(|kind| kind as &'static dyn Kind)
}

/// Whether objects of a kind are measured.
pub fn is_measured(kind: &dyn Kind) -> bool {
    kind.names().group == NODES.names.group
}

// === impl Measured ===

impl Kind for Measured {
    fn names(&self) -> &'static Names {
        self.names
    }

    fn subresources(&self) -> &'static [Subresource] {
        &[]
    }

    fn admit(&self, _: Value, _: &Admission<'_>) -> Result<Admitted, StatusError> {
        let why = format!("create is not supported on resources of kind {:?}", self.names.resource());
        Err(StatusError::new(Reason::MethodNotAllowed, why))
    }

    fn columns(&self) -> Vec<Heading<'_>> {
        COLUMNS.to_vec()
    }

    fn cells(&self, object: &Object, _: Timestamp) -> Vec<Value> {
        let value: Value = serde_json::from_slice(object.body()).unwrap_or_default();
        let containers = value["containers"].as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        let sum = |name: &str| {
            let amounts = containers.iter().filter_map(|one| one["usage"][name].as_str()?.parse::<Quantity>().ok());
            amounts.reduce(|sum, one| sum + one).map_or_else(|| "0".to_owned(), |sum| sum.to_string())
        };
        vec![object.key().name().into(), sum("cpu").into(), sum("memory").into(), value["window"].clone()]
    }

    fn fields(&self, _: &Object) -> Vec<(&str, String)> {
        Vec::new()
    }

    fn selectable(&self) -> Vec<&str> {
        Vec::new()
    }

    fn scale(&self, _: &Object) -> Option<Value> {
        None
    }

    fn with_scale(&self, _: &Object, _: &Value) -> Result<Value, StatusError> {
        Err(StatusError::new(Reason::MethodNotAllowed, "there is nothing to scale"))
    }

    fn schema(&self, _: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "object"})
    }
}
