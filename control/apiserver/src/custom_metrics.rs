//! Figures that pods have of their own, beside what they use: `custom.metrics.k8s.io`, measured when they are asked for.
//!
//! `GET …/namespaces/shop/pods/web-0/requests-per-second`; the name `*` means all pods, or those of `labelSelector`.

use std::sync::Arc;

use api::selector::LabelSelector;
use api::{Key, Reason, StatusError, kinds, measured};
use axum::extract::{Path, State};
use http::{StatusCode, Uri};
use serde_json::{Value, json};

use crate::Door;
use crate::answer::{self, Answer, Refusal};
use crate::query::Query;

/// Where they are.
pub(crate) const PATH: &str = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/{namespace}/pods/{name}/{metric}";

/// What was found of a metric.
pub(crate) async fn of_pods(
    State(door): State<Arc<Door>>,
    Path((namespace, name, metric)): Path<(String, String, String)>,
    uri: Uri,
) -> Result<Answer, Refusal> {
    let options = Query::parse(uri.query()).list_options()?;
    let selector: LabelSelector = options.labels.parse().map_err(StatusError::from)?;
    let world = door.store.snapshot();
    let pods = world.list_in(kinds::POD, &namespace).filter(|pod| match name.as_str() {
        "*" => selector.matches(&pod.meta().labels),
        name => pod.key().name() == name,
    });
    let pods: Vec<Key> = pods.map(|pod| pod.key().clone()).collect();
    let found = door.links.figures(&world, &pods).await;
    let is_wanted =
        |key: &Key| pods.iter().any(|pod| measured::figure_key("pods", &namespace, pod.name(), &metric) == *key);
    let told = found.iter().filter(|figure| is_wanted(figure.key()));
    let items: Vec<Value> = told.filter_map(|figure| figure.to_value().ok()).map(bare).collect();
    if items.is_empty() {
        let why = format!("the server could not find the metric {metric} for pods");
        return Err(StatusError::new(Reason::NotFound, why).into());
    }
    let list = json!({
        "kind": "MetricValueList", "apiVersion": "custom.metrics.k8s.io/v1beta2", "metadata": {}, "items": items,
    });
    Ok(answer::value(StatusCode::OK, &list))
}

/// A figure as an item: what it is kept by is not a part of it.
fn bare(mut figure: Value) -> Value {
    if let Some(members) = figure.as_object_mut() {
        for name in ["metadata", "kind", "apiVersion"] {
            members.remove(name);
        }
    }
    figure
}
