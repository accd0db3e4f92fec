//! Names for the rest of the world: what Ingresses and load balancers are to be called out there.
//!
//! The words are those of external-dns: `external-dns.alpha.kubernetes.io/hostname`, `…/target` and `…/ttl`, and the hosts of
//! Ingress rules. What is wanted is a pure function of a snapshot; the zone serves it, and
//! [`update`](crate::update) tells it to a server elsewhere.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::{GroupKind, Object, kinds};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, RecordType};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use state::Snapshot;

/// What public names are made of.
pub(crate) const SOURCES: &[GroupKind] = &[kinds::INGRESS, kinds::SERVICE];
const HOSTNAME: &str = "external-dns.alpha.kubernetes.io/hostname";
const TARGET: &str = "external-dns.alpha.kubernetes.io/target";
const SECONDS: &str = "external-dns.alpha.kubernetes.io/ttl";
/// How long a public answer may be remembered if nobody says, in seconds.
pub(crate) const TTL: u32 = 300;
/// More than a week is not worth remembering (RFC 8767).
const TTL_MAX: u32 = 604_800;

/// A zone of the world's name space that is this cluster's to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicZone {
    /// Such as `apps.example.com`.
    pub name: String,
    /// Where the world finds this server, called `ns` within the zone.
    pub nameservers: Vec<IpAddr>,
}

/// The records of one type that a name is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) data: Vec<RData>,
    pub(crate) ttl: u32,
    /// Whose they are, such as `ingress/shop/web`.
    pub(crate) resource: String,
}

/// By name and type, in order.
pub(crate) type AllWanted = BTreeMap<(Name, RecordType), Wanted>;

/// What one object asks for.
struct Request {
    names: Vec<String>,
    targets: Vec<String>,
    ttl: u32,
    resource: String,
}

/// All names within `zone` that somebody asks for. If several ask for the same, the first gets it, in the order of their
/// resources' names; if some ask for addresses and others for an alias, those for addresses.
pub(crate) fn wanted(zone: &Name, view: &Snapshot) -> AllWanted {
    let mut requests: Vec<Request> = Vec::new();
    requests.extend(view.list(kinds::INGRESS).filter_map(of_ingress));
    requests.extend(view.list(kinds::SERVICE).filter_map(of_service));
    requests.sort_by(|one, other| one.resource.cmp(&other.resource));
    let mut all = AllWanted::new();
    for request in requests {
        for name in request.names.iter().filter_map(|name| within(zone, name)) {
            for (kind, data) in by_type(&request.targets) {
                let wanted = Wanted { data, ttl: request.ttl, resource: request.resource.clone() };
                all.entry((name.clone(), kind)).or_insert(wanted);
            }
        }
    }
    // Beside an alias there can be nothing else.
    let has_addresses =
        |name: &Name| [RecordType::A, RecordType::AAAA].iter().any(|kind| all.contains_key(&(name.clone(), *kind)));
    let in_the_way: Vec<(Name, RecordType)> =
        all.keys().filter(|(name, kind)| *kind == RecordType::CNAME && has_addresses(name)).cloned().collect();
    all.retain(|key, _| !in_the_way.contains(key));
    all
}

fn of_ingress(object: &Object) -> Option<Request> {
    let ingress = object.decode::<Ingress>().ok()?;
    let spec = ingress.spec.as_ref()?;
    let hosts = spec.rules.iter().flatten().filter_map(|rule| rule.host.clone());
    let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let told = status.and_then(|status| status.ingress.as_ref()).into_iter().flatten();
    let told = told.filter_map(|told| told.ip.clone().or_else(|| told.hostname.clone()));
    Request::new("ingress", object, hosts.collect(), told.collect())
}

fn of_service(object: &Object) -> Option<Request> {
    // Most services ask for nothing, and need not be read for that.
    object.meta().annotations.get(HOSTNAME)?;
    let service = object.decode::<Service>().ok()?;
    if service.spec.as_ref()?.type_.as_deref() != Some("LoadBalancer") {
        return None;
    }
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let told = status.and_then(|status| status.ingress.as_ref()).into_iter().flatten();
    let told = told.filter_map(|told| told.ip.clone().or_else(|| told.hostname.clone()));
    Request::new("service", object, Vec::new(), told.collect())
}

// === impl Request ===

impl Request {
    fn new(kind: &str, object: &Object, hosts: Vec<String>, told: Vec<String>) -> Option<Self> {
        let annotations = &object.meta().annotations;
        let list = |name: &str| {
            let words = annotations.get(name).map(String::as_str).unwrap_or_default().split(',').map(str::trim);
            words.filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        let names = [hosts, list(HOSTNAME)].concat();
        let chosen = list(TARGET);
        let targets = if chosen.is_empty() { told } else { chosen };
        if names.is_empty() || targets.is_empty() {
            return None;
        }
        let ttl = annotations.get(SECONDS).and_then(|text| seconds(text)).unwrap_or(TTL);
        let resource = format!("{kind}/{}/{}", object.key().namespace(), object.key().name());
        Some(Self { names, targets, ttl, resource })
    }
}

/// The name as a whole one, if it is below `zone`, or is it.
fn within(zone: &Name, text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text.trim_end_matches('.')).ok()?.to_lowercase();
    name.set_fqdn(true);
    zone.zone_of(&name).then_some(name)
}

/// Addresses as addresses; without any, the first name as an alias.
fn by_type(targets: &[String]) -> Vec<(RecordType, Vec<RData>)> {
    let (mut v4, mut v6, mut alias) = (Vec::new(), Vec::new(), Vec::new());
    for target in targets {
        let (list, data) = match target.parse() {
            Ok(IpAddr::V4(address)) => (&mut v4, RData::A(A(address))),
            Ok(IpAddr::V6(address)) => (&mut v6, RData::AAAA(AAAA(address))),
            Err(_) => {
                let Ok(mut name) = Name::from_ascii(target) else { continue };
                name.set_fqdn(true);
                (&mut alias, RData::CNAME(CNAME(name)))
            }
        };
        if !list.contains(&data) {
            list.push(data);
        }
    }
    alias.truncate(usize::from(v4.is_empty() && v6.is_empty()));
    let all = [(RecordType::A, v4), (RecordType::AAAA, v6), (RecordType::CNAME, alias)];
    all.into_iter().filter(|(_, data)| !data.is_empty()).collect()
}

/// Seconds, said as a number of them or as `1h30m`.
fn seconds(text: &str) -> Option<u32> {
    let text = text.trim();
    let mut total = 0u32;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let number: u32 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].chars().next();
        let scale = match unit {
            None if digits == text.len() => 1,
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(scale)?)?;
        rest = &rest[digits + unit.map_or(0, char::len_utf8)..];
    }
    (1..=TTL_MAX).contains(&total).then_some(total)
}

#[cfg(test)]
mod tests;
