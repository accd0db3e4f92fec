//! Who answers for a host and a path.
//!
//! A host that is written out comes before a wildcard, and a wildcard before rules for any host; the first of them that has
//! rules decides alone. Among its rules the longest path wins, an exact one before a prefix of equal length, and the older
//! Ingress before the younger. What no rule takes goes to a default backend.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use api::{GroupKind, kinds};
use network::ServiceTable;
use state::Snapshot;

use crate::acme::Proofs;
use crate::certificates::Certificates;
use crate::notices::Notice;
use crate::terms::Terms;

mod build;
mod path;

pub(crate) use build::ours;
use path::PathRule;

/// What the table is made of.
pub(crate) const SOURCES: &[GroupKind] = &[kinds::INGRESS, kinds::INGRESS_CLASS, kinds::SECRET];

/// Every rule of every Ingress that is ours, and their certificates.
#[derive(Debug, Default)]
pub struct RouteTable {
    exact: HashMap<String, HostRules>,
    /// By what follows the star and its dot.
    wildcard: HashMap<String, HostRules>,
    any: HostRules,
    default: Option<Arc<Backend>>,
    pub(crate) certificates: Certificates,
    pub(crate) proofs: Proofs,
    pub(crate) notices: Vec<Notice>,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The namespace of the Ingress and of the service.
    pub namespace: String,
    /// The Ingress whose rule this is.
    pub ingress: String,
    /// What the rule leads to.
    pub target: Target,
    /// What the Ingress asks of the edge.
    pub terms: Arc<Terms>,
}

/// What a rule leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A service.
    Service(ServicePort),
    /// A resource of another kind, such as `StorageBucket/icons`, which nothing here can serve.
    Resource(String),
}

/// A service and one of its ports, as an Ingress names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The service's name.
    pub name: String,
    /// The port.
    pub port: PortName,
}

/// A port by number or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "a number, a name")]
pub enum PortName {
    Number(u16),
    Name(String),
}

/// The rules of one host, in the order in which they are asked.
#[derive(Debug, Default)]
struct HostRules {
    rules: Vec<(PathRule, Arc<Backend>)>,
    fallback: Option<Arc<Backend>>,
}

// === impl RouteTable ===

impl RouteTable {
    /// Who answers for `host`, which is lower case and has no port, and `path`.
    pub fn route(&self, host: &str, path: &str) -> Option<&Arc<Backend>> {
        let rules = self.exact.get(host).or_else(|| self.wildcard.get(host.split_once('.')?.1)).unwrap_or(&self.any);
        rules.route(path).or(self.default.as_ref())
    }
}

impl From<&Snapshot> for RouteTable {
    fn from(view: &Snapshot) -> Self {
        build::table(view)
    }
}

// === impl HostRules ===

impl HostRules {
    fn route(&self, path: &str) -> Option<&Arc<Backend>> {
        let rule = self.rules.iter().find(|(rule, _)| rule.matches(path));
        rule.map(|(_, backend)| backend).or(self.fallback.as_ref())
    }
}

// === impl Backend ===

impl Backend {
    /// The service's name and port, and the service, if the cluster has it.
    pub(crate) fn service<'a>(&self, table: &'a ServiceTable) -> Option<(&ServicePort, &'a Arc<network::Service>)> {
        match &self.target {
            Target::Service(named) => Some((named, table.service(&self.namespace, &named.name)?)),
            Target::Resource(_) => None,
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Service(service) => write!(f, "{}/{}:{}", self.namespace, service.name, service.port),
            Target::Resource(resource) => write!(f, "{}/{resource}", self.namespace),
        }
    }
}

// === impl PortName ===

impl PortName {
    pub(crate) fn as_ref(&self) -> network::PortRef<'_> {
        match self {
            Self::Number(number) => network::PortRef::Number(*number),
            Self::Name(name) => network::PortRef::Name(name),
        }
    }
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

#[cfg(test)]
mod tests;
