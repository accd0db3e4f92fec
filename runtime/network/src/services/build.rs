//! The table, made of a snapshot.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use api::{Object, kinds};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::{self as discovery, EndpointSlice};
use state::{Protocol, Snapshot};

use super::{Affinity, Endpoint, Member, Port, Service, ServiceKind, ServiceTable, Traffic};
use crate::Readiness;
use crate::balance::{Clients, Health, Load};

/// The label by which a slice says whose it is.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// How long a silent client keeps its endpoint when nobody says: what Kubernetes says.
const AFFINITY_SECONDS: i32 = 10_800;

/// What is carried from one table to the next.
pub(super) struct Kept {
    node: Arc<str>,
    readiness: Readiness,
    loads: Registry<IpAddr, Load>,
    healths: Registry<SocketAddr, Health>,
    services: Services,
}

/// The services of the last table, by namespace and name, and what they were made of.
type Services = HashMap<Arc<str>, HashMap<Arc<str>, (Sources, Arc<Service>)>>;

/// What a service was made of: the very same objects, the same pods of this node ready, the same service.
struct Sources {
    service: Object,
    slices: Vec<Object>,
    own: Own,
}

/// What this node knows of the pods that it has behind a service.
type Own = HashMap<IpAddr, Option<bool>>;

/// Values that live as long as somebody else has them.
struct Registry<K, V> {
    known: HashMap<K, Weak<V>>,
    /// From so many on, those that are gone are looked for.
    sweep_at: usize,
}

/// The slices of each service, by namespace and name.
type Slices<'a> = HashMap<(&'a str, &'a str), Vec<&'a Object>>;

/// Which endpoints of a service may be asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Admit {
    /// Those that say they are ready; should there be none, those that end but still serve.
    Ready,
    /// All: `publishNotReadyAddresses`.
    All,
}

/// Where endpoints may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// On any node: `Cluster`.
    Everywhere,
    /// On this node: `Local`.
    Here,
}

impl ServiceTable {
    pub(super) fn build(view: &Snapshot, kept: &mut Kept) -> Self {
        let slices = slices(view);
        let mut table = Self::default();
        let mut services = Services::default();
        for object in view.list(kinds::SERVICE) {
            let (namespace, name) = (object.key().namespace(), object.key().name());
            let slices = slices.get(&(namespace, name)).map_or(&[][..], Vec::as_slice);
            let before = kept.services.get(namespace).and_then(|services| services.get(name));
            let (service, own) = match before.filter(|(sources, _)| sources.are(object, slices, &kept.readiness)) {
                Some((sources, service)) => (service.clone(), sources.own.clone()),
                None => {
                    let clients = before.and_then(|(_, service)| service.affinity.as_ref());
                    let clients = clients.map(|affinity| affinity.clients.clone()).unwrap_or_default();
                    match object.decode::<core::Service>() {
                        Ok(read) => {
                            let mut slices = decoded(slices);
                            let own = kept.own(&slices);
                            for slice in &mut slices {
                                amend(slice, &own);
                            }
                            (Arc::new(kept.service(object, &read, &slices, clients)), own)
                        }
                        Err(error) => {
                            tracing::warn!(service = %object.key(), error = &error as &dyn std::error::Error, "left out");
                            continue;
                        }
                    }
                }
            };
            let sources = Sources::of(object, slices, own);
            let known = services.entry(service.namespace.clone()).or_default();
            known.insert(service.name.clone(), (sources, service.clone()));
            table.add(service);
        }
        kept.services = services;
        for services in table.external.values_mut() {
            services.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
        }
        table
    }

    fn add(&mut self, service: Arc<Service>) {
        if let ServiceKind::Cluster(addresses) = &service.kind {
            self.by_address.extend(addresses.iter().map(|address| (*address, service.clone())));
        }
        for address in &service.external {
            self.external.entry(*address).or_default().push(service.clone());
        }
        self.by_name.entry(service.namespace.clone()).or_default().insert(service.name.clone(), service);
    }
}

fn slices(view: &Snapshot) -> Slices<'_> {
    let mut slices = Slices::new();
    for object in view.list(kinds::ENDPOINT_SLICE) {
        let Some(service) = object.meta().labels.get(SERVICE_NAME) else { continue };
        slices.entry((object.key().namespace(), service.as_str())).or_default().push(object);
    }
    slices
}

fn decoded(slices: &[&Object]) -> Vec<Arc<EndpointSlice>> {
    let decode = |object: &&Object| match object.decode::<EndpointSlice>() {
        Ok(slice) => Some(slice),
        Err(error) => {
            tracing::warn!(slice = %object.key(), error = &error as &dyn std::error::Error, "left out");
            None
        }
    };
    slices.iter().filter_map(decode).collect()
}

// === impl Sources ===

impl Sources {
    fn of(service: &Object, slices: &[&Object], own: Own) -> Self {
        Self { service: service.clone(), slices: slices.iter().map(|slice| (*slice).clone()).collect(), own }
    }

    fn are(&self, service: &Object, slices: &[&Object], readiness: &Readiness) -> bool {
        // Objects never change: what has its bytes at the same place is the same version of the same object.
        let same = |one: &Object, other: &Object| std::ptr::eq(one.body().as_ptr(), other.body().as_ptr());
        same(&self.service, service)
            && self.slices.len() == slices.len()
            && self.slices.iter().zip(slices).all(|(one, other)| same(one, other))
            && readiness.agrees(&self.own)
    }
}

// === impl Kept ===

impl Kept {
    pub(super) fn on(node: &str, readiness: Readiness) -> Self {
        Self {
            node: node.into(),
            readiness,
            loads: Registry::default(),
            healths: Registry::default(),
            services: Services::default(),
        }
    }

    /// What is known of the pods that are on this node and go on.
    fn own(&self, slices: &[Arc<EndpointSlice>]) -> Own {
        let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
        let here = endpoints.filter(|endpoint| Reach::Here.covers(endpoint, &self.node) && is_running_pod(endpoint));
        here.flat_map(addresses).map(|address| (address, self.readiness.of(address))).collect()
    }

    fn service(
        &mut self,
        object: &Object,
        read: &core::Service,
        slices: &[Arc<EndpointSlice>],
        clients: Arc<Clients>,
    ) -> Service {
        let none = core::ServiceSpec::default();
        let spec = read.spec.as_ref().unwrap_or(&none);
        let admit = if spec.publish_not_ready_addresses == Some(true) { Admit::All } else { Admit::Ready };
        let ports = spec.ports.iter().flatten().map(|port| self.port(spec, port, slices, admit)).collect();
        Service {
            namespace: object.key().namespace().into(),
            name: object.key().name().into(),
            kind: kind(spec),
            ports,
            members: self.members(slices, admit),
            is_load_balancer: spec.type_.as_deref() == Some("LoadBalancer"),
            external: external(spec),
            health_check: health_check(spec),
            local: self.local(slices),
            affinity: affinity(spec, clients),
            is_woken: slices.iter().any(|slice| is_woken(slice)),
        }
    }

    fn port(
        &mut self,
        spec: &core::ServiceSpec,
        port: &core::ServicePort,
        slices: &[Arc<EndpointSlice>],
        admit: Admit,
    ) -> Port {
        let name = port.name.as_deref().unwrap_or_default();
        let number = u16::try_from(port.port).unwrap_or_default();
        let protocol = Protocol::named(port.protocol.as_deref().unwrap_or_default());
        let is_ours = |one: &&discovery::EndpointPort| {
            one.name.as_deref().unwrap_or_default() == name
                && Protocol::named(one.protocol.as_deref().unwrap_or_default()) == protocol
        };
        let mut endpoints = |reach: Reach| -> Arc<[Endpoint]> {
            let mut found = Admitted::new(admit);
            for slice in slices {
                let Some(ours) = slice.ports.iter().flatten().find(is_ours) else { continue };
                let target = ours.port.and_then(|target| u16::try_from(target).ok()).unwrap_or(number);
                for endpoint in slice.endpoints.iter().filter(|endpoint| reach.covers(endpoint, &self.node)) {
                    for address in addresses(endpoint) {
                        found.offer(endpoint, SocketAddr::new(address, target), ());
                    }
                }
            }
            let mut endpoint = |address: SocketAddr| Endpoint {
                address,
                load: self.loads.of(address.ip()),
                health: self.healths.of(address),
            };
            found.into_keys().map(|(address, ())| endpoint(address)).collect()
        };
        let (inside, outside) = (Reach::of(spec, Traffic::Inside), Reach::of(spec, Traffic::Outside));
        let from_within = endpoints(inside);
        let from_outside = if inside == outside { from_within.clone() } else { endpoints(outside) };
        Port {
            name: name.into(),
            number,
            protocol,
            node_port: port.node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0),
            app_protocol: port.app_protocol.as_deref().map(Arc::from),
            endpoints: from_within,
            outside: from_outside,
        }
    }

    /// How many addresses on this node are ready.
    fn local(&self, slices: &[Arc<EndpointSlice>]) -> usize {
        let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
        let here = endpoints.filter(|endpoint| Reach::Here.covers(endpoint, &self.node) && is_ready(endpoint));
        here.flat_map(addresses).collect::<BTreeSet<IpAddr>>().len()
    }

    fn members(&mut self, slices: &[Arc<EndpointSlice>], admit: Admit) -> Vec<Member> {
        let mut found = Admitted::new(admit);
        for endpoint in slices.iter().flat_map(|slice| &slice.endpoints) {
            for address in addresses(endpoint) {
                found.offer(endpoint, address, endpoint.hostname.as_deref().map(Arc::from));
            }
        }
        let member = |(address, hostname)| Member { address, hostname, load: self.loads.of(address) };
        found.into_keys().map(member).collect()
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

/// A name has no addresses; everything else may have some outside.
fn external(spec: &core::ServiceSpec) -> Vec<IpAddr> {
    let is_name = spec.type_.as_deref() == Some("ExternalName");
    let told = spec.external_ips.iter().flatten().filter(|_| !is_name);
    told.filter_map(|address| address.parse::<IpAddr>().ok()).map(|address| address.to_canonical()).collect()
}

fn health_check(spec: &core::ServiceSpec) -> Option<u16> {
    let is_asked =
        (spec.type_.as_deref(), spec.external_traffic_policy.as_deref()) == (Some("LoadBalancer"), Some("Local"));
    let port = spec.health_check_node_port.filter(|_| is_asked);
    port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

fn affinity(spec: &core::ServiceSpec, clients: Arc<Clients>) -> Option<Affinity> {
    spec.session_affinity.as_deref().filter(|affinity| *affinity == "ClientIP")?;
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = config.and_then(|config| config.timeout_seconds).unwrap_or(AFFINITY_SECONDS);
    Some(Affinity { timeout: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()), clients })
}

/// Whether the control plane says that somebody will come.
fn is_woken(slice: &EndpointSlice) -> bool {
    slice.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(api::waking::ANNOTATION))
}

/// The addresses of an endpoint; names (`addressType: FQDN`) are none. An IPv4 address is one whatever it is dressed as.
fn addresses(endpoint: &discovery::Endpoint) -> impl Iterator<Item = IpAddr> {
    endpoint.addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok()).map(|address| address.to_canonical())
}

/// Puts what this node knows in the place of what the cluster says.
fn amend(slice: &mut Arc<EndpointSlice>, own: &Own) {
    let known = |endpoint: &discovery::Endpoint| {
        let own = addresses(endpoint).find_map(|address| *own.get(&address)?);
        own.filter(|known| is_running_pod(endpoint) && *known != is_ready(endpoint))
    };
    if !slice.endpoints.iter().any(|endpoint| known(endpoint).is_some()) {
        return;
    }
    for endpoint in &mut Arc::make_mut(slice).endpoints {
        if let Some(is_ready) = known(endpoint) {
            let conditions = endpoint.conditions.get_or_insert_default();
            (conditions.ready, conditions.serving) = (Some(is_ready), Some(is_ready));
        }
    }
}

/// Whether it is a pod that goes on: an address that somebody wrote there himself is none.
fn is_running_pod(endpoint: &discovery::Endpoint) -> bool {
    let is_pod = endpoint.target_ref.as_ref().is_some_and(|target| target.kind.as_deref() == Some("Pod"));
    is_pod && endpoint.conditions.as_ref().is_none_or(|conditions| conditions.terminating != Some(true))
}

/// What is not said is taken for ready.
fn is_ready(endpoint: &discovery::Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

// === impl Reach ===

impl Reach {
    fn of(spec: &core::ServiceSpec, traffic: Traffic) -> Self {
        let policy = match traffic {
            Traffic::Inside => &spec.internal_traffic_policy,
            Traffic::Outside => &spec.external_traffic_policy,
        };
        if policy.as_deref() == Some("Local") { Self::Here } else { Self::Everywhere }
    }

    fn covers(self, endpoint: &discovery::Endpoint, node: &str) -> bool {
        self == Self::Everywhere || endpoint.node_name.as_deref() == Some(node)
    }
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
        let is_ready = is_ready(endpoint);
        // What is not said to serve serves as much as it is ready.
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

// === impl Registry ===

impl<K: Copy + Eq + Hash, V: Default> Registry<K, V> {
    fn of(&mut self, key: K) -> Arc<V> {
        if let Some(known) = self.known.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|_, value| value.strong_count() > 0);
            self.sweep_at = (2 * self.known.len()).max(1024);
        }
        let new = Arc::new(V::default());
        self.known.insert(key, Arc::downgrade(&new));
        new
    }
}

impl<K, V> Default for Registry<K, V> {
    fn default() -> Self {
        Self { known: HashMap::new(), sweep_at: 1024 }
    }
}
