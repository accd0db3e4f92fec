//! A small notation for the worlds that tests look at. One object a line, the first the oldest:
//!
//! ```text
//! class nginx other default                     a class of `ours` or of an `other` controller, perhaps the default one
//! ingress shop/front class=nginx foo.com/api>web:80 foo.com/exact!>web:http />any:80 >default:80
//! ```

use api::{Object, Revision, kinds};
use serde_json::{Value, json};
use state::Snapshot;

/// The world a text describes.
pub(crate) fn world(text: &str) -> Snapshot {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Snapshot::load(Revision(1), lines.enumerate().map(|(minute, line)| object(minute, line)))
}

fn object(minute: usize, line: &str) -> Object {
    let words: Vec<&str> = line.split_whitespace().collect();
    let read = match words.as_slice() {
        ["class", name, rest @ ..] => {
            let controller = if rest.contains(&"ours") { crate::CONTROLLER } else { "example.com/other" };
            let is_default = rest.contains(&"default").to_string();
            let metadata =
                json!({"name": name, "annotations": {"ingressclass.kubernetes.io/is-default-class": is_default}});
            let class = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": metadata,
                "spec": {"controller": controller}});
            Object::from_value(kinds::INGRESS_CLASS, &class)
        }
        ["ingress", name, rest @ ..] => Object::from_value(kinds::INGRESS, &ingress(minute, name, rest)),
        _ => panic!("not a line of a world: {line}"),
    };
    read.expect("an object")
}

fn ingress(minute: usize, name: &str, rest: &[&str]) -> Value {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    let mut spec = json!({"rules": [], "tls": []});
    let mut annotations = json!({});
    for word in rest {
        if let Some(class) = word.strip_prefix("class=") {
            spec["ingressClassName"] = class.into();
        } else if let Some(class) = word.strip_prefix("annotation=") {
            annotations["kubernetes.io/ingress.class"] = class.into();
        } else {
            let (place, to) = word.split_once('>').expect("host/path>service:port");
            match place.split_once('/') {
                None => spec["defaultBackend"] = backend(to),
                Some((host, path)) => {
                    let rules = spec["rules"].as_array_mut().expect("a list");
                    rules.push(rule(host, path, to));
                }
            }
        }
    }
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": spec,
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations,
            "creationTimestamp": format!("2026-01-01T00:{minute:02}:00Z")}})
}

fn rule(host: &str, path: &str, to: &str) -> Value {
    let (path, kind) = path.strip_suffix('!').map_or((path, "Prefix"), |path| (path, "Exact"));
    let paths = json!([{"path": format!("/{path}"), "pathType": kind, "backend": backend(to)}]);
    match host {
        "" => json!({"http": {"paths": paths}}),
        host => json!({"host": host, "http": {"paths": paths}}),
    }
}

fn backend(to: &str) -> Value {
    let (service, port) = to.split_once(':').expect("service:port");
    let port = port.parse::<u16>().map_or_else(|_| json!({"name": port}), |number| json!({"number": number}));
    json!({"service": {"name": service, "port": port}})
}
