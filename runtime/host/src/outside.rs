//! The way out of a guest for its HTTP requests.
//!
//! Whoever runs workloads implements [`Outside`]; the host turns `wasi:http`, 0.2 and 0.3 alike, into calls of it.
//! Sockets and name look-ups have a trait of their own, [`Network`](crate::Network).

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error as WasiError, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpHooks,
};

use crate::body::{self, Body};

/// A request on its way.
pub type Sending = BoxFuture<'static, Result<Response<Body>, OutsideError>>;

/// What a guest can reach.
pub trait Outside: Send + Sync + 'static {
    /// Sends a request of the guest. The future is polled on the guests' threads: whoever does real I/O spawns it
    /// elsewhere. Dropping the future, or the response's body, gives the request up.
    fn send(&self, request: Request<Body>, timeouts: Timeouts) -> Sending;
}

/// How long the guest is willing to wait. The host itself sees to all but the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Option<Duration>,
    /// For the head of the response.
    pub first_byte: Option<Duration>,
    /// Between two pieces of the response's body.
    pub between_bytes: Option<Duration>,
}

/// Why a request of a guest failed; the guest gets `wasi:http`'s word for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutsideError {
    /// The name means nothing.
    #[error("no such host: {0}")]
    UnknownHost(String),
    /// The host is known, but nobody answers there now.
    #[error("no endpoint is available")]
    Unavailable,
    /// Policy forbids it.
    #[error("denied by policy")]
    Denied,
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// No connection in time.
    #[error("connection timed out")]
    ConnectTimedOut,
    /// No response in time.
    #[error("response timed out")]
    ResponseTimedOut,
    /// The connection ended early.
    #[error("connection terminated")]
    Terminated,
    /// The other side could not be trusted.
    #[error("tls: {0}")]
    Tls(String),
    /// The request has come this way before.
    #[error("loop detected")]
    Loop,
    /// The other side does not speak HTTP.
    #[error("protocol error")]
    Protocol,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// An outside without anything in it, and a network without anybody on it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nowhere;

/// The seam between `wasi:http` and an [`Outside`].
pub(crate) struct Hooks {
    outside: Arc<dyn Outside>,
}

// === impl Nowhere ===

impl Outside for Nowhere {
    fn send(&self, request: Request<Body>, _: Timeouts) -> Sending {
        let host = request.uri().host().unwrap_or_default().to_owned();
        Box::pin(async move { Err(OutsideError::UnknownHost(host)) })
    }
}

// === impl Timeouts ===

impl From<RequestOptions> for Timeouts {
    fn from(options: RequestOptions) -> Self {
        Self {
            connect: options.connect_timeout,
            first_byte: options.first_byte_timeout,
            between_bytes: options.between_bytes_timeout,
        }
    }
}

// === impl OutsideError ===

impl From<OutsideError> for WasiError {
    fn from(error: OutsideError) -> Self {
        match error {
            OutsideError::UnknownHost(_) => WasiError::DestinationNotFound,
            OutsideError::Unavailable => WasiError::DestinationUnavailable,
            OutsideError::Denied => WasiError::HttpRequestDenied,
            OutsideError::Refused => WasiError::ConnectionRefused,
            OutsideError::ConnectTimedOut => WasiError::ConnectionTimeout,
            OutsideError::ResponseTimedOut => WasiError::HttpResponseTimeout,
            OutsideError::Terminated => WasiError::ConnectionTerminated,
            OutsideError::Tls(_) => WasiError::TlsProtocolError,
            OutsideError::Loop => WasiError::LoopDetected,
            OutsideError::Protocol => WasiError::HttpProtocolError,
            OutsideError::Other(message) => WasiError::InternalError(Some(message)),
        }
    }
}

// === impl Hooks ===

type Io = Box<dyn Future<Output = Result<(), WasiError>> + Send>;
type Sent = Box<dyn Future<Output = Result<(Response<WasiBody>, Io), WasiError>> + Send>;

impl Hooks {
    pub(crate) fn new(outside: Arc<dyn Outside>) -> Self {
        Self { outside }
    }
}

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &http::HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        static FILTER: LazyLock<ForbiddenHeaderFilter> =
            LazyLock::new(|| Arc::new(|name| DEFAULT_FORBIDDEN_HEADERS.contains(name)));
        FILTER.clone()
    }

    fn send_request(&mut self, request: Request<WasiBody>, options: Option<RequestOptions>, _: Io) -> Sent {
        let timeouts = options.map(Timeouts::from).unwrap_or_default();
        let sending = self.outside.send(request.map(body::lingering), timeouts);
        Box::new(async move {
            let response = match timeouts.first_byte {
                None => sending.await,
                Some(limit) => {
                    tokio::time::timeout(limit, sending).await.unwrap_or(Err(OutsideError::ResponseTimedOut))
                }
            }?;
            let response = response.map(|incoming| match timeouts.between_bytes {
                None => body::inward(incoming),
                Some(limit) => body::Paced::new(body::inward(incoming), limit).boxed_unsync(),
            });
            let io: Io = Box::new(async { Ok(()) });
            Ok((response, io))
        })
    }
}
