//! The way out: real connections, pooled, over HTTP/1.1 and HTTP/2.
//!
//! Names are resolved by the node's own resolver, each address is asked of the policy, and what was asked about is what is
//! connected to. Pods and pods on the host network have pools of their own: a connection that one may have must not be
//! found by the other. So has each pod that a NetworkPolicy isolates, and only for as long as policies stay as they are.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::Uri;
use http::uri::{Authority, Scheme};
use http_body_util::BodyExt;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::guard::EgressPolicy;
use super::{Config, Reach};
use crate::policy::{Direction, Peer, PortProtocol};
use crate::{Body, BoxError, Fault, Handler, Origin, Policy, PolicyTable, Request, Response, handler};

/// How long an unused connection is kept: less than the minute after which common servers close theirs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// Unused connections kept for one host: enough for a busy dependency, few enough for many hosts.
const IDLE_PER_HOST_MAX: usize = 32;

#[derive(Clone)]
pub(super) struct Egress {
    pods: Client<Connector, Body>,
    node: Client<Connector, Body>,
    isolated: Arc<Mutex<HashMap<Origin, Isolated>>>,
    config: Config,
    tls: Arc<OnceCell<TlsConnector>>,
    /// Where connections live, whoever asks: on guests' threads they would wait for guests.
    home: Handle,
}

/// The connections of a pod that policies isolate, and the policies that they were made under.
struct Isolated {
    client: Client<Connector, Body>,
    under: Arc<PolicyTable>,
}

#[derive(Clone)]
struct Connector {
    shared: Arc<Connecting>,
}

struct Connecting {
    /// None: everything may be reached.
    policy: Option<EgressPolicy>,
    /// Made when the first connection needs it: reading the platform's root certificates takes longer than a start may, and
    /// a machine that has none can do without until then.
    tls: Arc<OnceCell<TlsConnector>>,
    timeout: Duration,
    /// Knows the addresses that no name outside stands for, whatever it resolves to.
    config: Config,
    /// Whose connections these are, if NetworkPolicies are to be asked about each.
    asked: Option<(Policy, Origin)>,
}

/// Every address the name has is forbidden.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not to be reached from a pod")]
struct Denied(IpAddr);

/// The name has no address.
#[derive(Debug, thiserror::Error)]
#[error("there is no host {0}")]
struct NoHost(String);

trait Io: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

struct Stream {
    io: TokioIo<Pin<Box<dyn Io>>>,
    is_http2: bool,
}

// === impl Egress ===

impl Egress {
    /// A way out whose connections live on the caller's runtime.
    pub(super) fn new(config: &Config) -> Self {
        let tls = Arc::new(OnceCell::new());
        let client = |policy| client(config, policy, &tls, None);
        Self {
            pods: client(Some(config.egress.clone())),
            node: client(None),
            isolated: Arc::default(),
            config: config.clone(),
            tls,
            home: Handle::current(),
        }
    }

    pub(super) async fn send(&self, reach: Reach, request: Request) -> Result<Response, Fault> {
        let client = match reach {
            Reach::Pod => &self.pods,
            Reach::Node => &self.node,
        };
        self.answer(client.clone(), request).await
    }

    /// Sends a request of a pod that `policy` isolates.
    pub(super) async fn send_isolated(
        &self,
        policy: &Policy,
        origin: &Origin,
        request: Request,
    ) -> Result<Response, Fault> {
        let under = policy.table();
        let client = {
            let mut isolated = self.isolated.lock();
            isolated.retain(|_, known| Arc::ptr_eq(&known.under, &under));
            let make = || {
                let asked = Some((policy.clone(), origin.clone()));
                let client = client(&self.config, Some(self.config.egress.clone()), &self.tls, asked);
                Isolated { client, under: under.clone() }
            };
            isolated.entry(origin.clone()).or_insert_with(make).client.clone()
        };
        self.answer(client, request).await
    }

    async fn answer(&self, client: Client<Connector, Body>, request: Request) -> Result<Response, Fault> {
        let asking = AbortOnDropHandle::new(self.home.spawn(async move { client.request(request).await }));
        let response = asking.await.map_err(|error| Fault::Connection(error.into()))?.map_err(fault)?;
        Ok(response.map(|body| body.map_err(BoxError::from).boxed_unsync()))
    }

    /// Sends what it is given to `address`, whatever name the request bears.
    pub(super) fn handler(&self, reach: Reach, address: SocketAddr) -> Handler {
        let egress = self.clone();
        handler(move |mut request: Request| {
            let egress = egress.clone();
            async move {
                let scheme = request.uri().scheme().cloned().unwrap_or(Scheme::HTTP);
                let authority =
                    Authority::try_from(address.to_string()).map_err(|_| Fault::BadRequest("bad address"))?;
                super::set_authority(&mut request, scheme, authority)?;
                egress.send(reach, request).await
            }
        })
    }
}

fn client(
    config: &Config,
    policy: Option<EgressPolicy>,
    tls: &Arc<OnceCell<TlsConnector>>,
    asked: Option<(Policy, Origin)>,
) -> Client<Connector, Body> {
    let connecting =
        Connecting { policy, tls: tls.clone(), timeout: config.connect_timeout, config: config.clone(), asked };
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .build(Connector { shared: Arc::new(connecting) })
}

fn fault(error: hyper_util::client::legacy::Error) -> Fault {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(known) = cause {
        if let Some(Denied(address)) = known.downcast_ref() {
            return Fault::Denied(*address);
        }
        if let Some(NoHost(name)) = known.downcast_ref() {
            return Fault::NoHost(name.clone());
        }
        cause = known.source();
    }
    Fault::Connection(error.into())
}

// === impl Connector ===

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Stream, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.shared.clone();
        Box::pin(async move {
            let limit = connecting.timeout;
            match timeout(limit, connecting.connect(&uri)).await {
                Ok(stream) => stream,
                Err(_) => {
                    Err(io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {limit:?}")).into())
                }
            }
        })
    }
}

// === impl Connecting ===

impl Connecting {
    async fn connect(&self, uri: &Uri) -> Result<Stream, BoxError> {
        let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tcp = first(&self.permitted(host, port).await?).await?;
        tcp.set_nodelay(true)?;
        if !is_tls {
            return Ok(Stream { io: TokioIo::new(Box::pin(tcp)), is_http2: false });
        }
        let connector = self.tls.get_or_try_init(|| async { spawn_blocking(connector).await? });
        let tls = connector.await?.connect(ServerName::try_from(host.to_owned())?, tcp).await?;
        let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Stream { io: TokioIo::new(Box::pin(tls)), is_http2 })
    }

    /// The addresses of the host that policy lets pass.
    async fn permitted(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, BoxError> {
        let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => lookup_host((host, port)).await.map_err(|_| NoHost(host.to_owned()))?.collect(),
        };
        let Some(first) = found.first().map(SocketAddr::ip) else { return Err(NoHost(host.to_owned()).into()) };
        let is_permitted = |address: &SocketAddr| {
            self.policy.as_ref().is_none_or(|policy| policy.allows(*address))
                && !self.config.is_inside(address.ip())
                && self.is_let_out(host, *address)
        };
        let permitted: Vec<SocketAddr> = found.into_iter().filter(is_permitted).collect();
        if permitted.is_empty() {
            return Err(Denied(first).into());
        }
        Ok(permitted)
    }

    /// Whether the pod's policies let it reach an address that `host` has.
    fn is_let_out(&self, host: &str, address: SocketAddr) -> bool {
        let Some((policy, origin)) = &self.asked else { return true };
        let (from, to) = (origin.peer(), Peer::Address(address.ip()));
        policy.answered(&from, host, &[address.ip()]);
        policy.check(Direction::Egress, &from, &to, PortProtocol::tcp(address.port())).is_ok()
    }
}

/// TLS as the platform trusts it.
fn connector() -> Result<TlsConnector, BoxError> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A connection to the first address that takes one.
async fn first(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

// === impl Stream ===

impl Connection for Stream {
    fn connected(&self) -> Connected {
        if self.is_http2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
