//! Requests that become connections to pods, over the link of a node that echoes.

use api::stdio::{CLOSE, ERROR, Piece, Pieces, STDIN, STDOUT};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::{any, post};
use bytes::Bytes;
use futures::StreamExt;
use http::StatusCode;
use http::header::{CONNECTION, UPGRADE};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_stream::wrappers::ReceiverStream;

use crate::harness::{Client, Door};
use crate::link::{bound_pod, link};

const POD: &str = "/api/v1/namespaces/default/pods/web";

/// A node whose pod sends back what it is sent; on port 81 nobody answers, and port 82 speaks HTTP/1.1 and can leave it.
fn node() -> Router {
    let forward = |request: Request| async move {
        match request.uri().to_string().as_str() {
            "/portForward/default/web?port=80" => request.into_body().into_response(),
            "/portForward/default/web?port=82" | "/portForward/default/web?port=83&tls=true" => {
                leaves_http(request.into_body()).into_response()
            }
            _ => (StatusCode::BAD_GATEWAY, "connection refused").into_response(),
        }
    };
    let proxy = |request: Request| async move {
        let (path, headers) = (request.uri().to_string(), request.headers().clone());
        let says = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
        ([("location", "/login")], format!("{path} {} {}", says("x-forwarded-uri"), says("authorization")))
    };
    let exec = |request: Request| async move {
        match request.uri().to_string().as_str() {
            "/exec/default/web/main?command=cat&stdin=true&stdout=true" => cat(request.into_body()).into_response(),
            _ => (StatusCode::NOT_FOUND, "container not found").into_response(),
        }
    };
    Router::new()
        .route("/portForward/{namespace}/{pod}", post(forward))
        .route("/exec/{namespace}/{pod}/{container}", post(exec))
        .route("/proxy/{*path}", any(proxy))
}

/// Writes what it reads, until that is over.
fn cat(mut asked: Body) -> Body {
    let (say, said) = tokio::sync::mpsc::channel::<Bytes>(4);
    tokio::spawn(async move {
        let mut pieces = Pieces::default();
        while let Some(Ok(frame)) = asked.frame().await {
            pieces.push(&frame.into_data().unwrap_or_default());
            while let Some(piece) = pieces.take().expect("small pieces") {
                let told = match piece.channel {
                    STDIN => Piece::new(STDOUT, piece.bytes),
                    CLOSE => Piece::new(ERROR, "over"),
                    other => panic!("nobody speaks on channel {other}"),
                };
                say.send(told.encode()).await.expect("heard");
            }
        }
    });
    Body::from_stream(ReceiverStream::new(said).map(Ok::<_, std::convert::Infallible>))
}

fn leaves_http(mut asked: Body) -> Body {
    let (say, said) = tokio::sync::mpsc::channel::<Bytes>(4);
    tokio::spawn(async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Some(Ok(frame)) = asked.frame().await else { return };
            head.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
        let head = String::from_utf8(head).expect("text");
        assert!(head.starts_with("GET /chat?room=1 HTTP/1.1\r\n") && head.contains("upgrade: shout\r\n"), "{head}");
        let switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: shout\r\n\r\n";
        say.send(switched.into()).await.expect("heard");
        while let Some(Ok(frame)) = asked.frame().await {
            let shouted = frame.into_data().unwrap_or_default().to_ascii_uppercase();
            say.send(shouted.into()).await.expect("heard");
        }
    });
    Body::from_stream(ReceiverStream::new(said).map(Ok::<_, std::convert::Infallible>))
}

async fn linked(door: &Door) -> Client {
    let admin = door.admin();
    bound_pod(&admin).await;
    let node_client = door.client("system:node:n1", &[apiserver::NODES]);
    assert_eq!(link(&node_client, "n1", node()).await, StatusCode::SWITCHING_PROTOCOLS);
    while admin.get(&format!("{POD}/proxy/")).await.code != StatusCode::OK {
        tokio::task::yield_now().await;
    }
    admin
}

/// Upgrades a connection; the code if that is refused, with what is said.
async fn upgrade(
    client: &Client,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>, (u16, String)> {
    let stream = client.connect("http/1.1").await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("http/1.1");
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::get(path).header("host", "localhost").header(CONNECTION, "upgrade");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(Body::empty()).expect("a request")).await.expect("answered");
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(TokioIo::new(hyper::upgrade::on(answer).await.expect("upgraded")));
    }
    let code = answer.status().as_u16();
    let said = answer.into_body().collect().await.expect("a body").to_bytes();
    Err((code, String::from_utf8_lossy(&said).into_owned()))
}

#[tokio::test]
async fn a_port_is_forwarded_over_channels() {
    let door = Door::open().await;
    let admin = linked(&door).await;
    let socket =
        [("upgrade", "websocket"), ("sec-websocket-key", "AAAA"), ("sec-websocket-protocol", "v4.channel.k8s.io")];
    let mut stream = upgrade(&admin, &format!("{POD}/portforward?ports=80&ports=81"), &socket).await.expect("switched");
    // Masked with zeroes, a message is as it was.
    stream.write_all(b"\x82\x83\0\0\0\0\x00hi").await.expect("written");
    let mut told = Vec::new();
    while told.len() < 6 {
        let mut head = [0; 2];
        stream.read_exact(&mut head).await.expect("a frame");
        let mut message = vec![0; usize::from(head[1])];
        stream.read_exact(&mut message).await.expect("a message");
        told.push(message);
    }
    told.sort();
    let refused = b"\x03error forwarding port 81 to pod web: connection refused".to_vec();
    let expect =
        [b"\0P\0".to_vec(), b"\0hi".to_vec(), b"\x01P\0".to_vec(), b"\x02Q\0".to_vec(), b"\x03Q\0".to_vec(), refused];
    assert_eq!(told, expect);
    drop(stream);
    door.close().await;
}

/// The next message, with its channel; the last one says why there are no more.
async fn message(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.expect("a frame");
    let length = match head[1] {
        126 => usize::from(stream.read_u16().await.expect("a length")),
        short => usize::from(short),
    };
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await.expect("a message");
    if head[0] == 0x88 { [b"closed ".as_slice(), &message].concat() } else { message }
}

#[tokio::test]
async fn the_streams_of_a_command_come_in_channels() {
    let door = Door::open().await;
    let admin = linked(&door).await;
    let exec = |container: &str| format!("{POD}/exec?command=cat&stdin=true&stdout=true&container={container}");
    let socket =
        |protocols| [("upgrade", "websocket"), ("sec-websocket-key", "AAAA"), ("sec-websocket-protocol", protocols)];
    let offered = socket("v5.channel.k8s.io, v4.channel.k8s.io");
    let mut stream = upgrade(&admin, &exec("main"), &offered).await.expect("switched");
    // An empty one, something to read, something that no channel is for, and the end.
    stream.write_all(b"\x82\x81\0\0\0\0\x00\x82\x83\0\0\0\0\x00hi").await.expect("written");
    assert_eq!(message(&mut stream).await, b"\x01hi");
    stream.write_all(b"\x82\x82\0\0\0\0\x07?\x82\x82\0\0\0\0\xff\x00").await.expect("written");
    assert_eq!(message(&mut stream).await, b"\x03over");
    assert_eq!(message(&mut stream).await, b"closed \x03\xe8");

    let mut stream = upgrade(&admin, &exec("waiting"), &socket("v4.channel.k8s.io")).await.expect("switched");
    let told = message(&mut stream).await;
    let status: serde_json::Value = serde_json::from_slice(&told[1..]).expect("JSON");
    assert_eq!((told[0], &status["reason"], &status["code"]), (3, &"InternalError".into(), &500.into()));
    assert_eq!(status["message"], "Internal error occurred: container not found");

    let unknown = upgrade(&admin, &exec("main"), &socket("base64.channel.k8s.io")).await.err().expect("refused");
    assert!(unknown.0 == 403 && unknown.1.contains("unable to negotiate protocol"), "{unknown:?}");
    let stranger = door.client("jane", &[]);
    assert_eq!(stranger.get(&exec("main")).await.code, StatusCode::FORBIDDEN);
    drop(stream);
    door.close().await;
}

#[tokio::test]
async fn a_port_is_forwarded_as_it_is() {
    let door = Door::open().await;
    let admin = linked(&door).await;
    let port = [(UPGRADE.as_str(), apiserver::PORT_PROTOCOL)];
    let mut stream = upgrade(&admin, &format!("{POD}/portforward?ports=80"), &port).await.expect("switched");
    stream.write_all(b"there and back").await.expect("written");
    let mut back = [0; 14];
    stream.read_exact(&mut back).await.expect("read");
    assert_eq!(&back, b"there and back");
    let refused = upgrade(&admin, &format!("{POD}/portforward?ports=81"), &port).await.err().expect("refused");
    assert!(refused.0 == 503 && refused.1.contains("error forwarding port 81 to pod web: connection refused"));
    let plain = admin.get(&format!("{POD}/portforward")).await;
    assert_eq!(plain.refusal(), "400 Upgrade request required");
    drop(stream);
    door.close().await;
}

#[tokio::test]
async fn what_is_behind_a_proxy_answers_as_part_of_the_api() {
    let door = Door::open().await;
    let admin = linked(&door).await;
    let headers = [("authorization", "Bearer secret")];
    let path = format!("{POD}:8080/proxy/a//b%2Fc/?d=e");
    let answer = admin.ask(http::Method::GET, &path, &headers, "").await;
    let asked = path.split('?').next().expect("a path");
    assert_eq!(answer.bytes, format!("/proxy/default/web/8080/a//b%2Fc/?d=e {asked} -"));
    assert_eq!(answer.headers["location"], format!("{POD}:8080/proxy/login"));

    let secure = POD.replace("/web", "/https:web:8443");
    let answer = admin.get(&format!("{secure}/proxy/x")).await;
    assert_eq!(answer.bytes, format!("/proxy/default/web/https:8443/x {secure}/proxy/x -"));

    for pod in [format!("{POD}:82"), POD.replace("/web", "/https:web:83")] {
        let path = format!("{pod}/proxy/chat?room=1");
        let mut stream = upgrade(&admin, &path, &[("upgrade", "shout")]).await.expect("left");
        stream.write_all(b"hello").await.expect("written");
        let mut shouted = [0; 5];
        stream.read_exact(&mut shouted).await.expect("read");
        assert_eq!(&shouted, b"HELLO");
    }

    let node = door.client("system:node:n1", &[apiserver::NODES]);
    for part in ["proxy/", "portforward", "exec", "attach"] {
        assert_eq!(
            node.get(&format!("{POD}/{part}")).await.code,
            StatusCode::FORBIDDEN,
            "nodes may read, not reach in"
        );
    }
    door.close().await;
}
