//! Requests that wait because there is no pod to answer them, and those that keep the last one busy.
//!
//! Where an autoscaler may go down to nothing, whoever asks a service of the missing pods waits for the first of them. Nodes
//! count those who wait; here a single one of them is a wish for a pod, and a pod that is answering is not sent away as the last.

use std::collections::BTreeMap;

use api::{Key, Object, kinds, measured};
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec,
};
use k8s_openapi::api::core::v1::Service;
use state::{Event, Snapshot};

use super::readings;
use super::target::Target;

/// What is wanted of a target's pods this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// Requests and connections that wait for a pod, in thousandths as all figures.
    pub(super) waiting_milli: i64,
    /// Requests that pods are answering.
    in_flight_milli: i64,
}

// === impl Wish ===

impl Wish {
    /// Whether anything waits for a pod.
    pub(super) fn is_some(self) -> bool {
        self.waiting_milli > 0
    }

    /// At least one while something waits or is under way, unless the autoscaler is not to grow at all.
    pub(super) fn kept(self, replicas: i32, spec: &HorizontalPodAutoscalerSpec) -> i32 {
        let up = spec.behavior.as_ref().and_then(|behavior| behavior.scale_up.as_ref());
        let may_grow = up.and_then(|rules| rules.select_policy.as_deref()) != Some("Disabled");
        let is_wanted = (self.is_some() && may_grow) || self.in_flight_milli > 0;
        if is_wanted { replicas.max(1) } else { replicas }
    }
}

/// What is wanted of the target's pods.
pub(super) fn of(target: &Target<'_>, view: &Snapshot) -> Wish {
    let labels = target.labels();
    let key = target.object.key();
    let services = view.list_in(kinds::SERVICE, key.namespace()).filter(|service| selects(service, &labels));
    let sum = |plural: &str, metric: &str, keys: &mut dyn Iterator<Item = &Key>| -> i64 {
        keys.filter_map(|key| Some(readings::figure(view, plural, key, metric)?.milli)).sum()
    };
    let pods = target.pods(view).unwrap_or_default();
    Wish {
        waiting_milli: sum("services", measured::REQUESTS_WAITING, &mut services.map(Object::key)),
        in_flight_milli: sum("pods", measured::REQUESTS_IN_FLIGHT, &mut pods.iter().map(|(pod, _)| pod.key())),
    }
}

/// The autoscalers of a namespace that may go down to nothing.
pub(super) fn scalers<'v>(view: &'v Snapshot, namespace: &'v str) -> impl Iterator<Item = &'v Object> {
    view.list_in(kinds::HORIZONTAL_POD_AUTOSCALER, namespace).filter(|object| reaches_zero(object))
}

fn reaches_zero(object: &Object) -> bool {
    let scaler = object.decode::<HorizontalPodAutoscaler>().ok();
    scaler.is_some_and(|it| it.spec.as_ref().is_some_and(|spec| spec.min_replicas == Some(0)))
}

/// Whether whoever asks a service that selects these pods may wait for the first of them: an autoscaler that may send all of
/// them away would call it back.
pub(crate) fn is_woken(service: &Key, selector: &BTreeMap<String, String>, view: &Snapshot) -> bool {
    scalers(view, service.namespace()).any(|object| {
        let target = reference(object).and_then(|it| Target::find(&it, service.namespace(), view).ok());
        target.is_some_and(|target| has_all(&target.labels(), selector))
    })
}

/// Whether an event may change which services are woken: it is about such an autoscaler, or about what one scales.
pub(crate) fn decides_who_is_woken(event: &Event, view: &Snapshot) -> bool {
    let key = event.key();
    if key.kind() == kinds::HORIZONTAL_POD_AUTOSCALER {
        let bounds = |object: Option<&Object>| Some((reaches_zero(object?), reference(object?)));
        return bounds(event.before()) != bounds(event.after());
    }
    // What is only told of its state has no other pods.
    let said = |object: Option<&Object>| object.map(|object| object.meta().generation);
    if said(event.before()) == said(event.after()) && event.before().is_some() {
        return false;
    }
    let is_it =
        |reference: CrossVersionObjectReference| reference.kind == key.kind().kind && reference.name == key.name();
    scalers(view, key.namespace()).any(|object| reference(object).is_some_and(is_it))
}

fn reference(object: &Object) -> Option<CrossVersionObjectReference> {
    let scaler = object.decode::<HorizontalPodAutoscaler>().ok()?;
    Some(scaler.spec.as_ref()?.scale_target_ref.clone())
}

fn selects(service: &Object, labels: &BTreeMap<String, String>) -> bool {
    service.decode::<Service>().is_ok_and(|service| {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| !selector.is_empty() && has_all(labels, selector))
    })
}

fn has_all(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}
