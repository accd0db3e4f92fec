//! What instances cost: starting one, and answering a request with one, against a floor of the same run.
//!
//! The floor is what any host on threads of its own pays: handing a task over and waiting for its answer. Everything
//! above it is the price of isolation. `cargo bench -p host` prints criterion's figures and then the ratios.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use futures::StreamExt;
use host::{Body, Config, Digest, Exit, Host, InstancePolicy, Nowhere, RequestPolicy, Server, Spec, Stdin, Workload};
use http::Request;
use http_body_util::BodyExt;
use tokio::runtime::Runtime;

/// Mean time by what was measured.
type Figures = RefCell<BTreeMap<&'static str, Duration>>;

const FLOOR: &str = "floor: a task on other threads";
const IN_FLIGHT: usize = 32;

fn main() {
    let cache = tempfile::tempdir().expect("a temporary directory");
    let start = start_host(&cache.path().join("compiled"));
    let runtime = Runtime::new().expect("a runtime");
    let figures = Figures::default();
    let mut criterion = Criterion::default().configure_from_args();

    let mut group = criterion.benchmark_group("instance");
    group.throughput(Throughput::Elements(1));
    floor(&mut group, &runtime, &figures);
    command(&mut group, &runtime, &figures, &start.host);
    let reuse = InstancePolicy::Reuse { requests_max: u32::MAX, idle: Duration::from_mins(1) };
    for (name, file, instances) in [
        ("request, wasi 0.2, fresh instance", "hello/hello.wasm", InstancePolicy::Fresh),
        ("request, wasi 0.2, reused instance", "hello/hello.wasm", reuse),
        ("request, wasi 0.3, fresh instance", "hello3/hello3.wasm", InstancePolicy::Fresh),
        ("request, wasi 0.3, reused instance", "hello3/hello3.wasm", reuse),
    ] {
        request(&mut group, &runtime, &figures, &start.host, (name, file, instances));
    }
    group.finish();

    println!("host started in {:?}, {} KiB more resident", start.took, start.resident_kib);
    for (name, mean) in figures.borrow().iter() {
        println!("{name:36} {mean:>12.2?} {:>8.1} x floor", ratio(*mean, figures.borrow()[FLOOR]));
    }
}

struct Start {
    host: Host,
    took: Duration,
    resident_kib: u64,
}

/// Starts a host of the size of this node, as a product would.
fn start_host(cache: &std::path::Path) -> Start {
    let before = resident_kib();
    let start = Instant::now();
    let host = Host::new(Config::new(cache)).expect("the host starts");
    let took = start.elapsed();
    Start { host, took, resident_kib: resident_kib().saturating_sub(before) }
}

fn floor(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, figures: &Figures) {
    let threads = Runtime::new().expect("a second runtime");
    measure(group, runtime, figures, FLOOR, || async {
        threads.spawn(async { black_box(0) }).await.expect("the task ends");
    });
}

fn command(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, figures: &Figures, host: &Host) {
    let text = r#"(component
        (core module $program (memory 1) (func (export "run") (result i32) i32.const 0))
        (core instance $instance (instantiate $program))
        (func $run (result (result)) (canon lift (core func $instance "run")))
        (instance (export "wasi:cli/run@0.2.0") (export "run" (func $run))))"#;
    let workload = prepared(runtime, host, wat::parse_str(text).expect("the text is well-formed"));
    let outside = Arc::new(Nowhere);
    measure(group, runtime, figures, "command, from start to exit", || async {
        let run = workload.run(Spec::default(), Stdin::Empty, outside.clone()).expect("it is a command");
        assert_eq!(run.wait().await, Exit::Exited { code: 0 });
    });
}

fn request(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    figures: &Figures,
    host: &Host,
    (name, file, instances): (&'static str, &str, InstancePolicy),
) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(file);
    let workload = prepared(runtime, host, std::fs::read(path).expect("the example is there"));
    let spec = Spec { requests: RequestPolicy { instances, ..RequestPolicy::default() }, ..Spec::default() };
    let server = workload.serve(spec, Arc::new(Nowhere)).expect("it is a server");
    measure(group, runtime, figures, name, || ask(&server));
}

async fn ask(server: &Server) {
    let request = Request::get("/healthz").header("host", "bench").body(host::empty()).expect("it is well-formed");
    let response = server.handle(request).await.expect("it answers");
    let body: Body = response.into_body();
    black_box(body.collect().await.expect("the body is complete"));
}

/// Times many at once: one after another would mostly measure how fast sleeping threads wake up.
fn measure<F: Future<Output = ()>>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    figures: &Figures,
    name: &'static str,
    one: impl Fn() -> F,
) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|times| {
            let start = Instant::now();
            let all = futures::stream::iter(0..times).for_each_concurrent(IN_FLIGHT, |_| one());
            runtime.block_on(all);
            let took = start.elapsed();
            figures.borrow_mut().insert(name, took.div_f64(times as f64));
            took
        });
    });
}

fn prepared(runtime: &Runtime, host: &Host, wasm: Vec<u8>) -> Workload {
    runtime.block_on(host.prepare(Digest::of(&wasm), Bytes::from(wasm))).expect("the component is prepared")
}

fn ratio(mean: Duration, floor: Duration) -> f64 {
    mean.as_secs_f64() / floor.as_secs_f64()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    resident.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
