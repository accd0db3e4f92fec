//! What is too much, too large or too slow.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::channel::mpsc;
use http::{StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use ingress::Limits;
use ingress::terms::SizeMax;
use network::{BoxError, Response, handler};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::world::{PATIENCE, Plan, get, http1, http2, raw, read, standard};

const SHORT: Duration = Duration::from_millis(200);

/// The status of the last answer to these bytes; `closed` where there is none.
async fn check(limits: Limits, bytes: &str, expected: &str) {
    let edge = Plan { limits, web: reader(), ..Plan::default() }.start().await;
    let told = raw(edge.http, &bytes.replace('|', "\r\n")).await;
    assert_eq!(
        told.split_whitespace().nth(1).unwrap_or("closed"),
        expected,
        "{}: {told}",
        &bytes[..bytes.len().min(99)]
    );
}

#[tokio::test]
async fn a_body_has_a_size() {
    let small = || Limits { body_size_max: SizeMax::Bytes(10), ..Limits::default() };
    let head = "POST / HTTP/1.1|Host: web.example|Connection: close|";
    check(small(), &format!("{head}Content-Length: 10||0123456789"), "200").await;
    check(small(), &format!("{head}Content-Length: 11||0"), "413").await;
    check(small(), &format!("{head}Content-Length: 999999999999||"), "413").await;
    check(small(), &format!("{head}Transfer-Encoding: chunked||b|0123456789a|0||"), "413").await;
}

#[tokio::test]
async fn an_ingress_has_terms_of_its_own() {
    let annotations = json!({"coracle.dev/body-size-max": "1Ki", "coracle.dev/request-timeout": "50ms"});
    let edge = Plan { annotations, ..Plan::default() }.start().await;
    let body = |size: usize| {
        let body = Full::from(vec![b'x'; size]);
        http::Request::post("/").header(header::HOST, "web.example").body(body).expect("a request")
    };
    for (size, expected) in [(1024, StatusCode::OK), (1025, StatusCode::PAYLOAD_TOO_LARGE)] {
        let answer = http1(edge.http).await.send_request(body(size)).await.expect("an answer");
        assert_eq!(read(answer).await.0, expected, "{size}");
    }
    let answer = http1(edge.http).await.send_request(get("web.example", "/never")).await.expect("an answer");
    assert_eq!(read(answer).await.0, StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn a_head_has_a_size() {
    let long = "y".repeat(100_000);
    check(Limits::default(), &format!("GET / HTTP/1.1|Host: web.example|x: {long}||"), "431").await;
    let many: String = (0..200).map(|number| format!("x-{number}: y|")).collect();
    check(Limits::default(), &format!("GET / HTTP/1.1|Host: web.example|{many}|"), "431").await;
    check(Limits::default(), &format!("GET /{} HTTP/1.1|Host: web.example||", "y".repeat(70_000)), "431").await;

    let edge = standard().await;
    let mut request = get("web.example", "http://web.example/");
    request.headers_mut().insert("x", "y".repeat(70_000).parse().expect("a value"));
    match http2(edge.http).await.send_request(request).await {
        Ok(answer) => assert_eq!(read(answer).await.0, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        // The stream may be reset instead.
        Err(error) => assert!(!error.is_timeout(), "{error}"),
    }
}

/// A client that always says a little more, and never enough.
#[tokio::test]
async fn a_head_that_trickles_in_is_not_waited_for() {
    let limits = Limits { head_timeout: SHORT, ..Limits::default() };
    let edge = Plan { limits, ..Plan::default() }.start().await;
    for beginning in ["", "GET / HTTP/1.1\r\nHost: web.example\r\nx: "] {
        let mut stream = TcpStream::connect(edge.http).await.expect("connected");
        stream.write_all(beginning.as_bytes()).await.expect("written");
        let trickle = async {
            loop {
                if stream.write_all(b"G").await.is_err() {
                    return;
                }
                let mut told = [0; 64];
                if let Ok(Ok(0) | Err(_)) = timeout(SHORT / 10, stream.read(&mut told)).await {
                    return;
                }
            }
        };
        timeout(PATIENCE, trickle).await.expect("the edge ends it");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let limits = Limits { idle_timeout: SHORT, ..Limits::default() };
    check(limits, "POST / HTTP/1.1|Host: web.example|Content-Length: 100||01234", "408").await;
}

/// Reads its request to the end before it answers.
fn reader() -> network::Handler {
    handler(|request: network::Request| async move {
        let body = request.into_body().collect().await.map_err(network::Fault::Connection)?;
        Ok(Response::new(network::full(body.to_bytes())))
    })
}

/// An upload that is slow but steady is not taken for one that hangs.
#[tokio::test]
async fn a_steady_upload_may_take_longer_than_an_answer() {
    let limits = Limits { response_timeout: SHORT, ..Limits::default() };
    let edge = Plan { limits, web: reader(), ..Plan::default() }.start().await;
    let mut stream = TcpStream::connect(edge.http).await.expect("connected");
    let head = b"POST / HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\nContent-Length: 40\r\n\r\n";
    stream.write_all(head).await.expect("written");
    let started = Instant::now();
    for _ in 0..40 {
        sleep(SHORT / 10).await;
        stream.write_all(b"x").await.expect("written");
    }
    assert!(started.elapsed() > SHORT * 3);
    let mut told = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut told)).await.expect("in time").expect("read");
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
}

/// A client that asks for much and takes nothing holds the component only so long.
#[tokio::test]
async fn an_answer_that_nobody_takes_is_called_off() {
    let (begun, mut has_begun) = mpsc::channel::<oneshot::Receiver<()>>(1);
    let endless = handler(move |_| {
        let (alive, is_dropped) = oneshot::channel::<()>();
        begun.clone().try_send(is_dropped).expect("one request");
        async move {
            let chunk = Bytes::from(vec![b'x'; 64 << 10]);
            let chunks = futures::stream::repeat_with(move || {
                let _ = &alive;
                Ok::<_, BoxError>(Frame::data(chunk.clone()))
            });
            Ok(Response::new(StreamBody::new(chunks).boxed_unsync()))
        }
    });
    let limits = Limits { idle_timeout: SHORT, ..Limits::default() };
    let edge = Plan { limits, web: endless, ..Plan::default() }.start().await;
    let mut stream = TcpStream::connect(edge.http).await.expect("connected");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n").await.expect("written");
    let is_dropped = timeout(PATIENCE, has_begun.next()).await.expect("in time").expect("begun");
    assert!(timeout(PATIENCE, is_dropped).await.expect("called off in time").is_err());
}

#[tokio::test]
async fn an_answer_of_which_nothing_comes_breaks_off() {
    let stuck = handler(|_| async {
        let never = futures::stream::pending::<Result<Frame<Bytes>, BoxError>>();
        Ok(Response::new(StreamBody::new(never).boxed_unsync()))
    });
    let limits = Limits { idle_timeout: SHORT, ..Limits::default() };
    let edge = Plan { limits, web: stuck, ..Plan::default() }.start().await;
    let told = raw(edge.http, "GET / HTTP/1.1\r\nHost: web.example\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 200") && !told.ends_with("0\r\n\r\n"), "{told}");
}

#[tokio::test]
async fn a_kept_connection_is_not_kept_for_ever() {
    let limits = Limits { head_timeout: SHORT, idle_timeout: SHORT, ..Limits::default() };
    let edge = Plan { limits, ..Plan::default() }.start().await;
    let told = raw(edge.http, "GET / HTTP/1.1\r\nHost: web.example\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");

    let mut client = http2(edge.http).await;
    let answer = client.send_request(get("web.example", "http://web.example/")).await.expect("an answer");
    assert_eq!(read(answer).await.0, StatusCode::OK);
    let closed = async {
        while !client.is_closed() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, closed).await.expect("the edge says farewell");
}

#[tokio::test]
async fn one_client_does_not_get_all_connections() {
    let limits = Limits { connections_per_client_max: 2, ..Limits::default() };
    let edge = Plan { limits, ..Plan::default() }.start().await;
    let (mut first, mut second) = (http1(edge.http).await, http1(edge.http).await);
    for client in [&mut first, &mut second] {
        let answer = client.send_request(get("web.example", "/")).await.expect("an answer");
        assert_eq!(read(answer).await.0, StatusCode::OK);
    }
    assert_eq!(raw(edge.http, "").await, "");
    drop(first);
    let again = async {
        while !raw(edge.http, "GET / HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n\r\n")
            .await
            .contains("200 OK")
        {}
    };
    timeout(PATIENCE, again).await.expect("a place is free again");
}
