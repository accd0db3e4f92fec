//! Ports of the node that lead to a container: its `hostPort`s, and all ports of a server that is on the node's own network.
//!
//! A command on the node's network takes real ports by itself. TCP and UDP are carried.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use k8s_openapi::api::core::v1::Container;
use network::{Fabric, carry};
use state::Protocol;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

/// A port of the node that is listened at until this is dropped; connections that stand go on.
pub(super) struct HostPort {
    _accepting: AbortOnDropHandle<()>,
}

/// Why a port could not be taken.
#[derive(Debug, thiserror::Error)]
#[error("the node's port {at} cannot be taken: {source}")]
pub(super) struct NotTaken {
    at: SocketAddr,
    source: io::Error,
}

/// Where the node listens for a container, and the port of the container that it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lead {
    protocol: Protocol,
    at: SocketAddr,
    port: u16,
}

/// Listens for a container that answers at `address`; `answers` says at which ports it answers requests.
pub(super) fn listen(
    container: &Container,
    address: IpAddr,
    on_host_network: bool,
    answers: &[u16],
    fabric: &Fabric,
) -> Result<Vec<HostPort>, NotTaken> {
    let leads = leads(container, on_host_network, answers);
    leads.into_iter().map(|lead| HostPort::open(lead, address, fabric.clone())).collect()
}

fn leads(container: &Container, on_host_network: bool, answers: &[u16]) -> Vec<Lead> {
    let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    if on_host_network {
        let lead = |port: u16| Lead { protocol: Protocol::Tcp, at: SocketAddr::new(everywhere, port), port };
        return answers.iter().copied().map(lead).collect();
    }
    let declared = container.ports.iter().flatten();
    let leads = declared.filter_map(|port| {
        let protocol = Protocol::named(port.protocol.as_deref().unwrap_or_default());
        let host = u16::try_from(port.host_port?).ok().filter(|host| *host > 0)?;
        let ip = port.host_ip.as_deref().and_then(|ip| ip.parse().ok()).unwrap_or(everywhere);
        Some(Lead { protocol, at: SocketAddr::new(ip, host), port: u16::try_from(port.container_port).ok()? })
    });
    leads.filter(|lead| lead.protocol != Protocol::Sctp).collect()
}

// === impl HostPort ===

impl HostPort {
    fn open(lead: Lead, address: IpAddr, fabric: Fabric) -> Result<Self, NotTaken> {
        let Lead { protocol, at, port } = lead;
        let to = SocketAddr::new(address, port);
        let accepting = match protocol {
            Protocol::Udp => datagrams(at).map(|socket| {
                tokio::spawn(network::ports::relay(fabric, socket, move |near, datagram| near.send(datagram, to)))
            }),
            _ => connections(at).map(|listener| tokio::spawn(accept(listener, to, fabric))),
        };
        let accepting = accepting.map_err(|source| NotTaken { at, source })?;
        Ok(Self { _accepting: AbortOnDropHandle::new(accepting) })
    }
}

fn connections(at: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let listener = TcpListener::bind(at)?;
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

fn datagrams(at: SocketAddr) -> io::Result<tokio::net::UdpSocket> {
    let socket = UdpSocket::bind(at)?;
    socket.set_nonblocking(true)?;
    tokio::net::UdpSocket::from_std(socket)
}

async fn accept(listener: tokio::net::TcpListener, to: SocketAddr, fabric: Fabric) {
    loop {
        let (real, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(%to, %error, "a connection was not taken");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let fabric = fabric.clone();
        // Lives as long as the connection does, which outlasts the listener when the container drains.
        tokio::spawn(async move {
            match fabric.connect(&fabric.origin_of(from), to).await {
                Ok(stream) => {
                    if let Err(error) = carry(stream, real).await {
                        debug!(%to, %from, %error, "a connection broke off");
                    }
                }
                Err(refused) => debug!(%to, %from, %refused, "a connection was refused"),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn check(ports: &str, on_host_network: bool, answers: &[u16], expected: &[&str]) {
        let container: Container =
            serde_json::from_str(&format!(r#"{{"name":"c","ports":{ports}}}"#)).expect("a container");
        let leads = leads(&container, on_host_network, answers);
        let told: Vec<String> =
            leads.iter().map(|lead| format!("{} {} {}", lead.protocol, lead.at, lead.port)).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn a_port_of_the_node_is_taken_where_a_manifest_says_so() {
        let ports = r#"[{"containerPort":80,"hostPort":8080},{"containerPort":81},{"containerPort":82,"hostPort":82,"hostIP":"127.0.0.1"},
            {"containerPort":83,"hostPort":53,"protocol":"UDP"}, {"containerPort":84,"hostPort":84,"protocol":"SCTP"}]"#;
        check(ports, false, &[80], &["TCP 0.0.0.0:8080 80", "TCP 127.0.0.1:82 82", "UDP 0.0.0.0:53 83"]);
        check(r#"[{"containerPort":80,"hostPort":80}]"#, true, &[80], &["TCP 0.0.0.0:80 80"]);
        check(r#"[{"containerPort":6379,"hostPort":6379}]"#, true, &[], &[]);
    }

    #[tokio::test]
    async fn a_real_connection_reaches_the_container() {
        let fabric = Fabric::new();
        let address = IpAddr::from([10, 42, 0, 5]);
        let answer = |_| async { Ok(network::text(http::StatusCode::OK, "hello")) };
        let _bound = fabric.bind(SocketAddr::new(address, 80), network::handler(answer));
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let lead = Lead { protocol: Protocol::Tcp, at: free, port: 80 };
        let open = HostPort::open(lead, address, fabric.clone()).expect("a port");
        assert!(HostPort::open(lead, address, fabric).is_err(), "it is taken");
        let mut real = tokio::net::TcpStream::connect(free).await.expect("a connection");
        real.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("written");
        let mut heard = String::new();
        real.read_to_string(&mut heard).await.expect("heard");
        assert!(heard.starts_with("HTTP/1.1 200 OK") && heard.ends_with("hello"), "{heard}");
        drop(open);
    }
    #[tokio::test]
    async fn a_real_datagram_reaches_the_container_and_is_answered() {
        let fabric = Fabric::new();
        let address = IpAddr::from([10, 42, 0, 5]);
        let citizen = network::Citizen {
            namespace: "shop".into(),
            name: "dns".into(),
            addresses: vec![address],
            host_network: false,
        };
        let attachment = fabric.attach(citizen);
        let server = attachment.datagrams(SocketAddr::from(([0, 0, 0, 0], 53))).expect("free");
        let answering = tokio::spawn(async move {
            let (question, from) = server.receive().await;
            server.send([&question[..], b"!"].concat().into(), from).expect("a way back");
        });
        let free = UdpSocket::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let lead = Lead { protocol: Protocol::Udp, at: free, port: 53 };
        let _open = HostPort::open(lead, address, fabric.clone()).expect("a port");
        assert!(HostPort::open(lead, address, fabric).is_err(), "it is taken");
        let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        client.send_to(b"who", free).await.expect("sent");
        let mut buffer = [0; 16];
        let (length, from) = client.recv_from(&mut buffer).await.expect("an answer");
        assert_eq!((&buffer[..length], from), (&b"who!"[..], free));
        answering.await.expect("no panic");
    }
}
