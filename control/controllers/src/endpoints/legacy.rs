//! The Endpoints object: everything in one, for those who still read it.

use std::collections::BTreeMap;

use api::{Key, Object, kinds};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use state::{Guard, Snapshot, Txn};

use super::addresses::Backend;
use super::labels;
use super::ports::Port;
use crate::Look;
use crate::created::created;
use crate::edit::replaced;

pub(super) const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
pub(super) const CONTROLLER: &str = "endpoint-controller";

/// What must change for the object to tell of the backends.
pub(super) fn plan(service: &Object, spec: &ServiceSpec, backends: &[Backend], view: &Snapshot, look: Look<'_>) -> Txn {
    let key = service.key().sibling(kinds::ENDPOINTS, service.key().name());
    let labels = labels(service, spec, &[(MANAGED_BY, CONTROLLER)]);
    let subsets = Some(subsets(spec, backends)).filter(|subsets| !subsets.is_empty());
    let txn = match view.get(&key) {
        Some(known) => replaced::<Endpoints>(known, |endpoints| {
            endpoints.metadata.labels = Some(labels);
            endpoints.subsets = subsets;
        }),
        None => {
            let metadata = ObjectMeta {
                name: Some(key.name().into()),
                namespace: Some(key.namespace().into()),
                labels: Some(labels),
                ..ObjectMeta::default()
            };
            let create = |object| Txn::create(object).guard(Guard::Alive(service.key().clone()));
            created(kinds::ENDPOINTS, &Endpoints { metadata, subsets }, look).map_or_else(|_| Txn::default(), create)
        }
    };
    in_living_namespace(txn, service.key())
}

/// The object of a service that is gone goes too, if it was kept here.
pub(super) fn without_service(key: &Key, view: &Snapshot) -> Txn {
    let known = view.get(&key.sibling(kinds::ENDPOINTS, key.name()));
    let ours = known.filter(|it| it.meta().labels.get(MANAGED_BY).is_some_and(|by| by == CONTROLLER));
    ours.map_or_else(Txn::default, Txn::delete)
}

pub(super) fn in_living_namespace(txn: Txn, beside: &Key) -> Txn {
    if txn.is_empty() { txn } else { txn.guard(Guard::Alive(kinds::NAMESPACE.cluster_key(beside.namespace()))) }
}

fn subsets(spec: &ServiceSpec, backends: &[Backend]) -> Vec<EndpointSubset> {
    let published = spec.publish_not_ready_addresses == Some(true);
    let mut groups: BTreeMap<&[Port], EndpointSubset> = BTreeMap::new();
    let shown = backends.iter().filter(|backend| published || !backend.terminating);
    for backend in shown.filter(|backend| !backend.ports.is_empty() || spec.ports.iter().flatten().next().is_none()) {
        let subset = groups.entry(&backend.ports).or_default();
        let list = if backend.ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        list.get_or_insert_default().push(address(backend));
    }
    let with_ports = |(ports, mut subset): (&[Port], EndpointSubset)| {
        subset.ports = Some(ports.iter().map(port).collect()).filter(|ports: &Vec<_>| !ports.is_empty());
        subset
    };
    groups.into_iter().map(with_ports).collect()
}

fn address(backend: &Backend) -> EndpointAddress {
    EndpointAddress {
        ip: backend.address.clone(),
        hostname: backend.hostname.clone(),
        node_name: backend.node.clone(),
        target_ref: backend.target.clone(),
    }
}

fn port(port: &Port) -> EndpointPort {
    EndpointPort {
        name: port.name.clone().filter(|name| !name.is_empty()),
        port: port.number,
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}
