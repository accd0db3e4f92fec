//! One warm HTTP/2 connection over TLS, dialled again when it is gone.

use std::fmt;
use std::io;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use api::Kinds;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderValue, USER_AGENT};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::client::WantsClientCert;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Semaphore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::ClientError;
use crate::pinned::{Pinned, Recognise};

/// The body of a request.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Long enough for a busy server on a slow link, short enough that a dead one is noticed.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that does not answer a ping for this long is given up.
const PING_EVERY: Duration = Duration::from_secs(20);
/// So many requests of one client wait for their answers at a time. The others wait here, where they cost less than at the server,
/// which refuses a client that asks for too much at once.
const IN_FLIGHT_MAX: usize = 64;
/// Watches share one connection; a window this large keeps one busy list from starving them.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// A client of one API server. Clones share the connection.
#[derive(Clone)]
pub struct Client {
    target: Arc<Target>,
    connection: Arc<Mutex<Option<http2::SendRequest<Body>>>>,
    /// Who may wait for an answer.
    pub(crate) turns: Arc<Semaphore>,
    /// What the server was taught, as far as somebody asked.
    pub(crate) learned: Arc<RwLock<Arc<Kinds>>>,
}

/// Where the server is, whom it is trusted by, and who one is there.
pub struct Target {
    host: String,
    port: u16,
    tls: ClientConfig,
    token: Option<HeaderValue>,
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
    pub fn new(url: &str, ca: String, identity: Identity) -> Result<Self, ClientError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            let certificate = certificate.map_err(|_| wrong(url, "the certificate authority is not PEM"))?;
            let added = roots.add(certificate);
            added.map_err(|error| wrong(url, &format!("the certificate authority cannot be used: {error}")))?;
        }
        Self::with(url, identity, |builder| builder.with_root_certificates(roots))
    }

    /// A server at `url` that must show, in its chain, an authority that `recognise` knows.
    pub fn pinned(url: &str, recognise: Recognise, identity: Identity) -> Result<Self, ClientError> {
        let verifier = Arc::new(Pinned { provider: provider(), recognise });
        Self::with(url, identity, |builder| builder.dangerous().with_custom_certificate_verifier(verifier))
    }

    fn with(
        url: &str,
        identity: Identity,
        trust: impl FnOnce(ConfigBuilder<ClientConfig, WantsVerifier>) -> ConfigBuilder<ClientConfig, WantsClientCert>,
    ) -> Result<Self, ClientError> {
        let wrong = |what: &str| wrong(url, what);
        let uri: http::Uri = url.parse().map_err(|_| wrong("not a URL"))?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong("only https servers can be talked to"));
        }
        let host = uri.host().ok_or_else(|| wrong("no host"))?.trim_matches(['[', ']']).to_owned();
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = trust(builder.map_err(|error| wrong(&error.to_string()))?);
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
        Ok(Self { host, port: uri.port_u16().unwrap_or(443), tls, token })
    }

    /// Host and port.
    pub fn server(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Dials the server and agrees on `protocol` by ALPN.
    pub async fn dial(&self, protocol: &[u8]) -> Result<TlsStream<TcpStream>, ClientError> {
        let failed = |source| ClientError::Connect { server: self.server(), source };
        let dialling = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
            let mut tls = self.tls.clone();
            tls.alpn_protocols = vec![protocol.to_vec()];
            TlsConnector::from(Arc::new(tls)).connect(name, stream).await
        };
        match tokio::time::timeout(DIAL_TIMEOUT, dialling).await {
            Ok(connected) => connected.map_err(failed),
            Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Completes a request's headers.
    pub(crate) fn address<B>(&self, request: &mut http::Request<B>) {
        let headers = request.headers_mut();
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(concat!("coracle/", env!("CARGO_PKG_VERSION"))));
        if let Ok(host) = HeaderValue::try_from(self.server()) {
            headers.entry(HOST).or_insert(host);
        }
        if let Some(token) = &self.token {
            headers.entry(AUTHORIZATION).or_insert(token.clone());
        }
    }
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
        Self { target: Arc::new(target), connection: Arc::default(), turns, learned: Arc::default() }
    }

    /// The same client over the same connection, whose requests do not wait behind those of its clones.
    pub fn apart(&self) -> Self {
        Self { turns: Arc::new(Semaphore::new(IN_FLIGHT_MAX)), ..self.clone() }
    }

    /// The server's host and port.
    pub fn server(&self) -> String {
        self.target.server()
    }

    /// What is asked from now on goes over a new connection, with the papers of now; what is under way ends on the old one.
    pub async fn redial(&self) {
        self.connection.lock().await.take();
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Sends a request whose URI is a path, and gives the answer whatever its status.
    pub async fn request(&self, mut request: http::Request<Body>) -> Result<http::Response<Incoming>, ClientError> {
        self.target.address(&mut request);
        // HTTP/2 wants the whole URI and no Host header.
        request.headers_mut().remove(HOST);
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri = format!("https://{}{path}", self.target.server());
        *request.uri_mut() = uri.parse().map_err(|_| ClientError::Request(format!("{uri} is not a URL")))?;
        *request.version_mut() = http::Version::HTTP_2;
        let mut sender = self.sender().await?;
        let answer = sender.send_request(request).await;
        answer.map_err(|source| ClientError::Http { server: self.server(), source })
    }

    async fn sender(&self) -> Result<http2::SendRequest<Body>, ClientError> {
        let mut connection = self.connection.lock().await;
        if let Some(sender) = connection.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let stream = self.target.dial(b"h2").await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(STREAM_WINDOW_BYTES * 8)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_while_idle(true);
        let handshake = builder.handshake::<_, Body>(TokioIo::new(stream)).await;
        let (sender, driver) = handshake.map_err(|source| ClientError::Http { server: self.server(), source })?;
        // The driver ends with the connection, which ends when the last sender and the last stream are dropped.
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "connection to the server ended");
            }
        });
        *connection = Some(sender.clone());
        Ok(sender)
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
