//! A small notation for the worlds that tests look at. One object a line, the first the oldest:
//!
//! ```text
//! class nginx other default                     a class of `ours` or of an `other` controller, perhaps the default one
//! ingress shop/front class=nginx foo.com/api>web:80 foo.com/exact!>web:http />any:80 >default:80
//! ingress icons tls=secret hsts=max-age=1 foo.com/>StorageBucket/icons
//! at 7                                          what comes next is of that minute
//! ```

use api::{Object, Revision, kinds};
use serde_json::{Value, json};
use state::Snapshot;

/// The world a text describes.
pub(crate) fn world(text: &str) -> Snapshot {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut at = None;
    let mut objects = Vec::new();
    for (minute, line) in lines.enumerate() {
        match line.strip_prefix("at ") {
            Some(said) => at = said.parse().ok(),
            None => objects.push(object(at.take().unwrap_or(minute), line)),
        }
    }
    Snapshot::load(Revision(1), objects)
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
        } else if let Some(secret) = word.strip_prefix("tls=") {
            spec["tls"] = json!([{"secretName": secret}]);
        } else if let Some(hsts) = word.strip_prefix("hsts=") {
            annotations["coracle.dev/hsts"] = hsts.into();
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
    if let Some((kind, name)) = to.split_once('/') {
        return json!({"resource": {"kind": kind, "name": name}});
    }
    let (service, port) = to.split_once(':').expect("service:port");
    let port = port.parse::<u16>().map_or_else(|_| json!({"name": port}), |number| json!({"number": number}));
    json!({"service": {"name": service, "port": port}})
}
