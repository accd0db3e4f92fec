//! What an instance costs that lives and waits, beside wasmtime alone.
//!
//! `cargo bench -p host --bench live`; `INSTANCES` (20,000) says how many. Each side is a process of its own, so that neither has the
//! other's memory. The kernel allows a process a number of memory maps, `vm.max_map_count`, and an instance takes some: where that is
//! not enough, as many are started as it is for. What the kernel keeps for the maps themselves (page tables) counts.

use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use host::{Config, Digest, Host, InstancePolicy, Ledger, Limits, Nowhere, RequestPolicy, Spec, instances_for};
use tokio::runtime::Runtime;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

const COMPONENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/hello/hello.wasm");
const SIDES: [(&str, Side); 2] = [("warm instances of a server", ours), ("wasmtime alone", bare)];
/// So many containers share them: the more one has, the more are kept for the others.
const SERVERS: u32 = 64;
/// In the environment: which side a child process is.
const SIDE: &str = "LIVE_SIDE";

/// Starts so many and lets them wait.
type Side = fn(u32) -> Figures;

/// What a side came to.
struct Figures {
    took: Duration,
    kib: u64,
    maps: usize,
}

fn main() -> ExitCode {
    let wanted = std::env::var("INSTANCES").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let allowed = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok().and_then(|text| text.trim().parse().ok());
    let instances = wanted.min(allowed.map_or(wanted, |maps: u32| maps / 4));
    if let Ok(side) = std::env::var(SIDE) {
        let (_, measure) = SIDES[side.parse::<usize>().expect("the number of a side")];
        let Figures { took, kib, maps } = measure(instances);
        println!("{} {kib} {maps}", took.as_secs_f64());
        return ExitCode::SUCCESS;
    }
    if instances < wanted {
        println!(
            "vm.max_map_count is for {instances} of {wanted} instances ({} by this host's reckoning)",
            instances_for(allowed.unwrap_or(0))
        );
    }
    println!("{:<28}{:>10}{:>12}{:>12}{:>12}", "", "instances", "a second", "KiB each", "maps each");
    for (side, (name, _)) in SIDES.iter().enumerate() {
        let program = std::env::current_exe().expect("the path of this program");
        let told = Command::new(program).env(SIDE, side.to_string()).output().expect("a process for a side");
        let text = String::from_utf8_lossy(&told.stdout);
        let figures: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [took, kib, maps] = figures[..] else {
            eprintln!("{name}: {text}{}", String::from_utf8_lossy(&told.stderr));
            return ExitCode::FAILURE;
        };
        let count = f64::from(instances);
        println!("{name:<28}{instances:>10}{:>12.0}{:>12.1}{:>12.1}", count / took, kib / count, maps / count);
    }
    ExitCode::SUCCESS
}

/// Servers that keep them warm.
fn ours(instances: u32) -> Figures {
    let cache = tempfile::tempdir().expect("a temporary directory");
    let runtime = Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let host =
        Host::new(Config { instances_max: (SERVERS + 2) * instances.div_ceil(SERVERS), ..Config::new(cache.path()) })
            .expect("the host starts");
    let wasm = std::fs::read(COMPONENT).expect("the example is there");
    let workload = host.prepare(Digest::of(&wasm), Bytes::from(wasm));
    let workload = runtime.block_on(workload).expect("the component is prepared");
    let serve = |instances: u32| {
        let ledger = Ledger::new(Limits::default());
        let kept = InstancePolicy::Warm { instances: instances as usize };
        let requests = RequestPolicy { instances: kept, ..RequestPolicy::default() };
        let spec = Spec { requests, ledger: ledger.clone(), ..Spec::default() };
        (workload.serve(spec, Arc::new(Nowhere)).expect("it is a server"), ledger)
    };
    let (server, ledger) = serve(1);
    let one = wait_for(|| Some(ledger.usage().memory_bytes).filter(|bytes| *bytes > 0));
    drop(server);
    wait_for(|| (ledger.usage().memory_bytes == 0).then_some(()));

    let standing = Standing::now();
    let each = instances.div_ceil(SERVERS);
    let all: Vec<_> = (0..SERVERS).map(|_| serve(each)).collect();
    let used = || all.iter().map(|(_, ledger)| ledger.usage().memory_bytes).sum::<u64>();
    wait_for(|| (used() >= one * u64::from(instances)).then_some(()));
    standing.figures()
}

/// The least that a guest which imports WASI and `wasi:http` needs.
struct Guest {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    way_out: NoWayOut,
}

struct NoWayOut;

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for NoWayOut {
    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Io,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Io), Error>> + Send> {
        Box::new(async { Err(Error::Connect(std::io::ErrorKind::NetworkUnreachable.into())) })
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.way_out }
    }
}

/// The same component in stores of nothing but WASI.
fn bare(instances: u32) -> Figures {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(4))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(4))
        .total_stacks(instances);
    let mut config = wasmtime::Config::new();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let engine = Engine::new(&config).expect("the pool fits");
    let component = Component::from_file(&engine, COMPONENT).expect("it compiles");
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).expect("WASI is linked");
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).expect("wasi:http is linked");
    let prepared = linker.instantiate_pre(&component).expect("nothing is missing");
    let runtime = Runtime::new().expect("a runtime");

    let standing = Standing::now();
    let mut live = Vec::with_capacity(instances as usize);
    for _ in 0..instances {
        let wasi = WasiCtxBuilder::new().build();
        let mut store = Store::new(
            &engine,
            Guest { table: ResourceTable::new(), wasi, http: WasiHttpCtx::new(), way_out: NoWayOut },
        );
        let instance = runtime.block_on(prepared.instantiate_async(&mut store)).expect("it starts");
        live.push((store, instance));
    }
    standing.figures()
}

/// How this process stood before.
struct Standing {
    began: Instant,
    kib: u64,
    maps: usize,
}

// === impl Standing ===

impl Standing {
    fn now() -> Self {
        Self { began: Instant::now(), kib: kib(), maps: maps() }
    }

    fn figures(self) -> Figures {
        let took = self.began.elapsed();
        Figures { took, kib: kib().saturating_sub(self.kib), maps: maps().saturating_sub(self.maps) }
    }
}

/// What is resident, and the page tables for it.
fn kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let figure = |name: &str| -> Option<u64> {
        status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
    };
    ["VmRSS:", "VmPTE:"].into_iter().filter_map(figure).sum()
}

fn maps() -> usize {
    std::fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.lines().count())
}

fn wait_for<T>(mut seen: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        if let Some(seen) = seen() {
            return seen;
        }
        assert!(Instant::now() < deadline, "it takes too long");
        std::thread::sleep(Duration::from_millis(1));
    }
}
