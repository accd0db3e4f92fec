//! Servers that fail, are pressed too hard, or come to their end.

use std::sync::Arc;
use std::time::Duration;

use host::{Fault, Ledger, Limits, Nowhere, Spec};
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};

use crate::guests::{
    Bench, EAT, PATIENCE, SPIN, TRAP, check, command, example, get, limited, policy, probe, server, serving, until,
};

async fn fault_of(handler: &str, spec: Spec) -> Fault {
    let bench = Bench::new();
    let server = serving(&bench, &server(handler), spec).await;
    server.handle(get("/")).await.expect_err("there is no response")
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
