//! Datagrams between a real socket and the pod network.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::{BindError, Datagrams, Fabric, Origin, Refused};

/// How long a silent client of a UDP port is kept in mind: what kube-proxy does.
const CLIENT_IDLE: Duration = Duration::from_secs(120);
/// The most clients of a UDP port; more are not answered until some have been silent.
const CLIENTS_MAX: usize = 4096;
/// The largest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_507;

/// Who sends datagrams to a real socket, and where the answers to him arrive.
struct Client {
    near: Arc<Datagrams>,
    used: Instant,
    _answering: AbortOnDropHandle<()>,
}

/// Carries what comes to a real socket, for ever: `send` sends it on from the client's own socket on the pod network, and what
/// is answered there goes back to the client.
pub async fn relay(
    fabric: Fabric,
    socket: UdpSocket,
    send: impl Fn(&Datagrams, Bytes) -> Result<(), Refused> + Send + Sync,
) {
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
            match Client::new(&fabric, &fabric.origin_of(from), socket.clone(), from) {
                Ok(client) => drop(clients.insert(from, client)),
                Err(error) => {
                    tracing::debug!(%from, error = &error as &dyn std::error::Error, "no way in");
                    continue;
                }
            }
        }
        let Some(client) = clients.get_mut(&from) else { continue };
        client.used = Instant::now();
        if let Err(refused) = send(&client.near, Bytes::copy_from_slice(&buffer[..length])) {
            tracing::debug!(%from, refused = &refused as &dyn std::error::Error, "a datagram is lost");
        }
    }
}

// === impl Client ===

impl Client {
    fn new(fabric: &Fabric, origin: &Origin, socket: Arc<UdpSocket>, client: SocketAddr) -> Result<Self, BindError> {
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
