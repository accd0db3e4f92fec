//! What is run, what is refused and why, and what is kept on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use host::{Config, Digest, Exit, Host, Linked, PrepareError, Source, Spec, Wasi, WorkloadKind};

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
        "#!/bin/sh\nINPUT=\"$2\" OUTPUT=\"$3\" NAME=\"$4\" LINKED=\"$5\" exec {} --exact --nocapture --ignored prepare::compiler\n",
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
    let links = ["NAME", "LINKED"].map(|name| std::env::var_os(name).unwrap_or_default());
    let links = if links[0].is_empty() { &[][..] } else { &links };
    let code = host::compile::child_main(&path("INPUT"), &path("OUTPUT"), links);
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

/// A command that succeeds if the number that it imports is seven.
fn needy() -> Vec<u8> {
    let text = r#"(component
        (import "acme:shop/prices@1.0.0" (instance $in (export "one" (func (result u32)))))
        (core func $one (canon lower (func $in "one")))
        (core module $m (import "in" "one" (func $one (result i32)))
            (func (export "run") (result i32) (i32.ne (call $one) (i32.const 7))))
        (core instance $i (instantiate $m (with "in" (instance (export "one" (func $one))))))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance (export "wasi:cli/run@0.2.0") (export "run" (func $run))))"#;
    wat::parse_str(text).expect("the text is well-formed")
}

/// A component that exports the number, seven, and has so many pages of memory.
fn giver(version: &str, pages: u32) -> Vec<u8> {
    let text = format!(
        r#"(component
            (core module $m (memory {pages})
                (func (export "one") (result i32) (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (i32.const 7)))
            (core instance $i (instantiate $m))
            (func $one (result u32) (canon lift (core func $i "one")))
            (instance (export "acme:shop/prices@{version}") (export "one" (func $one))))"#
    );
    wat::parse_str(text).expect("the text is well-formed")
}

struct Shelf(tempfile::TempDir);

impl Shelf {
    fn link(&self, name: &str, wasm: &[u8]) -> Linked {
        let file = self.0.path().join(name.replace([':', '/'], "-"));
        fs::write(&file, wasm).expect("it is written");
        Linked { name: name.to_owned(), digest: Digest::of(wasm), file }
    }
}

async fn prepare_linked(bench: &Bench, links: &[Linked]) -> Result<host::Workload, PrepareError> {
    let wasm = needy();
    bench.host.prepare_linked(Digest::of(&wasm), Bytes::from(wasm), links.to_vec()).await
}

#[tokio::test]
async fn what_is_linked_runs_with_the_component_and_is_compiled_once_with_it() {
    let shelf = Shelf(tempfile::tempdir().expect("a temporary directory"));
    let scripts = tempfile::tempdir().expect("a temporary directory");
    let compiler = as_compiler(&scripts.path().join("compiler"));
    let bench = Bench::with(|config| Config { compiler: Some(compiler), ..config });
    let link = shelf.link("prices:v1", &giver("1.2.0", 1));
    let workload = prepare_linked(&bench, std::slice::from_ref(&link)).await.expect("they are joined");
    assert_eq!(workload.digest(), Digest::of(&needy()).joint([link.digest]));
    let run = |limits| {
        let spec = Spec { ledger: host::Ledger::new(limits), ..Spec::default() };
        let outside = std::sync::Arc::new(host::Nowhere);
        workload.run(spec, host::Stdin::Empty, outside).expect("it is a command")
    };
    assert_eq!(ended(&run(host::Limits::default())).await, Exit::Exited { code: 0 });
    // What the linked one takes counts.
    let limits = host::Limits { memory_bytes: Some(60_000), ..host::Limits::default() };
    assert_eq!(ended(&run(limits)).await, Exit::OutOfMemory);

    // The compiled form is found without the files.
    drop(workload);
    fs::remove_file(&link.file).expect("it is removed");
    prepare_linked(&bench, std::slice::from_ref(&link)).await.expect("they are found compiled");
    assert_eq!(files(bench.cache.path(), "cwasm").len(), 1);
}

#[tokio::test]
async fn a_link_that_does_not_fit_is_named() {
    let shelf = Shelf(tempfile::tempdir().expect("a temporary directory"));
    let bench = Bench::new();
    let check = async |links: &[Linked], expected: &str| {
        let error = prepare_linked(&bench, links).await.expect_err("it is refused").to_string();
        assert!(error.starts_with(expected), "{error}, not {expected}");
    };
    check(&[], "the component imports acme:shop/prices@1.0.0, which nothing here provides").await;
    check(
        &[shelf.link("prices:v2", &giver("2.0.0", 1))],
        "failed to compile the component: prices:v2 exports nothing that is imported here",
    )
    .await;
    let middle = wat::parse_str(
        r#"(component
            (import "acme:shop/rates@0.1.0" (instance (export "one" (func (result u32)))))
            (core module $m (func (export "one") (result i32) (i32.const 7)))
            (core instance $i (instantiate $m))
            (func $one (result u32) (canon lift (core func $i "one")))
            (instance (export "acme:shop/prices@1.0.0") (export "one" (func $one))))"#,
    );
    let middle = shelf.link("shop/middle", &middle.expect("the text is well-formed"));
    check(
        std::slice::from_ref(&middle),
        "the component imports acme:shop/rates@0.1.0, which nothing here provides; shop/middle, which is linked to it, imports \
         acme:shop/rates@0.1.0 itself and exports acme:shop/prices@1.0.0",
    )
    .await;
    let other = Linked { digest: Digest::of(b"other"), ..middle };
    check(&[other], "shop/middle, which is linked to the component: the component's digest is sha256:").await;
    check(&[shelf.link("elf", b"\x7fELF\x02")], "elf, which is linked to the component: not a WebAssembly component")
        .await;
}

#[tokio::test]
async fn a_compiler_that_is_not_there_is_an_error() {
    let bench = Bench::with(|config| Config { compiler: Some("/nowhere".into()), ..config });
    let wasm = command("i32.const 0");
    let error = bench.host.prepare(Digest::of(&wasm), Bytes::from(wasm)).await.expect_err("it fails");
    assert!(error.to_string().contains("failed to run the compiler /nowhere"), "{error}");
}
