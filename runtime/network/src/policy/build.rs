//! The table, made of a snapshot.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use api::egress_names::{self, EgressName, EgressNames};
use api::selector::LabelSelector;
use api::{Object, kinds};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{self as core, Container, PodSpec};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use state::{Protocol, Snapshot};

use super::rule::{Numbers, Parties, Ports, Rule};
use super::{Direction, Isolation, Isolations, NamedPort, Pod, PolicyTable, PortProtocol};

/// A policy with its selectors read and its rules resolved.
struct Read<'a> {
    name: &'a str,
    selector: LabelSelector,
    ingress: Option<Vec<Arc<Rule>>>,
    egress: Option<Vec<Arc<Rule>>>,
    names: Vec<EgressName>,
}

/// The pods that policies may speak of, and what they have in common.
#[derive(Default)]
struct Census<'a> {
    /// Each pod and its identity, which pods on the host's network do not have.
    pods: Vec<(&'a Object, Arc<core::Pod>, Option<u32>)>,
    /// Namespace and labels, by identity.
    identities: Vec<(&'a str, &'a BTreeMap<String, String>)>,
}

impl PolicyTable {
    pub(super) fn build(view: &Snapshot) -> Self {
        // Without policies nobody asks who is who.
        if view.count(kinds::NETWORK_POLICY) == 0 {
            return Self::default();
        }
        let census = Census::take(view);
        let mut policies: HashMap<&str, Vec<Read<'_>>> = HashMap::new();
        for object in view.list(kinds::NETWORK_POLICY) {
            match object.decode::<NetworkPolicy>() {
                Ok(policy) => {
                    let read = read(object, &policy, &census, view);
                    policies.entry(object.key().namespace()).or_default().push(read);
                }
                Err(error) => {
                    tracing::warn!(policy = %object.key(), error = &error as &dyn std::error::Error, "left out");
                }
            }
        }
        let of = |namespace: &str| policies.get(namespace).map_or(&[][..], Vec::as_slice);
        let isolations: Vec<Arc<Isolations>> = census
            .identities
            .iter()
            .map(|(namespace, labels)| {
                Arc::new(Isolations::of(of(namespace).iter().filter(|policy| policy.selector.matches(labels))))
            })
            .collect();
        let mut table = Self::default();
        for (namespace, policies) in &policies {
            table.unknown.insert((*namespace).into(), Isolations::unknown(policies));
        }
        for (object, pod, identity) in census.pods {
            let isolations = identity.and_then(|identity| isolations.get(identity as usize)).cloned();
            table.add(object, &pod, identity, isolations.unwrap_or_default());
        }
        table
    }

    fn add(&mut self, object: &Object, read: &core::Pod, identity: Option<u32>, isolations: Arc<Isolations>) {
        let pod = Arc::new(Pod {
            namespace: object.key().namespace().into(),
            name: object.key().name().into(),
            uid: object.meta().uid.clone(),
            node: read.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default().into(),
            identity,
            ports: read.spec.as_ref().map(named_ports).unwrap_or_default(),
            isolations,
        });
        // The address of a pod on the host's network is the node's.
        let status = read.status.iter().filter(|_| identity.is_some());
        let told = status.flat_map(|status| {
            let all = status.pod_ips.iter().flatten().map(|it| it.ip.as_str());
            all.chain(status.pod_ip.as_deref())
        });
        let addresses = told.filter_map(|address| address.parse::<IpAddr>().ok());
        self.by_address.extend(addresses.map(|address| (address.to_canonical(), pod.clone())));
        self.by_name.entry(pod.namespace.clone()).or_default().insert(pod.name.clone(), pod);
    }
}

// === impl Census ===

impl<'a> Census<'a> {
    /// Pods that have ended are left out: they have given their address back.
    fn take(view: &'a Snapshot) -> Self {
        let mut census = Self::default();
        let mut known: HashMap<(&str, &BTreeMap<String, String>), u32> = HashMap::new();
        for object in view.list(kinds::POD) {
            let Ok(pod) = object.decode::<core::Pod>() else { continue };
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            let is_on_host = pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true));
            if matches!(phase, Some("Succeeded" | "Failed")) {
                continue;
            }
            if is_on_host {
                census.pods.push((object, pod, None));
                continue;
            }
            let who = (object.key().namespace(), &object.meta().labels);
            let identity = *known.entry(who).or_insert_with(|| {
                census.identities.push(who);
                u32::try_from(census.identities.len() - 1).expect("fewer pods than there are addresses")
            });
            census.pods.push((object, pod, Some(identity)));
        }
        census
    }

    /// The identities of whom this holds, in order.
    fn whom(&self, is_meant: impl Fn(&str, &BTreeMap<String, String>) -> bool) -> Vec<u32> {
        let all = (0..).zip(&self.identities);
        all.filter(|(_, (namespace, labels))| is_meant(namespace, labels)).map(|(identity, _)| identity).collect()
    }
}

// === impl Isolations ===

impl Isolations {
    fn of<'a>(policies: impl Iterator<Item = &'a Read<'a>> + Clone) -> Self {
        let isolation = |direction: Direction| {
            let rules = move |policy: &'a Read<'a>| match direction {
                Direction::Ingress => policy.ingress.as_ref(),
                Direction::Egress => policy.egress.as_ref(),
            };
            let isolating = policies.clone().filter(move |policy| rules(policy).is_some());
            let by: Vec<&str> = isolating.clone().map(|policy| policy.name).collect();
            let names = isolating.clone().filter(|_| direction == Direction::Egress);
            (!by.is_empty()).then(|| Isolation {
                by: by.join(", ").into(),
                rules: isolating.filter_map(rules).flatten().cloned().collect(),
                names: names.flat_map(|policy| policy.names.iter().cloned()).collect(),
            })
        };
        Self { ingress: isolation(Direction::Ingress), egress: isolation(Direction::Egress) }
    }

    /// Nothing, in the directions in which some policy of the namespace isolates pods: one whose labels are not known yet may
    /// be among them.
    fn unknown(policies: &[Read<'_>]) -> Self {
        let Self { ingress, egress } = Self::of(policies.iter());
        let nothing = |isolation: Isolation| Isolation { rules: Vec::new(), names: Vec::new(), ..isolation };
        Self { ingress: ingress.map(nothing), egress: egress.map(nothing) }
    }
}

fn read<'a>(object: &'a Object, policy: &NetworkPolicy, census: &Census<'_>, view: &Snapshot) -> Read<'a> {
    let none = NetworkPolicySpec::default();
    let spec = policy.spec.as_ref().unwrap_or(&none);
    let home = object.key().namespace();
    let has = |direction: &str| spec.policy_types.iter().flatten().any(|one| one == direction);
    let rule = |peers: Option<&[NetworkPolicyPeer]>, ports: Option<&[NetworkPolicyPort]>| {
        // An empty list means what no list means.
        let peers = peers.filter(|peers| !peers.is_empty());
        let parties = peers.map(|peers| peers.iter().filter_map(|peer| parties(peer, home, census, view)).collect());
        let written = ports.unwrap_or_default();
        let ports: Vec<Ports> = written.iter().filter_map(self::ports).collect();
        // Ports of which none can be understood are not all ports.
        (written.is_empty() || !ports.is_empty()).then(|| Arc::new(Rule { parties, ports }))
    };
    let ingress = || {
        let rules = spec.ingress.iter().flatten();
        rules.filter_map(|one| rule(one.from.as_deref(), one.ports.as_deref())).collect()
    };
    let egress = || {
        let rules = spec.egress.iter().flatten();
        rules.filter_map(|one| rule(one.to.as_deref(), one.ports.as_deref())).collect()
    };
    let names = object.meta().annotations.get(egress_names::ANNOTATION);
    let names = names.and_then(|names| names.parse::<EgressNames>().ok()).unwrap_or_default();
    Read {
        name: object.key().name(),
        // A policy that cannot be read holds for everyone, and its unreadable parts let nobody through.
        selector: spec.pod_selector.as_ref().map_or_else(LabelSelector::everything, |selector| {
            LabelSelector::try_from(selector).unwrap_or_else(|_| LabelSelector::everything())
        }),
        ingress: has("Ingress").then(ingress),
        egress: has("Egress").then(egress),
        names: names.iter().cloned().collect(),
    }
}

fn parties(peer: &NetworkPolicyPeer, home: &str, census: &Census<'_>, view: &Snapshot) -> Option<Parties> {
    if let Some(block) = &peer.ip_block {
        let net: IpNet = block.cidr.parse().ok()?;
        let except: Result<Vec<IpNet>, _> = block.except.iter().flatten().map(|net| net.parse()).collect();
        return Some(Parties::Block(net, except.ok()?));
    }
    let selector = |selector: Option<&meta::LabelSelector>| {
        selector.map_or_else(|| Some(LabelSelector::everything()), |selector| LabelSelector::try_from(selector).ok())
    };
    let pods = selector(peer.pod_selector.as_ref())?;
    let Some(namespaces) = &peer.namespace_selector else {
        peer.pod_selector.as_ref()?;
        return Some(Parties::Pods(census.whom(|namespace, labels| namespace == home && pods.matches(labels))));
    };
    let namespaces = LabelSelector::try_from(namespaces).ok()?;
    let is_meant = |name: &str| {
        let namespace = view.get(&kinds::NAMESPACE.cluster_key(name));
        namespace.is_some_and(|namespace| namespaces.matches(&namespace.meta().labels))
    };
    let mut meant: HashMap<&str, bool> = HashMap::new();
    for (namespace, _) in &census.identities {
        meant.entry(namespace).or_insert_with(|| is_meant(namespace));
    }
    let is_meant = |namespace: &str| meant.get(namespace).copied().unwrap_or(false);
    Some(Parties::Pods(census.whom(|namespace, labels| is_meant(namespace) && pods.matches(labels))))
}

fn ports(port: &NetworkPolicyPort) -> Option<Ports> {
    let protocol = Protocol::named(port.protocol.as_deref().unwrap_or_default());
    let number = |number: i32| u16::try_from(number).ok();
    let numbers = match &port.port {
        None => Numbers::Range(0..=u16::MAX),
        Some(IntOrString::String(name)) => Numbers::Named(name.clone()),
        Some(IntOrString::Int(first)) => {
            let first = number(*first)?;
            Numbers::Range(first..=port.end_port.map_or(Some(first), number)?)
        }
    };
    Some(Ports { protocol, numbers })
}

fn named_ports(spec: &PodSpec) -> Vec<NamedPort> {
    let side_cars = spec.init_containers.iter().flatten().filter(|it| it.restart_policy.as_deref() == Some("Always"));
    let ports = |container: &Container| container.ports.clone().unwrap_or_default();
    let all = spec.containers.iter().chain(side_cars).flat_map(ports);
    all.filter_map(|port| {
        let protocol = Protocol::named(port.protocol.as_deref().unwrap_or_default());
        Some(NamedPort {
            name: port.name?,
            port: PortProtocol { number: u16::try_from(port.container_port).ok()?, protocol },
        })
    })
    .collect()
}
