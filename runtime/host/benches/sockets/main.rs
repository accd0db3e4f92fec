//! What a guest's sockets cost: questions and answers between two guests over pipes in memory, against a floor of the same run.
//!
//! The floor is what two programs on one machine pay without any of this: two tasks that talk over the kernel's
//! loopback. Beside it the same guests on a network made of the kernel's sockets. The pipes are the tests' own, about as
//! plain as pipes can be, so that what is measured is the host's part.
//! `cargo bench -p host --bench sockets` prints criterion's figures, then round trips per second, what they cost, and the
//! ratios.

mod kernel;
#[path = "../../tests/it/loopback.rs"]
#[allow(dead_code, unreachable_pub)]
mod loopback;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use host::{Command, Config, Digest, Exit, Host, Network, Nowhere, Spec, Stdin, Workload};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use kernel::Kernel;
use loopback::Loopback;

/// What one round trip took, by what was measured.
type Figures = RefCell<BTreeMap<&'static str, Took>>;

/// Both sides together.
#[derive(Clone, Copy)]
struct Took {
    time: Duration,
    /// Processor time of this process, which neighbours on the machine leave alone.
    processor: Duration,
}

const FLOOR: &str = "floor: two tasks, kernel's loopback";
const KERNEL: &str = "wasi 0.2 to 0.2, kernel's loopback";
const QUESTION_BYTES: usize = 64;

/// Both generations, and both ways to answer of the newer one.
const SERVERS: [(&str, &str, &str); 3] = [
    ("wasi 0.2 to 0.2", "echo/echo.wasm", "echo 127.0.0.1:7"),
    ("wasi 0.2 to 0.3, copied by the guest", "dial3/dial3.wasm", "dial3 copy 7"),
    ("wasi 0.2 to 0.3, spliced by the host", "dial3/dial3.wasm", "dial3 serve 7"),
];

fn main() {
    let cache = tempfile::tempdir().expect("a temporary directory");
    let host = Host::new(Config { instances_max: 64, ..Config::new(cache.path().join("compiled")) });
    let host = host.expect("the host starts");
    let runtime = Runtime::new().expect("a runtime");
    let figures = Figures::default();
    let mut criterion = Criterion::default().configure_from_args();

    let mut group = criterion.benchmark_group("sockets");
    group.throughput(Throughput::Elements(1));
    floor(&mut group, &runtime, &figures);
    let client = prepared(&runtime, &host, "dial/dial.wasm");
    for (name, file, args) in SERVERS {
        let server = prepared(&runtime, &host, file);
        pair(&mut group, &runtime, &figures, name, (&server, args, 7), &client, Loopback::new());
    }
    let server = prepared(&runtime, &host, "echo/echo.wasm");
    let network = Arc::new(Kernel::new(runtime.handle().clone()));
    let port = Kernel::free_port();
    let args = format!("echo 127.0.0.1:{port}");
    pair(&mut group, &runtime, &figures, KERNEL, (&server, &args, port), &client, network);
    group.finish();

    // Criterion may have been asked for something else than the floor.
    let Some(floor) = figures.borrow().get(FLOOR).copied() else { return };
    for (name, took) in figures.borrow().iter() {
        println!(
            "{name:40} {:>10.0} round trips/s {:>6.2} x floor    {:>10.2?} of a processor {:>6.2} x floor",
            1.0 / took.time.as_secs_f64(),
            took.time.as_secs_f64() / floor.time.as_secs_f64(),
            took.processor,
            took.processor.as_secs_f64() / floor.processor.as_secs_f64(),
        );
    }
}

fn floor(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, figures: &Figures) {
    let address = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(answer(socket));
            }
        });
        address
    });
    measure(group, figures, FLOOR, |rounds| {
        runtime.block_on(async {
            let mut socket = TcpStream::connect(address).await.expect("it listens");
            socket.set_nodelay(true).expect("an option");
            let (question, mut heard) = ([1; QUESTION_BYTES], [0; QUESTION_BYTES]);
            let start = Instant::now();
            for _ in 0..rounds {
                socket.write_all(&question).await.expect("it hears");
                socket.read_exact(&mut heard).await.expect("it answers");
            }
            start.elapsed()
        })
    });
}

async fn answer(mut socket: TcpStream) {
    let mut heard = [0; QUESTION_BYTES];
    let _ = socket.set_nodelay(true);
    while socket.read_exact(&mut heard).await.is_ok() && socket.write_all(&heard).await.is_ok() {}
}

fn pair(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    figures: &Figures,
    name: &'static str,
    (server, args, port): (&Workload, &str, u16),
    client: &Workload,
    network: Arc<dyn Network>,
) {
    let (stdout, mut said) = host::pipe(1024);
    let _server = start(server, args, &network, Spec { stdout, ..Spec::default() });
    runtime.block_on(said.recv()).expect("it says that it listens");
    measure(group, figures, name, |rounds| {
        let (stdout, mut said) = host::pipe(1024);
        let args = format!("dial rounds 127.0.0.1:{port} {rounds} {QUESTION_BYTES}");
        let run = start(client, &args, &network, Spec { stdout, ..Spec::default() });
        assert_eq!(runtime.block_on(run.wait()), Exit::Exited { code: 0 });
        let mut text = Vec::new();
        while let Some(bytes) = runtime.block_on(said.recv()) {
            text.extend_from_slice(&bytes);
        }
        let text = String::from_utf8(text).expect("it says text");
        let each: u64 = text.trim_end().trim_end_matches(" ns each").parse().expect("it says how long");
        Duration::from_nanos(each * rounds)
    });
}

fn start(workload: &Workload, args: &str, network: &Arc<dyn Network>, spec: Spec) -> Command {
    let args = args.split_whitespace().map(str::to_owned).collect();
    let spec = Spec { args, network: network.clone(), ..spec };
    workload.run(spec, Stdin::Empty, Arc::new(Nowhere)).expect("it is a command")
}

fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    figures: &Figures,
    name: &'static str,
    rounds: impl Fn(u64) -> Duration,
) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|times| {
            let before = processor_time();
            let time = rounds(times);
            let processor = processor_time().saturating_sub(before);
            let each = |all: Duration| all.div_f64(times as f64);
            figures.borrow_mut().insert(name, Took { time: each(time), processor: each(processor) });
            time
        });
    });
}

fn prepared(runtime: &Runtime, host: &Host, file: &str) -> Workload {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(file);
    let wasm = std::fs::read(path).expect("the example is there");
    runtime.block_on(host.prepare(Digest::of(&wasm), Bytes::from(wasm))).expect("the component is prepared")
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
