//! The door of a member: `etcdserverpb.KV/Put` into the store, and nothing else that etcd has.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;

use anyhow::{Context, ensure};
use api::{Object, kinds};
use bytes::{Buf, Bytes};
use futures::stream;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use state::Txn;
use store::Store;
use tokio::net::{TcpListener, TcpStream};

use crate::load::PUT;

/// Answers well if the member that is asked leads.
pub(crate) const LEADS: &str = "/leads";

/// An empty message, and how it went.
type Answer = StreamBody<Pin<Box<dyn futures::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>>;

pub(crate) async fn serve(address: SocketAddr, store: Store) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(converse(stream, store.clone()));
    }
}

async fn converse(stream: TcpStream, store: Store) {
    let service = service_fn(move |request| {
        let store = store.clone();
        async move { Ok::<_, Infallible>(answer(do_as_asked(&store, request).await)) }
    });
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn do_as_asked(store: &Store, request: Request<Incoming>) -> anyhow::Result<()> {
    if request.uri().path() == LEADS {
        ensure!(store.leads().await?, "another leads");
        return Ok(());
    }
    ensure!(request.uri().path() == PUT, "no such method");
    let message = request.into_body().collect().await?.to_bytes();
    store.propose(Txn::default().put(object(message)?)).await?;
    Ok(())
}

/// The `PutRequest` in a message of gRPC, as a `ConfigMap`.
fn object(mut message: Bytes) -> anyhow::Result<Object> {
    ensure!(message.len() > 5, "no message");
    message.advance(5);
    let (mut key, mut value) = (Bytes::new(), Bytes::new());
    while message.has_remaining() {
        let tag = message.get_u8();
        let length = varint(&mut message).context("a length")?;
        ensure!(message.remaining() >= length, "a field that is cut short");
        match tag {
            0x0a => key = message.split_to(length),
            0x12 => value = message.split_to(length),
            _ => message.advance(length),
        }
    }
    let (key, value) = (std::str::from_utf8(&key)?, std::str::from_utf8(&value)?);
    let body = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{key}","namespace":"bench"}},"data":{{"value":"{value}"}}}}"#
    );
    Ok(Object::parse(kinds::CONFIG_MAP, body)?)
}

fn varint(bytes: &mut Bytes) -> Option<usize> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let byte = bytes.try_get_u8().ok()?;
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn answer(done: anyhow::Result<()>) -> Response<Answer> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(if done.is_ok() { "0" } else { "14" }));
    let frames = [Frame::data(Bytes::from_static(&[0; 5])), Frame::trailers(trailers)].map(Ok);
    let mut response = Response::new(StreamBody::new(Box::pin(stream::iter(frames)) as Pin<Box<_>>));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}
