//! The zone, made of a snapshot.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use api::{Object, kinds};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use state::Snapshot;

use super::pods::{PodNames, Pods};
use super::{Apex, Node, TTL, View, Zone, reverse_apex};
use crate::public::{self, PublicZone};
use crate::{Authority, Error, Mirror};

/// The version of the specification that is followed.
const VERSION: &str = "1.1.0";
/// The label by which a slice says whose it is.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

type Slices<'a> = HashMap<(&'a str, &'a str), Vec<Arc<EndpointSlice>>>;

struct Builder<'a> {
    apexes: Vec<Apex>,
    nodes: HashMap<LowerName, Node>,
    domain: Name,
    networks: &'a [IpNet],
    /// None: addresses are what they are.
    mirror: Option<&'a Mirror>,
}

/// A ready endpoint of a headless service, under the name it has there.
struct Member<'a> {
    name: Name,
    address: IpAddr,
    slice: &'a EndpointSlice,
}

pub(super) fn zone(view: View, authority: &Authority, snapshot: &Snapshot, pods: Pods) -> Result<Zone, Error> {
    let unreadable = |source| Error::Domain { domain: authority.domain.clone(), source };
    let mut domain = Name::from_ascii(&authority.domain).map_err(unreadable)?;
    domain.set_fqdn(true);
    let mirror = authority.mirror.as_ref().filter(|_| view == View::Node);
    let networks = &authority.networks;
    let mut builder = Builder { apexes: Vec::new(), nodes: HashMap::new(), domain, networks, mirror };
    if view != View::World {
        builder.add_apexes(authority, snapshot);
        builder.add_namespaces(snapshot);
        builder.add_services(snapshot);
    }
    for zone in &authority.zones {
        builder.add_public(zone, snapshot)?;
    }
    let domain = (view != View::World).then_some(builder.domain);
    let pods = PodNames { pods, domain, networks: networks.as_slice().into() };
    Ok(Zone { apexes: builder.apexes.into(), nodes: Arc::new(builder.nodes), pods })
}

// === impl Builder ===

impl Builder<'_> {
    fn add_apexes(&mut self, authority: &Authority, view: &Snapshot) {
        let mirrored = self.mirror.map(|mirror| IpNet::V4(mirror.shown));
        let reverse = authority.networks.iter().chain(&mirrored).map(reverse_apex);
        let names: Vec<Name> = std::iter::once(self.domain.clone()).chain(reverse).collect();
        let Some(nameserver) = self.name(&["ns", "dns"]) else { return };
        let Some(master) = self.name(&["hostmaster"]) else { return };
        // The revision is the serial: whoever compares two sees which is later.
        let serial = view.revision().0 as u32;
        for name in names {
            let soa = SOA::new(nameserver.clone(), master.clone(), serial, 7200, 1800, 86400, TTL);
            let soa = Record::from_rdata(name.clone(), TTL, RData::SOA(soa));
            self.apexes.push(Apex { name: LowerName::new(&name), soa: soa.clone() });
            self.add(&name, RData::NS(NS(nameserver.clone())));
            self.add(&name, soa.data);
        }
        for address in &authority.nameservers {
            let shown = self.mirror.and_then(|mirror| mirror.show(*address));
            self.add(&nameserver, address_data(shown.unwrap_or(*address)));
        }
        if let Some(version) = self.name(&["dns-version"]) {
            self.add(&version, RData::TXT(TXT::new(vec![VERSION.into()])));
        }
    }

    /// A zone for the world; its names are the same to everybody.
    fn add_public(&mut self, zone: &PublicZone, view: &Snapshot) -> Result<(), Error> {
        let unreadable = |source| Error::Domain { domain: zone.name.clone(), source };
        let mut apex = Name::from_ascii(zone.name.trim_end_matches('.')).map_err(unreadable)?.to_lowercase();
        apex.set_fqdn(true);
        let nameserver = apex.prepend_label(&b"ns"[..]).map_err(unreadable)?;
        let master = apex.prepend_label(&b"hostmaster"[..]).map_err(unreadable)?;
        let serial = view.revision().0 as u32;
        let soa = SOA::new(nameserver.clone(), master, serial, 7200, 1800, 86400, public::TTL);
        let soa = Record::from_rdata(apex.clone(), public::TTL, RData::SOA(soa));
        self.apexes.push(Apex { name: LowerName::new(&apex), soa: soa.clone() });
        self.add_for(&apex, public::TTL, soa.data);
        self.add_for(&apex, public::TTL, RData::NS(NS(nameserver.clone())));
        for address in &zone.nameservers {
            self.add_for(&nameserver, public::TTL, address_data(*address));
        }
        for ((name, kind), wanted) in public::wanted(&apex, view) {
            // Beside what every zone has there can be no alias.
            if kind == RecordType::CNAME && (name == apex || name == nameserver) {
                continue;
            }
            for data in wanted.data {
                self.add_for(&name, wanted.ttl, data);
            }
        }
        Ok(())
    }

    fn add_namespaces(&mut self, view: &Snapshot) {
        for object in view.list(kinds::NAMESPACE) {
            for what in ["svc", "pod"] {
                if let Some(name) = self.name(&[object.key().name(), what]) {
                    self.add_name(&name);
                }
            }
        }
    }

    fn add_services(&mut self, view: &Snapshot) {
        let slices = slices(view);
        for object in view.list(kinds::SERVICE) {
            let service = match object.decode::<Service>() {
                Ok(service) => service,
                Err(error) => {
                    tracing::warn!(service = %object.key(), error = &error as &dyn std::error::Error, "left out");
                    continue;
                }
            };
            let (Some(spec), Some(name)) = (&service.spec, self.service_name(object)) else { continue };
            let key = (object.key().namespace(), object.key().name());
            match (spec.type_.as_deref(), spec.cluster_ip.as_deref()) {
                (Some("ExternalName"), _) => self.add_alias(&name, spec),
                (_, Some("None")) => self.add_headless(&name, spec, slices.get(&key).map_or(&[], Vec::as_slice)),
                _ => self.add_cluster(&name, spec),
            }
        }
    }

    fn add_alias(&mut self, name: &Name, spec: &ServiceSpec) {
        let target = spec.external_name.as_deref().and_then(|target| Name::from_ascii(target).ok());
        if let Some(mut target) = target {
            target.set_fqdn(true);
            self.add(name, RData::CNAME(CNAME(target)));
        }
    }

    fn add_cluster(&mut self, name: &Name, spec: &ServiceSpec) {
        let mut addresses: Vec<IpAddr> = Vec::new();
        let told = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
        for address in told.filter_map(|address| address.parse().ok()) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        for address in &mut addresses {
            self.add_reverse(*address, name);
            if let Some(shown) = self.mirror.and_then(|mirror| mirror.show(*address)) {
                *address = shown;
                self.add(&Name::from(shown), RData::PTR(PTR(name.clone())));
            }
            self.add(name, address_data(*address));
        }
        for port in spec.ports.iter().flatten() {
            let Some(port_name) = &port.name else { continue };
            let Ok(number) = u16::try_from(port.port) else { continue };
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            self.add_port(name, port_name, protocol, number, name, &addresses);
        }
    }

    fn add_headless(&mut self, service: &Name, spec: &ServiceSpec, slices: &[Arc<EndpointSlice>]) {
        let all = spec.publish_not_ready_addresses == Some(true);
        for member in members(service, all, slices) {
            self.add(service, address_data(member.address));
            self.add(&member.name, address_data(member.address));
            self.add_reverse(member.address, &member.name);
            for port in member.slice.ports.iter().flatten() {
                let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) else { continue };
                let Some(number) = port.port.and_then(|number| u16::try_from(number).ok()) else { continue };
                let protocol = port.protocol.as_deref().unwrap_or("TCP");
                self.add_port(service, port_name, protocol, number, &member.name, &[member.address]);
            }
        }
    }

    fn add_port(&mut self, service: &Name, port: &str, protocol: &str, number: u16, target: &Name, at: &[IpAddr]) {
        let labels = [format!("_{port}"), format!("_{}", protocol.to_ascii_lowercase())];
        let Some(name) = below(service, &[&labels[0], &labels[1]]) else { return };
        self.add(&name, RData::SRV(SRV::new(0, 100, number, target.clone())));
        let additionals = at.iter().map(|address| Record::from_rdata(target.clone(), TTL, address_data(*address)));
        let node = self.nodes.entry(LowerName::from(name)).or_default();
        for additional in additionals {
            if !node.additionals.contains(&additional) {
                node.additionals.push(additional);
            }
        }
    }

    fn add_reverse(&mut self, address: IpAddr, name: &Name) {
        if self.networks.iter().any(|network| network.contains(&address)) {
            self.add(&Name::from(address), RData::PTR(PTR(name.clone())));
        }
    }

    /// Adds a record, unless it is there already.
    fn add(&mut self, name: &Name, data: RData) {
        self.add_for(name, TTL, data);
    }

    /// The same, to be remembered for so long.
    fn add_for(&mut self, name: &Name, ttl: u32, data: RData) {
        self.add_name(name);
        let node = self.nodes.entry(LowerName::new(name)).or_default();
        if node.records.iter().all(|record| record.data != data) {
            node.records.push(Record::from_rdata(name.clone(), ttl, data));
        }
    }

    /// Makes a name exist, and with it every name between it and its apex.
    fn add_name(&mut self, name: &Name) {
        let mut name = LowerName::new(name);
        while self.apexes.iter().any(|apex| apex.name.zone_of(&name)) && !self.nodes.contains_key(&name) {
            let parent = name.base_name();
            self.nodes.insert(name, Default::default());
            name = parent;
        }
    }

    fn name(&self, labels: &[&str]) -> Option<Name> {
        below(&self.domain, labels)
    }

    fn service_name(&self, object: &Object) -> Option<Name> {
        self.name(&[object.key().name(), object.key().namespace(), "svc"])
    }
}

/// A name below another. None: it would be longer than names may be.
pub(super) fn below(base: &Name, labels: &[&str]) -> Option<Name> {
    labels.iter().rev().try_fold(base.clone(), |name, label| name.prepend_label(label.as_bytes())).ok()
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

fn members<'a>(service: &Name, all: bool, slices: &'a [Arc<EndpointSlice>]) -> Vec<Member<'a>> {
    let mut members = Vec::new();
    for slice in slices {
        for endpoint in slice.endpoints.iter().filter(|endpoint| all || is_ready(endpoint)) {
            for address in endpoint.addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok()) {
                let hostname = endpoint.hostname.clone().unwrap_or_else(|| dashed(address));
                let Some(name) = below(service, &[&hostname]) else { continue };
                members.push(Member { name, address, slice });
            }
        }
    }
    members
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

/// The address as a label, such as `10-42-0-5`.
pub(super) fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

pub(super) fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    }
}
