//! One listener, and what comes in by it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use state::Protocol;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::{Front, behind};
use crate::{Datagrams, Fabric, Origin, Services};

/// How long to wait when the system has no more sockets to give.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a silent client of a UDP port is kept in mind: what kube-proxy does.
const CLIENT_IDLE: Duration = Duration::from_secs(120);
/// The most clients of a UDP port; more are not answered until some have been silent.
const CLIENTS_MAX: usize = 4096;
/// The largest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_507;

/// A listener; dropping it closes it.
pub(super) struct Listening {
    _accepting: AbortOnDropHandle<()>,
}

/// What is needed to serve a listener.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) fabric: Fabric,
    pub(super) services: Services,
    pub(super) front: Front,
    pub(super) connections: TaskTracker,
    pub(super) stop: CancellationToken,
}

// === impl Listening ===

impl Listening {
    pub(super) async fn open((protocol, address): (Protocol, SocketAddr), serving: Serving) -> io::Result<Self> {
        let accepting = match protocol {
            Protocol::Udp => tokio::spawn(serving.datagrams(UdpSocket::bind(address).await?)),
            _ => tokio::spawn(serving.connections(TcpListener::bind(address).await?)),
        };
        Ok(Self { _accepting: AbortOnDropHandle::new(accepting) })
    }
}

// === impl Serving ===

impl Serving {
    /// Who a client is to the cluster. The node's own programs are the node, which always reaches its pods.
    fn origin(&self, client: SocketAddr) -> Origin {
        match client.ip().to_canonical() {
            ip if ip.is_loopback() => self.fabric.node(),
            ip => Origin::Outside(SocketAddr::new(ip, client.port())),
        }
    }

    async fn connections(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((real, client)) => {
                    let (serving, stop) = (self.clone(), self.stop.clone());
                    self.connections.spawn(async move {
                        tokio::select! {
                            () = serving.connection(real, client) => {}
                            () = stop.cancelled() => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(service = %self.front, error = &error as &dyn std::error::Error, "no connection");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn connection(self, real: TcpStream, client: SocketAddr) {
        let origin = self.origin(client);
        let service = behind(&self.services.load(), &self.front).cloned();
        let port = service.as_ref().and_then(|service| service.numbered(Protocol::Tcp, self.front.port));
        let (Some(service), Some(port)) = (&service, port) else { return };
        // What is said in small pieces is to be heard at once; a socket that cannot say so still works.
        let _ = real.set_nodelay(true);
        if let Err(refused) = self.fabric.join(&origin, service, port, self.front.traffic, real).await {
            tracing::debug!(service = %self.front, %client, refused = &refused as &dyn std::error::Error, "no way in");
        }
    }

    async fn datagrams(self, socket: UdpSocket) {
        let socket = Arc::new(socket);
        let mut clients: HashMap<SocketAddr, Client> = HashMap::new();
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            // An error is an answer to something sent before; the socket goes on.
            let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
            if !clients.contains_key(&from) {
                clients.retain(|_, client| client.used.elapsed() < CLIENT_IDLE);
                if clients.len() >= CLIENTS_MAX {
                    continue;
                }
                match Client::new(&self.fabric, &self.origin(from), socket.clone(), from) {
                    Ok(client) => drop(clients.insert(from, client)),
                    Err(error) => {
                        tracing::debug!(service = %self.front, error = &error as &dyn std::error::Error, "no way in");
                        continue;
                    }
                }
            }
            let Some(client) = clients.get_mut(&from) else { continue };
            client.used = Instant::now();
            let services = self.services.load();
            let Some(service) = behind(&services, &self.front) else { continue };
            let Some(port) = service.numbered(Protocol::Udp, self.front.port) else { continue };
            let datagram = Bytes::copy_from_slice(&buffer[..length]);
            if let Err(refused) = client.near.send_to_service(datagram, service, port, self.front.traffic) {
                tracing::debug!(service = %self.front, refused = &refused as &dyn std::error::Error, "a datagram is lost");
            }
        }
    }
}

/// Who sends datagrams to a real socket, and where the answers to him arrive.
struct Client {
    near: Arc<Datagrams>,
    used: Instant,
    _answering: AbortOnDropHandle<()>,
}

// === impl Client ===

impl Client {
    fn new(
        fabric: &Fabric,
        origin: &Origin,
        socket: Arc<UdpSocket>,
        client: SocketAddr,
    ) -> Result<Self, crate::BindError> {
        let near = Arc::new(fabric.datagrams(origin)?);
        let from = near.clone();
        let answering = tokio::spawn(async move {
            loop {
                let (answer, _) = from.receive().await;
                if let Err(error) = socket.send_to(&answer, client).await {
                    tracing::trace!(%client, %error, "an answer is lost");
                }
            }
        });
        Ok(Self { near, used: Instant::now(), _answering: AbortOnDropHandle::new(answering) })
    }
}
