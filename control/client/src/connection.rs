//! One warm HTTP/2 connection over TLS, to one of the servers; when it is gone, one is dialled that answers.
//!
//! A request that got lost with a connection is its caller's to ask again: only he knows whether it may happen twice. A server
//! that is there and has nothing to say, because it has lost the others, is left too.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use api::Kinds;
use bytes::Bytes;
use http::StatusCode;
use http::header::{AUTHORIZATION, HOST, HeaderValue, USER_AGENT};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use trust::{Trust, TrustError, Verifier};

use crate::ClientError;
use crate::pinned::{Pinned, Recognise};
use crate::servers::{self, Servers};

/// The body of a request.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Long enough for a busy server on a slow link, short enough that a dead one is noticed,
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// and shorter where others can be asked instead.
const DIAL_TIMEOUT_OF_SEVERAL: Duration = Duration::from_secs(3);
/// A connection over which nothing is heard for this long is asked whether it is still there,
const PING_EVERY: Duration = Duration::from_secs(20);
/// sooner where there are others; it is given up when it has not said so after as long again.
const PING_EVERY_OF_SEVERAL: Duration = Duration::from_secs(4);
/// A server that cannot say for so long that it is ready is left. It asks the others itself, which takes it a while.
const READY_PATIENCE: Duration = Duration::from_secs(8);
/// So many requests of one client wait for their answers at a time. The others wait here, where they cost less than at the server,
/// which refuses a client that asks for too much at once.
const IN_FLIGHT_MAX: usize = 64;
/// Watches share one connection; a window this large keeps one busy list from starving them.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// A client of one cluster. Clones share the connection.
#[derive(Clone)]
pub struct Client {
    target: Arc<Target>,
    connection: Arc<Mutex<Option<Connection>>>,
    /// Held by whoever finds out whether the server is of any use.
    doubting: Arc<Mutex<()>>,
    /// Who may wait for an answer.
    pub(crate) turns: Arc<Semaphore>,
    /// What the server was taught, as far as somebody asked.
    pub(crate) learned: Arc<RwLock<Arc<Kinds>>>,
}

/// Where the servers are, whom they are trusted by, and who one is there.
pub struct Target {
    servers: watch::Sender<Servers>,
    /// In which order it asks servers among which it has no choice to make.
    seed: u64,
    tls: ClientConfig,
    token: Option<HeaderValue>,
}

/// A connection to one of the servers.
struct Connection {
    server: Arc<str>,
    sender: http2::SendRequest<Body>,
    /// Drives it, and takes all that is under way along when it is ended.
    driver: AbortHandle,
}

/// Who one is.
#[derive(Clone, Debug)]
pub enum Identity {
    /// Nobody.
    Anonymous,
    /// A bearer token.
    Token(String),
    /// A client certificate with its key, both PEM.
    Certificate {
        /// The chain, leaf first.
        certificate: String,
        /// The private key.
        key: String,
    },
    /// A client certificate that may be replaced: it is asked for at each handshake.
    Papers(Arc<dyn ResolvesClientCert>),
}

// === impl Target ===

impl Target {
    /// A server at `url` (`https://host:port`) whose certificate `ca` (PEM) vouches for.
    pub fn new(url: &str, ca: &str, identity: Identity) -> Result<Self, ClientError> {
        let trust = Trust::new(ca).map_err(|error| match error {
            TrustError::NotPem => wrong(url, "the certificate authority is not PEM"),
            TrustError::Unusable(error) => wrong(url, &format!("the certificate authority cannot be used: {error}")),
        })?;
        Self::trusting(url, trust, identity)
    }

    /// A server at `url` for which those vouch who are trusted when it is dialled.
    pub fn trusting(url: &str, trust: Arc<Trust>, identity: Identity) -> Result<Self, ClientError> {
        Self::with(url, identity, Verifier::new(trust))
    }

    /// A server at `url` that must show, in its chain, an authority that `recognise` knows.
    pub fn pinned(url: &str, recognise: Recognise, identity: Identity) -> Result<Self, ClientError> {
        Self::with(url, identity, Verifier::new(Pinned { provider: provider(), recognise }))
    }

    fn with(url: &str, identity: Identity, verifier: Arc<dyn ServerCertVerifier>) -> Result<Self, ClientError> {
        let wrong = |what: &str| wrong(url, what);
        let server = server_of(url)?;
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| wrong(&error.to_string()))?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let (tls, token) = match identity {
            Identity::Anonymous => (builder.with_no_client_auth(), None),
            Identity::Papers(papers) => {
                let mut tls = builder.with_client_cert_resolver(papers);
                // Who resumes a session is who began it, with the papers of then.
                tls.resumption = Resumption::disabled();
                (tls, None)
            }
            Identity::Token(token) => {
                let header =
                    HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| wrong("the token cannot be sent"))?;
                (builder.with_no_client_auth(), Some(header))
            }
            Identity::Certificate { certificate, key } => {
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
                let chain = chain.map_err(|_| wrong("the client certificate is not PEM"))?;
                let key =
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| wrong("the client key is not PEM"))?;
                let tls = builder.with_client_auth_cert(chain, key);
                (tls.map_err(|error| wrong(&format!("the client certificate cannot be used: {error}")))?, None)
            }
        };
        let servers = watch::Sender::new(Servers::given(vec![server]));
        Ok(Self { servers, seed: RandomState::new().hash_one(()), tls, token })
    }

    /// The same cluster is also reached at `url`.
    pub fn or(self, url: &str) -> Result<Self, ClientError> {
        let server = server_of(url)?;
        self.servers.send_modify(|servers| servers.give(server));
        Ok(self)
    }

    /// The same cluster at one server, `host:port`, and no other.
    fn only(&self, server: &str) -> Self {
        let servers = watch::Sender::new(Servers::given(vec![server.to_owned()]));
        Self { servers, seed: self.seed, tls: self.tls.clone(), token: self.token.clone() }
    }

    /// Host and port of the server that would be asked next.
    pub fn server(&self) -> String {
        self.servers.borrow().order().into_iter().next().unwrap_or_default()
    }

    /// Dials the server, or the first of several that answers, and agrees on `protocol` by ALPN.
    pub async fn dial(&self, protocol: &[u8]) -> Result<TlsStream<TcpStream>, ClientError> {
        self.dial_any(protocol).await.map(|(_, stream)| stream)
    }

    pub(crate) async fn dial_any(&self, protocol: &[u8]) -> Result<(String, TlsStream<TcpStream>), ClientError> {
        let mut first = None;
        let order = self.servers.borrow().order();
        for server in order {
            match self.dial_at(&server, protocol).await {
                Ok(stream) => {
                    self.servers.send_if_modified(|servers| servers.answered(&server));
                    return Ok((server, stream));
                }
                Err(error) => {
                    self.failed(&server);
                    first.get_or_insert(error);
                }
            }
        }
        Err(first.unwrap_or_else(|| ClientError::Request("no server is known".into())))
    }

    /// Dials this server, whether or not another would be asked.
    pub(crate) async fn dial_at(&self, server: &str, protocol: &[u8]) -> Result<TlsStream<TcpStream>, ClientError> {
        let failed = |source| ClientError::Connect { server: server.into(), source };
        let dialling = async {
            let stream = TcpStream::connect(server).await?;
            stream.set_nodelay(true)?;
            let host = server.rsplit_once(':').map_or(server, |(host, _)| host).trim_matches(['[', ']']);
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            let mut tls = self.tls.clone();
            tls.alpn_protocols = vec![protocol.to_vec()];
            TlsConnector::from(Arc::new(tls)).connect(name, stream).await
        };
        let patience = if self.has_several() { DIAL_TIMEOUT_OF_SEVERAL } else { DIAL_TIMEOUT };
        match tokio::time::timeout(patience, dialling).await {
            Ok(connected) => connected.map_err(failed),
            Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
        }
    }

    fn has_several(&self) -> bool {
        self.servers.borrow().all().len() > 1
    }

    fn failed(&self, server: &str) {
        // Of one alone there is nothing to decide.
        if self.has_several() {
            self.servers.send_modify(|servers| servers.failed(server));
        }
    }

    /// Completes a request's headers.
    pub(crate) fn address<B>(&self, server: &str, request: &mut http::Request<B>) {
        let headers = request.headers_mut();
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(concat!("coracle/", env!("CARGO_PKG_VERSION"))));
        if let Ok(host) = HeaderValue::try_from(server) {
            headers.entry(HOST).or_insert(host);
        }
        if let Some(token) = &self.token {
            headers.entry(AUTHORIZATION).or_insert(token.clone());
        }
    }
}

/// Host and port of an HTTPS server.
fn server_of(url: &str) -> Result<String, ClientError> {
    let uri: http::Uri = url.parse().map_err(|_| wrong(url, "not a URL"))?;
    if uri.scheme_str() != Some("https") {
        return Err(wrong(url, "only https servers can be talked to"));
    }
    let host = uri.host().ok_or_else(|| wrong(url, "no host"))?.trim_matches(['[', ']']);
    Ok(servers::socket(host, uri.port_u16().unwrap_or(443)))
}

fn wrong(url: &str, what: &str) -> ClientError {
    ClientError::Request(format!("{url}: {what}"))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

// === impl Client ===

impl Client {
    /// A client that will dial when first asked for something.
    pub fn new(target: Target) -> Self {
        let turns = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        let (connection, doubting) = (Arc::default(), Arc::default());
        Self { target: Arc::new(target), connection, doubting, turns, learned: Arc::default() }
    }

    /// The same client over the same connection, whose requests do not wait behind those of its clones.
    pub fn apart(&self) -> Self {
        Self { turns: Arc::new(Semaphore::new(IN_FLIGHT_MAX)), ..self.clone() }
    }

    /// A client of one server, `host:port`, and no other: for what each of them is asked by itself.
    pub fn only(&self, server: &str) -> Self {
        Self::new(self.target.only(server))
    }

    /// Host and port of the server that would be asked next.
    pub fn server(&self) -> String {
        self.target.server()
    }

    /// What is asked from now on goes over a new connection, with the papers of now; what is under way ends on the old one.
    pub async fn redial(&self) {
        self.connection.lock().await.take();
    }

    /// The servers as they are known from now on.
    pub fn servers(&self) -> watch::Receiver<Servers> {
        self.target.servers.subscribe()
    }

    /// The cluster tells of these servers.
    pub fn learn(&self, published: Vec<String>) {
        self.target.servers.send_if_modified(|servers| servers.learn(published, self.target.seed));
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Sends a request whose URI is a path, and gives the answer whatever its status.
    pub async fn request(&self, request: http::Request<Body>) -> Result<http::Response<Incoming>, ClientError> {
        let (server, mut sender) = self.sender().await?;
        let request = self.addressed(&server, request)?;
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|source| ClientError::Http { server: server.to_string(), source })?;
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE && self.target.has_several() {
            tokio::spawn(self.clone().doubt(server));
        }
        Ok(answer)
    }

    fn addressed(&self, server: &str, mut request: http::Request<Body>) -> Result<http::Request<Body>, ClientError> {
        self.target.address(server, &mut request);
        // HTTP/2 wants the whole URI and no Host header.
        request.headers_mut().remove(HOST);
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri = format!("https://{server}{path}");
        *request.uri_mut() = uri.parse().map_err(|_| ClientError::Request(format!("{uri} is not a URL")))?;
        *request.version_mut() = http::Version::HTTP_2;
        Ok(request)
    }

    async fn sender(&self) -> Result<(Arc<str>, http2::SendRequest<Body>), ClientError> {
        let mut connection = self.connection.lock().await;
        if let Some(Connection { server, sender, .. }) = connection.as_ref().filter(|known| !known.sender.is_closed()) {
            return Ok((server.clone(), sender.clone()));
        }
        let (server, stream) = self.target.dial_any(b"h2").await?;
        let several = self.target.has_several();
        let ping_every = if several { PING_EVERY_OF_SEVERAL } else { PING_EVERY };
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(STREAM_WINDOW_BYTES * 8)
            .keep_alive_interval(ping_every)
            .keep_alive_timeout(ping_every)
            .keep_alive_while_idle(true);
        let handshake = builder.handshake::<_, Body>(TokioIo::new(stream)).await;
        let failed = |source| ClientError::Http { server: server.clone(), source };
        let (sender, driver) = handshake.map_err(failed)?;
        // The driver ends with the connection, which ends when the last sender and the last stream are dropped.
        let driver = tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "connection to the server ended");
            }
        });
        let server: Arc<str> = server.into();
        let fresh = Connection { server: server.clone(), sender: sender.clone(), driver: driver.abort_handle() };
        *connection = Some(fresh);
        Ok((server, sender))
    }

    /// Finds out whether a server that had no answer is of any use, and leaves it if it is not.
    async fn doubt(self, server: Arc<str>) {
        // Whoever holds it finds out for all.
        let Ok(_doubting) = self.doubting.try_lock() else { return };
        let known = match &*self.connection.lock().await {
            Some(known) if known.server == server => known.sender.clone(),
            _ => return,
        };
        let asking = async {
            let request = http::Request::get("/readyz").body(no_body()).ok()?;
            let request = self.addressed(&server, request).ok()?;
            known.clone().send_request(request).await.ok()
        };
        let answer = tokio::time::timeout(READY_PATIENCE, asking).await;
        if matches!(answer, Ok(Some(answer)) if answer.status().is_success()) {
            return;
        }
        tracing::info!(%server, "it is not ready; another server is asked");
        self.target.failed(&server);
        let mut connection = self.connection.lock().await;
        if let Some(left) = connection.take_if(|known| known.server == server) {
            left.driver.abort();
        }
    }
}

/// No body.
pub fn no_body() -> Body {
    full(Bytes::new())
}

/// A body held in memory.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("server", &self.server()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("server", &self.server()).finish_non_exhaustive()
    }
}
