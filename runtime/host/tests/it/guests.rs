//! Components to try, and a host to try them on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use host::{
    Body, Command, Config, Digest, Exit, Host, Ledger, Limits, Nowhere, Outside, RequestPolicy, Server, Sink, Spec,
    Stdin, Workload, pipe,
};
use http::Request;
use http_body_util::BodyExt;
use tempfile::TempDir;

/// Longer than anything here takes, on a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A host with a cache of its own.
pub(crate) struct Bench {
    pub(crate) host: Host,
    pub(crate) cache: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(|config| config)
    }

    pub(crate) fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let cache = tempfile::tempdir().expect("a temporary directory");
        let config = Config { instances_max: 64, guest_threads: 2, ..Config::new(cache.path().join("compiled")) };
        Self { host: Host::new(change(config)).expect("the host starts"), cache }
    }

    pub(crate) async fn prepare(&self, wasm: &[u8]) -> Workload {
        self.host
            .prepare(Digest::of(wasm), Bytes::copy_from_slice(wasm))
            .await
            .unwrap_or_else(|error| panic!("the component is prepared: {error}"))
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, wasm: &[u8], spec: Spec) -> Exit {
        ended(&self.start(wasm, spec).await).await
    }

    pub(crate) async fn start(&self, wasm: &[u8], spec: Spec) -> Command {
        let workload = self.prepare(wasm).await;
        workload.run(spec, Stdin::Empty, Arc::new(Nowhere)).expect("it is a command")
    }
}

pub(crate) async fn ended(command: &Command) -> Exit {
    tokio::time::timeout(PATIENCE, command.wait()).await.expect("the command ends")
}

/// A component of the examples, as it lies beside its source.
pub(crate) fn example(path: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A command whose program is this WebAssembly text; zero says that it succeeded.
pub(crate) fn command(program: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(component
            (core module $program (memory 1) (func (export "run") (result i32) {program}))
            (core instance $instance (instantiate $program))
            (func $run (result (result)) (canon lift (core func $instance "run")))
            (instance (export "wasi:cli/run@0.2.0") (export "run" (func $run))))"#
    ))
    .expect("the text is well-formed")
}

/// A server whose handler is this WebAssembly text.
pub(crate) fn server(handler: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(component
            (import "wasi:http/types@0.2.0" (instance $types
                (export "incoming-request" (type (sub resource)))
                (export "response-outparam" (type (sub resource)))))
            (alias export $types "incoming-request" (type $request))
            (alias export $types "response-outparam" (type $outparam))
            (core module $handler (memory 1) (func (export "handle") (param i32 i32) {handler}))
            (core instance $instance (instantiate $handler))
            (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
                (canon lift (core func $instance "handle")))
            (instance (export "wasi:http/incoming-handler@0.2.0") (export "handle" (func $handle))))"#
    ))
    .expect("the text is well-formed")
}

pub(crate) const TRAP: &str = "unreachable";
pub(crate) const SPIN: &str = "(loop (br 0)) unreachable";
/// Takes memory until there is no more, then gives up.
pub(crate) const EAT: &str = "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";

pub(crate) fn limited(limits: Limits) -> Spec {
    Spec { ledger: Ledger::new(limits), ..Spec::default() }
}

pub(crate) fn get(uri: &str) -> Request<Body> {
    Request::get(uri).header("host", "guest").body(host::empty()).expect("the request is well-formed")
}

pub(crate) async fn text(body: Body) -> String {
    let bytes = body.collect().await.expect("the body is complete").to_bytes();
    String::from_utf8(bytes.into()).expect("the body is text")
}

/// A sink, and everything that was written to it once all writers are gone.
pub(crate) fn captured() -> (Arc<dyn Sink>, impl Future<Output = String>) {
    let (sink, mut reader) = pipe(1 << 20);
    let all = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(bytes) = reader.recv().await {
            all.extend_from_slice(&bytes);
        }
        String::from_utf8(all).expect("the output is text")
    });
    (sink, async { all.await.expect("the reader ends") })
}

pub(crate) async fn serving(bench: &Bench, wasm: &[u8], spec: Spec) -> Server {
    serving_with(bench, wasm, spec, Arc::new(Nowhere)).await
}

pub(crate) async fn serving_with(bench: &Bench, wasm: &[u8], spec: Spec, outside: Arc<dyn Outside>) -> Server {
    bench.prepare(wasm).await.serve(spec, outside).expect("it is a server")
}

pub(crate) async fn probe(spec: Spec) -> (Bench, Server) {
    let bench = Bench::new();
    let server = serving(&bench, &example("probe/probe.wasm"), spec).await;
    (bench, server)
}

pub(crate) fn policy(change: impl FnOnce(&mut RequestPolicy)) -> Spec {
    let mut requests = RequestPolicy { timeout: PATIENCE, ..RequestPolicy::default() };
    change(&mut requests);
    Spec { requests, ..Spec::default() }
}

pub(crate) async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it becomes so");
}

/// Asks for `path` and expects this answer.
pub(crate) async fn check(server: &Server, path: &str, status: u16, expected: &str) {
    let response = server.handle(get(path)).await.unwrap_or_else(|fault| panic!("{path}: {fault}"));
    assert_eq!(response.status(), status, "{path}");
    assert_eq!(text(response.into_body()).await, expected, "{path}");
}
