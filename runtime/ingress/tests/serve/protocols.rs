//! Pods with sockets behind the edge: WebSocket and the like, gRPC.

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use http::header;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use network::{Listener, Stream};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::world::{PATIENCE, Plan, raw, standard};

const ASK: &str = "GET /sockets HTTP/1.1\r\nHost: web.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";

/// Serves each connection with `serve`.
fn each<F, S>(mut listener: Listener, serve: S)
where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(Stream) -> F + Send + 'static,
{
    tokio::spawn(async move {
        while let Ok(stream) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
}

/// Reads a request's head, and says it back after agreeing to change the protocol; then it echoes.
async fn echo(stream: Stream) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        stream.read_line(&mut head).await.expect("a line");
    }
    let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nX-Pod: 1\r\n\r\n";
    stream.write_all(agreed.as_bytes()).await.expect("written");
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut bytes = [0; 1024];
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        if stream.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_connection_changes_its_protocol() {
    let edge = standard().await;
    let (_pod, listener) = edge.sockets();
    each(listener, echo);
    let mut stream = BufReader::new(TcpStream::connect(edge.http).await.expect("connected"));
    // What a client says right after its request already belongs to the other protocol.
    stream.write_all(format!("{ASK}\0\n early").as_bytes()).await.expect("written");
    let mut told = String::new();
    while told.matches("\r\n\r\n").count() < 2 {
        assert_ne!(
            timeout(PATIENCE, stream.read_line(&mut told)).await.expect("in time").expect("a line"),
            0,
            "{told}"
        );
    }
    let (answer, seen) = told.split_once("\r\n\r\n").expect("two heads");
    let answer = answer.to_ascii_lowercase();
    assert!(
        answer.starts_with("http/1.1 101") && answer.contains("upgrade: websocket") && answer.contains("x-pod: 1"),
        "{told}"
    );
    let seen = seen.to_ascii_lowercase();
    for line in [
        "get /sockets http/1.1",
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-key: x",
        "x-forwarded-for: 127.0.0.1",
    ] {
        assert!(seen.lines().any(|seen| seen == line), "{line:?} is missing in\n{seen}");
    }
    let mut early = [0; 8];
    timeout(PATIENCE, stream.read_exact(&mut early)).await.expect("in time").expect("read");
    assert_eq!(&early, b"\0\n early");
    for number in 0..100 {
        let said = format!("{number}\n");
        stream.write_all(said.as_bytes()).await.expect("written");
        let mut heard = String::new();
        timeout(PATIENCE, stream.read_line(&mut heard)).await.expect("in time").expect("a line");
        assert_eq!(heard, said);
    }
    stream.shutdown().await.expect("shut");
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("in time").expect("an end");
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_joined_connection_that_is_silent_ends() {
    let annotations = json!({"coracle.dev/idle-timeout": "100ms"});
    let edge = Plan { annotations, ..Plan::default() }.start().await;
    let (_pod, listener) = edge.sockets();
    each(listener, echo);
    let told = raw(edge.http, ASK).await;
    assert!(told.starts_with("HTTP/1.1 101"), "{told}");
}

#[tokio::test]
async fn who_does_not_agree_answers_as_ever() {
    let edge = standard().await;
    let (pod, listener) = edge.sockets();
    each(listener, |stream| async move {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while !line.ends_with("\r\n\r\n") {
            stream.read_line(&mut line).await.expect("a line");
        }
        let refused = "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n";
        stream.write_all(refused.as_bytes()).await.expect("written");
    });
    let told = raw(edge.http, ASK).await;
    assert!(told.starts_with("HTTP/1.1 403") && told.ends_with("no\n"), "{told}");
    drop(pod);
    let told = raw(edge.http, &ASK.replace("/sockets", "/")).await;
    assert!(told.starts_with("HTTP/1.1 200"), "a component cannot change its protocol: {told}");
}

/// Echoes each message, and says at the end how it went, as gRPC does.
async fn serve_grpc(stream: Stream) {
    let serve = service_fn(|request: http::Request<Incoming>| async move {
        assert_eq!(
            (request.version(), &request.headers()[header::TE]),
            (http::Version::HTTP_2, &"trailers".parse().expect("a value"))
        );
        let (mut say, said) = mpsc::channel::<Result<Frame<Bytes>, std::convert::Infallible>>(1);
        let mut body = request.into_body();
        tokio::spawn(async move {
            while let Some(Ok(frame)) = body.frame().await {
                if let Ok(data) = frame.into_data() {
                    say.send(Ok(Frame::data(data))).await.expect("heard");
                }
            }
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().expect("a value"));
            say.send(Ok(Frame::trailers(trailers))).await.expect("heard");
        });
        let response = http::Response::builder().header(header::CONTENT_TYPE, "application/grpc");
        Ok::<_, std::convert::Infallible>(response.body(StreamBody::new(said)).expect("a response"))
    });
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    server.serve_connection(TokioIo::new(stream), serve).await.expect("served");
}

#[tokio::test]
async fn grpc_streams_both_ways_and_ends_with_its_status() {
    let edge = standard().await;
    let (_pod, listener) = edge.sockets();
    each(listener, serve_grpc);
    let stream = TcpStream::connect(edge.http).await.expect("connected");
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("spoken");
    tokio::spawn(connection);
    let (mut say, said) = mpsc::channel::<Result<Frame<Bytes>, std::convert::Infallible>>(1);
    let request = http::Request::post("http://web.example/sockets/Echo")
        .header(header::CONTENT_TYPE, "application/grpc+proto")
        .header(header::TE, "trailers")
        .body(StreamBody::new(said))
        .expect("a request");
    let answer = timeout(PATIENCE, client.send_request(request)).await.expect("in time").expect("an answer");
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/grpc");
    let mut body = answer.into_body();
    for number in 0..10 {
        let message = Bytes::from(format!("message {number}"));
        say.send(Ok(Frame::data(message.clone()))).await.expect("heard");
        let frame = timeout(PATIENCE, body.frame()).await.expect("in time").expect("more").expect("whole");
        assert_eq!(frame.into_data().expect("data"), message);
    }
    drop(say);
    let last = timeout(PATIENCE, body.frame()).await.expect("in time").expect("more").expect("whole");
    assert_eq!(last.into_trailers().expect("trailers")["grpc-status"], "0");
    assert!(StreamExt::next(&mut http_body_util::BodyStream::new(body)).await.is_none());
}

#[tokio::test]
async fn a_stream_of_http2_becomes_a_web_socket_while_others_go_on() {
    let edge = standard().await;
    let (_pod, listener) = edge.sockets();
    each(listener, echo);
    let stream = TcpStream::connect(edge.http).await.expect("connected");
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("spoken");
    tokio::spawn(connection);
    let get = || http::Request::get("http://web.example/").body(Empty::<Bytes>::new()).expect("a request");
    // With the first answer the client knows that streams may change.
    let answer = timeout(PATIENCE, client.send_request(get())).await.expect("in time").expect("an answer");
    assert_eq!(answer.status(), 200);
    let connect = |protocol: &'static str, path: &str| {
        http::Request::connect(format!("http://web.example{path}"))
            .extension(hyper::ext::Protocol::from_static(protocol))
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .body(Empty::<Bytes>::new())
            .expect("a request")
    };
    let mut joined = Vec::new();
    for _ in 0..2 {
        let asked = client.send_request(connect("websocket", "/sockets"));
        let answer = timeout(PATIENCE, asked).await.expect("in time").expect("an answer");
        assert_eq!((answer.status().as_u16(), &answer.headers()["x-pod"]), (200, &"1".parse().expect("a value")));
        assert!(!answer.headers().contains_key(header::UPGRADE), "{answer:?}");
        joined.push(BufReader::new(TokioIo::new(hyper::upgrade::on(answer).await.expect("a stream"))));
    }
    for stream in &mut joined {
        let mut seen = String::new();
        while !seen.ends_with("\r\n\r\n") {
            assert_ne!(timeout(PATIENCE, stream.read_line(&mut seen)).await.expect("in time").expect("a line"), 0);
        }
        let seen = seen.to_ascii_lowercase();
        for line in ["get /sockets http/1.1", "upgrade: websocket", "sec-websocket-version: 13", "host: web.example"] {
            assert!(seen.lines().any(|seen| seen == line), "{line:?} is missing in\n{seen}");
        }
        let key = seen.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).expect("a key");
        assert_eq!(key.len(), 24, "sixteen bytes in base64");
        stream.write_all(b"hello").await.expect("written");
        let mut heard = [0; 5];
        timeout(PATIENCE, stream.read_exact(&mut heard)).await.expect("in time").expect("read");
        assert_eq!(&heard, b"hello");
    }
    let answer = timeout(PATIENCE, client.send_request(get())).await.expect("in time").expect("an answer");
    assert_eq!(answer.status(), 200, "other streams go on");
    // A component answers requests and nothing else; other protocols, and proxying, are not for an ingress.
    for (protocol, path, status) in [("websocket", "/", 502), ("connect-udp", "/sockets", 405)] {
        let answer = timeout(PATIENCE, client.send_request(connect(protocol, path))).await.expect("in time");
        assert_eq!(answer.expect("an answer").status(), status, "{protocol}");
    }
    let mut first = joined.swap_remove(0);
    first.shutdown().await.expect("shut");
    let mut rest = Vec::new();
    timeout(PATIENCE, first.read_to_end(&mut rest)).await.expect("in time").expect("an end");
    assert!(rest.is_empty());
}
