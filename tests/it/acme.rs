//! Certificates from an ACME directory: Debian's pebble asks the cluster's own DNS server where a host is, and its ingress
//! whether it is ours.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use harness::{Cluster, Fleet, Output, Plan, Server, eventually, peer_is_there};
use k8s_openapi::ByteString;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tls::{apply, curl, told};
use crate::{PROGRAM, example, manifest};

/// A zone of the cluster's own, so that its Ingresses have names.
const ZONE: &str = "example.test";
/// A directory that now and then refuses what is right may do so once, after which it is left alone for two minutes.
const PATIENCE_SECONDS: u64 = 240;

/// A directory that is not open yet: it has to be named before it knows where the ingress is.
struct Directory {
    home: Ipv4Addr,
    folder: TempDir,
}

/// A directory at work.
struct Pebble {
    child: Child,
    folder: TempDir,
}

/// A cluster, and the directory that it gets certificates from.
struct Story {
    cluster: Cluster,
    pebble: Pebble,
}

// === impl Directory ===

impl Directory {
    /// A directory on an address of its own, whose ports nobody else takes.
    fn new() -> Option<Self> {
        if !peer_is_there("pebble") || !peer_is_there("curl") {
            return None;
        }
        let (home, folder) = (own_address(), TempDir::new().expect("a folder"));
        credentials(folder.path(), home);
        Some(Self { home, folder })
    }

    fn url(&self) -> String {
        format!("https://{}:14000/dir", self.home)
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Opens it: it asks `dns` where a host is, and these ports whether it is ours. Certificates live for so many seconds.
    fn open(self, dns: SocketAddr, http: SocketAddr, https: SocketAddr, seconds: u32) -> Pebble {
        let home = self.home;
        let config = json!({"pebble": {
            "listenAddress": format!("{home}:14000"), "managementListenAddress": format!("{home}:15000"),
            "certificate": self.file("pebble.pem"), "privateKey": self.file("pebble.key"),
            "httpPort": http.port(), "tlsPort": https.port(), "certificateValidityPeriod": seconds,
        }});
        std::fs::write(self.file("pebble.json"), config.to_string()).expect("written");
        let log = std::fs::File::create(self.file("pebble.log")).expect("a log");
        let child = Command::new("pebble")
            .args(["-config", &self.file("pebble.json"), "-dnsserver", &dns.to_string(), "-strict"])
            // It does not wait before it looks, and takes every tenth number used once for one used twice.
            .envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "10")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("pebble starts");
        let (ca, roots) = (self.file("ca.pem"), self.file("roots.pem"));
        let pebble = Pebble { child, folder: self.folder };
        eventually(20, || {
            let mut ask = Command::new("curl");
            ask.args(["--silent", "--show-error", "--fail", "--max-time", "10", "--noproxy", "*"]);
            ask.args(["--cacert", &ca, "--output", &roots, &format!("https://{home}:15000/roots/0")]);
            match Output::of(ask, None) {
                output if output.code == 0 => Ok(()),
                output => Err(output.stderr),
            }
        });
        pebble
    }
}

// === impl Pebble ===

impl Pebble {
    /// What curl says of a host whose certificate comes from here.
    fn ask(&self, at: SocketAddr, host: &str, more: &[&str]) -> Output {
        curl(at, "https", host, Some(&self.folder.path().join("roots.pem")), more)
    }

    fn told(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("pebble.log")).unwrap_or_default()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Story ===

impl Story {
    /// Begins with `hello` running, and a directory whose certificates live for so many seconds.
    fn begin(seconds: u32) -> Option<Self> {
        let directory = Directory::new()?;
        let flags = ["--acme-directory", &directory.url(), "--acme-ca", &directory.file("ca.pem")];
        let plan = Plan::new().apply(example("hello")).say(&flags).say(&["--dns-public-zone", ZONE]);
        let plan = plan.say(&["--acme-email", "someone@example.test"]);
        let cluster = plan.up(PROGRAM).unwrap_or_else(|error| panic!("{error:#}"));
        let pebble = directory.open(cluster.dns(), cluster.ingress(), cluster.ingress_tls(), seconds);
        Some(Self { cluster, pebble })
    }

    fn apply(&self, objects: &[Value]) {
        apply(&self.cluster, self.pebble.folder.path(), objects);
    }

    /// What curl says of a host.
    fn ask(&self, host: &str, more: &[&str]) -> Output {
        self.pebble.ask(self.cluster.ingress_tls(), host, more)
    }

    /// Waits until a host is served with a certificate of the directory.
    fn is_served(&self, host: &str) {
        eventually(PATIENCE_SECONDS, || match self.ask(host, &[]) {
            output if output.code == 0 && output.stdout.contains("Hello, world!") => Ok(()),
            output => Err(format!("{output:?}\n{}", self.pebble.told())),
        });
    }

    /// What the story of an Ingress says in the end.
    fn describes(&self, ingress: &str, parts: &[&str]) {
        eventually(60, || match self.describe(ingress) {
            said if parts.iter().all(|part| said.contains(part)) => Ok(()),
            said => Err(format!("{parts:?} is missing in\n{said}\n{}", self.pebble.told())),
        });
    }

    fn describe(&self, ingress: &str) -> String {
        self.cluster.coracle(&["describe", "ingress", ingress]).ok()
    }

    fn secret(&self, name: &str) -> Value {
        let output = self.cluster.coracle(&["get", "secret", name, "-o", "json"]).ok();
        serde_json::from_str(&output).expect("JSON")
    }
}

/// A loopback address that no other process of this machine takes, and none twice.
fn own_address() -> Ipv4Addr {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Numbers of processes have 22 bits; the last two are left for those of one process.
    let number = (std::process::id() << 2) | (TAKEN.fetch_add(1, Ordering::Relaxed) & 3);
    Ipv4Addr::from(0x7f00_0000 | (0x0080_0000 ^ (number & 0x00ff_ffff)))
}

/// The directory's own certificate, and the authority that vouches for it.
fn credentials(folder: &Path, home: Ipv4Addr) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "who vouches for the directory");
    let key = KeyPair::generate().expect("a key");
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).expect("written");
    write("ca.pem", params.self_signed(&key).expect("a certificate").pem());
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![home.to_string()]).expect("a name");
    write("pebble.pem", params.signed_by(&key, &issuer).expect("a certificate").pem());
    write("pebble.key", key.serialize_pem());
}

/// An Ingress that leads all of `hosts` to `hello`, with a certificate in the secret of its own name.
fn ingress(name: &str, hosts: &[&str], annotations: Value) -> Value {
    let backend = json!({"service": {"name": "hello", "port": {"name": "http"}}});
    let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
    let rules: Vec<Value> = hosts.iter().map(|host| json!({"host": host, "http": {"paths": paths}})).collect();
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"rules": rules, "tls": [{"hosts": hosts, "secretName": name}]}})
}

#[test]
fn ingresses_get_the_certificates_that_they_ask_for() {
    let Some(story) = Story::begin(3600) else { return };
    let foreign = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "foreign"},
        "stringData": {"tls.crt": "mine", "tls.key": "mine"}});
    story.apply(&[
        foreign,
        ingress("shop", &["shop.example.test"], json!({"cert-manager.io/cluster-issuer": "letsencrypt"})),
        ingress("two", &["a.example.test", "b.example.test"], json!({"coracle.dev/acme": "tls-alpn-01"})),
        ingress("wild", &["*.wild.example.test", "wild.example.test"], json!({"coracle.dev/acme": "true"})),
        ingress("foreign", &["foreign.example.test"], json!({"coracle.dev/acme": "true"})),
        ingress("bare", &["bare.example.test"], json!({})),
    ]);
    for host in ["shop.example.test", "a.example.test", "b.example.test", "wild.example.test"] {
        story.is_served(host);
    }
    story.describes("shop", &["CertificateIssued", "secret shop has a certificate for shop.example.test"]);
    story.describes("two", &["CertificateIssued", "secret two has a certificate for a.example.test, b.example.test"]);
    let refused = "*.wild.example.test: a wildcard is proved by DNS-01 alone";
    story.describes("wild", &["CertificateIssued", "CertificateRefused", refused]);
    story.describes("foreign", &["CertificateRefused", "secret foreign was not made here"]);

    let secret = story.secret("shop");
    assert_eq!(
        (&secret["type"], &secret["metadata"]["labels"]["coracle.dev/acme"]),
        (&json!("kubernetes.io/tls"), &json!("true"))
    );
    assert_eq!(story.secret("foreign")["data"]["tls.crt"], "bWluZQ==", "it is left as it is");
    let not_there = story.cluster.coracle(&["get", "secret", "bare"]).refused();
    assert!(not_there.contains("not found"), "{not_there}");
    // Who has no certificate is served all the same, with one that nobody has signed.
    told(&story.ask("bare.example.test", &[]).refused(), &["certificate"]);
    told(&story.ask("bare.example.test", &["--insecure"]).ok(), &["Hello, world!"]);

    // One account, and no proof that is not needed any more.
    let kept = story.cluster.coracle(&["get", "secrets", "-n", "kube-system", "-o", "name"]).ok();
    assert_eq!(kept.matches("coracle-acme-account-").count(), 1, "{kept}");
    assert_eq!(kept.matches("coracle-acme-challenge-").count(), 0, "{kept}");
}

#[test]
fn a_certificate_that_is_not_given_is_told_and_tried_again() {
    let Some(story) = Story::begin(3600) else { return };
    // Names lead to where nobody answers.
    let target =
        |address: &str| json!({"coracle.dev/acme": "http-01", "external-dns.alpha.kubernetes.io/target": address});
    story.apply(&[ingress("lost", &["lost.example.test"], target("127.0.0.2"))]);
    story.describes("lost", &["CertificateFailed", "lost.example.test: ", "connection refused", "(connection)"]);
    told(&story.ask("lost.example.test", &["--insecure"]).ok(), &["Hello, world!"]);
    // Another way to prove it does not have to wait.
    let mut mended = target("127.0.0.1");
    mended["coracle.dev/acme"] = "tls-alpn-01".into();
    story.apply(&[ingress("lost", &["lost.example.test"], mended)]);
    story.is_served("lost.example.test");
    story.describes("lost", &["CertificateIssued"]);
}

#[test]
fn the_edge_of_a_node_proves_what_the_server_orders() {
    let Some(directory) = Directory::new() else { return };
    let environment = vec![
        ("CORACLE_ACME_DIRECTORY", directory.url()),
        ("CORACLE_ACME_CA", directory.file("ca.pem")),
        ("CORACLE_DNS_PUBLIC_ZONE", ZONE.to_owned()),
    ];
    let fleet = Fleet::told_so(PROGRAM, Server::Alone, 1, environment);
    let dns = fleet.told(1, "dns").parse().expect("an address");
    let pebble = directory.open(dns, fleet.ingress(1), fleet.ingress_tls(1), 3600);
    // What came of an order that a server did not live to see.
    let stray = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"host": "a.example.test"}, "metadata":
        {"name": "stray", "namespace": "kube-system", "labels": {"coracle.dev/acme-challenge": "http-01"}}});
    let objects = [
        stray,
        ingress("one", &["one.example.test"], json!({"coracle.dev/acme": "http-01"})),
        ingress("two", &["two.example.test"], json!({"coracle.dev/acme": "tls-alpn-01"})),
    ];
    let text: Vec<String> = objects.iter().map(Value::to_string).collect();
    fleet.coracle(&["apply", "-f", &manifest(fleet.folder(), &text.join("\n---\n"))]).ok();
    for host in ["one.example.test", "two.example.test"] {
        // Nobody is behind it; the certificate is a good one all the same.
        eventually(PATIENCE_SECONDS, || match pebble.ask(fleet.ingress_tls(1), host, &[]) {
            output if output.code == 0 && output.stdout.contains("there is no service default/hello") => Ok(()),
            output => Err(format!("{output:?}\n{}", pebble.told())),
        });
    }
    eventually(10, || match fleet.coracle(&["get", "secret", "stray", "-n", "kube-system"]) {
        output if output.code != 0 && output.stderr.contains("not found") => Ok(()),
        output => Err(format!("{output:?}")),
    });
}

#[test]
fn a_certificate_is_renewed_before_it_ends() {
    let Some(story) = Story::begin(30) else { return };
    story.apply(&[ingress("shop", &["shop.example.test"], json!({"coracle.dev/acme": "true"}))]);
    story.is_served("shop.example.test");
    let (first, end) = validity(&story.secret("shop"));
    let second = eventually(PATIENCE_SECONDS, || match validity(&story.secret("shop")).0 {
        same if same == first => Err(format!("{}\n{}", story.describe("shop"), story.pebble.told())),
        other => Ok(other),
    });
    let (passed, life) = (second - first, end - first);
    assert!(passed >= life * 2 / 3, "two thirds of its life are over, not {passed} s of {life}");
    story.is_served("shop.example.test");
    story.describes("shop", &["CertificateIssued", "x2"]);
}

/// From when to when the certificate of a secret is valid, in seconds.
fn validity(secret: &Value) -> (i64, i64) {
    let chain: ByteString = serde_json::from_value(secret["data"]["tls.crt"].clone()).expect("bytes");
    let (_, pem) = x509_parser::pem::parse_x509_pem(&chain.0).expect("PEM");
    let certificate = pem.parse_x509().expect("a certificate");
    (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp())
}
