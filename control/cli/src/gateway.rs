//! The API as pods see it: the service `kubernetes`, on the pod network of this node.
//!
//! The API listens on real addresses of some machines, which pods do not reach. So each node answers at the service's own address,
//! and carries what comes there to the first of the servers that takes it, in the order in which the node itself asks them. Who speaks TLS (a program with sockets) is carried as
//! it is and verifies the API by `ca.crt`; who does not (a request by `wasi:http`, whose TLS would be the host's to do) is given
//! TLS here, and the API is verified for it. Either way the API sees the pod's own credentials and none of the node's.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use client::Servers;
use network::{Citizen, Fabric, Listener, Stream};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsConnector;
use tracing::{debug, warn};
use trust::{Trust, Verifier};

/// What the service is called, and where it answers.
const NAMESPACE: &str = "default";
const NAME: &str = "kubernetes";
const PORT: u16 = 443;
/// The name by which the API is verified; it is in every certificate of the API.
const SERVER_NAME: &str = "kubernetes.default.svc";
/// What a connection begins with that speaks TLS: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;
/// Connections that wait to be taken.
const BACKLOG: u32 = 128;
/// Connections of the pods of one node to the API at one time: each is two sockets' worth of buffers.
const CONNECTIONS_MAX: usize = 1024;
/// Who has not said a word by then is not going to.
const FIRST_WORD: Duration = Duration::from_secs(30);
/// A server that does not take a connection within this is not asked while another may.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the API is, and how it is known.
#[derive(Clone)]
pub(crate) struct Gateway {
    servers: watch::Receiver<Servers>,
    tls: TlsConnector,
}

// === impl Gateway ===

impl Gateway {
    /// A way to one of the servers, for which those vouch who are trusted when it is dialled.
    pub(crate) fn new(servers: watch::Receiver<Servers>, trust: Arc<Trust>) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Verifier::new(trust))
            .with_no_client_auth();
        // Who resumes a session is not verified again.
        config.resumption = Resumption::disabled();
        // What is carried is what `wasi:http` says to a plain server.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { servers, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Answers on the pod network until `shutdown`.
    pub(crate) async fn run(self, fabric: Fabric, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let address: IpAddr = apiserver::KUBERNETES_ADDRESS.parse().context("the address of the API")?;
        let citizen =
            Citizen { namespace: NAMESPACE.into(), name: NAME.into(), addresses: vec![address], host_network: false };
        let attachment = fabric.attach(citizen);
        let listener = attachment.bind(SocketAddr::new(address, PORT)).and_then(|socket| socket.listen(BACKLOG));
        let listener = listener.context("the API's address on the pod network is taken")?;
        tokio::select! {
            () = shutdown => Ok(()),
            () = self.serve(listener) => Ok(()),
        }
    }

    async fn serve(self, mut listener: Listener) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let Ok(place) = room.clone().acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok(stream) => stream,
                Err(error) => return warn!(%error, "pods do not reach the API any more"),
            };
            while connections.try_join_next().is_some() {}
            let gateway = self.clone();
            connections.spawn(async move {
                let _place = place;
                if let Err(error) = gateway.carry(stream).await {
                    debug!(%error, "a pod's connection to the API broke off");
                }
            });
        }
    }

    async fn dial(&self) -> std::io::Result<TcpStream> {
        let mut failed = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
        let order = self.servers.borrow().order();
        for server in order {
            match tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect(&server)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failed = error,
                Err(_) => failed = std::io::ErrorKind::TimedOut.into(),
            }
        }
        Err(failed)
    }

    async fn carry(&self, mut pod: Stream) -> std::io::Result<()> {
        let mut first = [0];
        let begun = tokio::time::timeout(FIRST_WORD, pod.read_exact(&mut first)).await;
        begun.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
        let mut api = self.dial().await?;
        api.set_nodelay(true)?;
        client::heed_silence(&api)?;
        if first == [TLS_HANDSHAKE] {
            api.write_all(&first).await?;
            copy_bidirectional(&mut pod, &mut api).await?;
            return Ok(());
        }
        let name = ServerName::try_from(SERVER_NAME).expect("it is a name");
        let mut api = self.tls.connect(name, api).await?;
        api.write_all(&first).await?;
        copy_bidirectional(&mut pod, &mut api).await?;
        Ok(())
    }
}
