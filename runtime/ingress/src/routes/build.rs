//! The table, made of a snapshot.
//!
//! Ingresses are taken oldest first, and of the same age by name: what one has taken, a younger one asks for in vain and is
//! told so.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use api::{Object, kinds};
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend, IngressRule, IngressTLS};
use state::Snapshot;

use super::{Backend, HostRules, PathRule, PortName, RouteTable, ServicePort, Target};
use crate::acme::{Proofs, asks};
use crate::certificates::Unusable;
use crate::class::Classes;
use crate::notices::{ANNOTATION, BACKEND, CERTIFICATE, CONFLICT, Notice};
use crate::terms::Terms;

/// A table in the making.
#[derive(Default)]
struct Draft {
    table: RouteTable,
    /// Whose a host's path is.
    owners: HashMap<(String, PathRule), Arc<Backend>>,
}

/// The Ingress that is being taken.
struct Taken<'a> {
    object: &'a Object,
    terms: Arc<Terms>,
    default: Option<Arc<Backend>>,
}

pub(super) fn table(view: &Snapshot) -> RouteTable {
    let mut draft = Draft::default();
    for (object, ingress) in ours(view) {
        draft.take(view, object, &ingress);
    }
    let mut table = draft.table;
    table.proofs = Proofs::from(view);
    let hosts = table.exact.values_mut().chain(table.wildcard.values_mut()).chain([&mut table.any]);
    for host in hosts {
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
            Err(error) => tracing::warn!(ingress = %object.key(), error = &error as &dyn Error, "left out"),
        }
    }
    ours.sort_by(|(one, _), (other, _)| {
        let age = |object: &Object| object.meta().creation_timestamp;
        age(one).cmp(&age(other)).then_with(|| one.key().cmp(other.key()))
    });
    ours
}

// === impl Draft ===

impl Draft {
    fn take(&mut self, view: &Snapshot, object: &Object, ingress: &Ingress) {
        let Some(spec) = &ingress.spec else { return };
        let (terms, complaints) = Terms::read(&object.meta().annotations);
        for complaint in complaints {
            self.tell(object, ANNOTATION, complaint);
        }
        let mut taken = Taken { object, terms: Arc::new(terms), default: None };
        taken.default = spec.default_backend.as_ref().map(|default| self.backend(&taken, default));
        let rules = spec.rules.as_deref().unwrap_or_default();
        for rule in rules {
            self.rule(&taken, rule);
        }
        self.last_resort(&taken, rules.is_empty());
        let hosts: Vec<&str> = rules.iter().filter_map(|rule| rule.host.as_deref()).collect();
        for tls in spec.tls.iter().flatten() {
            self.certificate(view, object, tls, &hosts);
        }
    }

    fn tell(&mut self, object: &Object, reason: &'static str, message: String) {
        self.table.notices.push(Notice { ingress: object.key().clone(), reason, message });
    }

    fn rule(&mut self, taken: &Taken<'_>, rule: &IngressRule) {
        let host = rule.host.as_deref().unwrap_or_default().to_ascii_lowercase();
        let mut claims = Vec::new();
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            let rule = PathRule::new(&path.path_type, path.path.as_deref().unwrap_or("/"));
            let backend = self.backend(taken, &path.backend);
            match self.owners.get(&(host.clone(), rule.clone())) {
                Some(owner) => {
                    let (owner, name) = (format!("{}/{}", owner.namespace, owner.ingress), rule.name());
                    let place = if host.is_empty() { name } else { format!("{host}{name}") };
                    self.tell(taken.object, CONFLICT, format!("{place} belongs to the older ingress {owner}"));
                }
                None => {
                    self.owners.insert((host.clone(), rule.clone()), backend.clone());
                    claims.push((rule, backend));
                }
            }
        }
        let rules = self.host(host);
        rules.rules.extend(claims);
        if rules.fallback.is_none() {
            rules.fallback.clone_from(&taken.default);
        }
    }

    fn host(&mut self, host: String) -> &mut HostRules {
        match host.strip_prefix("*.") {
            Some(suffix) => self.table.wildcard.entry(suffix.to_owned()).or_default(),
            None if host.is_empty() => &mut self.table.any,
            None => self.table.exact.entry(host).or_default(),
        }
    }

    /// The backend for all that no rule takes; for an Ingress without rules it is all it asks for.
    fn last_resort(&mut self, taken: &Taken<'_>, is_all: bool) {
        match (&self.table.default, &taken.default) {
            (Some(owner), Some(_)) if is_all => {
                let owner = format!("{}/{}", owner.namespace, owner.ingress);
                self.tell(taken.object, CONFLICT, format!("the default backend belongs to the older ingress {owner}"));
            }
            (None, Some(default)) => self.table.default = Some(default.clone()),
            _ => {}
        }
    }

    fn certificate(&mut self, view: &Snapshot, object: &Object, tls: &IngressTLS, hosts: &[&str]) {
        let Some(name) = &tls.secret_name else { return };
        let named: Vec<&str> = tls.hosts.iter().flatten().map(String::as_str).collect();
        let hosts = if named.is_empty() { hosts } else { &named };
        let key = kinds::SECRET.key(object.key().namespace(), name);
        match self.table.certificates.add(&key, view.get(&key), hosts) {
            Ok(left) => {
                for (host, owner) in left {
                    let owner = format!("{}/{}", owner.namespace(), owner.name());
                    let message = format!("{host} has the certificate of an older ingress, from secret {owner}");
                    self.tell(object, CONFLICT, message);
                }
            }
            // It is to come, and whether it does is told by whoever orders it.
            Err(Unusable::Missing) if asks(object).is_some() => {}
            Err(why) => {
                let source = why.source().map(|source| format!(": {source}")).unwrap_or_default();
                self.tell(object, CERTIFICATE, format!("secret {name}: {why}{source}"));
            }
        }
    }

    fn backend(&mut self, taken: &Taken<'_>, named: &IngressBackend) -> Arc<Backend> {
        let target = match (&named.service, &named.resource) {
            (Some(service), _) => {
                let port = service.port.as_ref();
                let number = port.and_then(|port| port.number).and_then(|number| u16::try_from(number).ok());
                let name = port.and_then(|port| port.name.clone()).unwrap_or_default();
                let port = number.map_or(PortName::Name(name), PortName::Number);
                Target::Service(ServicePort { name: service.name.clone(), port })
            }
            (None, Some(resource)) => Target::Resource(format!("{}/{}", resource.kind, resource.name)),
            (None, None) => Target::Resource("nothing".to_owned()),
        };
        if let Target::Resource(resource) = &target {
            let message = format!("{resource} is not a Service, and nothing here can serve it; its paths answer 503");
            self.tell(taken.object, BACKEND, message);
        }
        let key = taken.object.key();
        let (namespace, ingress) = (key.namespace().into(), key.name().into());
        Arc::new(Backend { namespace, ingress, target, terms: taken.terms.clone() })
    }
}
