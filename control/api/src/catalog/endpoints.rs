//! The addresses behind a service, in one object.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EndpointSubset, Endpoints};
use serde_json::Value;

use super::{AGE, NAME, text};
use crate::rules::{self, Causes};
use crate::{Column, Names, Resource, Scope, cells};

/// The kind.
#[derive(Debug)]
pub struct EndpointLists;

impl Resource for EndpointLists {
    type Object = Endpoints;

    const NAMES: &'static Names = &Names {
        group: "",
        version: "v1",
        kind: "Endpoints",
        plural: "endpoints",
        singular: "endpoints",
        short: &["ep"],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const COLUMNS: &'static [Column] = &[NAME, text("Endpoints", "Its ready addresses with their ports."), AGE];

    fn default(endpoints: &mut Endpoints) {
        for port in endpoints.subsets.iter_mut().flatten().flat_map(|subset| subset.ports.iter_mut().flatten()) {
            port.protocol.get_or_insert_with(|| "TCP".into());
        }
    }

    fn validate(endpoints: &Endpoints, causes: &mut Causes) {
        for (index, subset) in endpoints.subsets.iter().flatten().enumerate() {
            validate_subset(&format!("subsets[{index}]"), subset, causes);
        }
    }

    fn cells(endpoints: &Endpoints, now: Timestamp) -> Vec<Value> {
        let all: Vec<String> = endpoints.subsets.iter().flatten().flat_map(pairs).collect();
        vec![
            cells::name(&endpoints.metadata),
            cells::first_three(&all, cells::NONE),
            cells::age(&endpoints.metadata, now),
        ]
    }
}

fn validate_subset(path: &str, subset: &EndpointSubset, causes: &mut Causes) {
    let ready = subset.addresses.iter().flatten();
    let unready = subset.not_ready_addresses.iter().flatten();
    if ready.clone().next().is_none() && unready.clone().next().is_none() {
        causes.required(path, "must specify `addresses` or `notReadyAddresses`");
    }
    let ready = ready.enumerate().map(|(at, address)| (format!("{path}.addresses[{at}].ip"), address));
    let unready = unready.enumerate().map(|(at, address)| (format!("{path}.notReadyAddresses[{at}].ip"), address));
    for (path, address) in ready.chain(unready) {
        rules::endpoint_ip(&path, &address.ip, causes);
    }
    let ports = subset.ports.as_deref().unwrap_or_default();
    for (at, port) in ports.iter().enumerate() {
        let path = format!("{path}.ports[{at}]");
        let name = port.name.as_deref().unwrap_or_default();
        if !name.is_empty() {
            rules::dns_label(&format!("{path}.name"), name, causes);
        } else if ports.len() > 1 {
            causes.required(format!("{path}.name"), "");
        }
        rules::port_number(&format!("{path}.port"), port.port, causes);
        causes.one_of(format!("{path}.protocol"), port.protocol.as_deref().unwrap_or_default(), rules::PROTOCOLS);
    }
}

fn pairs(subset: &EndpointSubset) -> Vec<String> {
    let addresses = || subset.addresses.iter().flatten().map(|address| address.ip.as_str());
    let ports = subset.ports.as_deref().unwrap_or_default();
    if ports.is_empty() {
        return addresses().map(str::to_owned).collect();
    }
    ports.iter().flat_map(|port| addresses().map(|ip| socket(ip, port.port))).collect()
}

fn socket(ip: &str, port: i32) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}
