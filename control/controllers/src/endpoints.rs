//! The addresses behind a service: EndpointSlices, and the older Endpoints object beside them.
//!
//! Both say the same of the same pods: which can be reached, at which port, and whether they are ready, serving or on their
//! way out. An endpoint stays in the slice it is in, so that a change of one pod rewrites one slice.
//!
//! The slices also say whether somebody comes to a service without pods when it is asked, so that nodes let askers wait.
//!
//! A service without a selector is kept by hand: what its Endpoints object tells is told in slices too, and slices that
//! somebody else keeps are left alone.

mod addresses;
mod legacy;
mod mirror;
mod ports;
mod slices;

use std::collections::BTreeMap;

use api::{Key, Object, kinds, waking};
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use state::{Event, Snapshot};

use crate::horizontal_pod_autoscaler::{decides_who_is_woken, is_woken};
use crate::{Controller, Look, Plan};

/// The label by which slices name their service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Says that clients should not balance but look at the pods.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// The controller of Endpoints and EndpointSlices.
pub(crate) struct Endpoints;

// === impl Endpoints ===

impl Controller for Endpoints {
    fn name(&self) -> &'static str {
        "endpoints"
    }

    fn affected(&self, event: &Event, view: &Snapshot) -> Vec<Key> {
        let key = event.key();
        match key.kind() {
            kinds::SERVICE => vec![key.clone()],
            kinds::POD => services_of(event, view),
            kinds::ENDPOINTS => vec![key.sibling(kinds::SERVICE, key.name())],
            kinds::ENDPOINT_SLICE => {
                let service = event.latest().meta().labels.get(SERVICE_NAME);
                service.map(|service| key.sibling(kinds::SERVICE, service)).into_iter().collect()
            }
            _ if decides_who_is_woken(event, view) => {
                view.list_in(kinds::SERVICE, key.namespace()).map(|service| service.key().clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let service = view.get(key).filter(|service| !service.meta().is_terminating());
        let decoded = service.and_then(|object| Some((object, object.decode::<Service>().ok()?)));
        let Some((object, service)) = decoded else {
            return without_service(key, view);
        };
        let Some(spec) = service.spec.as_ref() else { return Plan::nothing() };
        if spec.type_.as_deref() == Some("ExternalName") {
            return without_service(key, view);
        }
        let Some(selector) = selector(spec) else { return mirror::plan(key, view, look) };
        let backends = addresses::backends(object, spec, selector, view);
        let woken = is_woken(key, selector, view).then(|| BTreeMap::from([(waking::ANNOTATION.into(), "true".into())]));
        let of_pods = slices::Keeping::of_service(object, spec, woken).plan(&backends, view, look);
        // It may have been kept by hand before it had a selector.
        let by_hand = slices::without(key, mirror::CONTROLLER, view);
        let slices: Plan = of_pods.into_iter().chain(by_hand).collect();
        slices.also(legacy::plan(object, spec, &backends, view, look))
    }
}

/// Nothing is told of a service that is gone, or that is a name for something outside.
fn without_service(key: &Key, view: &Snapshot) -> Plan {
    let slices = [slices::CONTROLLER, mirror::CONTROLLER].into_iter().flat_map(|by| slices::without(key, by, view));
    slices.collect::<Plan>().also(legacy::without_service(key, view))
}

/// The services that select the pod, as it was or as it is.
fn services_of(event: &Event, view: &Snapshot) -> Vec<Key> {
    let labels: Vec<&BTreeMap<String, String>> =
        [event.before(), event.after()].into_iter().flatten().map(|pod| &pod.meta().labels).collect();
    let selects = |object: &&Object| {
        object.decode::<Service>().is_ok_and(|service| {
            let selector = service.spec.as_ref().and_then(selector);
            selector.is_some_and(|selector| labels.iter().any(|labels| has_all(labels, selector)))
        })
    };
    let services = view.list_in(kinds::SERVICE, event.key().namespace());
    services.filter(selects).map(|service| service.key().clone()).collect()
}

fn selector(spec: &ServiceSpec) -> Option<&BTreeMap<String, String>> {
    spec.selector.as_ref().filter(|selector| !selector.is_empty())
}

fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some("None")
}

fn has_all(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// The service's labels with those that say who keeps this object.
fn labels(service: &Object, spec: &ServiceSpec, own: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut labels = service.meta().labels.clone();
    labels.remove(HEADLESS);
    if is_headless(spec) {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.extend(own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    labels
}

#[cfg(test)]
mod tests;
