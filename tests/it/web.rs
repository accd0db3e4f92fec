//! The ingress: hosts, paths, faults, TLS, streams.

use harness::{Load, eventually, get, get_with};
use http::Method;

use crate::{manifest, with};

#[test]
fn faults_are_answers() {
    let cluster = with(&["probe"]);
    let ask = |host: &str, path: &str| get(cluster.ingress(), host, path).expect("an answer").status;
    assert_eq!(ask("nobody.localhost", "/"), 404);
    assert_eq!(ask("probe.localhost", "/status?code=418"), 418);
    assert_eq!(ask("probe.localhost", "/exit"), 502, "a trap");
    assert_eq!(ask("probe.localhost", "/"), 200, "a trap harms no one else");
    let big = "x".repeat(3 << 20);
    let echoed =
        get_with(cluster.ingress(), Method::POST, "probe.localhost", "/echo", &[], big.clone()).expect("an answer");
    assert!(echoed.status == 200 && echoed.body == big, "{} {} bytes", echoed.status, echoed.body.len());
    let headers = get(cluster.ingress(), "probe.localhost", "/headers").expect("an answer").body;
    assert!(headers.contains("x-forwarded-for: 127.0.0.1") && headers.contains("x-forwarded-proto: http"), "{headers}");
    cluster.coracle(&["scale", "deploy/probe", "--replicas", "0"]).ok();
    eventually(30, || match ask("probe.localhost", "/") {
        503 => Ok(()),
        other => Err(other.to_string()),
    });
}

#[test]
fn paths_are_matched_as_kubernetes_has_it() {
    let cluster = with(&["hello", "probe"]);
    let folder = tempfile::tempdir().expect("a folder");
    let backend = |service: &str| format!("backend: {{service: {{name: {service}, port: {{number: 80}}}}}}");
    let text = format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: paths}}\nspec:\n  defaultBackend: {{service: {{name: hello, port: {{name: http}}}}}}\n  rules:\n  - host: paths.localhost\n    http:\n      paths:\n      - {{path: /env, pathType: Exact, {probe}}}\n      - {{path: /healthz, pathType: Prefix, {hello}}}\n",
        probe = backend("probe"),
        hello = backend("hello"),
    );
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), &text)]).ok();
    let ask = |host: &str, path: &str| {
        let answer = get(cluster.ingress(), host, path).expect("an answer");
        (answer.status, answer.body)
    };
    eventually(10, || match ask("paths.localhost", "/env") {
        (200, body) if body.contains("POD_NAME=probe-") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(ask("paths.localhost", "/healthz").1.contains("ok"));
    assert!(
        ask("paths.localhost", "/healthz/deeper").1.contains("nothing at /healthz/deeper"),
        "a prefix is of path elements"
    );
    let (_, body) = ask("paths.localhost", "/envelope");
    assert!(!body.contains("POD_NAME=probe-"), "Exact is exact: {body}");
    let (_, body) = ask("elsewhere.localhost", "/");
    assert!(body.starts_with("Hello, world!"), "the default backend: {body}");
}

#[test]
fn a_busy_loop_does_not_slow_its_neighbours() {
    let cluster = with(&["hello", "probe"]);
    let spinning = Load::start(cluster.ingress(), "probe.localhost", "/spin?ms=2000", 4);
    let load = Load::start(cluster.ingress(), "hello.localhost", "/", 2);
    let answers = eventually(60, || match get(cluster.ingress(), "hello.localhost", "/") {
        Ok(answer) if answer.status == 200 => Ok(answer.status),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(answers, 200);
    std::thread::park_timeout(std::time::Duration::from_secs(2));
    let report = load.stop();
    spinning.stop();
    assert_eq!(report.dropped(), 0, "{:?} {:?} {:?}", report.answers, report.refusals, report.failures);
    assert!(report.total() > 50, "the neighbours starved: {:?}", report.answers);
}
