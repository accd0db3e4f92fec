//! Connections that change their protocol: WebSocket, and whatever else a pod with sockets speaks.
//!
//! The request goes to the pod over a connection of its own, as HTTP/1.1. If the pod agrees, both connections are joined and
//! bytes go to and fro until one side ends or nothing has come for too long. In HTTP/2 a single stream becomes a WebSocket (RFC
//! 8441); to the pod it is a connection of its own all the same. HTTP/2 in the clear is not asked for in this way
//! any more (RFC 9113), and a request that does is answered as it is: what follows it would be a second way in.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use network::balance::{self, InFlight, Tries};
use network::{BoxError, Fabric, Fault, Origin, Port, PortRef, Request, Response, Service, Stream, empty};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::time::sleep;

use crate::connection::Connection;

/// A request that asks for another protocol.
pub(crate) struct Upgrade {
    protocol: HeaderValue,
    client: OnUpgrade,
    of: Changing,
}

/// What changes its protocol on the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Changing {
    /// The connection.
    Connection,
    /// One stream of it.
    Stream,
}

/// How a WebSocket is asked for.
const WEB_SOCKET: &str = "websocket";

/// Counts that something comes or goes.
struct Heard<I> {
    inner: I,
    beats: Arc<AtomicU64>,
}

// === impl Upgrade ===

impl Upgrade {
    /// What a request asks for, if that is something a pod could agree to.
    pub(crate) fn of<B>(request: &mut http::Request<B>) -> Option<Self> {
        let (protocol, of) = if asks_for_web_socket(request) {
            (HeaderValue::from_static(WEB_SOCKET), Changing::Stream)
        } else {
            (wanted(request.version(), request.headers())?.clone(), Changing::Connection)
        };
        Some(Self { protocol, client: hyper::upgrade::on(request), of })
    }

    /// Asks one of a port's endpoints. If it agrees, the client's connection goes on as `connection` is told.
    pub(crate) async fn send(
        self,
        fabric: &Fabric,
        service: &Service,
        port: &Port,
        mut request: Request,
        connection: &Connection,
        idle: Duration,
    ) -> Result<Response, Fault> {
        let client = request.extensions().get().map(|network::Client(client)| *client);
        let (stream, in_flight) = connected(fabric, service, port, client).await?;
        let broken = |error: hyper::Error| Fault::Connection(error.into());
        let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the connection, which ends with the answer or with what both sides say after it.
        tokio::spawn(driver.with_upgrades());
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        *request.version_mut() = Version::HTTP_11;
        *request.method_mut() = Method::GET;
        self.tell(request.headers_mut());
        let mut response = sender.send_request(request).await.map_err(broken)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            // In a stream success would mean that the other side has agreed.
            if self.of == Changing::Stream && response.status().is_success() {
                return Err(Fault::Connection("the server does not speak WebSocket here".into()));
            }
            return Ok(response.map(|body| body.map_err(BoxError::from).boxed_unsync()));
        }
        let server = hyper::upgrade::on(&mut response);
        let client = self.client;
        let joined = Box::pin(async move {
            let _in_flight = in_flight;
            match futures::future::try_join(client, server).await {
                Ok((client, server)) => splice(TokioIo::new(client), TokioIo::new(server), idle).await,
                Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "no change of protocol"),
            }
        });
        match self.of {
            Changing::Connection => connection.go_on_with(joined),
            Changing::Stream => {
                connection.go_on_beside(joined);
                *response.status_mut() = StatusCode::OK;
                response.headers_mut().remove(header::SEC_WEBSOCKET_ACCEPT);
            }
        }
        Ok(response.map(|_| empty()))
    }

    fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, self.protocol.clone());
        if self.of == Changing::Stream {
            // HTTP/2 has no use for it, and servers of HTTP/1.1 insist on it.
            let nonce: [u64; 2] = [balance::draw(), balance::draw()];
            let key = BASE64_STANDARD.encode(nonce.map(u64::to_ne_bytes).concat());
            headers.extend(HeaderValue::try_from(key).ok().map(|key| (header::SEC_WEBSOCKET_KEY, key)));
        }
    }
}

/// Whether a request would make a stream of HTTP/2 a WebSocket.
pub(crate) fn asks_for_web_socket<B>(request: &http::Request<B>) -> bool {
    let protocol = request.extensions().get::<hyper::ext::Protocol>();
    let is_web_socket = protocol.is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case(WEB_SOCKET));
    is_web_socket && request.version() == Version::HTTP_2 && *request.method() == Method::CONNECT
}

/// The protocol that a request asks for.
fn wanted(version: Version, headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut protocols = headers.get_all(header::UPGRADE).iter();
    let protocol = protocols.next().filter(|_| protocols.next().is_none())?;
    let mut options = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let is_meant = options.any(|value| value.split(',').any(|option| option.trim().eq_ignore_ascii_case("upgrade")));
    let name = protocol.to_str().ok()?.split('/').next()?.to_ascii_lowercase();
    let is_one =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
    let is_ours = matches!(name.as_str(), "h2c" | "h2" | "http" | "tls");
    (version == Version::HTTP_11 && is_meant && is_one && !is_ours).then_some(protocol)
}

/// A connection to one of a port's endpoints, which there may have to be waited for.
async fn connected(
    fabric: &Fabric,
    service: &Service,
    port: &Port,
    client: Option<IpAddr>,
) -> Result<(Stream, InFlight), Fault> {
    let mut fault = match connect(fabric, service, port, client).await {
        Err(fault @ (Fault::NoEndpoint { .. } | Fault::Unreachable(_))) => fault,
        connected => return connected,
    };
    let (Some(mut row), number) = (fabric.row(service, !port.endpoints.is_empty()), port.number) else {
        return Err(fault);
    };
    let has_endpoint =
        move |service: &Service| service.port(PortRef::Number(number)).is_ok_and(|port| !port.endpoints.is_empty());
    while let Some(service) = row.next(has_endpoint).await {
        match connect(fabric, &service, service.port(PortRef::Number(number))?, client).await {
            Err(again @ (Fault::NoEndpoint { .. } | Fault::Unreachable(_))) => fault = again,
            connected => return connected,
        }
    }
    Err(fault)
}

/// A connection to one of a port's endpoints, which is busy with it for as long as the second value is kept.
async fn connect(
    fabric: &Fabric,
    service: &Service,
    port: &Port,
    client: Option<IpAddr>,
) -> Result<(Stream, InFlight), Fault> {
    let mut fault = Fault::NoEndpoint { service: format!("{service}:{}", port.number) };
    let mut tries = Tries::new(&port.endpoints, service.session(port, client));
    while let Some(endpoint) = tries.next_endpoint() {
        let in_flight = endpoint.load.enter();
        match fabric.connect(&Origin::Ingress, endpoint.address).await {
            Ok(stream) => {
                tries.succeeded(endpoint);
                return Ok((stream, in_flight));
            }
            Err(refused) if refused.is_worth_another_try() => {
                tries.failed(endpoint);
                fault = refused.into();
            }
            Err(refused) => return Err(refused.into()),
        }
    }
    Err(fault)
}

/// Carries bytes both ways until both sides have ended, one fails, or nothing has come for as long as `idle`.
async fn splice<C, S>(client: C, mut server: S, idle: Duration)
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let beats = Arc::<AtomicU64>::default();
    let mut client = Heard { inner: client, beats: beats.clone() };
    let silent = async {
        let mut before = beats.load(Ordering::Relaxed);
        loop {
            sleep(idle).await;
            let now = beats.load(Ordering::Relaxed);
            if now == before {
                return;
            }
            before = now;
        }
    };
    tokio::select! {
        ended = copy_bidirectional(&mut client, &mut server) => {
            if let Err(error) = ended {
                tracing::debug!(error = &error as &dyn std::error::Error, "a joined connection broke off");
            }
        }
        () = silent => tracing::debug!("a joined connection was silent for too long"),
    }
}

// === impl Heard ===

impl<I: AsyncRead + Unpin> AsyncRead for Heard<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.beats.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Heard<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.beats.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(connection: &'static str, upgrade: &'static str, expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONNECTION, HeaderValue::from_static(connection));
        for value in upgrade.split(" | ") {
            headers.append(header::UPGRADE, HeaderValue::from_static(value));
        }
        assert_eq!(wanted(Version::HTTP_11, &headers).is_some(), expected, "{connection}; {upgrade}");
        assert_eq!(wanted(Version::HTTP_10, &headers), None);
        assert_eq!(wanted(Version::HTTP_2, &headers), None);
    }

    #[test]
    fn a_change_of_protocol_is_asked_for_by_name() {
        check("Upgrade", "websocket", true);
        check("keep-alive, upgrade", "WebSocket", true);
        check("upgrade", "SPDY/3.1", true);
        check("keep-alive", "websocket", false);
        check("upgrade", "websocket | websocket", false);
        check("upgrade", "websocket, h2c", false);
        check("upgrade", "h2c", false);
        check("upgrade, http2-settings", "H2C", false);
        check("upgrade", "TLS/1.0", false);
        check("upgrade", "", false);
    }
}
