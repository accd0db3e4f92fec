//! A small notation for the worlds that tests look at: objects, parted by `;`, in namespace `default` unless they say.
//!
//! ```text
//! service/web 10.43.0.5 http:80 dns:53/UDP     the address may be `headless` or `->example.com`; `+unready` publishes all
//! slice/web http:8080 | 10.42.0.2 10.42.0.3!   `!` is not ready, `db-0@10.42.0.4` has a hostname
//! pod/web-1 10.42.0.2                          a running pod; `over` after the address: it has ended
//! namespace/shop
//! ingress/web 192.0.2.1 www.example.com        its status, `-` without, and hosts; `target=` and `ttl=` annotate
//! balancer/db 192.0.2.1 hostname=db.example.com
//! ```

use api::{Object, Revision, kinds};
use serde_json::{Value, json};
use state::Snapshot;

/// The world a text describes.
pub(crate) fn world(text: &str) -> Snapshot {
    let words = text.split(';').map(|part| part.split_whitespace().collect::<Vec<_>>());
    let objects = words.filter(|words| !words.is_empty()).enumerate().map(|(number, words)| object(number, &words));
    Snapshot::load(Revision(7), objects)
}

fn object(number: usize, words: &[&str]) -> Object {
    let (kind, path) = words[0].split_once('/').expect("kind/name or kind/namespace/name");
    let (namespace, name) = path.split_once('/').unwrap_or(("default", path));
    let meta = json!({"name": name, "namespace": namespace});
    let rest = &words[1..];
    let read = match kind {
        "namespace" => Object::from_value(
            kinds::NAMESPACE,
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        ),
        "pod" => {
            let phase = if rest.contains(&"over") { "Succeeded" } else { "Running" };
            let status = json!({"podIP": rest[0], "podIPs": [{"ip": rest[0]}], "phase": phase});
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": status});
            Object::from_value(kinds::POD, &pod)
        }
        "service" => {
            let spec = service(rest[0], &rest[1..]);
            let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec});
            Object::from_value(kinds::SERVICE, &service)
        }
        "ingress" => {
            let (annotations, hosts) = annotations(&rest[1..]);
            let rules: Vec<Value> = hosts.iter().map(|host| json!({"host": host})).collect();
            let meta = json!({"name": name, "namespace": namespace, "annotations": annotations});
            let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta,
                "spec": {"rules": rules}, "status": balancer(rest[0])});
            Object::from_value(kinds::INGRESS, &ingress)
        }
        "balancer" => {
            let meta = json!({"name": name, "namespace": namespace, "annotations": annotations(&rest[1..]).0});
            let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": meta,
                "spec": {"type": "LoadBalancer", "clusterIP": "10.43.9.9"}, "status": balancer(rest[0])});
            Object::from_value(kinds::SERVICE, &service)
        }
        "slice" => Object::from_value(kinds::ENDPOINT_SLICE, &slice(number, namespace, name, rest)),
        other => panic!("no kind {other} in this notation"),
    };
    read.expect("an object")
}

fn service(address: &str, rest: &[&str]) -> Value {
    let ports: Vec<Value> = rest.iter().filter_map(|word| port(word)).collect();
    let mut spec = match address.strip_prefix("->") {
        Some(name) => json!({"type": "ExternalName", "externalName": name}),
        None if address == "headless" => json!({"clusterIP": "None"}),
        None => json!({"clusterIP": address, "clusterIPs": [address]}),
    };
    spec["ports"] = ports.into();
    spec["publishNotReadyAddresses"] = rest.contains(&"+unready").into();
    spec
}

/// What a load balancer says of itself.
fn balancer(addresses: &str) -> Value {
    let told: Vec<Value> = match addresses {
        "-" => Vec::new(),
        addresses => addresses.split(',').map(|address| json!({"ip": address})).collect(),
    };
    json!({"loadBalancer": {"ingress": told}})
}

/// The words of external-dns, and the words that are none.
fn annotations<'a>(words: &[&'a str]) -> (Value, Vec<&'a str>) {
    let mut annotations = json!({});
    let mut others = Vec::new();
    for word in words {
        match word.split_once('=') {
            Some((key, value)) => annotations[format!("external-dns.alpha.kubernetes.io/{key}")] = value.into(),
            None => others.push(*word),
        }
    }
    (annotations, others)
}

fn slice(number: usize, namespace: &str, service: &str, rest: &[&str]) -> Value {
    let bar = rest.iter().position(|word| *word == "|").expect("ports | addresses");
    let ports: Vec<Value> = rest[..bar].iter().filter_map(|word| port(word)).collect();
    let endpoints: Vec<Value> = rest[bar + 1..].iter().map(|word| endpoint(word)).collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{service}-{number}"), "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service}},
        "ports": ports, "endpoints": endpoints})
}

fn port(word: &str) -> Option<Value> {
    let (name, rest) = word.split_once(':')?;
    let (number, protocol) = rest.split_once('/').unwrap_or((rest, "TCP"));
    let mut port = json!({"port": number.parse::<u16>().ok()?, "protocol": protocol});
    if !name.is_empty() {
        port["name"] = name.into();
    }
    Some(port)
}

fn endpoint(word: &str) -> Value {
    let (hostname, word) = word.split_once('@').map_or((None, word), |(hostname, word)| (Some(hostname), word));
    json!({"addresses": [word.trim_end_matches('!')], "hostname": hostname,
        "conditions": {"ready": !word.ends_with('!')}})
}
