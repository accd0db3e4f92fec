//! The variables that tell a program of the services of its namespace, in the old Docker form.

use api::kinds;
use k8s_openapi::api::core::v1::Service;
use state::Snapshot;

/// The name of the API's own service, which every pod is told of.
const API_SERVICE: (&str, &str) = ("default", "kubernetes");

/// Variables of the API's service and, where `links` are wanted, of every service of the namespace.
pub(super) fn variables(view: &Snapshot, namespace: &str, links: bool) -> Vec<(String, String)> {
    let own = view.list_in(kinds::SERVICE, namespace).filter(|_| links);
    let api = view.get(&kinds::SERVICE.key(API_SERVICE.0, API_SERVICE.1));
    let mut variables = Vec::new();
    for object in api.into_iter().chain(own) {
        if let Ok(service) = object.decode::<Service>() {
            variables.extend(of_service(object.key().name(), &service));
        }
    }
    variables
}

fn of_service(name: &str, service: &Service) -> Vec<(String, String)> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let address = spec.cluster_ip.as_deref().filter(|address| !address.is_empty() && *address != "None");
    let (Some(address), Some(ports)) = (address, &spec.ports) else { return Vec::new() };
    let Some(first) = ports.first() else { return Vec::new() };
    let prefix = upper(name);
    let mut variables = vec![
        (format!("{prefix}_SERVICE_HOST"), address.to_owned()),
        (format!("{prefix}_SERVICE_PORT"), first.port.to_string()),
    ];
    let named =
        ports.iter().filter_map(|port| Some((port.name.as_deref().filter(|name| !name.is_empty())?, port.port)));
    variables
        .extend(named.map(|(port, number)| (format!("{prefix}_SERVICE_PORT_{}", upper(port)), number.to_string())));
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{address}:{}", protocol.to_lowercase(), port.port);
        let base = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
        if index == 0 {
            variables.push((format!("{prefix}_PORT"), url.clone()));
        }
        variables.push((base.clone(), url));
        variables.push((format!("{base}_PROTO"), protocol.to_lowercase()));
        variables.push((format!("{base}_PORT"), port.port.to_string()));
        variables.push((format!("{base}_ADDR"), address.to_owned()));
    }
    variables
}

fn upper(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}
