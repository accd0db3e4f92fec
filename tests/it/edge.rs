//! The ingress by the documentation: what it refuses, what it tells, what it says of itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use harness::{Cluster, Plan, eventually, get, get_with};
use http::Method;
use serde_json::{Value, json};

use crate::{PROGRAM, example, manifest, with};

/// An Ingress to `service`, for one host.
fn ingress(name: &str, host: &str, service: &str, annotations: Value) -> Value {
    let backend = json!({"service": {"name": service, "port": {"name": "http"}}});
    let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name, "annotations": annotations},
        "spec": {"rules": [{"host": host, "http": {"paths": paths}}]}})
}

fn apply(cluster: &Cluster, objects: &[Value]) {
    let folder = tempfile::tempdir().expect("a folder");
    let text: Vec<String> = objects.iter().map(Value::to_string).collect();
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), &text.join("\n---\n"))]).ok();
}

/// What comes back for these bytes.
fn raw(to: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(to).expect("connected");
    stream.write_all(bytes.as_bytes()).expect("written");
    let mut told = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut told);
    String::from_utf8_lossy(&told).into_owned()
}

#[test]
fn an_ingress_is_told_what_it_does_not_get() {
    let cluster = with(&["hello", "probe"]);
    let bucket = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "bucket"},
        "spec": {"defaultBackend": {"resource": {"apiGroup": "example.com", "kind": "StorageBucket", "name": "icons"}}}});
    let younger = ingress("younger", "hello.localhost", "probe", json!({"coracle.dev/ssl-redirect": "maybe"}));
    apply(&cluster, &[younger, bucket]);
    for (name, words) in [
        (
            "younger",
            &[
                "Conflict",
                "hello.localhost/ (Prefix) belongs to the older ingress default/hello",
                "is not true or false",
            ][..],
        ),
        ("bucket", &["UnsupportedBackend", "StorageBucket/icons is not a Service"]),
    ] {
        eventually(20, || {
            let told = cluster.coracle(&["describe", "ingress", name]).ok();
            if words.iter().all(|word| told.contains(word)) { Ok(()) } else { Err(told) }
        });
    }
    let answer = get(cluster.ingress(), "hello.localhost", "/").expect("an answer");
    assert!(answer.status == 200 && answer.body.starts_with("Hello"), "the older one keeps its place: {answer:?}");
    let answer = get(cluster.ingress(), "nobody.localhost", "/").expect("an answer");
    assert!(answer.status == 503 && answer.body.contains("StorageBucket/icons"), "{answer:?}");
}

#[test]
fn an_ingress_has_terms_of_its_own() {
    let cluster = with(&["probe"]);
    let terms = json!({"coracle.dev/body-size-max": "1Ki", "coracle.dev/request-timeout": "500ms"});
    apply(&cluster, &[ingress("small", "small.localhost", "probe", terms)]);
    let post = |size: usize| {
        let answer = get_with(cluster.ingress(), Method::POST, "small.localhost", "/echo", &[], "x".repeat(size));
        answer.expect("an answer").status
    };
    eventually(10, || match post(1024) {
        200 => Ok(()),
        other => Err(other.to_string()),
    });
    assert_eq!(post(1025), 413);
    assert_eq!(get(cluster.ingress(), "small.localhost", "/spin?ms=20000").expect("an answer").status, 504);
}

#[test]
fn what_has_two_readings_is_refused() {
    let cluster = with(&["probe"]);
    let head = "POST /echo HTTP/1.1\r\nHost: probe.localhost\r\nConnection: close\r\n";
    let whole = raw(cluster.ingress(), &format!("{head}Content-Length: 3\r\n\r\nabc"));
    assert!(whole.starts_with("HTTP/1.1 200") && whole.contains("\r\nabc"), "{whole}");
    for fields in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "X: y\n",
        " folded: 1\r\n",
    ] {
        let told = raw(cluster.ingress(), &format!("{head}{fields}\r\nabc"));
        assert!(told.starts_with("HTTP/1.1 400"), "{fields:?}: {told}");
    }
}

#[test]
fn proxies_in_front_are_believed_and_requests_are_written_down() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("access.log");
    let cluster = Plan::new()
        .apply(example("probe"))
        .say(&["--ingress-trusted-proxies", "127.0.0.0/8", "--ingress-proxy-protocol", "--ingress-forwarded"])
        .say(&["--ingress-access-log", &log.display().to_string()])
        .up(PROGRAM)
        .unwrap_or_else(|error| panic!("{error:#}"));
    let ask = "GET /headers HTTP/1.1\r\nHost: probe.localhost\r\nConnection: close\r\n\r\n";
    let told =
        eventually(30, || match raw(cluster.ingress(), &format!("PROXY TCP4 192.0.2.7 192.0.2.1 4000 80\r\n{ask}")) {
            told if told.starts_with("HTTP/1.1 200") => Ok(told),
            told => Err(told),
        });
    for line in [
        "x-forwarded-for: 192.0.2.7",
        "x-forwarded-port: 80",
        "forwarded: for=192.0.2.7;host=\"probe.localhost\";proto=http",
    ] {
        assert!(told.contains(line), "{line:?} is missing in\n{told}");
    }
    assert_eq!(raw(cluster.ingress(), ask), "", "a trusted proxy has to say for whom it speaks");
    let line = eventually(10, || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.into_iter().find(|line| line["status"] == 200).ok_or(text)
    });
    let told = ["client", "method", "host", "path", "backend"].map(|member| line[member].as_str().unwrap_or_default());
    assert_eq!(told, ["192.0.2.7", "GET", "probe.localhost", "/headers", "default/probe:http"]);
}
