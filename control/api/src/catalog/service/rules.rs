//! What a service may say.

use std::collections::HashSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};

use crate::rules::{self, Causes};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const HEADLESS: &str = "None";
/// A client that has been silent for a day is a new one.
const AFFINITY_SECONDS_MAX: i32 = 86_400;

/// Whether it is only another name for something outside.
pub(super) fn is_external_name(spec: &ServiceSpec) -> bool {
    spec.type_.as_deref() == Some("ExternalName")
}

/// Whether every node answers for it.
pub(super) fn needs_node_ports(spec: &ServiceSpec) -> bool {
    match spec.type_.as_deref() {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec.allocate_load_balancer_node_ports != Some(false),
        _ => false,
    }
}

/// Whether balancers outside must ask which nodes have endpoints.
pub(super) fn needs_health_check(spec: &ServiceSpec) -> bool {
    spec.type_.as_deref() == Some("LoadBalancer") && spec.external_traffic_policy.as_deref() == Some("Local")
}

/// Whether those outside the cluster can reach it.
pub(super) fn is_reached_from_outside(spec: &ServiceSpec) -> bool {
    match spec.type_.as_deref() {
        Some("NodePort" | "LoadBalancer") => true,
        Some("ClusterIP") => spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty()),
        _ => false,
    }
}

/// The rules of a service that is there or is to be.
pub(super) fn spec(spec: &ServiceSpec, causes: &mut Causes) {
    let kind = spec.type_.as_deref().unwrap_or_default();
    let ports = spec.ports.as_deref().unwrap_or_default();
    let headless = spec.cluster_ip.as_deref() == Some(HEADLESS);
    if ports.is_empty() && !headless && kind != "ExternalName" {
        causes.required("spec.ports", "");
    }
    match kind {
        "ExternalName" => external_name(spec, causes),
        "NodePort" | "LoadBalancer" if headless => {
            causes.invalid("spec.clusterIPs[0]", HEADLESS, &format!("may not be set to 'None' for {kind} services"));
        }
        _ => {}
    }
    each_port(ports, kind, causes);
    if let Some(selector) = &spec.selector {
        rules::labels("spec.selector", selector, causes);
    }
    affinity(spec, causes);
    if kind != "ExternalName" {
        addresses(spec, headless, causes);
    }
    for (index, address) in spec.external_ips.iter().flatten().enumerate() {
        rules::endpoint_ip(&format!("spec.externalIPs[{index}]"), address, causes);
    }
    causes.one_of("spec.type", kind, TYPES);
    load_balancer(spec, kind, causes);
    traffic(spec, causes);
}

/// What may not change about a service.
pub(super) fn change(spec: &ServiceSpec, old: &ServiceSpec, causes: &mut Causes) {
    let is_balancer = |spec: &ServiceSpec| spec.type_.as_deref() == Some("LoadBalancer");
    if is_balancer(spec) && is_balancer(old) && spec.load_balancer_class != old.load_balancer_class {
        causes.invalid("spec.loadBalancerClass", &spec.load_balancer_class, "may not change once set");
    }
    if needs_health_check(spec)
        && needs_health_check(old)
        && old.health_check_node_port.is_some()
        && spec.health_check_node_port != old.health_check_node_port
    {
        causes.forbidden("spec.healthCheckNodePort", "field is immutable");
    }
    if is_external_name(spec) || is_external_name(old) {
        return;
    }
    let is = spec.cluster_ips.as_deref().unwrap_or_default();
    let was = old.cluster_ips.as_deref().unwrap_or_default();
    if was.first().is_some_and(|was| is.first() != Some(was)) {
        causes.invalid("spec.clusterIPs[0]", is, "may not change once set");
    }
    let family = |spec: &ServiceSpec| spec.ip_families.as_ref().and_then(|families| families.first().cloned());
    if family(old).is_some() && family(spec) != family(old) {
        causes.invalid("spec.ipFamilies[0]", &spec.ip_families, "may not change once set");
    }
}

fn external_name(spec: &ServiceSpec, causes: &mut Causes) {
    let without = "may not be set for ExternalName services";
    if spec.cluster_ip.is_some() || spec.cluster_ips.as_ref().is_some_and(|ips| !ips.is_empty()) {
        causes.forbidden("spec.clusterIPs", without);
    }
    if spec.ip_families.as_ref().is_some_and(|families| !families.is_empty()) {
        causes.forbidden("spec.ipFamilies", without);
    }
    if spec.ip_family_policy.is_some() {
        causes.forbidden("spec.ipFamilyPolicy", without);
    }
    match spec.external_name.as_deref().unwrap_or_default() {
        "" => causes.required("spec.externalName", ""),
        name => rules::dns_name("spec.externalName", name.strip_suffix('.').unwrap_or(name), causes),
    }
}

fn affinity(spec: &ServiceSpec, causes: &mut Causes) {
    let path = "spec.sessionAffinityConfig";
    let config = spec.session_affinity_config.as_ref();
    causes.one_of("spec.sessionAffinity", spec.session_affinity.as_deref().unwrap_or_default(), &["ClientIP", "None"]);
    match (spec.session_affinity.as_deref(), config) {
        (Some("ClientIP"), config) => {
            let seconds = config.and_then(|config| config.client_ip.as_ref()).and_then(|config| config.timeout_seconds);
            let path = format!("{path}.clientIP.timeoutSeconds");
            match seconds {
                None => causes.required(path, "when session affinity type is ClientIP"),
                Some(seconds) if !(1..=AFFINITY_SECONDS_MAX).contains(&seconds) => {
                    let detail = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
                    causes.invalid(path, seconds, &detail);
                }
                Some(_) => {}
            }
        }
        (Some("None"), Some(_)) => causes.forbidden(path, "must not be set when session affinity is None"),
        _ => {}
    }
}

/// The cluster has one family of addresses, IPv4.
fn addresses(spec: &ServiceSpec, headless: bool, causes: &mut Causes) {
    let families = spec.ip_families.as_deref().unwrap_or_default();
    let ips = spec.cluster_ips.as_deref().unwrap_or_default();
    match spec.ip_family_policy.as_deref().unwrap_or_default() {
        "RequireDualStack" => causes.invalid(
            "spec.ipFamilyPolicy",
            "RequireDualStack",
            "this cluster is not configured for dual-stack services",
        ),
        policy => {
            causes.one_of("spec.ipFamilyPolicy", policy, &["PreferDualStack", "RequireDualStack", "SingleStack"]);
        }
    }
    if families.len() > 2 {
        causes.invalid("spec.ipFamilies", families, "may only hold up to 2 values");
    }
    for (index, family) in families.iter().enumerate() {
        let path = format!("spec.ipFamilies[{index}]");
        match family.as_str() {
            _ if families[..index].contains(family) => causes.duplicate(path, family),
            "IPv4" => {}
            "IPv6" => causes.invalid(path, family, "not configured on this cluster"),
            _ => causes.unsupported(path, family, &["IPv4", "IPv6"]),
        }
    }
    if ips.first() != spec.cluster_ip.as_ref() {
        causes.invalid("spec.clusterIPs", ips, "first value must match `clusterIP`");
    }
    if headless && ips.len() > 1 {
        return causes.invalid("spec.clusterIPs", ips, "'None' must be the first and only value");
    }
    if ips.len() > 2 {
        causes.invalid("spec.clusterIPs", ips, "may only hold up to 2 values");
    }
    for (index, address) in ips.iter().enumerate().filter(|_| !headless) {
        let path = format!("spec.clusterIPs[{index}]");
        match address.parse() {
            Err(_) => rules::ip(&path, address, causes),
            Ok(_) if ips[..index].contains(address) => causes.duplicate(path, address),
            Ok(IpAddr::V4(_)) => {}
            Ok(IpAddr::V6(_)) => {
                let detail = format!("expected an IPv4 value as indicated by `ipFamilies[{index}]`");
                causes.invalid(path, address, &detail);
            }
        }
    }
}

fn load_balancer(spec: &ServiceSpec, kind: &str, causes: &mut Causes) {
    let only = "may only be used when `type` is 'LoadBalancer'";
    let is_balancer = kind == "LoadBalancer";
    if let Some(ranges) = spec.load_balancer_source_ranges.as_deref().filter(|ranges| !ranges.is_empty()) {
        // The name is Kubernetes' own here, with its capital.
        let path = "spec.LoadBalancerSourceRanges";
        if !is_balancer {
            causes.forbidden(path, only);
        }
        for (index, range) in ranges.iter().enumerate() {
            rules::cidr(&format!("{path}[{index}]"), range.trim(), causes);
        }
    }
    if spec.allocate_load_balancer_node_ports.is_some() && !is_balancer {
        causes.forbidden("spec.allocateLoadBalancerNodePorts", only);
    }
    match &spec.load_balancer_class {
        Some(_) if !is_balancer => causes.forbidden("spec.loadBalancerClass", only),
        Some(class) => {
            for problem in rules::qualified_name(class) {
                causes.invalid("spec.loadBalancerClass", class, &problem);
            }
        }
        None => {}
    }
}

fn traffic(spec: &ServiceSpec, causes: &mut Causes) {
    match &spec.external_traffic_policy {
        Some(policy) if is_reached_from_outside(spec) => {
            causes.one_of("spec.externalTrafficPolicy", policy, &["Cluster", "Local"]);
        }
        Some(policy) => {
            causes.invalid("spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services");
        }
        None => {}
    }
    let path = "spec.healthCheckNodePort";
    match spec.health_check_node_port {
        Some(port) if needs_health_check(spec) => rules::port_number(path, port, causes),
        Some(port) if port != 0 => causes.invalid(
            path,
            port,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ),
        _ => {}
    }
    if let Some(policy) = &spec.internal_traffic_policy {
        causes.one_of("spec.internalTrafficPolicy", policy, &["Cluster", "Local"]);
    }
    if let Some(distribution) = &spec.traffic_distribution {
        causes.one_of("spec.trafficDistribution", distribution, &["PreferClose"]);
    }
}

fn each_port(ports: &[ServicePort], kind: &str, causes: &mut Causes) {
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
        for problem in port.app_protocol.iter().flat_map(|protocol| rules::qualified_name(protocol)) {
            causes.invalid(format!("{path}.appProtocol"), &port.app_protocol, &problem);
        }
        if !numbers.insert((port.port, protocol)) {
            let port = format!(
                "core.ServicePort{{Name:\"\", Protocol:{protocol:?}, AppProtocol:(*string)(nil), Port:{}, TargetPort:intstr.IntOrString{{Type:0, IntVal:0, StrVal:\"\"}}, NodePort:0}}",
                port.port
            );
            causes.duplicate_go(&path, &port);
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
