//! One listener, and what comes in by it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use state::Protocol;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::{Front, Purpose, behind, health, relay};
use crate::{Fabric, Services};

/// How long to wait when the system has no more sockets to give.
const PAUSE: Duration = Duration::from_millis(50);

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
        if self.front.purpose == Purpose::Health {
            return health::serve(self.services, self.front, real).await;
        }
        let origin = self.fabric.origin_of(client);
        let service = behind(&self.services.load(), &self.front).cloned();
        let port = service.as_ref().and_then(|service| service.numbered(Protocol::Tcp, self.front.port));
        let (Some(service), Some(port)) = (&service, port) else { return };
        // What is said in small pieces is to be heard at once; a socket that cannot say so still works.
        let _ = real.set_nodelay(true);
        if let Err(refused) = self.fabric.join(&origin, service, port, self.front.traffic(), real).await {
            tracing::debug!(service = %self.front, %client, refused = &refused as &dyn std::error::Error, "no way in");
        }
    }

    async fn datagrams(self, socket: UdpSocket) {
        relay(self.fabric.clone(), socket, |near, datagram| {
            let services = self.services.load();
            let service = behind(&services, &self.front);
            let port = service.and_then(|service| service.numbered(Protocol::Udp, self.front.port));
            let (Some(service), Some(port)) = (service, port) else { return Ok(()) };
            near.send_to_service(datagram, service, port, self.front.traffic())
        })
        .await;
    }
}
