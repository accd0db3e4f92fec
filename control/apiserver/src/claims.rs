//! Addresses and ports for services.
//!
//! A service that needs a cluster IP or a node port and names none gets one that is free in a snapshot; the write is guarded, so
//! that if somebody was faster nothing happens and another is picked. There is no allocator to keep or to repair.

use std::net::{IpAddr, Ipv4Addr};

use api::{Cause, NotAnObject, Object, StatusError, kinds};
use serde_json::{Map, Value, json};
use state::{Claim, Guard, Protocol, Snapshot};

/// The first two bytes of every cluster IP: 10.43.0.0/16.
const NETWORK: [u8; 2] = [10, 43];
/// The first 256 addresses are for those who ask for one by name, as DNS does.
const DYNAMIC_ADDRESSES: std::ops::Range<u32> = 0x0100..0xffff;
/// As Kubernetes has it.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// Completes a service with the claims it needs; other objects stay as they are. `old` is what is stored now, if anything is.
pub(crate) fn complete(
    object: Object,
    old: Option<&Object>,
    world: &Snapshot,
    seed: u64,
) -> Result<Object, StatusError> {
    if object.key().kind() != kinds::SERVICE {
        return Ok(object);
    }
    let mut value = object.to_value().map_err(StatusError::internal)?;
    let old = old.map(Object::to_value).transpose().map_err(StatusError::internal)?;
    let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(object) };
    let before = spec.clone();
    let old_spec = old.as_ref().and_then(|old| old["spec"].as_object());
    in_range(&object, spec, old_spec)?;
    address(spec, old_spec, world, seed)?;
    ports(spec, old_spec, world, seed)?;
    if *spec == before {
        return Ok(object);
    }
    Object::from_tree(kinds::SERVICE, value).map_err(broken)
}

/// What must be free for `object` to be written: everything it claims that it did not hold before.
pub(crate) fn guards(object: &Object, old: Option<&Object>) -> Vec<Guard> {
    let held = old.map(Claim::of).unwrap_or_default();
    let wanted = Claim::of(object).into_iter().filter(|claim| !held.contains(claim));
    wanted.map(|claim| Guard::Free(claim, object.key().clone())).collect()
}

/// How it is told that a claim named by the client is held by somebody else.
pub(crate) fn taken(object: &Object, claim: &Claim) -> StatusError {
    let already = |address| format!("failed to allocate IP {address}: provided IP is already allocated");
    let cause = match claim {
        Claim::ClusterIp(address) => Cause::invalid("spec.clusterIPs", [address.to_string()], &already(address)),
        Claim::PodIp(address) => Cause::invalid("status.podIP", address.to_string(), &already(address)),
        Claim::NodePort(_, port) => {
            Cause::invalid(port_field(object, *port), *port, "provided port is already allocated")
        }
    };
    refused(object, cause)
}

fn refused(object: &Object, cause: Cause) -> StatusError {
    match api::catalog::by_kind(object.key().kind()) {
        Some(kind) => StatusError::invalid(kind.names(), object.key().name(), vec![cause]),
        None => StatusError::internal(cause.message),
    }
}

/// What a client asks for by name, and the service did not have before, lies in the cluster's ranges.
fn in_range(object: &Object, spec: &Map<String, Value>, old: Option<&Map<String, Value>>) -> Result<(), StatusError> {
    let was = |name: &str| old.and_then(|old| old.get(name));
    if spec.get("clusterIP") != was("clusterIP")
        && let Some(Ok(address)) = spec.get("clusterIP").and_then(Value::as_str).map(str::parse::<Ipv4Addr>)
        && !is_of_cluster(address)
    {
        let [first, second] = NETWORK;
        let detail = format!(
            "failed to allocate IP {address}: the provided IP ({address}) is not in the valid range. \
             The range of valid IPs is {first}.{second}.0.0/16"
        );
        return Err(refused(object, Cause::invalid("spec.clusterIPs", [address.to_string()], &detail)));
    }
    let held: Vec<Claim> = old.into_iter().flat_map(port_claims).collect();
    let asked = port_claims(spec);
    let strange = asked.into_iter().find_map(|claim| match claim {
        Claim::NodePort(_, port) if !NODE_PORTS.contains(&port) && !held.contains(&claim) => Some(port),
        _ => None,
    });
    match strange {
        None => Ok(()),
        Some(port) => {
            let detail = format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                NODE_PORTS.start(),
                NODE_PORTS.end()
            );
            Err(refused(object, Cause::invalid(port_field(object, port), port, &detail)))
        }
    }
}

/// The ports of nodes that a service names.
fn port_claims(spec: &Map<String, Value>) -> impl Iterator<Item = Claim> {
    let ports = spec.get("ports").and_then(Value::as_array);
    ports.into_iter().flatten().filter_map(claim_of).chain(health_claim(spec))
}

/// The port at which balancers ask a node whether it has endpoints.
fn health_claim(spec: &Map<String, Value>) -> Option<Claim> {
    let port = spec.get("healthCheckNodePort")?.as_u64().and_then(|port| u16::try_from(port).ok())?;
    (port != 0).then_some(Claim::NodePort(Protocol::Tcp, port))
}

/// The first and the last address of the range are nobody's.
fn is_of_cluster(address: Ipv4Addr) -> bool {
    let [first, second, high, low] = address.octets();
    [first, second] == NETWORK && !matches!((high, low), (0, 0) | (255, 255))
}

fn port_field(object: &Object, port: u16) -> String {
    let value = object.to_value().unwrap_or_default();
    if value["spec"]["healthCheckNodePort"] == port {
        return "spec.healthCheckNodePort".into();
    }
    let at = value["spec"]["ports"].as_array().and_then(|ports| ports.iter().position(|one| one["nodePort"] == port));
    format!("spec.ports[{}].nodePort", at.unwrap_or_default())
}

fn address(
    spec: &mut Map<String, Value>,
    old: Option<&Map<String, Value>>,
    world: &Snapshot,
    seed: u64,
) -> Result<(), StatusError> {
    if kind_of(spec) == "ExternalName" {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
        return Ok(());
    }
    let told = spec.get("clusterIP").and_then(Value::as_str).filter(|address| !address.is_empty());
    let first = spec.get("clusterIPs").and_then(|all| all.get(0)).and_then(Value::as_str);
    let kept = old.and_then(|old| old.get("clusterIP")).and_then(Value::as_str).filter(|address| !address.is_empty());
    let address = match told.or(first).or(kept) {
        Some(address) => address.to_owned(),
        None => free_address(world, seed)
            .ok_or_else(|| StatusError::internal("failed to allocate a serviceIP: range is full"))?
            .to_string(),
    };
    if spec.get("clusterIPs").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        spec.insert("clusterIPs".into(), json!([address]));
    }
    spec.insert("clusterIP".into(), address.into());
    Ok(())
}

fn ports(
    spec: &mut Map<String, Value>,
    old: Option<&Map<String, Value>>,
    world: &Snapshot,
    seed: u64,
) -> Result<(), StatusError> {
    let kind = kind_of(spec);
    let wants = kind == "NodePort"
        || (kind == "LoadBalancer" && spec.get("allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)));
    let old_ports = old.and_then(|old| old.get("ports")).and_then(Value::as_array);
    let is_checked =
        kind == "LoadBalancer" && spec.get("externalTrafficPolicy").is_some_and(|policy| policy == "Local");
    let health = health_claim(spec);
    let mut used: Vec<Claim> = health.into_iter().collect();
    let full = || StatusError::internal("failed to allocate a nodePort: range is full");
    let Some(ports) = spec.get_mut("ports").and_then(Value::as_array_mut) else { return Ok(()) };
    used.extend(ports.iter().filter_map(claim_of));
    for (at, port) in ports.iter_mut().enumerate().filter(|_| wants) {
        if claim_of(port).is_some() {
            continue;
        }
        let protocol = protocol_of(port);
        // A client that sends back a service without its node ports means to keep them.
        let kept =
            old_ports.into_iter().flatten().find(|old| old["port"] == port["port"] && protocol_of(old) == protocol);
        let kept = kept.and_then(claim_of).filter(|claim| !used.contains(claim));
        let claim = kept.or_else(|| free_port(world, protocol, seed.wrapping_add(at as u64), &used));
        let Some(Claim::NodePort(_, number)) = claim else { return Err(full()) };
        used.extend(claim);
        port["nodePort"] = number.into();
    }
    if is_checked && health.is_none() {
        let claim = free_port(world, Protocol::Tcp, seed.rotate_left(32), &used);
        let Some(Claim::NodePort(_, number)) = claim else { return Err(full()) };
        spec.insert("healthCheckNodePort".into(), number.into());
    }
    Ok(())
}

fn kind_of(spec: &Map<String, Value>) -> String {
    spec.get("type").and_then(Value::as_str).unwrap_or("ClusterIP").to_owned()
}

fn protocol_of(port: &Value) -> Protocol {
    Protocol::named(port["protocol"].as_str().unwrap_or_default())
}

fn claim_of(port: &Value) -> Option<Claim> {
    let number =
        port["nodePort"].as_u64().and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0)?;
    Some(Claim::NodePort(protocol_of(port), number))
}

/// A cluster IP that nobody holds; the search begins where `seed` says, so that racing writers rarely meet.
fn free_address(world: &Snapshot, seed: u64) -> Option<IpAddr> {
    let size = u64::from(DYNAMIC_ADDRESSES.end - DYNAMIC_ADDRESSES.start);
    let addresses = (0..size).map(|step| DYNAMIC_ADDRESSES.start + ((seed % size + step) % size) as u32);
    let addresses = addresses.map(|host| {
        let [_, _, high, low] = host.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(NETWORK[0], NETWORK[1], high, low))
    });
    addresses.into_iter().find(|address| world.holders(&Claim::ClusterIp(*address)).next().is_none())
}

fn free_port(world: &Snapshot, protocol: Protocol, seed: u64, used: &[Claim]) -> Option<Claim> {
    let size = NODE_PORTS.len() as u64;
    let ports = (0..size).map(|step| NODE_PORTS.start() + ((seed % size + step) % size) as u16);
    let claims = ports.map(|port| Claim::NodePort(protocol, port));
    claims.into_iter().find(|claim| !used.contains(claim) && world.holders(claim).next().is_none())
}

fn broken(error: NotAnObject) -> StatusError {
    StatusError::internal(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Revision;

    fn service(name: &str, spec: &Value) -> Object {
        let value =
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "n"}, "spec": spec});
        Object::from_value(kinds::SERVICE, &value).expect("an object")
    }

    fn world(services: &[Object]) -> Snapshot {
        Snapshot::load(Revision::ZERO, services.iter().map(|one| one.at(Revision(1))))
    }

    fn completed(object: Object, old: Option<&Object>, world: &Snapshot, seed: u64) -> Value {
        complete(object, old, world, seed).expect("room").to_value().expect("JSON")["spec"].clone()
    }

    #[test]
    fn a_service_gets_the_next_free_address() {
        let first = service("a", &json!({"ports": [{"port": 80}]}));
        let spec = completed(first.clone(), None, &world(&[]), 5);
        assert_eq!((spec["clusterIP"].as_str(), &spec["clusterIPs"]), (Some("10.43.1.5"), &json!(["10.43.1.5"])));
        let taken = service("b", &spec);
        assert_eq!(completed(first, None, &world(&[taken]), 5)["clusterIP"], "10.43.1.6");
    }

    #[test]
    fn headless_and_external_services_need_none() {
        let headless = service("a", &json!({"clusterIP": "None"}));
        assert_eq!(completed(headless, None, &world(&[]), 0)["clusterIP"], "None");
        let external = service("a", &json!({"type": "ExternalName", "externalName": "example.org"}));
        assert_eq!(completed(external, None, &world(&[]), 0).get("clusterIP"), None);
    }

    #[test]
    fn what_a_service_has_it_keeps() {
        let old = service(
            "a",
            &json!({"type": "NodePort", "clusterIP": "10.43.7.7", "clusterIPs": ["10.43.7.7"], "ports": [{"port": 80, "nodePort": 30_080}]}),
        );
        let sent = service("a", &json!({"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]}));
        let spec = completed(sent, Some(&old), &world(std::slice::from_ref(&old)), 79);
        assert_eq!(spec["clusterIP"], "10.43.7.7");
        assert_eq!(spec["ports"][0]["nodePort"], 30_080);
        assert_eq!(spec["ports"][1]["nodePort"], 30_081, "the search begins at the seed, and skips what is taken");
    }

    #[test]
    fn a_balancer_that_asks_nodes_has_a_port_to_ask_on() {
        let balancer = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]});
        let spec = completed(service("a", &balancer), None, &world(&[]), 0);
        let (port, health) = (&spec["ports"][0]["nodePort"], &spec["healthCheckNodePort"]);
        assert!(port.is_u64() && health.is_u64() && port != health, "{spec}");
        assert_eq!(Claim::of(&service("a", &spec)).len(), 3);
    }

    #[test]
    fn what_is_asked_for_lies_in_the_ranges_of_the_cluster() {
        let refused = |spec| complete(service("a", &spec), None, &world(&[]), 0).expect_err("refused").message;
        assert_eq!(
            refused(json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"]})),
            "Service \"a\" is invalid: spec.clusterIPs: Invalid value: []string{\"10.96.0.1\"}: failed to allocate IP 10.96.0.1: the provided IP (10.96.0.1) is not in the valid range. The range of valid IPs is 10.43.0.0/16"
        );
        assert_eq!(
            refused(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]})),
            "Service \"a\" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"
        );
        assert_eq!(
            refused(
                json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 80, "ports": []})
            ),
            "Service \"a\" is invalid: spec.healthCheckNodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"
        );
    }

    #[test]
    fn only_new_claims_are_guarded() {
        let old = service("a", &json!({"clusterIP": "10.43.7.7", "ports": []}));
        assert_eq!(guards(&old, Some(&old)), []);
        assert_eq!(guards(&old, None).len(), 1);
    }

    #[test]
    fn a_port_that_is_taken_is_told_by_its_field() {
        let wanted = service("a", &json!({"ports": [{"port": 1}, {"port": 80, "nodePort": 30_080}]}));
        let refused = taken(&wanted, &Claim::NodePort(Protocol::Tcp, 30_080));
        assert_eq!(
            refused.message,
            "Service \"a\" is invalid: spec.ports[1].nodePort: Invalid value: 30080: provided port is already allocated"
        );
    }
}
