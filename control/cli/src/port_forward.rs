//! `coracle port-forward`: ports of this machine that lead to a pod.
//!
//! Each connection goes by a server of its own choice: when one dies, those that went by it end, and the next goes by another.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, bail};
use api::{Key, kinds};
use client::Client;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::running::asked_to_end;
use crate::{access, again, args, verbs, what};

/// `LOCAL:REMOTE`, `REMOTE` for the same on both sides, `:REMOTE` or `0:REMOTE` for any that is free here.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    local: Option<u16>,
    /// A number or a name.
    remote: String,
}

pub(crate) async fn run(args: args::PortForward) -> anyhow::Result<()> {
    let cluster = access::cluster(&args.access)?;
    let pairs: Vec<Pair> = args.ports.iter().map(|text| text.parse()).collect::<anyhow::Result<_>>()?;
    let service = service(&cluster, &args.pod).await?;
    let key = verbs::pod_of(&cluster, &args.pod).await?;
    let pod = cluster.client.get(&key).await?.decode::<Pod>()?;
    let mut forwards = JoinSet::new();
    for pair in pairs {
        let remote = remote(&pair.remote, service.as_ref(), &pod)?;
        let local = SocketAddr::new(args.address, pair.local.unwrap_or(remote));
        let listener = TcpListener::bind(local).await.with_context(|| format!("cannot listen on {local}"))?;
        println!("Forwarding from {} -> {remote}", listener.local_addr()?);
        forwards.spawn(forward(Arc::new(cluster.client.clone()), key.clone(), listener, remote));
    }
    tokio::select! {
        asked = asked_to_end() => Ok(asked?),
        Some(ended) = forwards.join_next() => ended?,
    }
}

/// The service that a word names, if it names one.
async fn service(cluster: &access::Cluster, word: &str) -> anyhow::Result<Option<Service>> {
    if !word.contains('/') {
        return Ok(None);
    }
    let [what] = what::parse(&cluster.client, &[word.to_owned()])
        .await?
        .try_into()
        .map_err(|_| anyhow::anyhow!("name one service"))?;
    let key = what.key(&cluster.namespace)?;
    if key.kind() != kinds::SERVICE {
        return Ok(None);
    }
    Ok(Some(Service::clone(&*cluster.client.get(&key).await?.decode::<Service>()?)))
}

/// The port of the pod that is meant: of a service its target, by name what the pod's containers call so.
fn remote(meant: &str, service: Option<&Service>, pod: &Pod) -> anyhow::Result<u16> {
    let Some(service) = service else { return of_pod(meant, pod) };
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let port = ports.into_iter().find(|port| match meant.parse::<i32>() {
        Ok(number) => port.port == number,
        Err(_) => port.name.as_deref() == Some(meant),
    });
    let port = port.with_context(|| format!("the service has no port {meant}"))?;
    match &port.target_port {
        Some(IntOrString::Int(number)) => Ok(u16::try_from(*number)?),
        Some(IntOrString::String(name)) => of_pod(name, pod),
        None => Ok(u16::try_from(port.port)?),
    }
}

fn of_pod(meant: &str, pod: &Pod) -> anyhow::Result<u16> {
    if let Ok(number) = meant.parse::<u16>() {
        return Ok(number);
    }
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let port = ports.find(|port| port.name.as_deref() == Some(meant));
    let port = port.with_context(|| format!("no container of the pod has a port named {meant}"))?;
    Ok(u16::try_from(port.container_port)?)
}

async fn forward(client: Arc<Client>, pod: Key, listener: TcpListener, remote: u16) -> anyhow::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, from) = accepted.context("cannot accept")?;
                println!("Handling connection from {from} for {remote}");
                connections.spawn(carry(client.clone(), pod.clone(), stream, remote));
            }
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended? {
                    eprintln!("error: {}", crate::told(&error));
                }
            }
        }
    }
}

async fn carry(client: Arc<Client>, pod: Key, mut here: TcpStream, remote: u16) -> anyhow::Result<()> {
    let path = format!("/api/v1/namespaces/{}/pods/{}/portforward?ports={remote}", pod.namespace(), pod.name());
    let mut there = again::ask(|| client.upgrade(&path, apiserver::PORT_PROTOCOL)).await?;
    // Who hangs up first is nobody's fault.
    let _ = copy_bidirectional(&mut here, &mut there).await;
    Ok(())
}

// === impl Pair ===

impl FromStr for Pair {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let number = |text: &str| text.parse::<u16>().with_context(|| format!("{text:?} is not a port"));
        let (local, remote) = match text.split_once(':') {
            Some(("", remote)) => (Some(0), remote),
            Some((local, remote)) => (Some(number(local)?), remote),
            None => (None, text),
        };
        if remote.is_empty() || remote == "0" {
            bail!("{text:?} names no port of the pod; say LOCAL:REMOTE, :REMOTE or REMOTE");
        }
        Ok(Self { local, remote: remote.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pair(text: &str) -> Result<(Option<u16>, String), String> {
        text.parse().map(|Pair { local, remote }| (local, remote)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_pair_of_ports_is_read() {
        assert_eq!(pair("8080:80"), Ok((Some(8080), "80".into())));
        assert_eq!(pair("80"), Ok((None, "80".into())));
        assert_eq!(pair(":http"), Ok((Some(0), "http".into())));
        assert_eq!(pair("x:80"), Err("\"x\" is not a port".into()));
        assert!(pair("8080:").is_err() && pair("").is_err());
    }

    fn check(meant: &str, service_ports: Option<Value>, expect: Result<u16, &str>) {
        let ports = json!([{"name": "http", "containerPort": 8080}]);
        let pod = serde_json::from_value(json!({"spec": {"containers": [{"name": "main", "ports": ports}]}}));
        let service = service_ports.map(|ports| serde_json::from_value(json!({"spec": {"ports": ports}})));
        let service: Option<Service> = service.transpose().expect("a service");
        let found = remote(meant, service.as_ref(), &pod.expect("a pod")).map_err(|error| error.to_string());
        assert_eq!(found, expect.map_err(String::from));
    }

    #[test]
    fn a_port_is_that_of_the_pod() {
        check("81", None, Ok(81));
        check("http", None, Ok(8080));
        check("web", None, Err("no container of the pod has a port named web"));
        let ports = json!([{"name": "web", "port": 80, "targetPort": "http"}, {"name": "admin", "port": 81, "targetPort": 9000}]);
        check("80", Some(ports.clone()), Ok(8080));
        check("web", Some(ports.clone()), Ok(8080));
        check("81", Some(ports.clone()), Ok(9000));
        check("82", Some(ports), Err("the service has no port 82"));
    }
}
