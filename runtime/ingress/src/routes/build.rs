//! The table, made of a snapshot.

use std::sync::Arc;

use api::{Object, kinds};
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend, IngressRule};
use state::Snapshot;

use super::{Backend, HostRules, PathRule, PortName, RouteTable, ServicePort};
use crate::class::Classes;

pub(super) fn table(view: &Snapshot) -> RouteTable {
    let mut table = RouteTable::default();
    for (object, ingress) in ours(view) {
        table.add(view, object, &ingress);
    }
    let hosts = table.exact.values_mut().chain(table.wildcard.values_mut()).chain([&mut table.any]);
    for host in hosts {
        // Stable: among equals the older Ingress stays first.
        host.rules.sort_by(|(one, _), (other, _)| one.precedence(other));
    }
    table
}

/// The Ingresses that are served here, oldest first.
pub(crate) fn ours(view: &Snapshot) -> Vec<(&Object, Arc<Ingress>)> {
    let classes = Classes::from(view);
    let mut ours: Vec<(&Object, Arc<Ingress>)> = Vec::new();
    for object in view.list(kinds::INGRESS) {
        match object.decode::<Ingress>() {
            Ok(ingress) if classes.is_ours(object, &ingress) => ours.push((object, ingress)),
            Ok(_) => (),
            Err(error) => tracing::warn!(ingress = %object.key(), error = &error as &dyn std::error::Error, "left out"),
        }
    }
    ours.sort_by(|(one, _), (other, _)| {
        let age = |object: &Object| object.meta().creation_timestamp;
        age(one).cmp(&age(other)).then_with(|| one.key().cmp(other.key()))
    });
    ours
}

impl RouteTable {
    fn add(&mut self, view: &Snapshot, object: &Object, ingress: &Ingress) {
        let Some(spec) = &ingress.spec else { return };
        let default = spec.default_backend.as_ref().map(|default| Arc::new(backend(object, default)));
        let rules = spec.rules.as_deref().unwrap_or_default();
        for rule in rules {
            self.add_rule(object, rule, default.as_ref());
        }
        self.default = self.default.take().or(default);
        let hosts: Vec<&str> = rules.iter().filter_map(|rule| rule.host.as_deref()).collect();
        for tls in spec.tls.iter().flatten() {
            let named = tls.hosts.iter().flatten().map(String::as_str);
            let named: Vec<&str> =
                if tls.hosts.as_ref().is_none_or(Vec::is_empty) { hosts.clone() } else { named.collect() };
            let Some(secret) = &tls.secret_name else { continue };
            self.certificates.add(view.get(&kinds::SECRET.key(object.key().namespace(), secret)), object, &named);
        }
    }

    fn add_rule(&mut self, object: &Object, rule: &IngressRule, default: Option<&Arc<Backend>>) {
        let host = rule.host.as_deref().unwrap_or_default().to_ascii_lowercase();
        let rules = match host.strip_prefix("*.") {
            Some(suffix) => self.wildcard.entry(suffix.to_owned()).or_default(),
            None if host.is_empty() => &mut self.any,
            None => self.exact.entry(host).or_default(),
        };
        rules.add(object, rule, default);
    }
}

impl HostRules {
    fn add(&mut self, object: &Object, rule: &IngressRule, default: Option<&Arc<Backend>>) {
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            let rule = PathRule::new(&path.path_type, path.path.as_deref().unwrap_or("/"));
            self.rules.push((rule, Arc::new(backend(object, &path.backend))));
        }
        if self.fallback.is_none() {
            self.fallback = default.cloned();
        }
    }
}

fn backend(object: &Object, named: &IngressBackend) -> Backend {
    let service = named.service.as_ref().map(|service| {
        let port = service.port.as_ref();
        let number = port.and_then(|port| port.number).and_then(|number| u16::try_from(number).ok());
        let name = port.and_then(|port| port.name.clone()).unwrap_or_default();
        ServicePort { name: service.name.clone(), port: number.map_or(PortName::Name(name), PortName::Number) }
    });
    Backend { namespace: object.key().namespace().into(), ingress: object.key().name().into(), service }
}
