//! A small notation for the worlds that tests look at. One object a line:
//!
//! ```text
//! service shop/web 10.43.0.5 http:80@30080 dns:53/UDP     the address may be `headless`, `->example.com`; `@` a node port
//!     +unready publishes all, +balancer, +sticky:SECONDS, +local-inside, +local-outside: traffic policies,
//!     +external:ADDRESS, +health:PORT
//! slice shop/web http:8080 | 10.42.0.2 10.42.0.3!   `!` is not ready, `~` ends but serves, `db-0@10.42.0.4` has a hostname, `/n1` a pod of a node
//!     `+woken` before the ports: somebody comes when it is asked
//! ```

use api::{Object, Revision, kinds};
use serde_json::{Value, json};
use state::Snapshot;

/// The world a text describes.
pub(crate) fn world(text: &str) -> Snapshot {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Snapshot::load(Revision(1), lines.enumerate().map(|(number, line)| object(number, line)))
}

fn object(number: usize, line: &str) -> Object {
    let words: Vec<&str> = line.split_whitespace().collect();
    let read = match words.as_slice() {
        ["service", name, address, rest @ ..] => Object::from_value(kinds::SERVICE, &service(name, address, rest)),
        ["slice", service, rest @ ..] => Object::from_value(kinds::ENDPOINT_SLICE, &slice(number, service, rest)),
        _ => panic!("not a line of a world: {line}"),
    };
    read.expect("an object")
}

fn service(name: &str, address: &str, rest: &[&str]) -> Value {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    let ports: Vec<Value> = rest.iter().filter_map(|word| port(word)).collect();
    let mut spec = match address.strip_prefix("->") {
        Some(name) => json!({"type": "ExternalName", "externalName": name}),
        None if address == "headless" => json!({"clusterIP": "None"}),
        None => json!({"clusterIP": address}),
    };
    spec["ports"] = ports.into();
    if rest.contains(&"+balancer") {
        spec["type"] = "LoadBalancer".into();
    }
    for (word, field) in [("+local-inside", "internalTrafficPolicy"), ("+local-outside", "externalTrafficPolicy")] {
        if rest.contains(&word) {
            spec[field] = "Local".into();
        }
    }
    let words = |prefix: &'static str| rest.iter().filter_map(move |word| word.strip_prefix(prefix));
    spec["externalIPs"] = words("+external:").collect();
    if let Some(port) = words("+health:").next() {
        spec["healthCheckNodePort"] = port.parse::<u16>().expect("a port").into();
    }
    if let Some(seconds) = rest.iter().find_map(|word| word.strip_prefix("+sticky:")) {
        let seconds: i32 = seconds.parse().expect("seconds");
        spec["sessionAffinity"] = "ClientIP".into();
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": seconds}});
    }
    spec["publishNotReadyAddresses"] = rest.contains(&"+unready").into();
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

fn slice(number: usize, service: &str, rest: &[&str]) -> Value {
    let (namespace, service) = service.split_once('/').unwrap_or(("default", service));
    let bar = rest.iter().position(|word| *word == "|").expect("ports | addresses");
    let ports: Vec<Value> = rest[..bar].iter().filter_map(|word| port(word)).collect();
    let annotations = if rest.contains(&"+woken") { json!({api::waking::ANNOTATION: "true"}) } else { json!({}) };
    let endpoints: Vec<Value> = rest[bar + 1..].iter().map(|word| endpoint(word)).collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{service}-{number}"), "namespace": namespace,
            "annotations": annotations, "labels": {"kubernetes.io/service-name": service}},
        "ports": ports, "endpoints": endpoints})
}

fn port(word: &str) -> Option<Value> {
    let (name, rest) = word.split_once(':').filter(|_| !word.starts_with('+'))?;
    let (rest, node_port) = rest.split_once('@').map_or((rest, None), |(rest, port)| (rest, port.parse::<u16>().ok()));
    let (number, protocol) = rest.split_once('/').unwrap_or((rest, "TCP"));
    let number: u16 = number.parse().ok()?;
    let mut port = json!({"port": number, "protocol": protocol});
    if let Some(node_port) = node_port {
        port["nodePort"] = node_port.into();
    }
    if !name.is_empty() {
        port["name"] = name.into();
    }
    Some(port)
}

fn endpoint(word: &str) -> Value {
    let (hostname, word) = word.split_once('@').map_or((None, word), |(hostname, word)| (Some(hostname), word));
    let (word, node) = word.split_once('/').map_or((word, None), |(word, node)| (word, Some(node)));
    let (ready, serving, terminating) = match word.chars().last() {
        Some('!') => (false, false, false),
        Some('~') => (false, true, true),
        _ => (true, true, false),
    };
    let pod = node.map(|_| json!({"kind": "Pod", "name": "some"}));
    json!({"targetRef": pod, "addresses": [word.trim_end_matches(['!', '~'])], "hostname": hostname, "nodeName": node,
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating}})
}
