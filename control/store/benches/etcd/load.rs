//! The client of both: `etcdserverpb.KV/Put` over HTTP/2, several clients to a connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const VALUE_BYTES: usize = 1024;
pub(crate) const PUT: &str = "/etcdserverpb.KV/Put";
/// Names in use: an update is the usual write.
const NAMES: u64 = 10_000;
/// What etcd's own benchmark does by default is one to ten; more connections cost both sides.
const CLIENTS_PER_CONNECTION: usize = 16;

/// A put that takes longer is asked for again; one that is refused, soon.
const ATTEMPT: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(5);

/// What a row of puts took.
pub(crate) struct Puts {
    /// Each, in order of length.
    pub(crate) took: Vec<Duration>,
    /// All of them together.
    pub(crate) elapsed: Duration,
}

/// Puts as fast as this many clients can, each its next when it has the answer to its last.
pub(crate) async fn run(address: SocketAddr, clients: usize, length: Duration) -> anyhow::Result<Puts> {
    let mut connections = Vec::new();
    for _ in 0..clients.div_ceil(CLIENTS_PER_CONNECTION) {
        connections.push(connect(address).await?);
    }
    let begun = Instant::now();
    let clients: Vec<_> = (0..clients)
        .map(|client| {
            let mut connection = connections[client % connections.len()].clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                for step in 0.. {
                    let start = Instant::now();
                    if start - begun >= length {
                        break;
                    }
                    put(&mut connection, client as u64 * 7_919 + step * 257).await?;
                    took.push(start.elapsed());
                }
                anyhow::Ok(took)
            })
        })
        .collect();
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.await??);
    }
    let elapsed = begun.elapsed();
    took.sort_unstable();
    ensure!(!took.is_empty(), "nothing was put");
    Ok(Puts { took, elapsed })
}

/// Asks all of them to put, again and again, until one has.
pub(crate) async fn put_until_answered(addresses: &[SocketAddr], patience: Duration) -> anyhow::Result<()> {
    let attempts = addresses.iter().map(|address| {
        Box::pin(async move {
            for number in 0.. {
                let attempt = async { put(&mut connect(*address).await?, number).await };
                match tokio::time::timeout(ATTEMPT, attempt).await {
                    Ok(Ok(())) => break,
                    Ok(Err(_)) => tokio::time::sleep(PAUSE).await,
                    Err(_) => {}
                }
            }
        })
    });
    let first = futures::future::select_all(attempts);
    tokio::time::timeout(patience, first).await.context("nobody has acknowledged a put")?;
    Ok(())
}

/// A connection that speaks HTTP/2 from its first byte.
pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn put(connection: &mut SendRequest<Full<Bytes>>, number: u64) -> anyhow::Result<()> {
    let key = format!("c{}", number % NAMES);
    let value = format!("{number:020}").repeat(VALUE_BYTES.div_ceil(20));
    call(connection, PUT, message(key.as_bytes(), &value.as_bytes()[..VALUE_BYTES])).await
}

/// Calls, and is content with any answer that is not an error.
pub(crate) async fn call(connection: &mut SendRequest<Full<Bytes>>, path: &str, message: Bytes) -> anyhow::Result<()> {
    let request = Request::post(format!("http://members{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(message))?;
    connection.ready().await?;
    let response = connection.send_request(request).await?;
    ensure!(response.status() == StatusCode::OK, "HTTP status {}", response.status());
    let early = response.headers().get("grpc-status").cloned();
    let collected = response.into_body().collect().await?;
    let status = collected.trailers().and_then(|trailers| trailers.get("grpc-status").cloned()).or(early);
    match status.as_ref().map(http::HeaderValue::as_bytes) {
        Some(b"0") => Ok(()),
        other => bail!("gRPC status {:?}", other.map(String::from_utf8_lossy)),
    }
}

/// A `PutRequest` (field 1: key, field 2: value) as one message of gRPC: a byte of flags and four of length before it.
fn message(key: &[u8], value: &[u8]) -> Bytes {
    let mut body = BytesMut::with_capacity(key.len() + value.len() + 8);
    for (tag, field) in [(0x0a, key), (0x12, value)] {
        body.put_u8(tag);
        let mut length = field.len();
        while length >= 0x80 {
            body.put_u8(length as u8 | 0x80);
            length >>= 7;
        }
        body.put_u8(length as u8);
        body.put_slice(field);
    }
    let mut message = BytesMut::with_capacity(body.len() + 5);
    message.put_u8(0);
    message.put_u32(body.len() as u32);
    message.put_slice(&body);
    message.freeze()
}

/// The median of a KiB there and a few bytes back over the kernel's loopback, in milliseconds.
pub(crate) async fn round_trip() -> anyhow::Result<f64> {
    const TRIPS: usize = 5_000;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let mut question = [0; VALUE_BYTES];
        while stream.read_exact(&mut question).await.is_ok() {
            stream.write_all(&question[..16]).await?;
        }
        anyhow::Ok(())
    });
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut took, mut answer) = (Vec::with_capacity(TRIPS), [0; 16]);
    for _ in 0..TRIPS {
        let begun = Instant::now();
        stream.write_all(&[7; VALUE_BYTES]).await?;
        stream.read_exact(&mut answer).await?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    drop(stream);
    echo.await??;
    Ok(crate::measure::median(&took))
}
