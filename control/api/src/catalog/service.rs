//! A stable name and address for pods.

use std::collections::HashSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::{AGE, NAME, text, wide};
use crate::rules::{self, Causes, NameRule};
use crate::{Column, Names, Resource, Scope, Subresource, cells};

/// The kind. Addresses and node ports are picked by whoever stores the object.
#[derive(Debug)]
pub struct Services;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const HEADLESS: &str = "None";

impl Resource for Services {
    type Object = Service;

    const NAMES: &'static Names = &Names {
        group: "",
        version: "v1",
        kind: "Service",
        plural: "services",
        singular: "service",
        short: &["svc"],
        categories: &["all"],
        scope: Scope::Namespaced,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const NAME_RULE: NameRule = NameRule::LetterLabel;
    const COLUMNS: &'static [Column] = &[
        NAME,
        text("Type", "Who can reach it."),
        text("Cluster-IP", "Its address inside the cluster."),
        text("External-IP", "Its addresses outside the cluster."),
        text("Port(s)", "Its ports, with the node's port where there is one."),
        AGE,
        wide(text("Selector", "Which pods answer.")),
    ];
    const SELECTABLE: &'static [&'static str] = &["spec.clusterIP", "spec.type"];

    fn default(service: &mut Service) {
        let spec = service.spec.get_or_insert_default();
        let kind = spec.type_.get_or_insert_with(|| "ClusterIP".into()).clone();
        spec.session_affinity.get_or_insert_with(|| "None".into());
        if spec.session_affinity.as_deref() == Some("ClientIP") {
            let config = spec.session_affinity_config.get_or_insert_default().client_ip.get_or_insert_default();
            config.timeout_seconds.get_or_insert(10_800);
        }
        for port in spec.ports.iter_mut().flatten() {
            port.protocol.get_or_insert_with(|| "TCP".into());
            if matches!(port.target_port, None | Some(IntOrString::Int(0))) {
                port.target_port = Some(IntOrString::Int(port.port));
            }
        }
        if kind == "ExternalName" {
            return;
        }
        spec.internal_traffic_policy.get_or_insert_with(|| "Cluster".into());
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
            spec.external_traffic_policy.get_or_insert_with(|| "Cluster".into());
        }
        if kind == "LoadBalancer" {
            spec.allocate_load_balancer_node_ports.get_or_insert(true);
        }
        spec.ip_families.get_or_insert_with(|| vec!["IPv4".into()]);
        spec.ip_family_policy.get_or_insert_with(|| "SingleStack".into());
        match (&spec.cluster_ip, spec.cluster_ips.as_deref()) {
            (Some(one), None | Some([])) => spec.cluster_ips = Some(vec![one.clone()]),
            (None, Some([first, ..])) => spec.cluster_ip = Some(first.clone()),
            _ => {}
        }
    }

    fn prepare_update(service: &mut Service, old: &Service) {
        let (Some(spec), Some(old)) = (&mut service.spec, &old.spec) else { return };
        let external = |spec: &ServiceSpec| spec.type_.as_deref() == Some("ExternalName");
        if external(spec) {
            if !external(old) {
                release(spec, old);
            }
            return;
        }
        // What was given to the service stays with it where the client does not say otherwise.
        if spec.cluster_ip.is_none() && !external(old) {
            spec.cluster_ip.clone_from(&old.cluster_ip);
            spec.cluster_ips.clone_from(&old.cluster_ips);
        }
        if needs_node_ports(spec) && needs_node_ports(old) {
            keep_node_ports(spec, old);
        }
        if !needs_node_ports(spec) && needs_node_ports(old) {
            drop_node_ports(spec, old);
        }
    }

    fn validate(service: &Service, causes: &mut Causes) {
        let Some(spec) = &service.spec else { return };
        validate_spec(spec, causes);
    }

    fn validate_update(service: &Service, old: &Service, causes: &mut Causes) {
        let (Some(spec), Some(old)) = (&service.spec, &old.spec) else { return };
        let external = |spec: &ServiceSpec| spec.type_.as_deref() == Some("ExternalName");
        if external(spec) || external(old) {
            return;
        }
        let was = old.cluster_ips.as_deref().unwrap_or_default();
        let is = spec.cluster_ips.as_deref().unwrap_or_default();
        if let (Some(was), is) = (was.first(), is.first())
            && Some(was) != is
        {
            let detail = "may not change once set";
            causes.invalid("spec.clusterIPs[0]", spec.cluster_ips.as_deref().unwrap_or_default(), detail);
        }
    }

    fn cells(service: &Service, now: Timestamp) -> Vec<Value> {
        let none = ServiceSpec::default();
        let spec = service.spec.as_ref().unwrap_or(&none);
        let first = spec.cluster_ips.iter().flatten().next().or(spec.cluster_ip.as_ref());
        vec![
            cells::name(&service.metadata),
            spec.type_.as_deref().unwrap_or_default().into(),
            cells::text(first.map(String::as_str)),
            external_ip(service, spec),
            ports(spec),
            cells::age(&service.metadata, now),
            cells::pairs(spec.selector.as_ref()),
        ]
    }

    fn fields(service: &Service) -> Vec<(&'static str, String)> {
        let spec = service.spec.as_ref();
        let text =
            |field: fn(&ServiceSpec) -> &Option<String>| spec.and_then(|spec| field(spec).clone()).unwrap_or_default();
        vec![("spec.clusterIP", text(|spec| &spec.cluster_ip)), ("spec.type", text(|spec| &spec.type_))]
    }
}

fn needs_node_ports(spec: &ServiceSpec) -> bool {
    match spec.type_.as_deref() {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec.allocate_load_balancer_node_ports != Some(false),
        _ => false,
    }
}

/// A service that becomes an external name gives its addresses back, unless the client insists on them.
fn release(spec: &mut ServiceSpec, old: &ServiceSpec) {
    if spec.cluster_ip == old.cluster_ip {
        spec.cluster_ip = None;
        spec.cluster_ips = None;
    }
    for port in spec.ports.iter_mut().flatten() {
        port.node_port = None;
    }
    spec.ip_families = None;
    spec.ip_family_policy = None;
    spec.internal_traffic_policy = None;
    spec.external_traffic_policy = None;
    spec.allocate_load_balancer_node_ports = None;
}

fn keep_node_ports(spec: &mut ServiceSpec, old: &ServiceSpec) {
    let same = |one: &ServicePort, other: &ServicePort| (one.port, &one.protocol) == (other.port, &other.protocol);
    let taken: HashSet<i32> = spec.ports.iter().flatten().filter_map(|port| port.node_port).collect();
    for port in spec.ports.iter_mut().flatten().filter(|port| port.node_port.is_none()) {
        let before = old.ports.iter().flatten().find(|before| same(before, port));
        port.node_port = before.and_then(|before| before.node_port).filter(|port| !taken.contains(port));
    }
}

/// What only services with node ports have goes with them, unless the client asks for something new.
fn drop_node_ports(spec: &mut ServiceSpec, old: &ServiceSpec) {
    let had = |port: i32| old.ports.iter().flatten().any(|before| before.node_port == Some(port));
    for port in spec.ports.iter_mut().flatten() {
        port.node_port = port.node_port.filter(|port| !had(*port));
    }
    if spec.external_traffic_policy == old.external_traffic_policy {
        spec.external_traffic_policy = None;
    }
    if spec.allocate_load_balancer_node_ports == old.allocate_load_balancer_node_ports {
        spec.allocate_load_balancer_node_ports = None;
    }
}

fn validate_spec(spec: &ServiceSpec, causes: &mut Causes) {
    let kind = spec.type_.as_deref().unwrap_or_default();
    let ports = spec.ports.as_deref().unwrap_or_default();
    let headless = spec.cluster_ip.as_deref() == Some(HEADLESS);
    causes.one_of("spec.type", kind, TYPES);
    match kind {
        "ExternalName" => {
            if spec.cluster_ip.is_some() {
                causes.forbidden("spec.clusterIPs", "may not be set when `type` is 'ExternalName'");
            }
            let name = spec.external_name.as_deref().unwrap_or_default().trim_end_matches('.');
            rules::dns_name("spec.externalName", name, causes);
        }
        "NodePort" | "LoadBalancer" if headless => {
            causes.invalid("spec.clusterIPs[0]", HEADLESS, &format!("may not be set to 'None' for {kind} services"));
        }
        _ => {}
    }
    if ports.is_empty() && !headless && kind != "ExternalName" {
        causes.required("spec.ports", "");
    }
    for (index, address) in spec.cluster_ips.iter().flatten().enumerate() {
        if address != HEADLESS {
            rules::ip(&format!("spec.clusterIPs[{index}]"), address, causes);
        }
    }
    for (index, address) in spec.external_ips.iter().flatten().enumerate() {
        rules::endpoint_ip(&format!("spec.externalIPs[{index}]"), address, causes);
    }
    if let Some(selector) = &spec.selector {
        rules::labels("spec.selector", selector, causes);
    }
    causes.one_of("spec.sessionAffinity", spec.session_affinity.as_deref().unwrap_or_default(), &["ClientIP", "None"]);
    if let Some(policy) = &spec.internal_traffic_policy {
        causes.one_of("spec.internalTrafficPolicy", policy, &["Cluster", "Local"]);
    }
    if let Some(policy) = &spec.external_traffic_policy {
        if matches!(kind, "NodePort" | "LoadBalancer") {
            causes.one_of("spec.externalTrafficPolicy", policy, &["Cluster", "Local"]);
        } else {
            causes.invalid("spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services");
        }
    }
    if let Some(distribution) = &spec.traffic_distribution
        && distribution != "PreferClose"
    {
        causes.unsupported("spec.trafficDistribution", distribution, &["PreferClose"]);
    }
    validate_ports(ports, kind, causes);
}

fn validate_ports(ports: &[ServicePort], kind: &str, causes: &mut Causes) {
    let (mut names, mut numbers, mut node_ports) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (index, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        let name = port.name.as_deref().unwrap_or_default();
        let protocol = port.protocol.as_deref().unwrap_or_default();
        if name.is_empty() {
            if ports.len() > 1 {
                causes.required(format!("{path}.name"), "");
            }
        } else {
            rules::dns_label(&format!("{path}.name"), name, causes);
            if !names.insert(name) {
                causes.duplicate(format!("{path}.name"), name);
            }
        }
        rules::port_number(&format!("{path}.port"), port.port, causes);
        causes.one_of(format!("{path}.protocol"), protocol, rules::PROTOCOLS);
        if let Some(target) = &port.target_port {
            rules::port(&format!("{path}.targetPort"), target, causes);
        }
        if !numbers.insert((port.port, protocol)) {
            causes.duplicate(&path, serde_json::json!({"port": port.port, "protocol": protocol}));
        }
        let Some(node_port) = port.node_port else { continue };
        match kind {
            "ClusterIP" => causes.forbidden(format!("{path}.nodePort"), "may not be used when `type` is 'ClusterIP'"),
            "ExternalName" => {
                causes.forbidden(format!("{path}.nodePort"), "may not be used when `type` is 'ExternalName'");
            }
            _ => rules::port_number(&format!("{path}.nodePort"), node_port, causes),
        }
        if !node_ports.insert((node_port, protocol)) {
            causes.duplicate(format!("{path}.nodePort"), node_port);
        }
    }
}

fn external_ip(service: &Service, spec: &ServiceSpec) -> Value {
    let external = || spec.external_ips.iter().flatten().cloned();
    match spec.type_.as_deref() {
        Some("ExternalName") => spec.external_name.as_deref().unwrap_or_default().into(),
        Some("LoadBalancer") => {
            let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
            let points = balancer.into_iter().flat_map(|balancer| balancer.ingress.iter().flatten());
            let mut all: Vec<String> =
                points.filter_map(|point| point.ip.clone().or_else(|| point.hostname.clone())).collect();
            all.sort_unstable();
            all.dedup();
            all.extend(external());
            if all.is_empty() { "<pending>".into() } else { all.join(",").into() }
        }
        _ => cells::joined(external()),
    }
}

fn ports(spec: &ServiceSpec) -> Value {
    cells::joined(spec.ports.iter().flatten().map(|port| {
        let node_port = port.node_port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{node_port}/{}", port.port, port.protocol.as_deref().unwrap_or("TCP"))
    }))
}
