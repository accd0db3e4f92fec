//! Commands: how they end, what they are given, and that they can be stopped.

use std::sync::Arc;
use std::time::Duration;

use host::{Exit, Folder, Ledger, Limits, Mode, Mount, Nowhere, Spec, Stdin, Wasi, WorkloadKind};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::guests::{Bench, EAT, SPIN, TRAP, captured, command, ended, example, limited, until};

async fn check(program: &str, expected: Exit) {
    assert_eq!(Bench::new().run(&command(program), Spec::default()).await, expected, "{program}");
}

#[tokio::test]
async fn success_and_failure_are_told_apart() {
    check("i32.const 0", Exit::Exited { code: 0 }).await;
    check("i32.const 1", Exit::Exited { code: 1 }).await;
}

#[tokio::test]
async fn a_trap_says_what_it_was() {
    let exit = Bench::new().run(&command(TRAP), Spec::default()).await;
    let Exit::Trapped { message } = exit else { panic!("{exit:?}") };
    assert!(message.contains("unreachable"), "{message}");
}

#[tokio::test]
async fn memory_beyond_the_limit_is_refused_and_remembered() {
    let spec = limited(Limits { memory_bytes: Some(8 << 20), ..Limits::default() });
    let ledger = spec.ledger.clone();
    assert_eq!(Bench::new().run(&command(EAT), spec).await, Exit::OutOfMemory);
    let usage = ledger.usage();
    assert!(usage.memory_bytes_peak > 4 << 20 && usage.memory_bytes_peak <= 8 << 20, "{usage:?}");
    assert_eq!((usage.memory_bytes, usage.instances, usage.memory_refusals), (0, 0, 1));
}

#[tokio::test]
async fn a_program_larger_than_its_limit_does_not_start() {
    let spec = limited(Limits { memory_bytes: Some(1 << 10), ..Limits::default() });
    assert_eq!(Bench::new().run(&command("i32.const 0"), spec).await, Exit::OutOfMemory);
}

#[tokio::test]
async fn a_spinning_program_is_stopped() {
    let bench = Bench::new();
    let spec = Spec::default();
    let ledger = spec.ledger.clone();
    let run = bench.start(&command(SPIN), spec).await;
    used(&ledger, Duration::from_millis(20)).await;
    assert_eq!(run.exit(), None);
    run.stop();
    assert_eq!(ended(&run).await, Exit::Cancelled);
    assert_eq!(ledger.usage().instances, 0);
}

#[tokio::test]
async fn dropping_the_handle_stops_the_run() {
    let bench = Bench::new();
    let spec = Spec::default();
    let ledger = spec.ledger.clone();
    let run = bench.start(&command(SPIN), spec).await;
    used(&ledger, Duration::from_millis(1)).await;
    drop(run);
    until(|| ledger.usage().instances == 0).await;
}

#[tokio::test]
async fn busy_loops_leave_room_for_a_neighbour() {
    let bench = Bench::new();
    let mut busy = Vec::new();
    for _ in 0..4 {
        busy.push(bench.start(&command(SPIN), Spec::default()).await);
    }
    // Twice as many busy loops as threads; without giving way the neighbour would never get one.
    for _ in 0..5 {
        assert_eq!(bench.run(&command("i32.const 0"), Spec::default()).await, Exit::Exited { code: 0 });
    }
    assert!(busy.iter().all(|run| run.exit().is_none()));
}

#[tokio::test]
async fn a_quota_slows_a_busy_loop() {
    let bench = Bench::new();
    let spec = limited(Limits { cpu_millis: Some(100), ..Limits::default() });
    let ledger = spec.ledger.clone();
    let _run = bench.start(&command(SPIN), spec).await;
    let start = Instant::now();
    used(&ledger, Duration::from_millis(100)).await;
    // A tenth of a processor: 100 ms of work take a second, less the first period's burst and a few ticks.
    assert!(start.elapsed() > Duration::from_millis(500), "{:?}", start.elapsed());
}

#[tokio::test]
async fn arguments_and_output_reach_their_places() {
    let bench = Bench::new();
    let (stdout, said) = captured();
    let (stderr, complained) = captured();
    let args = ["ticker", "--every", "0", "--count", "2", "--exit", "7"].map(str::to_owned).to_vec();
    let env = vec![("TEXT".to_owned(), "tock".to_owned())];
    let exit = bench
        .run(&example("ticker/ticker.wasm"), Spec { args, env: env.into(), stdout, stderr, ..Spec::default() })
        .await;
    assert_eq!(exit, Exit::Exited { code: 7 });
    assert_eq!(said.await, "tock 1\ntock 2\n");
    assert_eq!(complained.await, "tock 1, to standard error\ntock 2, to standard error\n");
}

#[tokio::test]
async fn a_program_that_eats_its_limit_is_out_of_memory() {
    let bench = Bench::new();
    let args = ["ticker", "--count", "0", "--eat"].map(str::to_owned).to_vec();
    let limits = Limits { memory_bytes: Some(16 << 20), ..Limits::default() };
    let exit = bench.run(&example("ticker/ticker.wasm"), Spec { args, ..limited(limits) }).await;
    assert_eq!(exit, Exit::OutOfMemory);
}

#[tokio::test]
async fn a_panic_is_a_trap_after_its_message() {
    let bench = Bench::new();
    let (stderr, complained) = captured();
    let args = ["ticker", "--count", "0", "--panic"].map(str::to_owned).to_vec();
    let exit = bench.run(&example("ticker/ticker.wasm"), Spec { args, stderr, ..Spec::default() }).await;
    assert!(matches!(exit, Exit::Trapped { .. }), "{exit:?}");
    assert!(complained.await.contains("asked to panic"));
}

#[tokio::test]
async fn a_command_of_wasi_0_3_runs() {
    let wasm = wat::parse_str(
        r#"(component
            (core module $program (func (export "run") (result i32) i32.const 1))
            (core instance $instance (instantiate $program))
            (func $run async (result (result)) (canon lift (core func $instance "run")))
            (instance (export "wasi:cli/run@0.3.0") (export "run" (func $run))))"#,
    )
    .expect("the text is well-formed");
    let bench = Bench::new();
    assert_eq!(bench.prepare(&wasm).await.kind(), WorkloadKind::Command(Wasi::P3));
    assert_eq!(bench.run(&wasm, Spec::default()).await, Exit::Exited { code: 1 });
}

/// Writes to standard output what it reads from standard input, as a preview 1 module.
const CAT: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (loop $again
            (i32.store (i32.const 0) (i32.const 64))
            (i32.store (i32.const 4) (i32.const 1024))
            (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then (return)))
            (if (i32.eqz (i32.load (i32.const 8))) (then (return)))
            (i32.store (i32.const 4) (i32.load (i32.const 8)))
            (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)) (then (return)))
            (br $again))))"#;

#[tokio::test]
async fn standard_input_is_read_to_its_end() {
    let bench = Bench::new();
    let workload = bench.prepare(&wat::parse_str(CAT).expect("the text is well-formed")).await;
    let (stdout, mut reader) = host::pipe(1 << 10);
    let (mut writer, stdin) = tokio::io::duplex(16);
    let spec = Spec { stdout, ..Spec::default() };
    let run = workload.run(spec, Stdin::Stream(Box::new(stdin)), Arc::new(Nowhere)).expect("it is a command");
    for line in ["one", "two"] {
        writer.write_all(line.as_bytes()).await.expect("the guest reads");
        assert_eq!(reader.recv().await.as_deref(), Some(line.as_bytes()));
    }
    assert_eq!(run.exit(), None, "it waits for more");
    drop(writer);
    assert_eq!(ended(&run).await, Exit::Exited { code: 0 });
}

#[tokio::test]
async fn output_waits_for_its_reader() {
    let bench = Bench::new();
    let (stdout, mut reader) = host::pipe(16);
    let args = ["ticker", "--every", "0", "--count", "1000"].map(str::to_owned).to_vec();
    let run = bench.start(&example("ticker/ticker.wasm"), Spec { args, stdout, ..Spec::default() }).await;
    let first = reader.recv().await.expect("it says something");
    assert!(first.len() <= 16);
    assert_eq!(run.exit(), None, "a thousand lines do not fit into sixteen bytes");
    let mut all = first.to_vec();
    while let Some(bytes) = reader.recv().await {
        all.extend_from_slice(&bytes);
    }
    let lines = String::from_utf8(all).expect("the output is text").lines().count();
    assert_eq!(lines, 1000);
    assert_eq!(ended(&run).await, Exit::Exited { code: 0 });
}

#[tokio::test]
async fn a_mount_that_is_not_there_is_told() {
    let bench = Bench::new();
    let mounts =
        vec![Mount { host: Folder::at("/nowhere/at/all"), guest: "/data".into(), mode: Mode::ReadOnly, quota: None }];
    let exit = bench.run(&command("i32.const 0"), Spec { mounts, ..Spec::default() }).await;
    assert!(matches!(&exit, Exit::NotStarted { message } if message.contains("/data")), "{exit:?}");
}

#[tokio::test]
async fn a_server_has_no_command_to_run() {
    let bench = Bench::new();
    let workload = bench.prepare(&crate::guests::server(TRAP)).await;
    assert!(workload.run(Spec::default(), Stdin::Empty, Arc::new(Nowhere)).is_err());
}

/// Returns when a container has used so much processor time.
async fn used(ledger: &Ledger, cpu: Duration) {
    until(|| ledger.usage().cpu >= cpu).await;
}
