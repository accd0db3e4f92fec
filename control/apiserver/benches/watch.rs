//! How soon a watch tells of a change, and what a watch costs that has nothing to tell.
//!
//! `cargo bench -p apiserver --bench watch`. Watches are real: over TLS, many to a connection of HTTP/2 as clients have them.
//! The time is taken from the moment the server publishes the world in which the change is (it is durable then) to the moment
//! the client has the event in its hands. Beside it stands an answer that asks nothing of the server: `/livez`, there and back.

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Sender, Served, now, quantile, request, send};
use http::Method;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

const WATCHES: [usize; 4] = [1, 100, 1_000, 10_000];
/// As many as a connection of ours takes.
const WATCHES_PER_CONNECTION: usize = 1_000;
const IDLE_WATCHES: usize = 10_000;
/// Events that one watch hears.
const SINGLE_EVENTS: usize = 1_000;
/// Events that all watches hear: as many as make this many deliveries, within reason.
const DELIVERIES: usize = 100_000;
/// Between two writes: a busy cluster, not a full one.
const PAUSE_US: u64 = 2_000;

/// What a client heard: of which revision, and when.
type Heard = (u64, u64);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("serve"), Some(directory)) => runtime.block_on(common::serve(directory.as_ref())),
        _ => runtime.block_on(measure()),
    }
}

async fn measure() {
    round_trips().await;
    println!(
        "watches            one of them hears it: p50     p99 us |  all of them hear it: p50      p99 us  a delivery us"
    );
    for watches in WATCHES {
        let single = single(watches).await;
        let all = all(watches).await;
        println!(
            "{watches:>7} {:>35.0} {:>7.0}    | {:>24.0} {:>11.0} {:>14.2}",
            single.0, single.1, all.0, all.1, all.2
        );
    }
    memory().await;
}

async fn round_trips() {
    let served = Served::start();
    let sender = served.connect("admin").await;
    let mut took = Vec::new();
    for _ in 0..2_000 {
        let began = Instant::now();
        common::ask(&sender, request(Method::GET, "/livez", &[], "")).await;
        took.push(began.elapsed().as_secs_f64() * 1e6);
    }
    println!("/livez there and back: p50 {:.0} p99 {:.0} us", quantile(&mut took, 0.5), quantile(&mut took, 0.99));
}

/// Every watch is of one object; each change concerns one watch.
async fn single(watches: usize) -> (f64, f64) {
    let mut served = Served::start();
    let revision = served.tell(&format!("write {watches} {watches} 0 1"));
    let revision = revision.rsplit(' ').next().and_then(|last| last.split(':').next()).expect("a revision").to_owned();
    let mut heard = open(&served, watches, |at| {
        format!("/api/v1/namespaces/default/configmaps?watch=1&resourceVersion={revision}&fieldSelector=metadata.name%3Dobject-{at}")
    })
    .await;
    let took = compare(&mut served, watches, SINGLE_EVENTS, 1, &mut heard).await;
    (took.0, took.1)
}

/// Every watch is of all objects.
async fn all(watches: usize) -> (f64, f64, f64) {
    let mut served = Served::start();
    let revision = served.tell("write 1 1 0 1");
    let revision = revision.split(':').next().expect("a revision").to_owned();
    let mut heard =
        open(&served, watches, |_| format!("/api/v1/namespaces/default/configmaps?watch=1&resourceVersion={revision}"))
            .await;
    let events = (DELIVERIES / watches).clamp(20, 1_000);
    compare(&mut served, 1, events, watches, &mut heard).await
}

/// Writes, and says how long after each commit it was heard: p50, p99, and the time of the last for each delivery.
async fn compare(
    served: &mut Served,
    names: usize,
    events: usize,
    deliveries: usize,
    heard: &mut mpsc::UnboundedReceiver<Heard>,
) -> (f64, f64, f64) {
    // What is told to all takes its time; the next write waits until it is over.
    let pause = PAUSE_US.max(deliveries as u64 * 20);
    let told = tokio::task::block_in_place(|| served.tell(&format!("write {events} {names} {pause} 1000000")));
    let committed: HashMap<u64, u64> = told
        .split(' ')
        .filter_map(|stamp| stamp.split_once(':'))
        .map(|(revision, at)| (revision.parse().expect("a number"), at.parse().expect("a number")))
        .collect();
    let (mut took, mut last) = (Vec::new(), HashMap::<u64, f64>::new());
    while took.len() < events * deliveries {
        let (revision, at) =
            tokio::time::timeout(Duration::from_secs(30), heard.recv()).await.expect("in time").expect("watches go on");
        let Some(committed) = committed.get(&revision) else { continue };
        let after = at.saturating_sub(*committed) as f64 / 1e3;
        took.push(after);
        let last = last.entry(revision).or_default();
        *last = last.max(after);
    }
    let mut last: Vec<f64> = last.into_values().map(|last| last / deliveries as f64).collect();
    (quantile(&mut took, 0.5), quantile(&mut took, 0.99), quantile(&mut last, 0.5))
}

/// Opens watches, and waits until the server has them all.
async fn open(served: &Served, watches: usize, path: impl Fn(usize) -> String) -> mpsc::UnboundedReceiver<Heard> {
    let (tell, heard) = mpsc::unbounded_channel();
    let mut senders: Vec<Sender> = Vec::new();
    for at in 0..watches {
        if at % WATCHES_PER_CONNECTION == 0 {
            senders.push(served.connect("admin").await);
        }
        let sender = senders.last().expect("one at least");
        let mut body = send(sender, request(Method::GET, &path(at), &[], "")).await.into_body();
        let tell = tell.clone();
        tokio::spawn(async move {
            while let Some(Ok(frame)) = body.frame().await {
                let at = now();
                let Some(data) = frame.data_ref() else { continue };
                for line in data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    let _ = tell.send((revision(line), at));
                }
            }
        });
    }
    // The connections live as long as their streams; those who ask keep them open.
    tokio::spawn(async move {
        std::future::pending::<()>().await;
        drop(senders);
    });
    heard
}

fn revision(line: &[u8]) -> u64 {
    const WORD: &[u8] = b"\"resourceVersion\":\"";
    let Some(at) = line.windows(WORD.len()).position(|window| window == WORD) else { return 0 };
    let digits = line[at + WORD.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

/// What a watch costs that has nothing to tell.
async fn memory() {
    let mut served = Served::start();
    let told = served.tell("write 100 100 0 1");
    let revision = told.rsplit(' ').next().and_then(|last| last.split(':').next()).expect("a revision").to_owned();
    let opened = Arc::new(AtomicUsize::new(0));
    // The first ones pay for what all share.
    let path = |at: usize| {
        opened.fetch_add(1, Ordering::Relaxed);
        format!(
            "/api/v1/namespaces/default/configmaps?watch=1&allowWatchBookmarks=true&resourceVersion={revision}&labelSelector=app%3Dnumber-{at}"
        )
    };
    let _warm = open(&served, 500, path).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = served.memory();
    let _heard = open(&served, IDLE_WATCHES, path).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = served.memory();
    println!(
        "idle watches: {} of them, {:.1} KiB each ({:.1} MB before, {:.1} MB after)",
        opened.load(Ordering::Relaxed),
        (after - before) as f64 / IDLE_WATCHES as f64 / 1024.0,
        before as f64 / 1e6,
        after as f64 / 1e6
    );
}
