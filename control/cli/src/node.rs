//! A node in this process: agent, pod network, ingress and DNS, all looking at one view of the world.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use anyhow::{Context, bail};
use client::Client;
use serde::{Deserialize, Serialize};
use state::Snapshot;
use tokio::net::TcpListener;
use tokio::sync::watch;
use trust::Trust;

use crate::args;
use crate::control;
use crate::data_dir::{self, DataDir};
use crate::gateway::Gateway;
use crate::ingress_status;
use crate::memory_dir::MemoryDir;
use crate::names::Names;
use crate::running::Running;
use crate::servers;
use crate::tunnel::Door;

/// Where the parts of a node listen when nobody says.
pub(crate) struct Defaults {
    ingress_http: SocketAddr,
    ingress_https: SocketAddr,
    dns: SocketAddr,
    /// Whether the services answer on the loopback, too.
    mirror: bool,
    /// How many pods are taken on.
    pods: u32,
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const EVERYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// For `up`: nothing that needs rights, nothing that others see.
pub(crate) const LAPTOP: Defaults = Defaults {
    ingress_http: SocketAddr::new(LOOPBACK, 8080),
    ingress_https: SocketAddr::new(LOOPBACK, 8443),
    dns: SocketAddr::new(LOOPBACK, 1053),
    mirror: true,
    pods: 1_000,
};

/// For `server` and `agent`: the usual ports.
pub(crate) const MACHINE: Defaults = Defaults {
    ingress_http: SocketAddr::new(EVERYWHERE, 80),
    ingress_https: SocketAddr::new(EVERYWHERE, 443),
    dns: SocketAddr::new(EVERYWHERE, 53),
    mirror: false,
    // As many as one range of addresses serves: a fleet has many nodes, and the cluster's addresses are for all of them.
    pods: 250,
};

/// Where everything listens: what `addresses.json` holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Addresses {
    pub(crate) api: Option<SocketAddr>,
    pub(crate) ingress_http: Option<SocketAddr>,
    pub(crate) ingress_https: Option<SocketAddr>,
    pub(crate) dns: Option<SocketAddr>,
    /// Where other nodes dial this one.
    pub(crate) tunnel: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dns_mirror: Option<SocketAddr>,
}

/// How a node is set up.
pub(crate) struct Options<'a> {
    pub(crate) data: &'a DataDir,
    pub(crate) name: &'a str,
    pub(crate) machine: &'a args::Machine,
    pub(crate) defaults: &'a Defaults,
    /// Where the API answers; pods cannot reach it by that address.
    pub(crate) api: SocketAddr,
    /// Who vouches for it.
    pub(crate) trust: Arc<Trust>,
    /// The way to other nodes.
    pub(crate) door: Door,
    /// Whether the control plane is elsewhere, and goes on when this node stops.
    pub(crate) is_apart: bool,
    /// What it was last told, if it keeps that.
    pub(crate) kept: Option<agent::Kept>,
}

/// The node of this process.
pub(crate) struct Node {
    pub(crate) addresses: Addresses,
    /// The services as the node's ingress sees them.
    pub(crate) services: network::Services,
    /// What lets requests in; it ends first, so that those under way are answered.
    doors: Running,
    agent: Running,
    /// The tunnels to other nodes; they end last, so that pods that are stopping reach others.
    tunnels: Running,
    /// Held, not read: it goes when the pods are gone.
    _memory: Option<MemoryDir>,
}

impl Addresses {
    /// Writes `addresses.json`.
    pub(crate) fn write(&self, data: &DataDir) -> anyhow::Result<()> {
        data_dir::write(&data.join("addresses.json"), &serde_json::to_string_pretty(self)?)
    }
}

impl Node {
    /// Starts a node that sees the world through `view` and acts through `client`.
    pub(crate) async fn start(
        options: Options<'_>,
        view: watch::Receiver<Snapshot>,
        client: Client,
    ) -> anyhow::Result<Self> {
        let Options { data, name, machine, defaults, api, trust, door, is_apart, kept } = options;
        let http = listen("ingress-http", machine.ingress_http.unwrap_or(defaults.ingress_http)).await?;
        let https = listen("ingress-https", machine.ingress_https.unwrap_or(defaults.ingress_https)).await?;
        let names = Names::listen(&machine.names, defaults.dns, own_address(), &view).await?;
        let addresses = Addresses {
            api: None,
            ingress_http: Some(http.local_addr()?),
            ingress_https: Some(https.local_addr()?),
            dns: Some(names.address),
            dns_mirror: names.mirror,
            tunnel: Some(door.address),
        };
        let mut doors = Running::new();
        let mut running = Running::new();
        let mut tunnels = Running::new();

        let readiness = network::Readiness::default();
        let services = network::services_on(view.clone(), name, &readiness);
        // The node's own address carries the API and whatever else the machine offers; pods come in by services.
        let own_ports = vec![http.local_addr()?.port(), https.local_addr()?.port()];
        let denied_sockets = servers::sockets(view.clone(), vec![api, door.address]);
        let egress = network::EgressPolicy { denied_sockets, own_ports, ..network::EgressPolicy::default() };
        let reach = network::Config { node: name.into(), egress, readiness, ..network::Config::default() };
        let fabric = network::Fabric::over(services.clone(), reach.clone());
        fabric.obey(network::Policy::follow(view.clone()));
        let gateway = Gateway::new(client.servers(), trust)?;
        doors.start("API for pods", gateway.run(fabric.clone(), doors.stopping()));
        let outbound = network::Outbound::new(fabric.clone(), services.clone(), reach);

        let (node_address, dialled) = (node_address(door.address, api), door.address);
        let tunnel = door.tunnel.clone();
        door.open(&fabric, &mut tunnels);

        let mut hosting = host::Config::new(data.join("cache"));
        hosting.compiler = std::env::current_exe().ok();
        hosting.instances_max = machine.room.max_instances.unwrap_or(hosting.instances_max);
        let host = host::Host::new(hosting).context("the wasm runtime cannot be started")?;

        let edge = http.local_addr()?.ip();
        let ingress = machine.edge.config(http, https);
        let ports = network::ports::Config {
            mirror: machine.mirror_services.unwrap_or(defaults.mirror),
            ..network::ports::Config::new(name, vec![machine.node_ports.unwrap_or(edge)])
        };
        let listening = network::ports::run(ports, view.clone(), services.clone(), fabric.clone(), doors.stopping());
        doors.start("node ports", listening);
        doors.start("ingress", ingress::run(ingress, view.clone(), services.clone(), fabric.clone(), doors.stopping()));
        let telling = ingress_status::run(edge, view.clone(), client.clone(), doors.stopping());
        doors.start("ingress status", telling);
        let resolver = names.resolver.clone();
        names.start(&view, &mut doors);
        let memory = MemoryDir::take(data.path());
        let agent = agent::Config {
            labels: machine.labels.all()?,
            home: (!is_apart).then(|| control::reachable(api).to_string()),
            says_farewell: is_apart,
            kept,
            addresses: vec![node_address],
            tunnel: Some(SocketAddr::new(dialled_at(dialled, node_address), dialled.port())),
            collection: machine.disk.collection(),
            rotation: machine.disk.rotation(),
            host_paths: machine.disk.host_paths(),
            eviction: machine.disk.eviction(),
            levels: machine.levels(),
            resources: agent::Resources {
                pods: Some(machine.room.max_pods.unwrap_or(defaults.pods)),
                memory_bytes: machine.memory,
                ..agent::Resources::default()
            },
            memory_dir: memory.as_ref().map(|memory| memory.path().to_owned()),
            ..agent::Config::new(name, data.path())
        };
        let engines = agent::Engines { host, fabric, outbound, resolver, tunnel };
        running.start("agent", agent::run(agent, view, client, engines, running.stopping()));
        Ok(Self { addresses, services, doors, agent: running, tunnels, _memory: memory })
    }

    /// Returns when a part has ended although nobody asked it to.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            error = self.doors.failed() => error,
            error = self.agent.failed() => error,
            error = self.tunnels.failed() => error,
        }
    }

    /// Drains and stops the node.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let drained = self.doors.stop().await;
        let stopped = self.agent.stop().await;
        self.tunnels.stop().await.and(stopped).and(drained)
    }
}

pub(crate) async fn listen(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}; choose another address with --{flag}"))
}

/// The name given, or the host's, in the letters a node's name may have.
pub(crate) fn name(given: Option<&str>) -> anyhow::Result<String> {
    let name = match given {
        Some(given) => given.to_owned(),
        None => {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
                .context("this machine does not tell its name; give one with --node-name")?;
            host.trim().to_lowercase().replace('_', "-")
        }
    };
    let allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, '-' | '.');
    let edges = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    if name.len() > 253 || !name.chars().all(allowed) || !edges(name.chars().next()) || !edges(name.chars().last()) {
        bail!(
            "{name:?} cannot be a node's name: lower case letters, digits, `-` and `.` (RFC 1123); choose one with --node-name"
        );
    }
    Ok(name)
}

/// The address that others see of this machine, or the loopback where there is no network.
pub(crate) fn own_address() -> IpAddr {
    // The address is one for documentation.
    own_address_towards(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9))).unwrap_or(LOOPBACK)
}

/// The address from which this machine would speak to another.
fn own_address_towards(other: SocketAddr) -> std::io::Result<IpAddr> {
    // Connecting a datagram socket sends nothing; it only asks the routing table.
    let any: IpAddr = if other.is_ipv4() { EVERYWHERE } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(other)?;
    Ok(socket.local_addr()?.ip())
}

/// The node's own address: where it is dialled, if that is one address that others see too; else what the server sees of it,
/// or, where that is on the same machine, what others would see.
fn node_address(dialled: SocketAddr, api: SocketAddr) -> IpAddr {
    let is_seen = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_loopback();
    let towards = || own_address_towards(api).ok().filter(is_seen);
    Some(dialled.ip()).filter(is_seen).or_else(towards).unwrap_or_else(own_address)
}

/// The address at which a listener is dialled.
fn dialled_at(listener: SocketAddr, node: IpAddr) -> IpAddr {
    if listener.ip().is_unspecified() { node } else { listener.ip() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_all_is_found_is_told_as_everywhere() {
        let at = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
        let (api, ingress_http, ingress_https) = (at(1), at(2), at(3));
        let addresses = Addresses { api, ingress_http, ingress_https, dns: at(4), tunnel: at(5), dns_mirror: None };
        let text = serde_json::to_string(&addresses).expect("JSON");
        let expected = r#"{"api":"127.0.0.1:1","ingressHttp":"127.0.0.1:2","ingressHttps":"127.0.0.1:3","dns":"127.0.0.1:4","tunnel":"127.0.0.1:5"}"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn a_node_has_a_name_that_dns_could_have() {
        assert_eq!(name(Some("edge-1.local")).expect("fine"), "edge-1.local");
        assert!(name(Some("-edge")).is_err() && name(Some("Edge")).is_err() && name(Some("")).is_err());
    }
}
