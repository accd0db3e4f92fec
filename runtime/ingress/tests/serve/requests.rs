//! Requests, answers and what becomes of their connections.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use http::{StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ingress::Limits;
use network::{Fault, Response, full, handler};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::world::{PATIENCE, Plan, get, http1, http2, raw, read, standard};

type Chunks = StreamBody<mpsc::Receiver<Result<Frame<Bytes>, std::convert::Infallible>>>;

async fn check(host: &str, path: &str, expected: &str) {
    let edge = standard().await;
    let response = http1(edge.http).await.send_request(get(host, path)).await.expect("an answer");
    let (status, _, body) = read(response).await;
    assert_eq!(format!("{} {}", status.as_u16(), body).trim(), expected, "{host}{path}");
}

#[tokio::test]
async fn every_failure_has_its_status_and_says_why() {
    check("nowhere.example", "/", "404 404: no ingress answers for nowhere.example/").await;
    check("web.example", "/trap", "502 502: the component failed").await;
    check("web.example", "/gone", "503 503: nobody answers at 10.42.0.5:8080").await;
    check("web.example", "/unknown", "503 503: there is no service default/unknown:http").await;
    check("web.example", "/", "200").await;
    check("any.wild.example:8080", "/", "200").await;
}

#[tokio::test]
async fn what_takes_too_long_is_answered_in_its_place() {
    let limits = Limits { response_timeout: Duration::from_millis(50), ..Limits::default() };
    let edge = Plan { limits, ..Plan::default() }.start().await;
    let response = http1(edge.http).await.send_request(get("web.example", "/never")).await.expect("an answer");
    assert_eq!(read(response).await.0, StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let edge = standard().await;
    let mut client = http1(edge.http).await;
    for number in 0..3 {
        let body = Full::from(format!("number {number}"));
        let request = http::Request::post("/").header(header::HOST, "web.example").body(body).expect("a request");
        let response = client.send_request(request).await.expect("an answer on the same connection");
        assert_eq!(read(response).await.2, format!("number {number}"));
        client.ready().await.expect("the connection is kept");
    }
}

#[tokio::test]
async fn http2_is_spoken_without_being_asked_first() {
    let edge = standard().await;
    let mut client = http2(edge.http).await;
    let requests = (0..20).map(|number| {
        let body = Full::from(format!("number {number}"));
        client.send_request(http::Request::post("http://web.example/").body(body).expect("a request"))
    });
    for (number, answer) in futures::future::join_all(requests).await.into_iter().enumerate() {
        let (status, headers, body) = read(answer.expect("an answer")).await;
        assert_eq!((status, body), (StatusCode::OK, format!("number {number}")));
        assert_eq!(headers["x-host"], "web.example");
    }
}

#[tokio::test]
async fn the_component_is_told_where_the_request_comes_from() {
    let edge = standard().await;
    let mut request = get("web.example:81", "/headers?q=1");
    for (name, value) in
        [("x-forwarded-for", "6.6.6.6"), ("connection", "x-secret"), ("x-secret", "1"), ("x-kept", "2")]
    {
        request.headers_mut().insert(name, value.parse().expect("a value"));
    }
    let (_, _, told) = read(http1(edge.http).await.send_request(request).await.expect("an answer")).await;
    let mut lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.remove(0), "http://web.example:81/headers?q=1");
    lines.sort_unstable();
    let port = format!("x-forwarded-port: {}", edge.http.port());
    let expected = [
        "host: web.example:81",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: web.example:81",
        &port,
        "x-forwarded-proto: http",
        "x-kept: 2",
        "x-real-ip: 127.0.0.1",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn bodies_stream_both_ways_over_http1_and_http2() {
    let edge = standard().await;
    let stream = || async { TokioIo::new(TcpStream::connect(edge.http).await.expect("connected")) };

    let (mut client, connection) = http1::handshake::<_, Chunks>(stream().await).await.expect("spoken");
    tokio::spawn(connection);
    converse("/", |request| client.send_request(request)).await;

    let (mut client, connection) =
        http2::handshake::<_, _, Chunks>(TokioExecutor::new(), stream().await).await.expect("spoken");
    tokio::spawn(connection);
    converse("http://web.example/", |request| client.send_request(request)).await;
}

/// Says something only after the last thing said has come back.
async fn converse<A>(target: &str, send: impl FnOnce(http::Request<Chunks>) -> A)
where
    A: Future<Output = hyper::Result<http::Response<Incoming>>>,
{
    let (mut say, said) = mpsc::channel(1);
    let mut request = http::Request::post(target).body(StreamBody::new(said)).expect("a request");
    request.headers_mut().insert(header::HOST, "web.example".parse().expect("a value"));
    let mut body = timeout(PATIENCE, send(request)).await.expect("in time").expect("an answer").into_body();
    for number in 0..10 {
        let words = Bytes::from(format!("chunk {number}"));
        say.send(Ok(Frame::data(words.clone()))).await.expect("heard");
        let frame = timeout(PATIENCE, body.frame()).await.expect("in time").expect("more").expect("whole");
        assert_eq!(frame.into_data().expect("data"), words);
    }
    drop(say);
    let rest = timeout(PATIENCE, body.collect()).await.expect("in time").expect("whole").to_bytes();
    assert!(rest.is_empty(), "{rest:?}");
}

#[tokio::test]
async fn a_client_that_goes_away_calls_off_the_work() {
    struct CalledOff(Option<oneshot::Sender<()>>);
    impl Drop for CalledOff {
        fn drop(&mut self) {
            let _ = self.0.take().map(|told| told.send(()));
        }
    }
    impl Future for CalledOff {
        type Output = Result<Response, Fault>;
        fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Pending
        }
    }
    let (begun, mut is_begun) = mpsc::channel::<oneshot::Receiver<()>>(1);
    let never = handler(move |_| {
        let (told, is_told) = oneshot::channel();
        begun.clone().try_send(is_told).expect("one request");
        CalledOff(Some(told))
    });
    let edge = Plan { never, ..Plan::default() }.start().await;
    let mut stream = TcpStream::connect(edge.http).await.expect("connected");
    stream.write_all(b"GET /never HTTP/1.1\r\nHost: web.example\r\n\r\n").await.expect("written");
    let called_off = timeout(PATIENCE, is_begun.next()).await.expect("in time").expect("begun");
    drop(stream);
    timeout(PATIENCE, called_off).await.expect("in time").expect("told");
}

#[tokio::test]
async fn requests_under_way_end_before_the_edge_does() {
    let (release, released) = watch::channel(false);
    let (begun, mut is_begun) = mpsc::channel(1);
    let slow = handler(move |_| {
        let (mut released, mut begun) = (released.clone(), begun.clone());
        async move {
            begun.send(()).await.expect("somebody waits");
            released.wait_for(|released| *released).await.expect("still there");
            Ok(Response::new(full("done")))
        }
    });
    let edge = Plan { never: slow, ..Plan::default() }.start().await;
    let mut client = http1(edge.http).await;
    let answer = tokio::spawn(async move { client.send_request(get("web.example", "/never")).await });
    timeout(PATIENCE, is_begun.next()).await.expect("in time");
    edge.stop.send(()).expect("still running");
    let refuses = async {
        while TcpStream::connect(edge.http).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refuses).await.expect("no new connections");
    release.send_replace(true);
    assert_eq!(read(answer.await.expect("no panic").expect("an answer")).await.2, "done");
    timeout(PATIENCE, edge.task).await.expect("in time").expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for() {
    let limits = Limits { head_timeout: Duration::from_millis(100), ..Limits::default() };
    let edge = Plan { limits, ..Plan::default() }.start().await;
    for bytes in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nHost: web.exam"] {
        let told = raw(edge.http, bytes).await;
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 408"), "{bytes:?} is answered with {told:?}");
    }
}
