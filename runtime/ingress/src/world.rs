//! A small notation for the worlds that tests look at. One object a line, the first the oldest:
//!
//! ```text
//! class nginx other default                     a class of `ours` or of an `other` controller, perhaps the default one
//! ingress shop/front class=nginx foo.com/api>web:80 foo.com/exact!>web:http />any:80 >default:80
//! ingress icons tls=secret hsts=max-age=1 foo.com/>StorageBucket/icons
//! ingress asks acme=http-01 issuer=name tls=secret:a.com,b.com
//! secret shop/front foreign                     one that is not from here
//! secret front from=https://acme.example/ a.com b.com   one that is, with a certificate from 2026-01-01 to 2026-04-01
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
        ["secret", name, rest @ ..] => Object::from_value(kinds::SECRET, &secret(name, rest)),
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
        } else if let Some(tls) = word.strip_prefix("tls=") {
            let (secret, hosts) = tls.split_once(':').unwrap_or((tls, ""));
            let hosts: Vec<&str> = hosts.split(',').filter(|host| !host.is_empty()).collect();
            spec["tls"].as_array_mut().expect("a list").push(json!({"secretName": secret, "hosts": hosts}));
        } else if let Some(acme) = word.strip_prefix("acme=") {
            annotations["coracle.dev/acme"] = acme.into();
        } else if let Some(issuer) = word.strip_prefix("issuer=") {
            annotations["cert-manager.io/cluster-issuer"] = issuer.into();
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

fn secret(name: &str, rest: &[&str]) -> Value {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": namespace}});
    if let [from, hosts @ ..] = rest
        && let Some(directory) = from.strip_prefix("from=")
    {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = rcgen::CertificateParams::new(hosts).expect("names");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        let bytes = |text: String| k8s_openapi::ByteString(text.into_bytes());
        secret["data"] = json!({"tls.crt": bytes(certificate), "tls.key": bytes(key.serialize_pem())});
        secret["metadata"]["labels"] = json!({"coracle.dev/acme": "true"});
        secret["metadata"]["annotations"] = json!({"coracle.dev/acme-directory": directory});
    }
    secret
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
