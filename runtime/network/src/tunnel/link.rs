//! One connection of a tunnel: dialled, shaken hands on, and either asked over or answered over.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2 as client;
use hyper::server::conn::http2 as server;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::{Body, BoxError, Request, Response};

/// A node that does not take a connection within this is not going to while somebody waits for it.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection over which nothing has come for so long is asked whether it is still there,
const PING_EVERY: Duration = Duration::from_secs(2);
/// and given up when it has not said so after this.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// What one stream may send ahead of its reader: enough for a gigabit over ten milliseconds and a bit, small enough for
/// thousands of slow readers.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// More than all streams together may send ahead, so that none holds up the others. Memory is bounded by the streams' own.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 30;
/// As many streams as fit under the connection's window. As many may be called off at once: the limits on that are for
/// strangers, and a node that loses interest in a thousand answers must not lose the connection with them.
const STREAMS_MAX: u32 = CONNECTION_WINDOW_BYTES / STREAM_WINDOW_BYTES;
/// What one stream's writer may be ahead of the connection.
const SEND_BUFFER_BYTES_MAX: usize = 256 << 10;
/// Large frames cost less; a stream holds up the others for no longer than one of them.
const FRAME_BYTES_MAX: u32 = 64 << 10;

/// A connection that can be asked over. Cloning shares it; it ends when nobody holds it and nothing is under way.
#[derive(Clone)]
pub(super) struct Link {
    sender: client::SendRequest<Body>,
    closed: CancellationToken,
}

/// Why there was no answer.
pub(super) enum Unanswered {
    /// The request never left, and is here again.
    Unsent(Box<Request>),
    /// The connection broke.
    Broken(BoxError),
}

/// Dials `address` and has it show what `tls` demands.
pub(super) async fn dial(
    address: impl ToSocketAddrs,
    name: &str,
    tls: ClientConfig,
) -> io::Result<TlsStream<TcpStream>> {
    let dialling = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(Arc::new(tls)).connect(name, stream).await
    };
    tokio::time::timeout(DIAL_TIMEOUT, dialling).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Answers requests that come over `io` until it ends.
pub(super) async fn answer<I, F, A>(io: I, answer: F) -> hyper::Result<()>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    F: Fn(hyper::Request<Incoming>) -> A,
    A: Future<Output = Response> + Send + 'static,
{
    let mut builder = server::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_pending_accept_reset_streams(STREAMS_MAX as usize)
        .max_local_error_reset_streams(None)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    let service = hyper::service::service_fn(move |request| {
        let answered = answer(request);
        async move { Ok::<_, std::convert::Infallible>(answered.await) }
    });
    builder.serve_connection(TokioIo::new(io), service).await
}

/// The host of `host:port`.
pub(super) fn host(server: &str) -> &str {
    server.rsplit_once(':').map_or(server, |(host, _)| host).trim_matches(['[', ']'])
}

/// What has come over a connection, as a body of ours.
pub(super) fn incoming(body: Incoming) -> Body {
    body.map_err(BoxError::from).boxed_unsync()
}

// === impl Link ===

impl Link {
    /// Shakes hands over `io`, and goes on until it breaks, `closing` comes, or nobody holds the link.
    pub(super) async fn over<I>(io: I, closing: &CancellationToken) -> hyper::Result<Self>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = client::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .initial_max_send_streams(STREAMS_MAX as usize)
            .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_concurrent_reset_streams(STREAMS_MAX as usize)
            .max_local_error_reset_streams(None)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await?;
        let closed = closing.child_token();
        let ended = closed.clone();
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "a tunnel broke");
                },
                () = ended.cancelled() => {}
            }
            ended.cancel();
        });
        Ok(Self { sender, closed })
    }

    /// Whether it can be asked over no more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_cancelled() || self.sender.is_closed()
    }

    /// Waits until it can be asked over no more.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn ask(&self, request: Request) -> Result<http::Response<Incoming>, Unanswered> {
        let mut sender = self.sender.clone();
        sender.try_send_request(request).await.map_err(|mut error| match error.take_message() {
            Some(request) => Unanswered::Unsent(Box::new(request)),
            None => Unanswered::Broken(error.into_error().into()),
        })
    }
}
