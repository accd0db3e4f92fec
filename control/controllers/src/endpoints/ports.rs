//! Which port of a pod a service's port means.

use k8s_openapi::api::core::v1::{Container, Pod, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A port as endpoints tell it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Port {
    pub(super) name: Option<String>,
    pub(super) number: i32,
    pub(super) protocol: String,
    pub(super) app_protocol: Option<String>,
}

/// The ports of `pod` that the service's ports mean; those that it does not have are left out.
pub(super) fn resolve(spec: &ServiceSpec, pod: &Pod) -> Vec<Port> {
    let ports = spec.ports.iter().flatten();
    let mut ports: Vec<Port> =
        ports.filter_map(|port| Some(Port { number: number(port, pod)?, ..named(port) })).collect();
    ports.sort();
    ports
}

fn named(port: &ServicePort) -> Port {
    Port {
        name: Some(port.name.clone().unwrap_or_default()),
        number: port.port,
        protocol: protocol(port.protocol.as_deref()).into(),
        app_protocol: port.app_protocol.clone(),
    }
}

fn number(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let declared = serving(pod).flat_map(|container| container.ports.iter().flatten());
            let same = |kind: Option<&str>| protocol(kind) == protocol(port.protocol.as_deref());
            let mut found = declared.filter(|it| it.name.as_deref() == Some(name) && same(it.protocol.as_deref()));
            found.next().map(|it| it.container_port)
        }
    }
}

/// The containers that run as long as the pod does.
fn serving(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| {
        let sidecars =
            spec.init_containers.iter().flatten().filter(|it| it.restart_policy.as_deref() == Some("Always"));
        spec.containers.iter().chain(sidecars)
    })
}

fn protocol(name: Option<&str>) -> &str {
    name.unwrap_or("TCP")
}
