//! HTTP from outside.

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend, IngressSpec};
use serde_json::Value;

use super::{AGE, NAME, text};
use crate::rules::{self, Causes};
use crate::{Column, Names, Resource, Scope, Subresource, cells};

/// The kind.
#[derive(Debug)]
pub struct Ingresses;

impl Resource for Ingresses {
    type Object = Ingress;

    const NAMES: &'static Names = &Names {
        group: "networking.k8s.io",
        version: "v1",
        kind: "Ingress",
        plural: "ingresses",
        singular: "ingress",
        short: &["ing"],
        categories: &[],
        scope: Scope::Namespaced,
    };
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Status];
    const COUNTS_GENERATIONS: bool = true;
    const COLUMNS: &'static [Column] = &[
        NAME,
        text("Class", "Who serves it."),
        text("Hosts", "The hosts it answers for."),
        text("Address", "Where it answers."),
        text("Ports", "The ports it answers on."),
        AGE,
    ];

    fn validate(ingress: &Ingress, causes: &mut Causes) {
        let none = IngressSpec::default();
        let spec = ingress.spec.as_ref().unwrap_or(&none);
        if spec.rules.is_none() && spec.default_backend.is_none() {
            causes.invalid_go(
                "spec",
                "[]networking.IngressRule(nil)",
                "either `defaultBackend` or `rules` must be specified",
            );
        }
        if let Some(backend) = &spec.default_backend {
            validate_backend("spec.defaultBackend", backend, causes);
        }
        if let Some(class) = &spec.ingress_class_name {
            for problem in rules::NameRule::Subdomain.problems(class) {
                causes.invalid("spec.ingressClassName", class, &problem);
            }
        }
        for (index, tls) in spec.tls.iter().flatten().enumerate() {
            for (at, host) in tls.hosts.iter().flatten().enumerate() {
                validate_host(&format!("spec.tls[{index}].hosts[{at}]"), host, causes);
            }
            if let Some(name) = &tls.secret_name {
                rules::dns_name(&format!("spec.tls[{index}].secretName"), name, causes);
            }
        }
        for (index, rule) in spec.rules.iter().flatten().enumerate() {
            let path = format!("spec.rules[{index}]");
            if let Some(host) = &rule.host {
                if host.parse::<std::net::IpAddr>().is_ok() {
                    causes.invalid(format!("{path}.host"), host, "must be a DNS name, not an IP address");
                } else {
                    validate_host(&format!("{path}.host"), host, causes);
                }
            }
            let Some(http) = &rule.http else { continue };
            if http.paths.is_empty() {
                causes.required(format!("{path}.http.paths"), "");
            }
            for (at, one) in http.paths.iter().enumerate() {
                validate_path(&format!("{path}.http.paths[{at}]"), one, causes);
            }
        }
    }

    fn cells(ingress: &Ingress, now: Timestamp) -> Vec<Value> {
        let spec = ingress.spec.as_ref();
        let old_class = || ingress.metadata.annotations.as_ref()?.get("kubernetes.io/ingress.class");
        let class = spec.and_then(|spec| spec.ingress_class_name.as_ref()).or_else(old_class);
        let rules = spec.into_iter().flat_map(|spec| spec.rules.iter().flatten());
        let hosts: Vec<String> = rules.filter_map(|rule| rule.host.clone()).filter(|host| !host.is_empty()).collect();
        let balancer = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let points = balancer.into_iter().flat_map(|balancer| balancer.ingress.iter().flatten());
        let addresses: Vec<&str> =
            points.filter_map(|point| point.ip.as_deref().or(point.hostname.as_deref())).collect();
        let secure = spec.and_then(|spec| spec.tls.as_ref()).is_some_and(|tls| !tls.is_empty());
        vec![
            cells::name(&ingress.metadata),
            cells::text(class.map(String::as_str)),
            cells::first_three(&hosts, "*"),
            addresses.join(",").into(),
            if secure { "80, 443" } else { "80" }.into(),
            cells::age(&ingress.metadata, now),
        ]
    }
}

fn validate_host(path: &str, host: &str, causes: &mut Causes) {
    if host.contains('*') {
        rules::wildcard_dns_name(path, host, causes);
    } else {
        rules::dns_name(path, host, causes);
    }
}

fn validate_path(path: &str, one: &HTTPIngressPath, causes: &mut Causes) {
    const TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];
    let text = one.path.as_deref().unwrap_or_default();
    match one.path_type.as_str() {
        "" => causes.required(format!("{path}.pathType"), "pathType must be specified"),
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                causes.invalid(format!("{path}.path"), text, "must be an absolute path");
            }
            for sequence in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|sequence| text.contains(sequence)) {
                causes.invalid(format!("{path}.path"), text, &format!("must not contain '{sequence}'"));
            }
            for suffix in ["/..", "/."].into_iter().filter(|suffix| text.ends_with(suffix)) {
                causes.invalid(format!("{path}.path"), text, &format!("cannot end with '{suffix}'"));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                causes.invalid(format!("{path}.path"), text, "must be an absolute path");
            }
        }
        other => causes.unsupported(format!("{path}.pathType"), other, TYPES),
    }
    validate_backend(&format!("{path}.backend"), &one.backend, causes);
}

fn validate_backend(path: &str, backend: &IngressBackend, causes: &mut Causes) {
    match (&backend.service, &backend.resource) {
        (Some(_), Some(_)) => causes.invalid(path, "", "cannot set both resource and service backends"),
        (None, None) => causes.required(path, "resource or service backend is required"),
        (None, Some(resource)) => {
            for (field, value) in [("kind", &resource.kind), ("name", &resource.name)] {
                if value.is_empty() {
                    causes.required(format!("{path}.resource.{field}"), "");
                }
            }
        }
        (Some(service), None) => {
            rules::service_label(&format!("{path}.service.name"), &service.name, causes);
            let port = service.port.as_ref();
            match (port.and_then(|port| port.name.as_deref()), port.and_then(|port| port.number)) {
                (Some(_), Some(_)) => causes.invalid(path, "", "cannot set both port name & port number"),
                (None, None) => causes.required(path, "port name or number is required"),
                (Some(name), None) => rules::port_name(&format!("{path}.service.port.name"), name, causes),
                (None, Some(number)) => rules::port_number(&format!("{path}.service.port.number"), number, causes),
            }
        }
    }
}
