//! The addresses behind a service, in slices.

use std::collections::HashSet;

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::Value;

use super::{AGE, NAME, text};
use crate::rules::{self, Causes};
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct EndpointSlices;

/// As many endpoints as one slice may hold.
const ENDPOINTS_MAX: usize = 1000;
/// As many ports as one slice may hold.
const PORTS_MAX: usize = 20_000;
/// As many addresses as one endpoint may have.
const ADDRESSES_MAX: usize = 100;

impl Resource for EndpointSlices {
    type Object = EndpointSlice;

    const NAMES: &'static Names = &Names {
        group: "discovery.k8s.io",
        version: "v1",
        kind: "EndpointSlice",
        plural: "endpointslices",
        singular: "endpointslice",
        short: &[],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = &[
        NAME,
        text("AddressType", "What its addresses are."),
        text("Ports", "The ports of its endpoints."),
        text("Endpoints", "The addresses of its endpoints."),
        AGE,
    ];

    fn default(slice: &mut EndpointSlice) {
        for port in slice.ports.iter_mut().flatten() {
            port.name.get_or_insert_default();
            port.protocol.get_or_insert_with(|| "TCP".into());
        }
    }

    fn validate(slice: &EndpointSlice, causes: &mut Causes) {
        causes.one_of("addressType", &slice.address_type, &["FQDN", "IPv4", "IPv6"]);
        if slice.endpoints.len() > ENDPOINTS_MAX {
            causes.too_many("endpoints", slice.endpoints.len(), ENDPOINTS_MAX);
        }
        for (index, endpoint) in slice.endpoints.iter().enumerate() {
            let path = format!("endpoints[{index}].addresses");
            if endpoint.addresses.is_empty() {
                causes.required(&path, "must contain at least 1 address");
            } else if endpoint.addresses.len() > ADDRESSES_MAX {
                causes.too_many(&path, endpoint.addresses.len(), ADDRESSES_MAX);
            }
            for (at, address) in endpoint.addresses.iter().enumerate() {
                let path = format!("{path}[{at}]");
                match slice.address_type.as_str() {
                    "FQDN" => rules::dns_name(&path, address, causes),
                    "IPv4" if address.parse::<std::net::Ipv4Addr>().is_err() => rules::ipv4(&path, address, causes),
                    _ => rules::endpoint_ip(&path, address, causes),
                }
            }
        }
        let ports = slice.ports.as_deref().unwrap_or_default();
        if ports.len() > PORTS_MAX {
            causes.too_many("ports", ports.len(), PORTS_MAX);
        }
        let mut names = HashSet::new();
        for (index, port) in ports.iter().enumerate() {
            let name = port.name.as_deref().unwrap_or_default();
            if !name.is_empty() {
                rules::dns_label(&format!("ports[{index}].name"), name, causes);
            }
            if !names.insert(name) {
                causes.duplicate(format!("ports[{index}].name"), name);
            }
            let protocol = port.protocol.as_deref().unwrap_or_default();
            causes.one_of(format!("ports[{index}].protocol"), protocol, rules::PROTOCOLS);
        }
    }

    fn validate_update(slice: &EndpointSlice, old: &EndpointSlice, causes: &mut Causes) {
        causes.immutable("addressType", &slice.address_type, &old.address_type);
    }

    fn cells(slice: &EndpointSlice, now: Timestamp) -> Vec<Value> {
        let ports = slice.ports.iter().flatten();
        let ports: Vec<String> = ports.map(|port| port.port.map_or("*".into(), |port| port.to_string())).collect();
        let addresses: Vec<String> = slice.endpoints.iter().flat_map(|endpoint| endpoint.addresses.clone()).collect();
        vec![
            cells::name(&slice.metadata),
            slice.address_type.as_str().into(),
            cells::first_three(&ports, "<unset>"),
            cells::first_three(&addresses, "<unset>"),
            cells::age(&slice.metadata, now),
        ]
    }
}
