//! The table, made of a snapshot.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::{Object, kinds};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::{self as discovery, EndpointSlice};
use state::{Protocol, Snapshot};

use super::{Endpoint, Member, Port, Service, ServiceKind, ServiceTable};
use crate::balance::Load;

/// The label by which a slice says whose it is.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The slices of each service, by namespace and name.
type Slices<'a> = HashMap<(&'a str, &'a str), Vec<Arc<EndpointSlice>>>;

/// Loads carried over and loads made, by address.
struct Loads<'a> {
    before: &'a HashMap<IpAddr, Arc<Load>>,
    now: HashMap<IpAddr, Arc<Load>>,
}

/// Which endpoints of a service may be asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Admit {
    /// Those that say they are ready; should there be none, those that end but still serve.
    Ready,
    /// All: `publishNotReadyAddresses`.
    All,
}

impl ServiceTable {
    pub(super) fn build(view: &Snapshot, before: &HashMap<IpAddr, Arc<Load>>) -> Self {
        let slices = slices(view);
        let mut loads = Loads { before, now: HashMap::new() };
        let mut table = Self::default();
        for object in view.list(kinds::SERVICE) {
            let (namespace, name) = (object.key().namespace(), object.key().name());
            let slices = slices.get(&(namespace, name)).map_or(&[][..], Vec::as_slice);
            match object.decode::<core::Service>() {
                Ok(read) => table.add(service(object, &read, slices, &mut loads)),
                Err(error) => {
                    tracing::warn!(service = %object.key(), error = &error as &dyn std::error::Error, "left out");
                }
            }
        }
        table.loads = loads.now;
        table
    }

    fn add(&mut self, service: Service) {
        let service = Arc::new(service);
        if let ServiceKind::Cluster(addresses) = &service.kind {
            self.by_address.extend(addresses.iter().map(|address| (*address, service.clone())));
        }
        self.by_name.entry(service.namespace.clone()).or_default().insert(service.name.clone(), service);
    }
}

fn slices(view: &Snapshot) -> Slices<'_> {
    let mut slices = Slices::new();
    for object in view.list(kinds::ENDPOINT_SLICE) {
        let Some(service) = object.meta().labels.get(SERVICE_NAME) else { continue };
        match object.decode::<EndpointSlice>() {
            Ok(slice) => slices.entry((object.key().namespace(), service.as_str())).or_default().push(slice),
            Err(error) => tracing::warn!(slice = %object.key(), error = &error as &dyn std::error::Error, "left out"),
        }
    }
    slices
}

fn service(object: &Object, read: &core::Service, slices: &[Arc<EndpointSlice>], loads: &mut Loads<'_>) -> Service {
    let none = core::ServiceSpec::default();
    let spec = read.spec.as_ref().unwrap_or(&none);
    let admit = if spec.publish_not_ready_addresses == Some(true) { Admit::All } else { Admit::Ready };
    let ports = spec.ports.iter().flatten().map(|port| self::port(port, slices, admit, loads)).collect();
    Service {
        namespace: object.key().namespace().into(),
        name: object.key().name().into(),
        kind: kind(spec),
        ports,
        members: members(slices, admit, loads),
    }
}

fn kind(spec: &core::ServiceSpec) -> ServiceKind {
    if spec.type_.as_deref() == Some("ExternalName") {
        return ServiceKind::External(spec.external_name.clone().unwrap_or_default());
    }
    let told = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in told.filter_map(|address| address.parse().ok()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    match spec.cluster_ip.as_deref() {
        Some("None") => ServiceKind::Headless,
        _ => ServiceKind::Cluster(addresses),
    }
}

fn port(port: &core::ServicePort, slices: &[Arc<EndpointSlice>], admit: Admit, loads: &mut Loads<'_>) -> Port {
    let name = port.name.as_deref().unwrap_or_default();
    let number = u16::try_from(port.port).unwrap_or_default();
    let protocol = Protocol::named(port.protocol.as_deref().unwrap_or_default());
    let mut found = Admitted::new(admit);
    for slice in slices {
        let is_ours = |one: &&discovery::EndpointPort| {
            one.name.as_deref().unwrap_or_default() == name
                && Protocol::named(one.protocol.as_deref().unwrap_or_default()) == protocol
        };
        let Some(ours) = slice.ports.iter().flatten().find(is_ours) else { continue };
        let target = ours.port.and_then(|target| u16::try_from(target).ok()).unwrap_or(number);
        for endpoint in &slice.endpoints {
            for address in addresses(endpoint) {
                found.offer(endpoint, SocketAddr::new(address, target), ());
            }
        }
    }
    let mut endpoint = |address: SocketAddr| Endpoint { address, load: loads.of(address.ip()) };
    Port {
        name: name.into(),
        number,
        protocol,
        endpoints: found.into_keys().map(|(address, ())| endpoint(address)).collect(),
    }
}

fn members(slices: &[Arc<EndpointSlice>], admit: Admit, loads: &mut Loads<'_>) -> Vec<Member> {
    let mut found = Admitted::new(admit);
    for endpoint in slices.iter().flat_map(|slice| &slice.endpoints) {
        for address in addresses(endpoint) {
            found.offer(endpoint, address, endpoint.hostname.as_deref().map(Arc::from));
        }
    }
    found.into_keys().map(|(address, hostname)| Member { address, hostname, load: loads.of(address) }).collect()
}

/// The addresses of an endpoint; names (`addressType: FQDN`) are none. An IPv4 address is one whatever it is dressed as.
fn addresses(endpoint: &discovery::Endpoint) -> impl Iterator<Item = IpAddr> {
    endpoint.addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok()).map(|address| address.to_canonical())
}

/// Endpoints as they are found, each once, though slices may name one twice.
struct Admitted<K, V> {
    admit: Admit,
    ready: BTreeMap<K, V>,
    ending: BTreeMap<K, V>,
}

impl<K: Ord, V> Admitted<K, V> {
    fn new(admit: Admit) -> Self {
        Self { admit, ready: BTreeMap::new(), ending: BTreeMap::new() }
    }

    fn offer(&mut self, endpoint: &discovery::Endpoint, key: K, value: V) {
        let conditions = endpoint.conditions.as_ref();
        // What is not said is taken for ready, and serving for as much as ready.
        let is_ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
        let is_serving = conditions.and_then(|conditions| conditions.serving).unwrap_or(is_ready);
        let is_terminating = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
        if is_ready || self.admit == Admit::All {
            self.ready.insert(key, value);
        } else if is_serving && is_terminating {
            self.ending.insert(key, value);
        }
    }

    fn into_keys(self) -> impl Iterator<Item = (K, V)> {
        if self.ready.is_empty() { self.ending.into_iter() } else { self.ready.into_iter() }
    }
}

impl Loads<'_> {
    fn of(&mut self, address: IpAddr) -> Arc<Load> {
        let before = self.before;
        let load = self.now.entry(address);
        load.or_insert_with(|| before.get(&address).cloned().unwrap_or_default()).clone()
    }
}
