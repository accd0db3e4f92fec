//! What a proxied request reaches: `[scheme:]name[:port]`, found in a snapshot.

use api::{Object, Reason, StatusError, kinds};
use serde::Deserialize;
use state::Snapshot;

/// A port of a pod, and the node that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backend {
    pub(super) node: String,
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) port: u16,
    pub(super) security: Security,
}

/// Whether what is behind a proxy is spoken to in TLS. As in Kubernetes nobody looks at its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    Plain,
    Tls,
}

/// What the path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named<'a> {
    pub(super) security: Security,
    pub(super) name: &'a str,
    pub(super) port: &'a str,
}

/// The port of web servers.
const HTTP_PORT: u16 = 80;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pod {
    spec: PodSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: String,
    containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Container {
    ports: Vec<ContainerPort>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerPort {
    name: String,
    container_port: u16,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Service {
    spec: ServiceSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServiceSpec {
    ports: Vec<Port>,
}

/// A port of a service, or of its endpoints.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Port {
    name: String,
    port: u16,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Endpoints {
    subsets: Vec<Subset>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Subset {
    addresses: Vec<Address>,
    ports: Vec<Port>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Address {
    node_name: String,
    target_ref: Reference,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reference {
    kind: String,
    namespace: String,
    name: String,
}

// === impl Named ===

impl<'a> Named<'a> {
    /// Something by its name alone.
    pub(super) fn plain(name: &'a str) -> Self {
        Self { security: Security::Plain, name, port: "" }
    }

    /// Reads `name`, `name:port`, `scheme:name:port` and `scheme:name:`.
    pub(super) fn parse(text: &'a str, what: &str) -> Result<Self, StatusError> {
        let words: Vec<&str> = text.split(':').collect();
        let (scheme, named) = match words[..] {
            [name] => ("", Self::plain(name)),
            [name, port] => ("", Self { port, ..Self::plain(name) }),
            [scheme, name, port] => (scheme, Self { port, ..Self::plain(name) }),
            _ => ("?", Self::plain("")),
        };
        match scheme {
            "" | "http" if !named.name.is_empty() => Ok(named),
            "https" if !named.name.is_empty() => Ok(Self { security: Security::Tls, ..named }),
            _ => Err(StatusError::bad_request(format!("invalid {what} request {text:?}"))),
        }
    }
}

// === impl Backend ===

impl Backend {
    /// A port of a pod: the one that is named, or else the first that it declares.
    pub(super) fn of_pod(pod: &Object, named: Named<'_>) -> Result<Self, StatusError> {
        let Pod { spec } = serde_json::from_slice(pod.body()).map_err(StatusError::internal)?;
        let mut declared = spec.containers.iter().flat_map(|container| &container.ports);
        let port = match (named.port, named.port.parse()) {
            ("", _) => declared.next().map_or(HTTP_PORT, |port| port.container_port),
            (_, Ok(number)) => number,
            (name, Err(_)) => {
                let found = declared.find(|port| port.name == name);
                found.ok_or_else(|| StatusError::bad_request(format!("invalid port {name:?}")))?.container_port
            }
        };
        Self::on(spec.node_name, pod.key().namespace(), pod.key().name(), port, named.security)
    }

    fn on(node: String, namespace: &str, pod: &str, port: u16, security: Security) -> Result<Self, StatusError> {
        if node.is_empty() {
            return Err(StatusError::bad_request(format!("pod {pod} does not have a host assigned")));
        }
        Ok(Self { node, namespace: namespace.into(), pod: pod.into(), port, security })
    }

    /// An endpoint of a service that is ready; `chance` says which.
    pub(super) fn of_service(
        service: &Object,
        named: Named<'_>,
        world: &Snapshot,
        chance: u64,
    ) -> Result<Self, StatusError> {
        let Service { spec } = serde_json::from_slice(service.body()).map_err(StatusError::internal)?;
        let key = service.key();
        // A port's number stands for its name, which is what endpoints know it by.
        let port = match (named.port.parse::<u16>(), spec.ports.as_slice()) {
            (Ok(number), ports) => match ports.iter().find(|port| port.port == number) {
                Some(port) => port.name.as_str(),
                None => {
                    return Err(unavailable(&format!("no service port {number} found for service {:?}", key.name())));
                }
            },
            (Err(_), [only]) if named.port.is_empty() => only.name.as_str(),
            (Err(_), _) => named.port,
        };
        let none = || unavailable(&format!("no endpoints available for service {:?}", key.name()));
        let endpoints = world.get(&kinds::ENDPOINTS.key(key.namespace(), key.name())).ok_or_else(none)?;
        let Endpoints { subsets } = serde_json::from_slice(endpoints.body()).map_err(StatusError::internal)?;
        let found: Vec<(&Reference, &str, u16)> = subsets
            .iter()
            .filter_map(|subset| Some((subset, subset.ports.iter().find(|one| one.name == port)?.port)))
            .flat_map(|(subset, port)| subset.addresses.iter().map(move |one| (&one.target_ref, &*one.node_name, port)))
            .filter(|(target, _, _)| target.kind == "Pod")
            .collect();
        let (target, node, port) =
            found.get((chance % found.len().max(1) as u64) as usize).copied().ok_or_else(none)?;
        Self::on(node.into(), &target.namespace, &target.name, port, named.security)
    }

    /// The path of the node's proxy that leads there.
    pub(super) fn path(&self) -> String {
        let Self { namespace, pod, port, security, .. } = self;
        let scheme = if *security == Security::Tls { "https:" } else { "" };
        format!("/proxy/{namespace}/{pod}/{scheme}{port}")
    }
}

fn unavailable(why: &str) -> StatusError {
    StatusError::new(Reason::ServiceUnavailable, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Revision;
    use serde_json::json;

    fn object(kind: api::GroupKind, mut value: serde_json::Value) -> Object {
        value["apiVersion"] = "v1".into();
        value["kind"] = kind.kind.into();
        value["metadata"] = json!({"name": "web", "namespace": "shop"});
        Object::from_value(kind, &value).expect("an object")
    }

    fn told(found: Result<Backend, StatusError>) -> String {
        match found {
            Ok(backend) => format!("{} {}", backend.node, backend.path()),
            Err(error) => format!("{} {}", error.code(), error.message),
        }
    }

    fn of_pod(text: &str) -> String {
        let ports = json!([{"containerPort": 8080}, {"name": "admin", "containerPort": 9000}]);
        let pod = object(kinds::POD, json!({"spec": {"nodeName": "n1", "containers": [{}, {"ports": ports}]}}));
        told(Named::parse(text, "pod").and_then(|named| Backend::of_pod(&pod, named)))
    }

    #[test]
    fn a_pod_is_reached_at_its_first_port_or_at_the_one_that_is_named() {
        assert_eq!(of_pod("web"), "n1 /proxy/shop/web/8080");
        assert_eq!(of_pod("web:81"), "n1 /proxy/shop/web/81");
        assert_eq!(of_pod("http:web:"), "n1 /proxy/shop/web/8080");
        assert_eq!(of_pod("web:admin"), "n1 /proxy/shop/web/9000");
        assert_eq!(of_pod("https:web:8443"), "n1 /proxy/shop/web/https:8443");
        assert_eq!(of_pod("https:web:"), "n1 /proxy/shop/web/https:8080");
        assert_eq!(of_pod("https::8443"), "400 invalid pod request \"https::8443\"");
        assert_eq!(of_pod("web:x"), "400 invalid port \"x\"");
        assert_eq!(of_pod("ftp:web:1"), "400 invalid pod request \"ftp:web:1\"");
        assert_eq!(of_pod("a:b:c:d"), "400 invalid pod request \"a:b:c:d\"");
    }

    fn of_service(text: &str) -> String {
        let service = object(
            kinds::SERVICE,
            json!({"spec": {"ports": [{"name": "http", "port": 80}, {"name": "admin", "port": 81}]}}),
        );
        let address = json!({"ip": "10.42.0.2", "nodeName": "n1", "targetRef": {"kind": "Pod", "namespace": "shop", "name": "web-0"}});
        let subset = json!({"addresses": [{"ip": "192.0.2.1"}, address], "ports": [{"name": "http", "port": 8080}]});
        let endpoints = object(kinds::ENDPOINTS, json!({"subsets": [subset]}));
        let world = Snapshot::load(Revision::ZERO, [endpoints.at(Revision(1))]);
        told(Named::parse(text, "service").and_then(|named| Backend::of_service(&service, named, &world, 7)))
    }

    #[test]
    fn a_service_is_reached_at_an_endpoint_that_is_ready() {
        assert_eq!(of_service("web:http"), "n1 /proxy/shop/web-0/8080");
        assert_eq!(of_service("web:80"), "n1 /proxy/shop/web-0/8080");
        assert_eq!(of_service("http:web:80"), "n1 /proxy/shop/web-0/8080");
        assert_eq!(of_service("https:web:http"), "n1 /proxy/shop/web-0/https:8080");
        assert_eq!(of_service("web:82"), "503 no service port 82 found for service \"web\"");
        assert_eq!(of_service("web:admin"), "503 no endpoints available for service \"web\"");
        assert_eq!(of_service("web"), "503 no endpoints available for service \"web\"");
    }
}
