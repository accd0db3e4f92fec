//! Servers: requests, faults, limits, streams, and the end.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::channel::mpsc;
use host::{
    Body, Fault, InstancePolicy, Ledger, Limits, Mode, Mount, Nowhere, Outside, OutsideError, RequestPolicy, Sending,
    Server, Spec, Timeouts,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::time::{Instant, timeout};

use crate::guests::{Bench, EAT, PATIENCE, SPIN, TRAP, captured, command, example, get, limited, server, text};

async fn serving(bench: &Bench, wasm: &[u8], spec: Spec) -> Server {
    serving_with(bench, wasm, spec, Arc::new(Nowhere)).await
}

async fn serving_with(bench: &Bench, wasm: &[u8], spec: Spec, outside: Arc<dyn Outside>) -> Server {
    bench.prepare(wasm).await.serve(spec, outside).expect("it is a server")
}

async fn probe(spec: Spec) -> (Bench, Server) {
    let bench = Bench::new();
    let server = serving(&bench, &example("probe/probe.wasm"), spec).await;
    (bench, server)
}

fn policy(change: impl FnOnce(&mut RequestPolicy)) -> Spec {
    let mut requests = RequestPolicy { timeout: PATIENCE, ..RequestPolicy::default() };
    change(&mut requests);
    Spec { requests, ..Spec::default() }
}

async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("it becomes so");
}

/// Asks for `path` and expects this answer.
async fn check(server: &Server, path: &str, status: u16, expected: &str) {
    let response = server.handle(get(path)).await.unwrap_or_else(|fault| panic!("{path}: {fault}"));
    assert_eq!(response.status(), status, "{path}");
    assert_eq!(text(response.into_body()).await, expected, "{path}");
}

async fn fault_of(handler: &str, spec: Spec) -> Fault {
    let bench = Bench::new();
    let server = serving(&bench, &server(handler), spec).await;
    server.handle(get("/")).await.expect_err("there is no response")
}

// === answers ===

#[tokio::test]
async fn a_server_of_wasi_0_2_answers() {
    let bench = Bench::new();
    let env = vec![("GREETING".to_owned(), "Hello, host!".to_owned()), ("POD_NAME".to_owned(), "test".to_owned())];
    let (stdout, log) = captured();
    let server = serving(&bench, &example("hello/hello.wasm"), Spec { env, stdout, ..Spec::default() }).await;
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
    let mounts = vec![Mount { host: dir.path().join("etc"), guest: "/etc".into(), mode: Mode::ReadOnly }];
    let (_bench, server) = probe(Spec { mounts, ..Spec::default() }).await;
    check(&server, "/read?path=/etc/greeting", 200, "hello").await;
    for path in ["/etc/../secret", "/secret", "/proc/self/environ"] {
        let response = server.handle(get(&format!("/read?path={path}"))).await.expect("it answers");
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
    }
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
async fn the_node_has_room_for_so_many_and_says_so() {
    let bench = Bench::with(|config| host::Config { instances_max: 1, ..config });
    let server = serving(&bench, &example("probe/probe.wasm"), Spec::default()).await;
    let mut first = server.handle(get("/stream?count=2&ms=600000")).await.expect("it answers").into_body();
    first.frame().await.expect("there is more").expect("the body is well");
    let fault = server.handle(get("/healthz")).await.expect_err("there is no room");
    assert!(matches!(&fault, Fault::Overloaded { message } if message.contains("node is full")), "{fault}");
    assert_eq!(fault.status(), StatusCode::SERVICE_UNAVAILABLE);
}

// === faults ===

#[tokio::test]
async fn a_trap_is_a_fault() {
    let fault = fault_of(TRAP, Spec::default()).await;
    assert!(matches!(&fault, Fault::Trapped { message } if message.contains("unreachable")), "{fault}");
    assert_eq!(fault.status(), StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn a_handler_that_says_nothing_is_a_fault() {
    let fault = fault_of("nop", Spec::default()).await;
    assert!(matches!(&fault, Fault::NoResponse { .. }), "{fault}");
}

#[tokio::test]
async fn a_busy_loop_runs_out_of_time() {
    let spec = policy(|requests| requests.timeout = Duration::from_millis(50));
    let ledger = spec.ledger.clone();
    let bench = Bench::new();
    let server = serving(&bench, &server(SPIN), spec).await;
    assert_eq!(server.handle(get("/")).await.err(), Some(Fault::TimedOut));
    until(|| ledger.usage().instances == 0).await;
}

#[tokio::test]
async fn memory_beyond_the_limit_is_a_fault_of_its_own() {
    let limits = Limits { memory_bytes: Some(4 << 20), ..Limits::default() };
    let fault = fault_of(EAT, limited(limits)).await;
    assert_eq!(fault, Fault::OutOfMemory { limit_bytes: 4 << 20 });

    let limits = Limits { memory_bytes: Some(32 << 20), ..Limits::default() };
    let (_bench, server) = probe(limited(limits)).await;
    check(&server, "/memory?mib=4", 200, "held 4 MiB\n").await;
    let fault = server.handle(get("/memory?mib=64")).await.err();
    assert_eq!(fault, Some(Fault::OutOfMemory { limit_bytes: 32 << 20 }));
    check(&server, "/healthz", 200, "ok\n").await;
}

#[tokio::test]
async fn a_fault_of_one_request_is_none_of_another() {
    let (_bench, server) = probe(policy(|requests| requests.timeout = Duration::from_secs(20))).await;
    let slow = tokio::spawn({
        let server = server.clone();
        async move { server.handle(get("/slow?ms=200")).await.map(|response| response.status()) }
    });
    let fault = server.handle(get("/exit")).await.expect_err("it panics");
    assert!(matches!(fault, Fault::Trapped { .. }), "{fault}");
    assert_eq!(slow.await.expect("the task ends"), Ok(StatusCode::OK));
}

#[tokio::test]
async fn a_body_that_lost_its_guest_ends_in_an_error() {
    let bench = Bench::new();
    let server = serving(&bench, &example("probe/probe.wasm"), Spec::default()).await;
    let mut body = server.handle(get("/stream?count=2&ms=600000")).await.expect("it answers").into_body();
    body.frame().await.expect("there is more").expect("the first line comes");
    let drained = tokio::spawn(async move { server.drain(Duration::from_millis(10)).await });
    let frame = timeout(PATIENCE, body.frame()).await.expect("the body ends");
    assert!(!matches!(frame, Some(Ok(_))), "nothing more comes");
    assert!(frame.is_some_and(|frame| frame.is_err()), "the reader can tell that it is not complete");
    drained.await.expect("the server drains");
}

// === limits ===

#[tokio::test]
async fn requests_wait_in_line_and_the_line_has_an_end() {
    let spec = policy(|requests| {
        requests.concurrent_max = 1;
        requests.queued_max = 1;
    });
    let ledger = spec.ledger.clone();
    let (_bench, server) = probe(spec).await;
    let ask = |path: &'static str| {
        let server = server.clone();
        tokio::spawn(async move { server.handle(get(path)).await.map(|response| response.status()) })
    };
    let first = ask("/slow?ms=300");
    until(|| ledger.usage().instances == 1).await;
    let answers = futures::future::join_all((0..3).map(|_| ask("/healthz"))).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("the task ends")).collect();
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Err(Fault::Overloaded { .. }))).count(), 2);
    assert_eq!(answers.iter().filter(|answer| **answer == Ok(StatusCode::OK)).count(), 1);
    assert_eq!(first.await.expect("the task ends"), Ok(StatusCode::OK));
}

#[tokio::test]
async fn busy_neighbours_do_not_keep_a_server_waiting() {
    let bench = Bench::new();
    let busy = serving(&bench, &server(SPIN), policy(|_| {})).await;
    let quick = serving(&bench, &example("probe/probe.wasm"), Spec::default()).await;
    check(&quick, "/healthz", 200, "ok\n").await;
    let spinning: Vec<_> = (0..4)
        .map(|_| {
            let busy = busy.clone();
            tokio::spawn(async move { busy.handle(get("/")).await.map(|_| ()) })
        })
        .collect();
    until(|| busy.in_flight() == 4).await;
    for _ in 0..5 {
        check(&quick, "/healthz", 200, "ok\n").await;
    }
    assert!(spinning.iter().all(|task| !task.is_finished()));
    busy.drain(Duration::ZERO).await;
    for task in spinning {
        assert_eq!(task.await.expect("the task ends"), Err(Fault::Stopping));
    }
}

// === the end ===

#[tokio::test]
async fn a_client_that_leaves_takes_its_instance_along() {
    let bench = Bench::new();
    let spec = policy(|_| {});
    let ledger = spec.ledger.clone();
    let server = serving(&bench, &server(SPIN), spec).await;
    let asked = tokio::spawn({
        let server = server.clone();
        async move { server.handle(get("/")).await.map(|_| ()) }
    });
    until(|| !ledger.usage().cpu.is_zero()).await;
    asked.abort();
    until(|| ledger.usage().instances == 0).await;
}

#[tokio::test]
async fn a_body_that_nobody_reads_on_takes_its_instance_along() {
    let spec = policy(|_| {});
    let ledger = spec.ledger.clone();
    let (_bench, server) = probe(spec).await;
    let mut body = server.handle(get("/stream?count=100&ms=60000")).await.expect("it answers").into_body();
    body.frame().await.expect("there is more").expect("the body is well");
    assert_eq!(ledger.usage().instances, 1);
    drop(body);
    until(|| ledger.usage().instances == 0).await;
}

#[tokio::test]
async fn draining_lets_requests_finish_and_takes_no_more() {
    let (_bench, server) = probe(Spec::default()).await;
    let slow = tokio::spawn({
        let server = server.clone();
        async move { server.handle(get("/slow?ms=200")).await.map(|response| response.status()) }
    });
    until(|| server.in_flight() == 1).await;
    let draining = tokio::spawn({
        let server = server.clone();
        async move { server.drain(PATIENCE).await }
    });
    assert_eq!(slow.await.expect("the task ends"), Ok(StatusCode::OK));
    draining.await.expect("the server drains");
    assert_eq!(server.handle(get("/")).await.err(), Some(Fault::Stopping));
}

#[tokio::test]
async fn draining_ends_at_its_deadline() {
    let (_bench, server) = probe(policy(|_| {})).await;
    let spinning = tokio::spawn({
        let server = server.clone();
        async move { server.handle(get("/spin")).await.map(|_| ()) }
    });
    until(|| server.in_flight() == 1).await;
    let start = Instant::now();
    server.drain(Duration::from_millis(20)).await;
    assert!(start.elapsed() < PATIENCE);
    assert_eq!(spinning.await.expect("the task ends"), Err(Fault::Stopping));
}

#[tokio::test]
async fn the_host_ends_when_everything_of_it_is_dropped() {
    let bench = Bench::new();
    let server = serving(&bench, &server(SPIN), policy(|_| {})).await;
    let ledger = Ledger::default();
    let other = serving(&bench, &example("probe/probe.wasm"), Spec { ledger: ledger.clone(), ..Spec::default() }).await;
    let _ = timeout(Duration::from_millis(20), server.handle(get("/"))).await;
    check(&other, "/healthz", 200, "ok\n").await;
    drop((bench, server, other));
    until(|| ledger.usage().instances == 0).await;
}

#[tokio::test]
async fn a_command_answers_no_requests() {
    let bench = Bench::new();
    let workload = bench.prepare(&command("i32.const 0")).await;
    assert!(workload.serve(Spec::default(), Arc::new(Nowhere)).is_err());
}

// === the outside ===

/// Answers every request itself and remembers what was asked.
#[derive(Default)]
struct Town {
    asked: Mutex<Vec<(String, Timeouts)>>,
}

impl Outside for Town {
    fn send(&self, request: Request<Body>, timeouts: Timeouts) -> Sending {
        let uri = request.uri().to_string();
        self.asked.lock().expect("nobody panics with it").push((uri.clone(), timeouts));
        Box::pin(async move {
            match uri.as_str() {
                "http://denied/" => Err(OutsideError::Denied),
                "http://echo/" => Ok(Response::new(request.into_body())),
                _ => Response::builder()
                    .status(201)
                    .body(host::full("from the town"))
                    .map_err(|error| OutsideError::Other(error.to_string())),
            }
        })
    }
}

#[tokio::test]
async fn a_guest_reaches_the_outside_it_was_given() {
    let bench = Bench::new();
    let town = Arc::new(Town::default());
    let server = serving_with(&bench, &example("probe/probe.wasm"), Spec::default(), town.clone()).await;
    check(&server, "/call?url=http://shop/", 201, "from the town").await;
    let denied = server.handle(get("/call?url=http://denied/")).await.expect("the probe answers");
    assert_eq!(denied.status(), StatusCode::BAD_GATEWAY);
    let asked: Vec<_> = town.asked.lock().expect("nobody panics with it").iter().map(|(uri, _)| uri.clone()).collect();
    assert_eq!(asked, ["http://shop/", "http://denied/"]);

    let request = Request::post("http://guest/call?url=http://echo/").body(host::full("there and back"));
    let response = server.handle(request.expect("the request is well-formed")).await.expect("it answers");
    assert_eq!(text(response.into_body()).await, "there and back");
}

#[tokio::test]
async fn nowhere_is_an_answer_too() {
    let (_bench, server) = probe(Spec::default()).await;
    let response = server.handle(get("/call?url=http://shop/")).await.expect("the probe answers");
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
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
