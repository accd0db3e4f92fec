//! What goes both ways for as long as it likes: WebSockets and gRPC, through the edge and through the API.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use harness::{WebSocket, eventually, get, kubectl_is_there};
use http::{Request, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::forward::Helper;
use crate::with;

#[test]
fn a_room_over_websockets_is_behind_the_ingress() {
    let cluster = with(&["chat"]);
    let mut first = eventually(60, || WebSocket::open(cluster.ingress(), "chat.localhost", "/room"));
    let mut second = eventually(10, || WebSocket::open(cluster.ingress(), "chat.localhost", "/room"));
    first.say("is anybody here?");
    first.hear_of("is anybody here?");
    second.hear_of("is anybody here?");
    second.say("I am");
    first.hear_of("I am");
    let mut alone = WebSocket::open(cluster.ingress(), "chat.localhost", "/echo").expect("a WebSocket");
    for number in 0..100 {
        let words = format!("echo {number}");
        alone.say(&words);
        assert_eq!(alone.hear(), words);
    }
    drop(second);
    first.hear_of("has left");
    let page = get(cluster.ingress(), "chat.localhost", "/").expect("an answer");
    assert!(page.status == 200 && page.body.contains("<html"), "{page:?}");
    let refused = get(cluster.ingress(), "chat.localhost", "/room").expect("an answer");
    assert_eq!(refused.status, 426, "{refused:?}");
}

/// Says a hundred things one after another, and hears each again.
fn echoes(socket: &mut WebSocket) {
    for number in 0..100 {
        let words = format!("echo {number}");
        socket.say(&words);
        assert_eq!(socket.hear(), words);
    }
}

#[test]
fn a_room_over_websockets_is_behind_the_api() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&["chat"]);
    cluster.kubectl(&["rollout", "status", "deploy/chat", "--timeout=60s"]).ok();
    let proxy = Helper::kubectl(&cluster, &["proxy", "--port=0"], &[]);
    let pod = cluster.kubectl(&["get", "pods", "-l", "app=chat", "-o", "jsonpath={.items[0].metadata.name}"]).ok();
    for name in ["services/chat".to_owned(), "services/chat:http".to_owned(), format!("pods/{pod}:8080")] {
        let path = |behind: &str| format!("/api/v1/namespaces/default/{name}/proxy/{behind}");
        let mut alone = eventually(10, || WebSocket::open(proxy.address, "localhost", &path("echo")));
        echoes(&mut alone);
        let mut inside = WebSocket::open(proxy.address, "localhost", &path("room")).expect("a WebSocket");
        let mut outside = WebSocket::open(cluster.ingress(), "chat.localhost", "/room").expect("a WebSocket");
        inside.say("is anybody here?");
        outside.hear_of("is anybody here?");
        outside.say("I am");
        inside.hear_of("I am");
        drop(inside);
        outside.hear_of("has left");
    }
    let refused = WebSocket::open(proxy.address, "localhost", "/api/v1/namespaces/default/services/nobody/proxy/echo");
    assert!(refused.is_err_and(|told| told.starts_with("http/1.1 404")));
}

/// Longest a talk may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A message as gRPC frames it.
fn framed(text: &str) -> Bytes {
    let length = u32::try_from(text.len()).expect("short");
    [&[0][..], &length.to_be_bytes(), text.as_bytes()].concat().into()
}

/// Talks to the probe's echo over HTTP/2: each message is heard before the next one is said, then the status.
async fn grpc(to: SocketAddr, messages: &[&str]) -> anyhow::Result<(Vec<Bytes>, http::HeaderMap)> {
    let stream = TcpStream::connect(to).await?;
    let (mut sender, driver) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let driving = tokio::spawn(driver);
    let (mut say, said) = mpsc::channel(1);
    let body = StreamBody::new(said.map(|message| Ok::<_, Infallible>(Frame::data(message))));
    let request = Request::post("http://probe.localhost/probe.Probe/Echo")
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(body)?;
    let (head, mut answer) = sender.send_request(request).await?.into_parts();
    anyhow::ensure!(head.status == 200, "{head:?}");
    let mut heard = Vec::new();
    for message in messages {
        let message = framed(message);
        say.send(message.clone()).await?;
        let mut answered = Vec::new();
        while answered.len() < message.len() {
            let frame = answer.frame().await.ok_or_else(|| anyhow::anyhow!("it ended after {heard:?}"))??;
            answered.extend_from_slice(frame.data_ref().ok_or_else(|| anyhow::anyhow!("no message: {frame:?}"))?);
        }
        heard.push(answered.into());
    }
    drop(say);
    let trailers = answer.collect().await?.trailers().cloned();
    driving.abort();
    Ok((heard, trailers.unwrap_or_default()))
}

#[test]
fn grpc_streams_both_ways_through_the_ingress() {
    let cluster = with(&["probe"]);
    eventually(30, || match get(cluster.ingress(), "probe.localhost", "/healthz") {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let talk = async { tokio::time::timeout(PATIENCE, grpc(cluster.ingress(), &["one", "two", "three"])).await };
    let (heard, trailers) = runtime.block_on(talk).expect("in time").unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(heard, ["one", "two", "three"].map(framed));
    assert_eq!(trailers["grpc-status"], "0");
}
