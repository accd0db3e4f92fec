//! What a host name means to a pod.
//!
//! A pod's resolver appends its search path to a name before it takes it as it stands, so `web` is a service of the pod's
//! own namespace and `web.shop` one of `shop`. The same walk is done here over the service table, without a question to
//! anybody; what the walk does not find lies outside the cluster.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::{Service, ServiceKind, ServiceTable};

/// How many ExternalNames may point at each other.
const ALIASES_MAX: usize = 8;

/// What a name means.
#[derive(Clone, Debug)]
pub enum Meaning {
    /// A service, by its own name.
    Service(Arc<Service>),
    /// One address: a member of a headless service by its own name, or a pod by the name made of its address.
    Address(IpAddr),
    /// A name outside the cluster.
    Outside(String),
    /// Nothing: the name belongs to the cluster, and the cluster does not have it.
    Nothing,
}

/// What `host` means in a pod of `namespace`, in a cluster whose names end in `domain`.
pub fn resolve(table: &ServiceTable, domain: &str, namespace: &str, host: &str) -> Meaning {
    let mut host = host.to_ascii_lowercase();
    let mut namespace = namespace.to_owned();
    for _ in 0..ALIASES_MAX {
        match lookup(table, domain, &namespace, &host) {
            // An alias is a whole name: the search path is not for it.
            Meaning::Service(service) => match &service.kind {
                ServiceKind::External(name) => {
                    host = format!("{}.", name.trim_end_matches('.').to_ascii_lowercase());
                    namespace.clear();
                }
                _ => return Meaning::Service(service),
            },
            meaning => return meaning,
        }
    }
    Meaning::Nothing
}

fn lookup(table: &ServiceTable, domain: &str, namespace: &str, host: &str) -> Meaning {
    let whole = host.trim_end_matches('.');
    if whole.len() == host.len() {
        let search = [format!("{namespace}.svc"), "svc".to_owned(), String::new()];
        let found = search.iter().find_map(|suffix| match suffix.as_str() {
            "" => within(table, whole),
            suffix => within(table, &format!("{whole}.{suffix}")),
        });
        if let Some(meaning) = found {
            return meaning;
        }
    }
    match whole.strip_suffix(domain).map(|rest| rest.strip_suffix('.').unwrap_or(rest)) {
        Some(inner) if inner.is_empty() || whole.len() > inner.len() + domain.len() => {
            within(table, inner).unwrap_or(Meaning::Nothing)
        }
        _ if whole.rsplit('.').next() == Some("svc") && whole.len() > 3 => Meaning::Nothing,
        _ => Meaning::Outside(whole.to_owned()),
    }
}

/// The meaning of a name below the cluster's domain, such as `web.shop.svc`.
fn within(table: &ServiceTable, name: &str) -> Option<Meaning> {
    let labels: Vec<&str> = name.split('.').collect();
    match labels.as_slice() {
        [service, namespace, "svc"] => table.service(namespace, service).cloned().map(Meaning::Service),
        [member, service, namespace, "svc"] => {
            let service = table.service(namespace, service)?;
            if service.kind != ServiceKind::Headless {
                return None;
            }
            let is_meant = |hostname: Option<&str>, address: IpAddr| match hostname {
                Some(hostname) => hostname == *member,
                None => dashed(member) == Some(address),
            };
            let mut members = service.members.iter();
            let found = members.find(|one| is_meant(one.hostname.as_deref(), one.address))?;
            Some(Meaning::Address(found.address))
        }
        [pod, _, "pod"] => dashed(pod).map(Meaning::Address),
        _ => None,
    }
}

/// The address in a label such as `10-42-0-5`.
fn dashed(label: &str) -> Option<IpAddr> {
    label.replace('-', ".").parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

#[cfg(test)]
mod tests;
