//! A stable name and address for pods.

mod rules;
mod transitions;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::{AGE, NAME, text, wide};
use crate::rules::{Causes, NameRule};
use crate::{Column, Names, Resource, Scope, Subresource, cells};

/// The kind. Addresses and node ports are picked by whoever stores the object.
#[derive(Debug)]
pub struct Services;

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
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status, Subresource::Proxy];
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
        if rules::is_reached_from_outside(spec) {
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
        transitions::keep(spec, old);
        transitions::give_back(spec, old);
    }

    fn validate(service: &Service, causes: &mut Causes) {
        let Some(spec) = &service.spec else { return };
        rules::spec(spec, causes);
    }

    fn validate_update(service: &Service, old: &Service, causes: &mut Causes) {
        let (Some(spec), Some(old)) = (&service.spec, &old.spec) else { return };
        rules::change(spec, old, causes);
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
