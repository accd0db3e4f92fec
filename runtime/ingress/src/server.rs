//! Connections: accepted, served, drained.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use network::Latest;
use rustls::ServerConfig;
use rustls::crypto::ring;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::certificates::Shown;
use crate::headers::Origin;
use crate::proxy::Edge;
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
    head_timeout: Duration,
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
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves a listener, if there is one, until `stop`; then waits for what is under way, but not for ever.
pub(crate) async fn listen(
    listener: Option<TcpListener>,
    tls: Option<TlsAcceptor>,
    edge: &Arc<Edge>,
    limits: &Limits,
    stop: &CancellationToken,
) {
    let Some(listener) = listener else { return };
    let port = listener.local_addr().map_or(0, |address| address.port());
    let builder = builder(limits);
    let (edge, stop) = (edge.clone(), stop.clone());
    let door = Arc::new(Door { edge, tls, builder, head_timeout: limits.head_timeout, stop, port });
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        let (stream, place) = tokio::select! {
            accepted = accepted => accepted,
            _ = connections.join_next(), if !connections.is_empty() => continue,
            () = door.stop.cancelled() => break,
        };
        match stream {
            Ok((stream, _)) => {
                let door = door.clone();
                connections.spawn(async move {
                    door.serve(stream).await;
                    drop(place);
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
        .keep_alive_interval(PING_INTERVAL);
    builder
}

// === impl Door ===

impl Door {
    async fn serve(&self, stream: TcpStream) {
        let Ok(peer) = stream.peer_addr() else { return };
        let _ = stream.set_nodelay(true);
        let origin = |scheme| Origin { peer: peer.ip().to_canonical(), port: self.port, scheme };
        match &self.tls {
            None => self.converse(TokioIo::new(stream), origin("http")).await,
            Some(tls) => match timeout(self.head_timeout, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.converse(TokioIo::new(stream), origin("https")).await,
                Ok(Err(error)) => {
                    tracing::debug!(%peer, error = &error as &dyn std::error::Error, "no handshake");
                }
                Err(_) => tracing::debug!(%peer, "no handshake in time"),
            },
        }
    }

    async fn converse<I: Read + Write + Unpin + Send + 'static>(&self, io: I, origin: Origin) {
        let has_asked = AtomicBool::new(false);
        let answer = service_fn(|request| {
            has_asked.store(true, Ordering::Relaxed);
            self.edge.clone().answer(origin, request)
        });
        let mut connection = pin!(self.builder.serve_connection(io, answer));
        // Which protocol a client speaks is read from its first bytes, for which the protocols' own timers do not wait.
        let mut silence = pin!(sleep(self.head_timeout));
        let (mut is_watched, mut is_draining) = (true, false);
        loop {
            tokio::select! {
                end = connection.as_mut() => {
                    if let Err(error) = end {
                        tracing::debug!(peer = %origin.peer, error = &*error as &dyn std::error::Error, "connection ended");
                    }
                    return;
                }
                () = silence.as_mut(), if is_watched => {
                    is_watched = false;
                    if !has_asked.load(Ordering::Relaxed) {
                        return;
                    }
                }
                () = self.stop.cancelled(), if !is_draining => {
                    is_draining = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}
