//! TLS at the edge, as curl sees it: certificates from secrets, HTTP/2 over TLS and in the clear.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use harness::{Output, eventually, peer_is_there};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::{manifest, with};

/// An authority that clients trust.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

#[test]
fn each_name_has_the_certificate_of_its_secret() {
    if !peer_is_there("curl") {
        return;
    }
    let cluster = with(&["hello"]);
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, &authority.pem).expect("written");
    let objects = [
        authority.secret("shop", "shop.localhost"),
        authority.secret("wild", "*.wild.localhost"),
        ingress("shop", "shop.localhost"),
        ingress("wild", "*.wild.localhost"),
        ingress("bare", "bare.localhost"),
    ];
    apply(&cluster, folder.path(), &objects);
    let ask = |host: &str, more: &[&str]| curl(cluster.ingress_tls(), "https", host, Some(&roots), more);

    eventually(10, || match ask("shop.localhost", &[]) {
        output if output.code == 0 && output.stdout.contains("Hello, world!") => Ok(()),
        output => Err(format!("{output:?}")),
    });
    told(&ask("a.wild.localhost", &[]).ok(), &["Hello, world!", "HTTP/2 200"]);
    told(&ask("shop.localhost", &["--http1.1"]).ok(), &["Hello, world!", "HTTP/1.1 200"]);
    told(&ask("shop.localhost", &["--tls-max", "1.2"]).ok(), &["Hello, world!"]);
    // A star is one label, and who has no certificate gets one that nobody has signed.
    told(&ask("a.b.wild.localhost", &[]).refused(), &["certificate"]);
    told(&ask("bare.localhost", &[]).refused(), &["certificate"]);
    told(&ask("bare.localhost", &["--insecure"]).ok(), &["Hello, world!"]);

    // A renewed secret is shown from the next handshake on: only the new authority is trusted now.
    let renewed = Authority::new();
    std::fs::write(&roots, &renewed.pem).expect("written");
    ask("shop.localhost", &[]).refused();
    apply(&cluster, folder.path(), &[renewed.secret("shop", "shop.localhost")]);
    eventually(10, || match ask("shop.localhost", &[]) {
        output if output.code == 0 => Ok(()),
        output => Err(output.stderr),
    });
}

#[test]
fn http2_is_spoken_over_tls_and_in_the_clear() {
    if !peer_is_there("curl") {
        return;
    }
    let cluster = with(&["hello", "probe"]);
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, &authority.pem).expect("written");
    apply(&cluster, folder.path(), &[authority.secret("shop", "shop.localhost"), ingress("shop", "shop.localhost")]);
    eventually(10, || match curl(cluster.ingress_tls(), "https", "shop.localhost", Some(&roots), &["--http2"]) {
        output if output.stdout.starts_with("HTTP/2 200") && output.stdout.contains("Hello, world!") => Ok(()),
        output => Err(format!("{output:?}")),
    });
    let clear = |host: &str, more: &[&str]| {
        curl(cluster.ingress(), "http", host, None, &[&["--http2-prior-knowledge"], more].concat()).ok()
    };
    told(&clear("hello.localhost", &[]), &["HTTP/2 200", "Hello, world!"]);
    let large = "x".repeat(300_000);
    let body = folder.path().join("body");
    std::fs::write(&body, &large).expect("written");
    let echoed = curl_at(
        cluster.ingress(),
        "http",
        "probe.localhost",
        "/echo",
        None,
        &["--http2-prior-knowledge", "--data-binary", &format!("@{}", body.display())],
    );
    let echoed = echoed.ok();
    assert!(echoed.starts_with("HTTP/2 200") && echoed.ends_with(&large), "{} bytes", echoed.len());
    told(&curl(cluster.ingress(), "http", "hello.localhost", None, &["--http1.1"]).ok(), &["HTTP/1.1 200"]);
}

#[test]
fn a_host_with_a_certificate_sends_http_on_to_https() {
    if !peer_is_there("curl") {
        return;
    }
    let cluster = with(&["hello"]);
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, &authority.pem).expect("written");
    let mut both = ingress("both", "both.localhost");
    both["metadata"]["annotations"] = json!({"coracle.dev/ssl-redirect": "false"});
    let objects = [
        authority.secret("shop", "shop.localhost"),
        authority.secret("both", "both.localhost"),
        ingress("shop", "shop.localhost"),
        both,
    ];
    apply(&cluster, folder.path(), &objects);
    let clear = |host: &str, path: &str, more: &[&str]| curl_at(cluster.ingress(), "http", host, path, None, more);
    let secure = cluster.ingress_tls();
    let sent_on = eventually(10, || match clear("shop.localhost", "/a?b=c", &[]) {
        output if output.stdout.starts_with("HTTP/1.1 308") => Ok(output.stdout),
        output => Err(format!("{output:?}")),
    });
    told(&sent_on, &[&format!("location: https://shop.localhost:{}/a?b=c\r\n", secure.port())]);
    // Who follows arrives, and a name that is served both ways is not sent anywhere.
    let (resolve, roots) = (format!("shop.localhost:{}:{}", secure.port(), secure.ip()), roots.display().to_string());
    let followed = clear("shop.localhost", "/", &["--location", "--resolve", &resolve, "--cacert", &roots]).ok();
    told(&followed, &["HTTP/1.1 308", "HTTP/2 200", "Hello, world!"]);
    let posted = clear("shop.localhost", "/", &["--data", "words"]).ok();
    told(&posted, &["HTTP/1.1 308"]);
    told(&clear("both.localhost", "/", &[]).ok(), &["HTTP/1.1 200", "Hello, world!"]);
    told(&clear("hello.localhost", "/", &[]).ok(), &["HTTP/1.1 200", "Hello, world!"]);
}

#[track_caller]
pub(crate) fn told(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

pub(crate) fn apply(cluster: &harness::Cluster, folder: &Path, objects: &[Value]) {
    let text: Vec<String> = objects.iter().map(Value::to_string).collect();
    cluster.coracle(&["apply", "-f", &manifest(folder, &text.join("\n---\n"))]).ok();
}

/// An Ingress for one host, with TLS from the secret of its name.
fn ingress(name: &str, host: &str) -> Value {
    let backend = json!({"service": {"name": "hello", "port": {"name": "http"}}});
    let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name},
        "spec": {"rules": [{"host": host, "http": {"paths": paths}}], "tls": [{"hosts": [host], "secretName": name}]}})
}

/// What curl says of `host`: the head, then the body.
pub(crate) fn curl(to: SocketAddr, scheme: &str, host: &str, roots: Option<&Path>, more: &[&str]) -> Output {
    curl_at(to, scheme, host, "/", roots, more)
}

fn curl_at(to: SocketAddr, scheme: &str, host: &str, path: &str, roots: Option<&Path>, more: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--include", "--max-time", "20", "--noproxy", "*"]);
    command.args(["--resolve", &format!("{host}:{}:{}", to.port(), to.ip())]);
    if let Some(roots) = roots {
        command.arg("--cacert").arg(roots);
    }
    command.args(more).arg(format!("{scheme}://{host}:{}{path}", to.port()));
    Output::of(command, None)
}

// === impl Authority ===

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority for stories");
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A `kubernetes.io/tls` secret with a certificate for `host`.
    fn secret(&self, name: &str, host: &str) -> Value {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": name},
            "stringData": {"tls.crt": certificate.pem(), "tls.key": key.serialize_pem()}})
    }
}
