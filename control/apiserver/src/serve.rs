//! The listener: TLS, who is on the other end, HTTP/1.1 or HTTP/2, and a graceful end.

mod late;
mod patient;
mod sessions;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::{debug, warn};
use trust::{Trust, Verifier};

use crate::identity::Identity;
use crate::{ServeError, routes};
use late::Late;
use patient::Patient;
use sessions::Sessions;

/// What the server shows, and whom it trusts.
#[derive(Debug)]
pub struct Tls {
    /// The server's certificate and what it is signed by, leaf first, with the key of the leaf; asked at each handshake.
    pub server: Arc<dyn ResolvesServerCert>,
    /// Whose signature on a client's certificate is believed.
    pub clients: Arc<Trust>,
}

/// Something else than HTTP that machines of the cluster may speak on the same port; chosen by ALPN.
#[derive(Clone)]
pub struct Protocol {
    /// What it is called in ALPN.
    pub name: &'static [u8],
    /// What is shown to those who want to speak it, where that is not the server's certificate.
    pub certificate: Option<Arc<dyn ResolvesServerCert>>,
    /// Who may, and nobody else.
    pub who: Speaker,
    /// Speaks it with the machine named, until it ends.
    pub speak: Speak,
}

/// What a machine is in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// One that runs pods.
    Node,
    /// One that holds what is stored.
    Server,
}

/// Speaks a protocol with the machine named, until it ends.
pub type Speak = Arc<dyn Fn(TlsStream<TcpStream>, String) -> BoxFuture<'static, ()> + Send + Sync>;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Shows the certificate that goes with what is to be spoken.
#[derive(Debug)]
struct Shown {
    server: Arc<dyn ResolvesServerCert>,
    by_protocol: Vec<(&'static [u8], Arc<dyn ResolvesServerCert>)>,
}

/// A peer that has not shaken hands by then is not going to.
const HANDSHAKE_SECONDS_MAX: u64 = 10;
/// Clients multiplex all their watches over one connection; upstream allows between 250 and 1000.
const STREAMS_MAX: u32 = 1000;
/// Enough to keep a network busy while the next piece of a list is written; a slow reader of a stream holds no more than this.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Certificates and cookies of proxies fit; a header bomb does not.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// As many as a chatty proxy adds.
const HEADERS_MAX: usize = 100;
/// A peer that is gone is noticed within half a minute and a bit.
const KEEP_ALIVE_SECONDS: u64 = 30;
/// What a client takes nothing of for so long is no longer kept for it: longer than a network is away and comes back.
const STALL_SECONDS_MAX: u64 = 30;
/// Open requests get so long to finish once the end has come.
const GRACE_SECONDS: u64 = 5;
/// After an accept that failed (out of file descriptors, say) the next one waits.
const ACCEPT_PAUSE_MS: u64 = 50;

// === impl Tls ===

impl Tls {
    fn server_config(self, protocols: &[Protocol]) -> Result<ServerConfig, ServeError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let sessions = Sessions::new(self.clients.clone());
        let with_own = |protocol: &Protocol| Some((protocol.name, protocol.certificate.clone()?));
        let shown = Shown { server: self.server, by_protocol: protocols.iter().filter_map(with_own).collect() };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(ServeError::tls)?
            .with_client_cert_verifier(Verifier::new(Late(self.clients)))
            .with_cert_resolver(Arc::new(shown));
        config.session_storage = Arc::new(sessions);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.alpn_protocols.extend(protocols.iter().map(|protocol| protocol.name.to_vec()));
        Ok(config)
    }
}

// === impl Shown ===

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut wanted = hello.alpn().into_iter().flatten();
        let own = wanted.find_map(|wanted| self.by_protocol.iter().find(|(name, _)| *name == wanted));
        own.map_or(&self.server, |(_, certificate)| certificate).resolve(hello)
    }
}

/// Accepts until `closing` is cancelled, then lets what is open finish.
pub(crate) async fn serve(
    tls: Tls,
    listener: TcpListener,
    router: Router,
    protocols: Vec<Protocol>,
    closing: CancellationToken,
) -> Result<(), ServeError> {
    let acceptor = TlsAcceptor::from(Arc::new(tls.server_config(&protocols)?));
    let protocols: Arc<[Protocol]> = protocols.into();
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = closing.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (acceptor, protocols) = (acceptor.clone(), protocols.clone());
                let connection = connection(acceptor, stream, Peer(peer), router.clone(), protocols, closing.clone());
                connections.spawn(connection);
            }
            Err(error) => {
                warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(Duration::from_secs(GRACE_SECONDS), connections.wait()).await.is_err() {
        debug!(open = connections.len(), "connections cut off");
    }
    Ok(())
}

async fn connection(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: Peer,
    router: Router,
    protocols: Arc<[Protocol]>,
    closing: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set nodelay");
    }
    let handshake = tokio::time::timeout(Duration::from_secs(HANDSHAKE_SECONDS_MAX), acceptor.accept(stream));
    let stream = tokio::select! {
        () = closing.cancelled() => return,
        shaken = handshake => match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return debug!(%error, "no handshake"),
            Err(_) => return debug!("no handshake in time"),
        },
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let identity = match certificate {
        None => Identity::anonymous(),
        Some(certificate) => match Identity::of_certificate(certificate, Timestamp::now()) {
            Some(identity) => identity,
            None => return debug!("a client certificate names nobody"),
        },
    };
    let agreed = stream.get_ref().1.alpn_protocol();
    if let Some(protocol) = protocols.iter().find(|protocol| Some(protocol.name) == agreed) {
        let name = match protocol.who {
            Speaker::Node => identity.node(),
            Speaker::Server => identity.server(),
        };
        let Some(name) = name else {
            return debug!(user = identity.user, who = ?protocol.who, "what others speak was asked by somebody else");
        };
        let speaking = (protocol.speak)(stream, name.to_owned());
        closing.run_until_cancelled(speaking).await;
        return;
    }
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(identity.clone());
        request.extensions_mut().insert(peer);
        if let Some(plain) = routes::plain_path(request.uri()) {
            *request.uri_mut() = plain;
        }
        router.clone().call(request)
    });
    let builder = http();
    let mut connection = pin!(builder.serve_connection_with_upgrades(
        TokioIo::new(Patient::new(stream, Duration::from_secs(STALL_SECONDS_MAX))),
        service
    ));
    let mut leaving = false;
    loop {
        tokio::select! {
            done = connection.as_mut() => {
                if let Err(error) = done {
                    debug!(%error, "connection ended");
                }
                return;
            }
            () = closing.cancelled(), if !leaving => {
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn http() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Without a timer the time-outs below do nothing.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(KEEP_ALIVE_SECONDS))
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX.max(8192));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .keep_alive_interval(Duration::from_secs(KEEP_ALIVE_SECONDS));
    builder
}
