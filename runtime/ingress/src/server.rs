//! Connections: accepted, served, drained.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use network::Latest;
use rustls::ServerConfig;
use rustls::crypto::ring;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::certificates::{ACME_TLS, Shown};
use crate::connection::Connection;
use crate::headers::Origin;
use crate::proxy::Edge;
use crate::proxy_protocol;
use crate::wire::{Rewound, Wire};
use crate::{Error, Limits, RouteTable};

/// Requests under way in one HTTP/2 connection: what browsers and gRPC clients expect at least.
const STREAMS_MAX: u32 = 256;
/// Header fields of a request.
const HEADERS_MAX: usize = 128;
/// How often a silent HTTP/2 client is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long to wait when the process has no file descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What one listener's connections share.
struct Door {
    edge: Arc<Edge>,
    tls: Option<TlsAcceptor>,
    builder: auto::Builder<TokioExecutor>,
    proxy_protocol: bool,
    stop: CancellationToken,
    port: u16,
}

/// TLS with the certificates of the latest table.
pub(crate) fn acceptor(routes: Latest<RouteTable>) -> Result<TlsAcceptor, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shown::new(routes)?));
    // What proves a host to a directory is asked for alone: beside anything else, that comes first.
    config.alpn_protocols = [b"h2", &b"http/1.1"[..], ACME_TLS].map(<[u8]>::to_vec).to_vec();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves a listener, if there is one, until `stop`; then waits for what is under way, but not for ever.
pub(crate) async fn listen(
    listener: Option<TcpListener>,
    tls: Option<TlsAcceptor>,
    proxy_protocol: bool,
    edge: &Arc<Edge>,
    stop: &CancellationToken,
) {
    let Some(listener) = listener else { return };
    let limits = edge.limits.clone();
    let port = listener.local_addr().map_or(0, |address| address.port());
    let (edge, stop, builder) = (edge.clone(), stop.clone(), builder(&limits));
    let door = Arc::new(Door { edge, tls, builder, proxy_protocol, stop, port });
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let mut connections = JoinSet::new();
    let mut by_client: HashMap<IpAddr, usize> = HashMap::new();
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        let (stream, place) = tokio::select! {
            accepted = accepted => accepted,
            Some(ended) = connections.join_next() => {
                if let Ok(client) = ended {
                    leave(&mut by_client, client);
                }
                continue;
            }
            () = door.stop.cancelled() => break,
        };
        match stream {
            Ok((stream, peer)) => {
                let client = peer.ip().to_canonical();
                let here = by_client.entry(client).or_default();
                if *here >= limits.connections_per_client_max && !door.is_trusted(client) {
                    tracing::debug!(%client, connections = *here, "one client has too many connections");
                    continue;
                }
                *here += 1;
                let door = door.clone();
                connections.spawn(async move {
                    door.serve(stream, peer).await;
                    drop(place);
                    client
                });
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no connection accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.drain, ended).await.is_err() {
        tracing::warn!(connections = connections.len(), "cut at shutdown");
    }
}

fn leave(by_client: &mut HashMap<IpAddr, usize>, client: IpAddr) {
    if let Some(here) = by_client.get_mut(&client) {
        *here -= 1;
        if *here == 0 {
            by_client.remove(&client);
        }
    }
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(limits.head_bytes_max);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_INTERVAL)
        .enable_connect_protocol();
    builder
}

// === impl Door ===

impl Door {
    fn is_trusted(&self, peer: IpAddr) -> bool {
        self.edge.trusted.iter().any(|net| net.contains(&peer))
    }

    async fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        let _ = stream.set_nodelay(true);
        match self.introduced(stream, peer).await {
            Ok((stream, origin)) => self.secured(stream, origin).await,
            Err(error) => tracing::debug!(%peer, error = &error as &dyn std::error::Error, "not introduced"),
        }
    }

    /// Who a connection comes from: the other side, or whom a balancer speaks for.
    async fn introduced(&self, mut stream: TcpStream, peer: SocketAddr) -> io::Result<(Rewound<TcpStream>, Origin)> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let peer = peer.ip().to_canonical();
        let origin = |peer, port| Origin { peer, is_trusted: self.is_trusted(peer), port, scheme };
        if !self.proxy_protocol || !self.is_trusted(peer) {
            return Ok((Rewound::new(Bytes::new(), stream), origin(peer, self.port)));
        }
        let told = timeout(self.edge.limits.head_timeout, proxy_protocol::read(&mut stream)).await;
        let (addresses, read) =
            told.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(io::Error::other)?;
        let origin = match addresses {
            Some(told) => origin(told.source.ip(), told.destination.port()),
            None => origin(peer, self.port),
        };
        Ok((Rewound::new(read, stream), origin))
    }

    async fn secured(&self, stream: Rewound<TcpStream>, origin: Origin) {
        let limits = &self.edge.limits;
        let Some(tls) = &self.tls else {
            return self.converse(Wire::guarded(stream, limits.idle_timeout), origin).await;
        };
        match timeout(limits.head_timeout, tls.accept(stream)).await {
            // The handshake was all there is to say (RFC 8737 §3).
            Ok(Ok(mut stream)) if stream.get_ref().1.alpn_protocol() == Some(ACME_TLS) => {
                let _ = timeout(limits.head_timeout, stream.shutdown()).await;
            }
            Ok(Ok(stream)) => {
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let wire = if is_http2 { Wire::open } else { Wire::guarded };
                self.converse(wire(stream, limits.idle_timeout), origin).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(peer = %origin.peer, error = &error as &dyn std::error::Error, "no handshake");
            }
            Err(_) => tracing::debug!(peer = %origin.peer, "no handshake in time"),
        }
    }

    async fn converse<I>(&self, io: Wire<I>, origin: Origin)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Arc::new(Connection::new(origin));
        let answer = service_fn(|request| self.edge.clone().answer(shared.clone(), request));
        let mut connection = pin!(self.builder.serve_connection_with_upgrades(TokioIo::new(io), answer));
        let limits = &self.edge.limits;
        // Which protocol a client speaks is read from its first bytes, for which the protocols' own timers do not wait.
        let mut silence = pin!(sleep(limits.head_timeout));
        let (mut begun, mut is_draining) = (0, false);
        loop {
            tokio::select! {
                end = connection.as_mut() => {
                    if let Err(error) = end {
                        tracing::debug!(peer = %origin.peer, error = &*error as &dyn std::error::Error, "connection ended");
                    }
                    break;
                }
                () = silence.as_mut() => {
                    if shared.begun() == 0 {
                        return;
                    }
                    // A client of HTTP/2 may keep a connection open for ever without asking for anything.
                    if shared.begun() == begun && !shared.is_busy() && !is_draining {
                        is_draining = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    begun = shared.begun();
                    silence.set(sleep_until(Instant::now() + limits.idle_timeout));
                }
                () = self.stop.cancelled(), if !is_draining => {
                    is_draining = true;
                    shared.cut();
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
        if let Some(after) = shared.after() {
            tokio::select! {
                () = after => {}
                () = self.stop.cancelled() => {}
            }
        }
    }
}
