//! EndpointSlices: the backends in portions, one group of slices for each set of ports.

use std::collections::BTreeMap;

use api::{Key, Object, kinds};
use k8s_openapi::api::core::v1::ServiceSpec;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use state::{Guard, Snapshot, Txn};

use super::addresses::Backend;
use super::legacy::in_living_namespace;
use super::ports::Port;
use super::{SERVICE_NAME, labels};
use crate::created::created;
use crate::edit::replaced;
use crate::look::hash_letters;
use crate::{Look, owners};

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpointslice-controller.k8s.io";
/// As Kubernetes has it: a change of one pod should not send thousands of addresses to every watcher.
const ENDPOINTS_PER_SLICE_MAX: usize = 100;

/// A slice as it should be; its object, if there is one already.
struct Portion<'a> {
    object: Option<&'a Object>,
    ports: Vec<Port>,
    endpoints: Vec<Endpoint>,
}

/// What must change for the slices to tell of the backends.
pub(super) fn plan(
    service: &Object,
    spec: &ServiceSpec,
    backends: &[Backend],
    view: &Snapshot,
    look: Look,
) -> Vec<Txn> {
    let labels = labels(service, spec, &[(MANAGED_BY, CONTROLLER), (SERVICE_NAME, service.key().name())]);
    let mut txns = Vec::new();
    for (number, portion) in portions(service.key(), backends, view).into_iter().enumerate() {
        let ports = Some(portion.ports.iter().map(port).collect()).filter(|ports: &Vec<_>| !ports.is_empty());
        let txn = match portion.object {
            Some(object) if portion.endpoints.is_empty() && number > 0 => Txn::delete(object),
            Some(object) => replaced::<EndpointSlice>(object, |slice| {
                slice.metadata.labels = Some(labels.clone());
                slice.ports = ports;
                slice.endpoints = portion.endpoints;
            }),
            None => {
                let metadata = ObjectMeta {
                    name: Some(free_name(service, number, view)),
                    generate_name: Some(format!("{}-", service.key().name())),
                    namespace: Some(service.key().namespace().into()),
                    labels: Some(labels.clone()),
                    owner_references: Some(vec![owners::controlled_by("v1", service)]),
                    ..ObjectMeta::default()
                };
                let slice =
                    EndpointSlice { metadata, address_type: "IPv4".into(), endpoints: portion.endpoints, ports };
                let create = |object| Txn::create(object).guard(Guard::Alive(service.key().clone()));
                created(kinds::ENDPOINT_SLICE, &slice, look).map_or_else(|_| Txn::default(), create)
            }
        };
        txns.push(in_living_namespace(txn, service.key()));
    }
    txns
}

/// The slices of a service that is gone go too.
pub(super) fn without_service(key: &Key, view: &Snapshot) -> Vec<Txn> {
    kept(key, view).into_iter().map(Txn::delete).collect()
}

/// The slices of the service that are kept here.
fn kept<'a>(service: &'a Key, view: &'a Snapshot) -> Vec<&'a Object> {
    let ours = |slice: &&Object| {
        let labels = &slice.meta().labels;
        let is = |name: &str, value: &str| labels.get(name).is_some_and(|found| found == value);
        is(SERVICE_NAME, service.name()) && is(MANAGED_BY, CONTROLLER) && !slice.meta().is_terminating()
    };
    view.list_in(kinds::ENDPOINT_SLICE, service.namespace()).filter(ours).collect()
}

/// Every backend in a slice of its ports: where it is already, or else where there is room. The first slice stays even if
/// it is empty, so that a service without pods is known to have none.
fn portions<'a>(service: &'a Key, backends: &[Backend], view: &'a Snapshot) -> Vec<Portion<'a>> {
    let mut left: BTreeMap<(Vec<Port>, String), &Backend> =
        backends.iter().map(|it| ((it.ports.clone(), uid(it.target.uid.as_deref())), it)).collect();
    let mut portions: Vec<Portion<'_>> = Vec::new();
    for object in kept(service, view) {
        let Ok(slice) = object.decode::<EndpointSlice>() else { continue };
        let ports: Vec<Port> = slice.ports.iter().flatten().map(known_port).collect();
        let stay = |known: &Endpoint| {
            let uid = uid(known.target_ref.as_ref().and_then(|target| target.uid.as_deref()));
            left.remove(&(ports.clone(), uid)).map(endpoint)
        };
        let endpoints = slice.endpoints.iter().filter_map(stay).collect();
        portions.push(Portion { object: Some(object), ports, endpoints });
    }
    for ((ports, _), backend) in left {
        let has_room = |it: &&mut Portion<'_>| {
            it.endpoints.is_empty() || (it.ports == ports && it.endpoints.len() < ENDPOINTS_PER_SLICE_MAX)
        };
        match portions.iter_mut().find(has_room) {
            Some(portion) => {
                portion.ports = ports;
                portion.endpoints.push(endpoint(backend));
            }
            None => portions.push(Portion { object: None, ports, endpoints: vec![endpoint(backend)] }),
        }
    }
    if portions.is_empty() {
        portions.push(Portion { object: None, ports: Vec::new(), endpoints: Vec::new() });
    }
    // What has endpoints comes first: an empty slice is kept only if there is nothing else.
    portions.sort_by_key(|portion| portion.endpoints.is_empty());
    portions
}

fn uid(uid: Option<&str>) -> String {
    uid.unwrap_or_default().to_owned()
}

/// A name that follows from the service: the same for the same world, so that looking again is not creating again.
fn free_name(service: &Object, number: usize, view: &Snapshot) -> String {
    let name = |turn: u32| {
        let ending = hash_letters(format!("{} {number} {turn}", service.meta().uid).as_bytes(), 5);
        format!("{}-{ending}", service.key().name())
    };
    let free = |name: &String| view.get(&service.key().sibling(kinds::ENDPOINT_SLICE, name)).is_none();
    (0..u32::MAX).map(name).find(free).expect("more names than a snapshot holds objects")
}

fn endpoint(backend: &Backend) -> Endpoint {
    Endpoint {
        addresses: vec![backend.address.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(backend.ready),
            serving: Some(backend.serving),
            terminating: Some(backend.terminating),
        }),
        hostname: backend.hostname.clone(),
        node_name: backend.node.clone(),
        target_ref: Some(backend.target.clone()),
        zone: backend.zone.clone(),
        ..Endpoint::default()
    }
}

fn port(port: &Port) -> EndpointPort {
    EndpointPort {
        name: port.name.clone(),
        port: Some(port.number),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}

fn known_port(port: &EndpointPort) -> Port {
    Port {
        name: Some(port.name.clone().unwrap_or_default()),
        number: port.port.unwrap_or_default(),
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
        app_protocol: port.app_protocol.clone(),
    }
}
