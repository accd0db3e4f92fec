//! What becomes of a service's addresses and ports when it changes: it keeps what it needs and the client does not mention, and
//! gives back what its new type has no use for.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};

use super::rules::{is_external_name, is_reached_from_outside, needs_health_check, needs_node_ports};

/// What was given to the service stays with it where the client does not say otherwise.
pub(super) fn keep(spec: &mut ServiceSpec, old: &ServiceSpec) {
    // Who names another address, and leaves the list of them as it was, means the first of the list.
    if spec.cluster_ip.is_some() && spec.cluster_ip != old.cluster_ip && spec.cluster_ips == old.cluster_ips {
        spec.cluster_ips = spec.cluster_ip.clone().map(|address| vec![address]);
    }
    if !is_external_name(spec) && !is_external_name(old) && spec.cluster_ip.is_none() {
        spec.cluster_ip.clone_from(&old.cluster_ip);
        spec.cluster_ips.clone_from(&old.cluster_ips);
    }
    if needs_node_ports(spec) && needs_node_ports(old) {
        keep_node_ports(spec, old);
    }
    if needs_health_check(spec) && needs_health_check(old) {
        spec.health_check_node_port = spec.health_check_node_port.or(old.health_check_node_port);
    }
}

/// What the new type has no use for goes, unless the client asks for something new: then it is told that it cannot be.
pub(super) fn give_back(spec: &mut ServiceSpec, old: &ServiceSpec) {
    if is_external_name(spec) && !is_external_name(old) {
        clear(&mut spec.cluster_ips, old.cluster_ips.as_ref());
        clear(&mut spec.cluster_ip, old.cluster_ip.as_ref());
        clear(&mut spec.ip_families, old.ip_families.as_ref());
        clear(&mut spec.ip_family_policy, old.ip_family_policy.as_ref());
        clear(&mut spec.internal_traffic_policy, old.internal_traffic_policy.as_ref());
    }
    if !needs_node_ports(spec) && needs_node_ports(old) {
        drop_node_ports(spec, old);
    }
    if !needs_health_check(spec) && needs_health_check(old) {
        clear(&mut spec.health_check_node_port, old.health_check_node_port.as_ref());
    }
    if !is_reached_from_outside(spec) && is_reached_from_outside(old) {
        clear(&mut spec.external_traffic_policy, old.external_traffic_policy.as_ref());
    }
    if spec.type_.as_deref() != Some("LoadBalancer") && old.type_.as_deref() == Some("LoadBalancer") {
        clear(&mut spec.allocate_load_balancer_node_ports, old.allocate_load_balancer_node_ports.as_ref());
        clear(&mut spec.load_balancer_class, old.load_balancer_class.as_ref());
    }
}

fn clear<T: PartialEq>(field: &mut Option<T>, old: Option<&T>) {
    if field.as_ref() == old {
        *field = None;
    }
}

fn keep_node_ports(spec: &mut ServiceSpec, old: &ServiceSpec) {
    let same = |one: &ServicePort, other: &ServicePort| (one.port, &one.protocol) == (other.port, &other.protocol);
    let taken: HashSet<i32> = spec.ports.iter().flatten().filter_map(|port| port.node_port).collect();
    for port in spec.ports.iter_mut().flatten().filter(|port| port.node_port.is_none()) {
        let before = old.ports.iter().flatten().find(|before| same(before, port));
        port.node_port = before.and_then(|before| before.node_port).filter(|port| !taken.contains(port));
    }
}

fn drop_node_ports(spec: &mut ServiceSpec, old: &ServiceSpec) {
    let had = |port: i32| old.ports.iter().flatten().any(|before| before.node_port == Some(port));
    for port in spec.ports.iter_mut().flatten() {
        port.node_port = port.node_port.filter(|port| !had(*port));
    }
}
