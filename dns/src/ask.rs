//! Whom a pod asks for names, and how it completes them.
//!
//! An [`Ask`] is what a pod's `/etc/hosts` and `/etc/resolv.conf` would say: `hostAliases`, `dnsPolicy`, `dnsConfig`, the
//! pod's own name. It is a pure function of the pod and of the machine it is on; [`Resolver`](crate::Resolver) acts on it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hickory_proto::rr::Name;
use k8s_openapi::api::core::v1::{Pod, PodDNSConfig};

use crate::machine::Machine;
use crate::resolver::LookupError;

/// What Kubernetes gives pods that ask the cluster: `name.namespace.svc` is still completed before it is taken for whole.
const CLUSTER_NDOTS: usize = 5;
/// As many as the resolver library takes, and as Kubernetes lets a pod have.
const SEARCHES_MAX: usize = 32;
/// More dots than that are never asked for (resolv.conf(5)).
const NDOTS_MAX: usize = 15;
/// How long one server may take for one name: what the resolver library waits, five seconds twice.
const PATIENCE: Duration = Duration::from_secs(10);
/// More is never asked for (resolv.conf(5)): thirty seconds, five times.
const PATIENCE_MAX: Duration = Duration::from_secs(150);

/// How a pod looks up names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Names that need no server, each with an address.
    pub hosts: Vec<(String, IpAddr)>,
    /// Asked in turn; the next one only if one does not answer.
    pub servers: Vec<Server>,
    /// What short names may end in.
    pub searches: Vec<String>,
    /// With so many dots a name is first tried as it is.
    pub ndots: usize,
    /// How long a server may take for one name.
    pub patience: Duration,
}

/// Somebody who is asked for names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// The cluster's own zone, and through it the rest of the world.
    Cluster,
    /// The cluster's own zone and nobody beyond it.
    Zone,
    /// Whom the machine asks; knows nothing of the cluster.
    Machine,
    /// A server of the pod's choice, at port 53.
    At(IpAddr),
}

// === impl Ask ===

impl Ask {
    /// How `pod`, which has these addresses, looks up names in a cluster with this domain, whose server pods find at
    /// `nameservers`, on this machine.
    pub fn for_pod(pod: &Pod, addresses: &[IpAddr], domain: &str, nameservers: &[IpAddr], machine: &Machine) -> Self {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let Some(spec) = &pod.spec else { return Self::of_cluster(namespace, domain, machine) };
        let on_host = spec.host_network == Some(true);
        let mut ask = match spec.dns_policy.as_deref().unwrap_or("ClusterFirst") {
            "None" => Self::nobody(),
            "Default" => Self::of_machine(machine),
            "ClusterFirst" if on_host => Self::of_machine(machine),
            _ => Self::of_cluster(namespace, domain, machine),
        };
        if let Some(config) = &spec.dns_config {
            ask.add(config, nameservers);
        }
        let hostname = spec.hostname.as_deref().or(pod.metadata.name.as_deref()).unwrap_or_default();
        let whole =
            spec.subdomain.as_deref().map(|subdomain| format!("{hostname}.{subdomain}.{namespace}.svc.{domain}"));
        for name in whole.into_iter().chain([hostname.to_owned()]).filter(|name| !name.is_empty()) {
            ask.hosts.extend(addresses.iter().map(|address| (name.clone(), *address)));
        }
        for alias in spec.host_aliases.iter().flatten() {
            let Ok(address) = alias.ip.parse() else { continue };
            ask.hosts.extend(alias.hostnames.iter().flatten().map(|name| (name.clone(), address)));
        }
        ask
    }

    /// How a pod of this namespace looks up names if it says nothing about it.
    pub fn of_cluster(namespace: &str, domain: &str, machine: &Machine) -> Self {
        let own = [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
        let mut ask = Self { servers: vec![Server::Cluster], ndots: CLUSTER_NDOTS, ..Self::nobody() };
        ask.add_searches(own.iter().chain(&machine.searches));
        ask
    }

    fn of_machine(machine: &Machine) -> Self {
        let mut ask = Self { servers: vec![Server::Machine], ndots: machine.ndots, ..Self::nobody() };
        ask.add_searches(&machine.searches);
        ask
    }

    fn nobody() -> Self {
        Self { hosts: Vec::new(), servers: Vec::new(), searches: Vec::new(), ndots: 1, patience: PATIENCE }
    }

    fn add(&mut self, config: &PodDNSConfig, cluster: &[IpAddr]) {
        for address in config.nameservers.iter().flatten().filter_map(|text| text.parse().ok()) {
            let server = if cluster.contains(&address) { Server::Cluster } else { Server::At(address) };
            if !self.servers.contains(&server) {
                self.servers.push(server);
            }
        }
        self.add_searches(config.searches.iter().flatten());
        let option = |name: &str| {
            let said = config.options.iter().flatten().filter(|option| option.name.as_deref() == Some(name));
            said.filter_map(|option| option.value.as_deref()?.parse::<u16>().ok()).next_back()
        };
        if let Some(ndots) = option("ndots") {
            self.ndots = usize::from(ndots).min(NDOTS_MAX);
        }
        if let (timeout, attempts) = (option("timeout"), option("attempts"))
            && timeout.or(attempts).is_some()
        {
            let seconds = u64::from(timeout.unwrap_or(5).max(1)) * u64::from(attempts.unwrap_or(2).max(1));
            self.patience = Duration::from_secs(seconds).min(PATIENCE_MAX);
        }
    }

    fn add_searches<'a>(&mut self, more: impl IntoIterator<Item = &'a String>) {
        for search in more {
            let search = search.trim_end_matches('.');
            let is_new = !self.searches.iter().any(|known| known == search);
            if is_new && !search.is_empty() && self.searches.len() < SEARCHES_MAX {
                self.searches.push(search.to_owned());
            }
        }
    }

    /// The same, but nobody outside the cluster hears of what is asked.
    #[must_use]
    pub fn within_cluster(&self) -> Self {
        Self { servers: vec![Server::Zone], ..self.clone() }
    }

    /// Whether every answer is one that the cluster or the machine gives, and none of them the pod's own choice.
    pub fn is_impartial(&self) -> bool {
        !self.servers.iter().any(|server| matches!(server, Server::At(_)))
    }

    /// The addresses of a name that needs no server; none if it does.
    pub(crate) fn known(&self, name: &str) -> Vec<IpAddr> {
        if let Ok(address) = name.parse() {
            return vec![address];
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        let mut found: Vec<IpAddr> = Vec::new();
        for (host, address) in &self.hosts {
            if host.eq_ignore_ascii_case(name) && !found.contains(address) {
                found.push(*address);
            }
        }
        if found.is_empty() && is_localhost(name) {
            return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        found
    }

    /// The whole names that `name` may stand for, the likeliest first.
    pub(crate) fn candidates(&self, name: &str) -> Result<Vec<Name>, LookupError> {
        let whole = parse(name).ok_or_else(|| LookupError::Invalid { name: name.to_owned() })?;
        if name.ends_with('.') {
            return Ok(vec![whole]);
        }
        let completed = self.searches.iter().filter_map(|search| {
            let mut completed = whole.clone().append_name(&parse(search)?).ok()?;
            completed.set_fqdn(true);
            Some(completed)
        });
        let mut candidates: Vec<Name> = completed.collect();
        let dots = name.matches('.').count();
        candidates.insert(if dots >= self.ndots { 0 } else { candidates.len() }, whole);
        Ok(candidates)
    }
}

/// What the pod's `/etc/resolv.conf` would say.
impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for server in &self.servers {
            match server {
                Server::Cluster => writeln!(f, "nameserver cluster")?,
                Server::Zone => writeln!(f, "nameserver zone")?,
                Server::Machine => writeln!(f, "nameserver machine")?,
                Server::At(address) => writeln!(f, "nameserver {address}")?,
            }
        }
        if !self.searches.is_empty() {
            writeln!(f, "search {}", self.searches.join(" "))?;
        }
        writeln!(f, "options ndots:{} patience:{}", self.ndots, self.patience.as_secs())
    }
}

/// The name, as a whole one. None: it is not a name.
fn parse(text: &str) -> Option<Name> {
    let is_odd = |letter: char| letter.is_whitespace() || letter.is_control() || letter == '\\';
    if text.is_empty() || text == "." || text.contains(is_odd) {
        return None;
    }
    let mut name = if text.is_ascii() { Name::from_ascii(text) } else { Name::from_utf8(text) }.ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// Names that mean the asker itself, whoever is asked (RFC 6761).
fn is_localhost(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    last.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests;
