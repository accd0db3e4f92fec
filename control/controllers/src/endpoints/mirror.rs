//! Endpoints that somebody keeps by hand, for a service without a selector, told in slices too: whoever reads slices alone
//! would not see them otherwise. Slices that somebody keeps by hand are nobody's copy, and are left alone.

use api::{Key, Object, kinds};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints};
use state::Snapshot;

use super::addresses::Backend;
use super::legacy;
use super::ports::Port;
use super::slices::{self, Keeping};
use crate::{Look, Plan};

/// Who keeps such slices.
pub(super) const CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";
/// Says that this Endpoints object is not to be told of.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Says that the object is a lock, and no endpoints.
const LOCK: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations of the one object that mean nothing at another.
const OWN: [&str; 2] =
    ["kubectl.kubernetes.io/last-applied-configuration", "endpoints.kubernetes.io/last-change-trigger-time"];

/// What must change for slices to tell what the Endpoints object of a service without a selector tells.
pub(super) fn plan(service: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
    let object = view.get(&service.sibling(kinds::ENDPOINTS, service.name())).filter(|object| is_mirrored(object));
    let decoded = object.and_then(|object| Some((object, object.decode::<Endpoints>().ok()?)));
    let Some((object, endpoints)) = decoded else {
        return slices::without(service, CONTROLLER, view).into_iter().collect();
    };
    let mut annotations = object.meta().annotations.clone();
    annotations.retain(|name, _| !OWN.contains(&name.as_str()));
    let backends: Vec<Backend> = endpoints.subsets.iter().flatten().flat_map(backends).collect();
    Keeping::of_endpoints(service, object, CONTROLLER, annotations).plan(&backends, view, look).into_iter().collect()
}

fn is_mirrored(endpoints: &Object) -> bool {
    let meta = endpoints.meta();
    let is = |name: &str, value: &str| meta.labels.get(name).is_some_and(|found| found == value);
    !meta.is_terminating()
        && !is(SKIP, "true")
        && !is(legacy::MANAGED_BY, legacy::CONTROLLER)
        && !meta.annotations.contains_key(LOCK)
}

fn backends(subset: &EndpointSubset) -> Vec<Backend> {
    let mut ports: Vec<Port> = subset.ports.iter().flatten().map(port).collect();
    ports.sort();
    let ready = subset.addresses.iter().flatten().map(|address| (address, true));
    let unready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
    ready.chain(unready).map(|(address, ready)| backend(address, ready, &ports)).collect()
}

fn backend(address: &EndpointAddress, ready: bool, ports: &[Port]) -> Backend {
    Backend {
        address: address.ip.clone(),
        ports: ports.to_vec(),
        ready,
        serving: ready,
        terminating: false,
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        node: address.node_name.clone(),
        zone: None,
        near: None,
        target: address.target_ref.clone(),
    }
}

fn port(port: &EndpointPort) -> Port {
    Port {
        name: Some(port.name.clone().unwrap_or_default()),
        number: port.port,
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
        app_protocol: port.app_protocol.clone(),
    }
}
