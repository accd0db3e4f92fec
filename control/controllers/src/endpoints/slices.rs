//! EndpointSlices: the backends in portions, one group of slices for each set of ports and kind of address.

use std::collections::BTreeMap;

use api::{Key, Object, kinds};
use k8s_openapi::api::core::v1::ServiceSpec;
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForZone,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
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
/// Who keeps the slices of services that select pods.
pub(super) const CONTROLLER: &str = "endpointslice-controller.k8s.io";
/// As Kubernetes has it: a change of one pod should not send thousands of addresses to every watcher.
const ENDPOINTS_PER_SLICE_MAX: usize = 100;

/// Whose slices these are, and by which marks they are known.
pub(super) struct Keeping<'a> {
    service: &'a Key,
    /// What the slices tell of, and without which they are not made.
    about: &'a Object,
    owner: OwnerReference,
    by: &'static str,
    labels: BTreeMap<String, String>,
    annotations: Option<BTreeMap<String, String>>,
}

/// A slice as it should be; its object, if there is one already.
struct Portion<'a> {
    object: Option<&'a Object>,
    group: Group,
    endpoints: Vec<Endpoint>,
}

/// What the endpoints of a slice have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    address_type: String,
    ports: Vec<Port>,
}

// === impl Keeping ===

impl<'a> Keeping<'a> {
    /// The slices of a service that selects pods, with these annotations.
    pub(super) fn of_service(
        service: &'a Object,
        spec: &ServiceSpec,
        annotations: Option<BTreeMap<String, String>>,
    ) -> Self {
        Self {
            service: service.key(),
            about: service,
            owner: owners::controlled_by(service),
            by: CONTROLLER,
            labels: labels(service, spec, &[(MANAGED_BY, CONTROLLER), (SERVICE_NAME, service.key().name())]),
            annotations,
        }
    }

    /// The slices that tell of an Endpoints object.
    pub(super) fn of_endpoints(
        service: &'a Key,
        endpoints: &'a Object,
        by: &'static str,
        annotations: BTreeMap<String, String>,
    ) -> Self {
        let mut labels = endpoints.meta().labels.clone();
        let own = [(MANAGED_BY, by), (SERVICE_NAME, service.name())];
        labels.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let owner = owners::controlled_by(endpoints);
        let annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
        Self { service, about: endpoints, owner, by, labels, annotations }
    }

    /// What must change for the slices to tell of the backends.
    pub(super) fn plan(&self, backends: &[Backend], view: &Snapshot, look: Look<'_>) -> Vec<Txn> {
        let portions = self.portions(backends, view).into_iter().enumerate();
        portions.map(|(number, portion)| self.write(number, portion, view, look)).collect()
    }

    fn write(&self, number: usize, portion: Portion<'_>, view: &Snapshot, look: Look<'_>) -> Txn {
        let ports = portion.group.ports.iter().map(port).collect();
        let ports = Some(ports).filter(|ports: &Vec<_>| !ports.is_empty());
        let txn = match portion.object {
            Some(object) if portion.endpoints.is_empty() && number > 0 => Txn::delete(object),
            Some(object) => replaced::<EndpointSlice>(object, |slice| {
                slice.metadata.labels = Some(self.labels.clone());
                slice.metadata.annotations.clone_from(&self.annotations);
                slice.ports = ports;
                slice.endpoints = portion.endpoints;
            }),
            None => {
                let metadata = ObjectMeta {
                    name: Some(self.free_name(number, view)),
                    generate_name: Some(format!("{}-", self.service.name())),
                    namespace: Some(self.service.namespace().into()),
                    labels: Some(self.labels.clone()),
                    annotations: self.annotations.clone(),
                    owner_references: Some(vec![self.owner.clone()]),
                    ..ObjectMeta::default()
                };
                let address_type = portion.group.address_type;
                let slice = EndpointSlice { metadata, address_type, endpoints: portion.endpoints, ports };
                let create = |object| Txn::create(object).guard(Guard::Alive(self.about.key().clone()));
                created(kinds::ENDPOINT_SLICE, &slice, look).map_or_else(|_| Txn::default(), create)
            }
        };
        in_living_namespace(txn, self.service)
    }

    /// Every backend in a slice of its group: where it is already, or else where there is room. The first slice stays even
    /// if it is empty, so that a service without backends is known to have none.
    fn portions<'v>(&self, backends: &[Backend], view: &'v Snapshot) -> Vec<Portion<'v>> {
        let group = |it: &Backend| Group { address_type: it.address_type().into(), ports: it.ports.clone() };
        let mut left: BTreeMap<(Group, String), &Backend> =
            backends.iter().map(|it| ((group(it), it.identity().to_owned()), it)).collect();
        let mut portions: Vec<Portion<'v>> = Vec::new();
        for object in kept(self.service, self.by, view) {
            let Ok(slice) = object.decode::<EndpointSlice>() else { continue };
            let ports = slice.ports.iter().flatten().map(known_port).collect();
            let group = Group { address_type: slice.address_type.clone(), ports };
            let stay = |known: &Endpoint| left.remove(&(group.clone(), identity(known))).map(endpoint);
            let endpoints = slice.endpoints.iter().filter_map(stay).collect();
            portions.push(Portion { object: Some(object), group, endpoints });
        }
        for ((group, _), backend) in left {
            // The kind of a slice's addresses stays as it is; all else may change while it is empty.
            let has_room = |it: &&mut Portion<'_>| match it.endpoints.len() {
                0 => it.group.address_type == group.address_type,
                found => it.group == group && found < ENDPOINTS_PER_SLICE_MAX,
            };
            match portions.iter_mut().find(has_room) {
                Some(portion) => {
                    portion.group = group;
                    portion.endpoints.push(endpoint(backend));
                }
                None => portions.push(Portion { object: None, group, endpoints: vec![endpoint(backend)] }),
            }
        }
        if portions.is_empty() {
            let group = Group { address_type: "IPv4".into(), ports: Vec::new() };
            portions.push(Portion { object: None, group, endpoints: Vec::new() });
        }
        // What has endpoints comes first: an empty slice is kept only if there is nothing else.
        portions.sort_by_key(|portion| portion.endpoints.is_empty());
        portions
    }

    /// A name that follows from what it tells of: the same for the same world, so that looking again is not creating again.
    fn free_name(&self, number: usize, view: &Snapshot) -> String {
        let name = |turn: u32| {
            let ending = hash_letters(format!("{} {number} {turn}", self.about.meta().uid).as_bytes(), 5);
            format!("{}-{ending}", self.service.name())
        };
        let free = |name: &String| view.get(&self.service.sibling(kinds::ENDPOINT_SLICE, name)).is_none();
        (0..u32::MAX).map(name).find(free).expect("more names than a snapshot holds objects")
    }
}

/// The slices that `by` keeps of a service that is gone, or not to be told of, go.
pub(super) fn without(service: &Key, by: &str, view: &Snapshot) -> Vec<Txn> {
    kept(service, by, view).into_iter().map(Txn::delete).collect()
}

/// The slices of the service that `by` keeps.
fn kept<'v>(service: &Key, by: &str, view: &'v Snapshot) -> Vec<&'v Object> {
    let ours = |slice: &&Object| {
        let labels = &slice.meta().labels;
        let is = |name: &str, value: &str| labels.get(name).is_some_and(|found| found == value);
        is(SERVICE_NAME, service.name()) && is(MANAGED_BY, by) && !slice.meta().is_terminating()
    };
    let all = view.list_after(kinds::ENDPOINT_SLICE, service.namespace(), "");
    all.take_while(|it| it.key().namespace() == service.namespace()).filter(ours).collect()
}

fn identity(known: &Endpoint) -> String {
    let uid = known.target_ref.as_ref().and_then(|target| target.uid.as_deref());
    uid.or(known.addresses.first().map(String::as_str)).unwrap_or_default().to_owned()
}

fn endpoint(backend: &Backend) -> Endpoint {
    let near = |zone: &String| EndpointHints { for_zones: Some(vec![ForZone { name: zone.clone() }]), for_nodes: None };
    Endpoint {
        addresses: vec![backend.address.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(backend.ready),
            serving: Some(backend.serving),
            terminating: Some(backend.terminating),
        }),
        hints: backend.near.as_ref().map(near),
        hostname: backend.hostname.clone(),
        node_name: backend.node.clone(),
        target_ref: backend.target.clone(),
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
