//! What is run, what is refused and why, and what is kept on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use host::{Config, Digest, Exit, Host, PrepareError, Source, Spec, Wasi, WorkloadKind};

use crate::guests::{Bench, command, ended, server};

async fn refused(wasm: &[u8]) -> PrepareError {
    let bench = Bench::new();
    let source = Bytes::copy_from_slice(wasm);
    bench.host.prepare(Digest::of(wasm), source).await.expect_err("it is refused")
}

/// The compiled code and checksums in a cache.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("the directory is there").map(|entry| entry.expect("it reads").path()) {
        if entry.is_dir() {
            found.extend(files(&entry, extension));
        } else if entry.extension().is_some_and(|found| found == extension) {
            found.push(entry);
        }
    }
    found
}

#[tokio::test]
async fn exports_decide_what_a_component_is() {
    let bench = Bench::new();
    let command = bench.prepare(&command("i32.const 0")).await;
    assert_eq!(command.kind(), WorkloadKind::Command(Wasi::P2));
    let server = bench.prepare(&server("unreachable")).await;
    assert_eq!(server.kind(), WorkloadKind::Server(Wasi::P2));
}

#[tokio::test]
async fn what_is_not_wasm_is_refused_with_its_name() {
    let error = refused(b"\x7fELF\x02\x01\x01").await;
    assert!(error.to_string().starts_with("not a WebAssembly component: starts with an ELF header"), "{error}");
}

#[tokio::test]
async fn a_broken_component_is_refused_by_the_compiler() {
    let mut wasm = command("i32.const 0");
    wasm.truncate(wasm.len() / 2);
    let error = refused(&wasm).await;
    assert!(matches!(error, PrepareError::Compile(_)), "{error}");
}

#[tokio::test]
async fn every_missing_import_is_named() {
    let wasm = wat::parse_str(
        r#"(component
            (import "wasi:cli/environment@0.2.0" (instance))
            (import "wasi:keyvalue/store@0.2.0-draft3" (instance (export "size" (func (result u64)))))
            (import "acme:billing/api" (instance (export "bill" (func))))
            (core module $m (func (export "run") (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance (export "wasi:cli/run@0.2.0") (export "run" (func $run))))"#,
    )
    .expect("the text is well-formed");
    let error = refused(&wasm).await.to_string();
    let expected =
        "the component imports wasi:keyvalue/store@0.2.0-draft3 and acme:billing/api, which nothing here provides";
    assert_eq!(error, expected);
}

#[tokio::test]
async fn a_library_is_refused_with_what_it_exports() {
    let wasm = wat::parse_str(r#"(component (instance $i) (export "acme:shapes/round" (instance $i)))"#);
    let error = refused(&wasm.expect("the text is well-formed")).await.to_string();
    assert!(error.ends_with("nor wasi:cli/run, but acme:shapes/round"), "{error}");
}

#[tokio::test]
async fn other_bytes_than_asked_for_are_refused() {
    let bench = Bench::new();
    let wasm = Bytes::from(command("i32.const 0"));
    let error = bench.host.prepare(Digest::of(b"another"), wasm).await.expect_err("it is refused");
    assert!(matches!(error, PrepareError::OtherDigest { .. }), "{error}");
}

#[tokio::test]
async fn a_preview_1_module_becomes_a_command() {
    let module = wat::parse_str(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") (call $exit (i32.const 1))))"#,
    )
    .expect("the text is well-formed");
    let exit = Bench::new().run(&module, Spec::default()).await;
    assert_eq!(exit, Exit::Exited { code: 1 });
}

#[tokio::test]
async fn a_module_of_another_world_is_refused() {
    let module = wat::parse_str(r#"(module (import "env" "draw" (func)))"#).expect("the text is well-formed");
    let error = refused(&module).await;
    assert!(error.to_string().contains("cannot be made a component"), "{error}");
}

#[tokio::test]
async fn compiled_code_is_mapped_on_the_next_start() {
    let Bench { host, cache } = Bench::new();
    let wasm = command("i32.const 0");
    let digest = Digest::of(&wasm);
    host.prepare(digest, Bytes::from(wasm)).await.expect("it is prepared");
    drop(host);

    let dir = cache.path().join("compiled");
    assert_eq!(fs::metadata(&dir).expect("it is there").permissions().mode() & 0o777, 0o700);
    let config = Config { instances_max: 16, ..Config::new(&dir) };
    let host = Host::new(config).expect("the host starts again");
    // The source is not read: it is not even there.
    let workload = host.prepare(digest, Source::File("/nowhere".into())).await.expect("it is found compiled");
    assert_eq!(workload.digest(), digest);

    host.forget(digest).expect("it is forgotten");
    let error = host.prepare(digest, Source::File("/nowhere".into())).await.expect_err("it is gone");
    assert!(matches!(error, PrepareError::Source(_)), "{error}");
}

#[tokio::test]
async fn damaged_code_is_compiled_again() {
    let bench = Bench::new();
    let wasm = command("i32.const 0");
    bench.prepare(&wasm).await;
    for damage in [&b"not code at all"[..], b""] {
        let [code] = &files(bench.cache.path(), "cwasm")[..] else { panic!("one component is compiled") };
        fs::remove_file(code).expect("the old code is unlinked");
        fs::write(code, damage).expect("it is damaged");
        assert_eq!(bench.run(&wasm, Spec::default()).await, Exit::Exited { code: 0 });
    }
}

#[tokio::test]
async fn a_component_is_compiled_once_for_many_who_ask() {
    let bench = Bench::new();
    let wasm = command("i32.const 0");
    let asked = (0..8).map(|_| bench.prepare(&wasm));
    let workloads = futures::future::join_all(asked).await;
    assert_eq!(workloads.len(), 8);
    assert_eq!(files(bench.cache.path(), "cwasm").len(), 1);
}

/// This test program itself, called as the compiler.
fn as_compiler(script: &Path) -> PathBuf {
    let this = std::env::current_exe().expect("this program has a path");
    let text = format!(
        "#!/bin/sh\nINPUT=\"$2\" OUTPUT=\"$3\" exec {} --exact --nocapture --ignored prepare::compiler\n",
        this.display()
    );
    fs::write(script, text).expect("the script is written");
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).expect("the script is made executable");
    script.to_owned()
}

#[test]
#[ignore = "the part of the child in the test below"]
fn compiler() {
    let path = |name| PathBuf::from(std::env::var_os(name).expect("it is given by the parent"));
    let code = host::compile::child_main(&path("INPUT"), &path("OUTPUT"));
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
}

#[tokio::test]
async fn a_child_compiles_for_its_parent() {
    let scripts = tempfile::tempdir().expect("a temporary directory");
    let compiler = as_compiler(&scripts.path().join("compiler"));
    let bench = Bench::with(|config| Config { compiler: Some(compiler), ..config });
    let command = bench.start(&command("i32.const 0"), Spec::default()).await;
    assert_eq!(ended(&command).await, Exit::Exited { code: 0 });

    let module = wat::parse_str(r#"(module (import "env" "draw" (func)))"#).expect("the text is well-formed");
    let error = bench.host.prepare(Digest::of(&module), Bytes::from(module)).await.expect_err("it is refused");
    assert!(error.to_string().contains("cannot be made a component"), "{error}");
}

#[tokio::test]
async fn a_compiler_that_is_not_there_is_an_error() {
    let bench = Bench::with(|config| Config { compiler: Some("/nowhere".into()), ..config });
    let wasm = command("i32.const 0");
    let error = bench.host.prepare(Digest::of(&wasm), Bytes::from(wasm)).await.expect_err("it fails");
    assert!(error.to_string().contains("failed to run the compiler /nowhere"), "{error}");
}
