//! Servers: what they answer, and with how many instances.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::channel::mpsc;
use host::{Body, Fault, Folder, InstancePolicy, Mode, Mount, Spec};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::time::timeout;

use crate::guests::{Bench, PATIENCE, captured, check, example, get, policy, probe, serving, text, until};

#[tokio::test]
async fn a_server_of_wasi_0_2_answers() {
    let bench = Bench::new();
    let env = vec![("GREETING".to_owned(), "Hello, host!".to_owned()), ("POD_NAME".to_owned(), "test".to_owned())];
    let (stdout, log) = captured();
    let server =
        serving(&bench, &example("hello/hello.wasm"), Spec { env: env.into(), stdout, ..Spec::default() }).await;
    check(&server, "/", 200, "Hello, host!\nI am test.\n").await;
    check(&server, "/elsewhere", 404, "nothing at /elsewhere\n").await;
    drop(server);
    assert_eq!(log.await, "GET /\nGET /elsewhere\n");
}

#[tokio::test]
async fn a_server_of_wasi_0_3_answers() {
    let bench = Bench::new();
    let server = serving(&bench, &example("hello3/hello3.wasm"), Spec::default()).await;
    for _ in 0..3 {
        let response = server.handle(get("/")).await.expect("it answers");
        assert_eq!(response.status(), 200);
        assert!(!text(response.into_body()).await.is_empty());
    }
}

#[tokio::test]
async fn a_request_without_a_host_is_answered() {
    let (_bench, server) = probe(Spec::default()).await;
    let request = Request::get("/healthz").body(host::empty()).expect("the request is well-formed");
    let response = server.handle(request).await.expect("it answers");
    assert_eq!(text(response.into_body()).await, "ok\n");
}

#[tokio::test]
async fn a_body_streams_in_and_out_at_the_same_time() {
    let (_bench, server) = probe(Spec::default()).await;
    let (sender, receiver) = mpsc::unbounded();
    let body = Body::new(StreamBody::new(receiver.map(|bytes: Bytes| Ok(Frame::data(bytes)))));
    let request = Request::post("http://guest/echo").body(body).expect("the request is well-formed");
    let mut echoed = server.handle(request).await.expect("it answers before the request is complete").into_body();
    for word in ["one", "two", "three"] {
        sender.unbounded_send(Bytes::from(word)).expect("the guest still reads");
        let frame = timeout(PATIENCE, echoed.frame()).await.expect("it comes back while the request goes on");
        let frame = frame.expect("there is more").expect("the body is well");
        assert_eq!(frame.data_ref().map(|data| &data[..]), Some(word.as_bytes()));
    }
    drop(sender);
    assert!(echoed.frame().await.is_none());
}

#[tokio::test]
async fn a_large_body_passes_unchanged() {
    let (_bench, server) = probe(Spec::default()).await;
    let sent: Vec<u8> = (0..8_000_000_u32).map(|n| (n % 251) as u8).collect();
    let request =
        Request::post("http://guest/echo").body(host::full(sent.clone())).expect("the request is well-formed");
    let echoed = server.handle(request).await.expect("it answers").into_body();
    let echoed = echoed.collect().await.expect("the body is complete").to_bytes();
    assert!(echoed == sent, "{} of {} bytes came back", echoed.len(), sent.len());
}

#[tokio::test]
async fn what_a_request_wrote_to_its_memory_is_gone_with_it() {
    let (_bench, server) = probe(Spec::default()).await;
    for _ in 0..3 {
        check(&server, "/memory?mib=8", 200, "held 8 MiB\n").await;
    }
    until(|| server.in_flight() == 0).await;
}

#[tokio::test]
async fn mounts_are_seen_and_nothing_beside_them() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir(dir.path().join("etc")).expect("it is made");
    std::fs::write(dir.path().join("etc/greeting"), "hello").expect("it is written");
    std::fs::write(dir.path().join("secret"), "secret").expect("it is written");
    let mounts = vec![Mount {
        host: Folder::at(dir.path().join("etc")),
        guest: "/etc".into(),
        mode: Mode::ReadOnly,
        quota: None,
    }];
    let (_bench, server) = probe(Spec { mounts, ..Spec::default() }).await;
    check(&server, "/read?path=/etc/greeting", 200, "hello").await;
    for path in ["/etc/../secret", "/secret", "/proc/self/environ"] {
        let response = server.handle(get(&format!("/read?path={path}"))).await.expect("it answers");
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn trailers_pass_through() {
    let (_bench, server) = probe(Spec::default()).await;
    let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("sum"), HeaderValue::from_static("42"))]);
    let frames = [Ok(Frame::data(Bytes::from("body"))), Ok(Frame::trailers(trailers))];
    let body = Body::new(StreamBody::new(futures::stream::iter(frames)));
    let request = Request::post("http://guest/echo").body(body).expect("the request is well-formed");
    let echoed = server.handle(request).await.expect("it answers").into_body();
    let echoed = echoed.collect().await.expect("the body is complete");
    assert_eq!(echoed.to_bytes(), "body");
}

// === instances ===

#[tokio::test]
async fn instances_are_reused_when_asked_for() {
    let reuse = InstancePolicy::Reuse { requests_max: 1_000, idle: Duration::from_millis(50) };
    let spec = policy(|requests| requests.instances = reuse);
    let ledger = spec.ledger.clone();
    let (_bench, server) = probe(spec).await;
    for _ in 0..5 {
        check(&server, "/healthz", 200, "ok\n").await;
        until(|| server.in_flight() == 0).await;
        assert!(ledger.usage().instances <= 1);
    }
    until(|| ledger.usage().instances == 0).await;
    assert_eq!(ledger.usage().requests, 5);
}

#[tokio::test]
async fn instances_wait_for_requests_when_asked_for() {
    let spec = policy(|requests| requests.instances = InstancePolicy::Warm { instances: 2 });
    let ledger = spec.ledger.clone();
    let (_bench, server) = probe(spec).await;
    for asked in 0..5 {
        until(|| ledger.usage().instances == 2).await;
        check(&server, "/healthz", 200, "ok\n").await;
        until(|| server.in_flight() == 0).await;
        assert_eq!(ledger.usage().requests, asked + 1);
    }
    until(|| ledger.usage().instances == 2).await;
    server.drain(Duration::from_secs(5)).await;
    until(|| ledger.usage().instances == 0).await;
}

#[tokio::test]
async fn the_node_has_room_for_so_many_and_says_so() {
    let bench = Bench::with(|config| host::Config { instances_max: 1, ..config });
    let server = serving(&bench, &example("probe/probe.wasm"), Spec::default()).await;
    let mut first = server.handle(get("/stream?count=2&ms=600000")).await.expect("it answers").into_body();
    first.frame().await.expect("there is more").expect("the body is well");
    let fault = server.handle(get("/healthz")).await.expect_err("there is no room");
    assert!(matches!(&fault, Fault::Overloaded { message } if message.contains("node is full")), "{fault}");
    assert_eq!(fault.status(), StatusCode::SERVICE_UNAVAILABLE);
}
