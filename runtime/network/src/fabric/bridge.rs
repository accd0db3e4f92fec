//! Between those who answer requests and those who have sockets.
//!
//! A connection to a handler is served as HTTP/1.1 or HTTP/2, as its first bytes say. A request to a listener is sent over
//! a connection, which is kept for the next one of the same origin to the same address: what one may reach must not be
//! found by another.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderValue, StatusCode, Uri, Version, header};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Fabric;
use super::progress::Progress;
use crate::{Body, Fault, Handler, Origin, PriorKnowledge, Request, Response, Stream, call, text};

/// How long a connection without a request is kept: less than servers commonly keep theirs.
const IDLE: Duration = Duration::from_secs(30);
/// Connections without a request that are kept for one origin and address.
const IDLE_MAX: usize = 32;

/// Serves `handler` to whoever is at the other side of `io`, until that is done or `closing` and nothing is under way.
pub(super) async fn serve(
    handler: Handler,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    closing: CancellationToken,
) {
    let progress = Progress::default();
    let io = progress.counted(io);
    let service =
        service_fn(move |request: http::Request<Incoming>| answer(handler.clone(), request, progress.clone()));
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new());
    let mut connection = pin!(server.serve_connection_with_upgrades(TokioIo::new(io), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = error.as_ref(), "a connection to a server broke off");
    }
}

async fn answer(
    handler: Handler,
    request: http::Request<Incoming>,
    progress: Progress,
) -> Result<Response, std::convert::Infallible> {
    progress.made();
    if request.version() == Version::HTTP_2 {
        progress.forget();
    }
    let mut request = request.map(|body| progress.body(body));
    if !is_whole(&mut request) {
        return Ok(text(StatusCode::BAD_REQUEST, "the request has no host\n"));
    }
    let answered = call(handler, request).await.unwrap_or_else(|fault| text(fault.status(), format!("{fault}\n")));
    if answered.status() == StatusCode::SWITCHING_PROTOCOLS {
        progress.forget();
    }
    Ok(answered)
}

/// Completes the URI by what `Host` says, as handlers expect it; `false`: it does not say it.
fn is_whole(request: &mut Request) -> bool {
    if request.uri().authority().is_some() {
        return true;
    }
    let host = request.headers().get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let Some(authority) = host else { return false };
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    parts.path_and_query.get_or_insert_with(|| http::uri::PathAndQuery::from_static("/"));
    match Uri::from_parts(parts) {
        Ok(uri) => {
            *request.uri_mut() = uri;
            true
        }
        Err(_) => false,
    }
}

/// Connections that wait for their next request.
#[derive(Default)]
pub(super) struct Pool {
    idle: Arc<Mutex<HashMap<Key, Vec<Idle>>>>,
}

/// Whose a connection is and where it goes; HTTP/2 ones apart.
type Key = (Origin, SocketAddr, bool);

struct Idle {
    sender: Sender,
    since: Instant,
}

/// Where requests go into a connection.
enum Sender {
    /// One after the other.
    One(http1::SendRequest<Body>, Progress),
    /// Side by side.
    Many(http2::SendRequest<Body>),
}

/// Has `request` answered by who listens at `to`, over a connection.
pub(super) async fn exchange(
    fabric: Fabric,
    origin: Origin,
    to: SocketAddr,
    request: Request,
) -> Result<Response, Fault> {
    let working = fabric.clone();
    let exchanged = fabric.home(async move { exchange_at_home(&working, origin, to, request).await });
    exchanged.await.unwrap_or(Err(Fault::Unreachable(to)))
}

/// Has `request` answered by the other side of `stream`, which is for this request alone.
pub(super) async fn ask(stream: Stream, to: SocketAddr, mut request: Request) -> Result<Response, Fault> {
    let is_http2 = is_http2(&request);
    prepare(&mut request, to, is_http2);
    let sender = Sender::over(stream, is_http2).await.map_err(|error| Fault::Connection(error.into()))?;
    match sender.send(request).await {
        Ok((response, sender)) => Ok(response.map(|body| sender.progress().body(body))),
        Err((_, error)) => Err(Fault::Connection(error.into())),
    }
}

/// Callers of gRPC expect HTTP/2 to the end; everybody else gets what every server speaks.
fn is_http2(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let is_grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    is_grpc || request.extensions().get::<PriorKnowledge>().is_some()
}

async fn exchange_at_home(
    fabric: &Fabric,
    origin: Origin,
    to: SocketAddr,
    mut request: Request,
) -> Result<Response, Fault> {
    let is_http2 = is_http2(&request);
    let key = (origin, to, is_http2);
    prepare(&mut request, to, is_http2);
    // What is kept may have been closed by the other side just now; the request then comes back, and is sent anew.
    while let Some(sender) = fabric.shared.pool.take(&key) {
        match sender.send(request).await {
            Ok((response, sender)) => return Ok(fabric.shared.pool.answered(response, sender, key)),
            Err((Some(unsent), _)) => request = unsent,
            Err((None, error)) => return Err(Fault::Connection(error.into())),
        }
    }
    let stream = match fabric.connect_near(&key.0, to).await {
        Ok(stream) => stream,
        Err(refused) if refused.is_worth_another_try() => return Err(Fault::refused(request, "nobody listens")),
        Err(refused) => return Err(refused.into()),
    };
    let sender = Sender::over(stream, is_http2).await.map_err(|error| Fault::Connection(error.into()))?;
    match sender.send(request).await {
        Ok((response, sender)) => Ok(fabric.shared.pool.answered(response, sender, key)),
        Err((Some(unsent), _)) => Err(Fault::refused(unsent, "the connection was closed")),
        Err((None, error)) => Err(Fault::Connection(error.into())),
    }
}

/// Writes the request as a server at the end of a connection reads it.
fn prepare(request: &mut Request, to: SocketAddr, is_http2: bool) {
    let authority = request.uri().authority().map_or_else(|| to.to_string(), ToString::to_string);
    if is_http2 {
        *request.version_mut() = Version::HTTP_2;
        return;
    }
    *request.version_mut() = Version::HTTP_11;
    if !request.headers().contains_key(header::HOST)
        && let Ok(host) = HeaderValue::try_from(authority)
    {
        request.headers_mut().insert(header::HOST, host);
    }
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
}

// === impl Pool ===

impl Pool {
    fn take(&self, key: &Key) -> Option<Sender> {
        let mut idle = self.idle.lock();
        let kept = idle.get_mut(key)?;
        let found = std::iter::from_fn(|| kept.pop()).find(|one| one.sender.is_open() && one.since.elapsed() < IDLE);
        if kept.is_empty() {
            idle.remove(key);
        }
        found.map(|one| one.sender)
    }

    /// Keeps the connection of an answer once that has come to its end.
    fn answered(&self, response: http::Response<Incoming>, sender: Sender, key: Key) -> Response {
        let progress = sender.progress();
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let idle = self.idle.clone();
            tokio::spawn(async move {
                let mut sender = sender;
                if !sender.is_ready_again().await {
                    return;
                }
                let since = Instant::now();
                {
                    let mut idle = idle.lock();
                    let kept = idle.entry(key.clone()).or_default();
                    if kept.len() < IDLE_MAX {
                        kept.push(Idle { sender, since });
                    }
                }
                tokio::time::sleep(IDLE).await;
                let mut idle = idle.lock();
                if let Some(kept) = idle.get_mut(&key) {
                    kept.retain(|one| one.since.elapsed() < IDLE);
                    if kept.is_empty() {
                        idle.remove(&key);
                    }
                }
            });
        }
        response.map(|body| progress.body(body))
    }
}

// === impl Sender ===

impl Sender {
    async fn over(stream: Stream, is_http2: bool) -> hyper::Result<Self> {
        if is_http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            return Ok(Self::Many(sender));
        }
        let progress = Progress::default();
        let (sender, connection) = http1::handshake(TokioIo::new(progress.counted(stream))).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(Self::One(sender, progress))
    }

    fn is_open(&self) -> bool {
        match self {
            Self::One(sender, _) => !sender.is_closed(),
            Self::Many(sender) => !sender.is_closed(),
        }
    }

    /// What the other side says; with HTTP/2 nobody counts.
    fn progress(&self) -> Progress {
        match self {
            Self::One(_, progress) => progress.clone(),
            Self::Many(_) => Progress::default(),
        }
    }

    async fn is_ready_again(&mut self) -> bool {
        match self {
            Self::One(sender, _) => sender.ready().await.is_ok(),
            Self::Many(sender) => sender.ready().await.is_ok(),
        }
    }

    /// The answer, and the connection for the next request; or the request where it never left.
    async fn send(
        mut self,
        request: Request,
    ) -> Result<(http::Response<Incoming>, Self), (Option<Request>, hyper::Error)> {
        let sent = match &mut self {
            Self::One(sender, progress) => {
                progress.made();
                sender.try_send_request(request).await
            }
            Self::Many(sender) => sender.try_send_request(request).await,
        };
        match sent {
            Ok(response) => {
                match response.status() {
                    StatusCode::SWITCHING_PROTOCOLS => self.progress().forget(),
                    _ => self.progress().made(),
                }
                Ok((response, self))
            }
            Err(mut error) => Err((error.take_message(), error.into_error())),
        }
    }
}
