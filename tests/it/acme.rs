//! Certificates from an ACME directory: Debian's pebble asks the cluster's own DNS server where a host is, and its ingress
//! whether it is ours.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use harness::{Cluster, Output, Plan, eventually, peer_is_there};
use k8s_openapi::ByteString;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tls::{apply, curl, told};
use crate::{PROGRAM, example};

/// A zone of the cluster's own, so that its Ingresses have names.
const ZONE: &str = "example.test";

/// A cluster, and the directory that it gets certificates from.
struct Story {
    cluster: Cluster,
    pebble: Child,
    folder: TempDir,
}

// === impl Story ===

impl Story {
    /// Begins with `hello` running, and a directory whose certificates live for so many seconds.
    fn begin(seconds: u32) -> Option<Self> {
        if !peer_is_there("pebble") || !peer_is_there("curl") {
            return None;
        }
        let folder = TempDir::new().expect("a folder");
        // The directory has to be named before it knows where the ingress is, so it needs ports that nobody else takes: those
        // of an address of its own.
        let home = own_address();
        credentials(folder.path(), home);
        let ca = folder.path().join("ca.pem");
        let directory = format!("https://{home}:14000/dir");
        let flags = ["--acme-directory", &directory, "--acme-ca", &ca.display().to_string(), "--dns-public-zone", ZONE];
        let plan = Plan::new().apply(example("hello")).say(&flags).say(&["--acme-email", "someone@example.test"]);
        let cluster = plan.up(PROGRAM).unwrap_or_else(|error| panic!("{error:#}"));
        let file = |name: &str| folder.path().join(name).display().to_string();
        let config = json!({"pebble": {
            "listenAddress": format!("{home}:14000"), "managementListenAddress": format!("{home}:15000"),
            "certificate": file("pebble.pem"), "privateKey": file("pebble.key"),
            "httpPort": cluster.ingress().port(), "tlsPort": cluster.ingress_tls().port(),
            "certificateValidityPeriod": seconds,
        }});
        std::fs::write(file("pebble.json"), config.to_string()).expect("written");
        let log = std::fs::File::create(file("pebble.log")).expect("a log");
        let pebble = Command::new("pebble")
            .args(["-config", &file("pebble.json"), "-dnsserver", &cluster.dns().to_string(), "-strict"])
            // It does not wait before it looks, and takes every tenth number used once for one used twice.
            .envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "10")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("pebble starts");
        let story = Self { cluster, pebble, folder };
        let roots = eventually(20, || {
            let mut ask = Command::new("curl");
            ask.args(["--silent", "--show-error", "--fail", "--max-time", "10", "--noproxy", "*"]);
            ask.args(["--cacert", &ca.display().to_string(), &format!("https://{home}:15000/roots/0")]);
            match Output::of(ask, None) {
                output if output.code == 0 => Ok(output.stdout),
                output => Err(output.stderr),
            }
        });
        std::fs::write(story.folder.path().join("roots.pem"), roots).expect("written");
        Some(story)
    }

    fn apply(&self, objects: &[Value]) {
        apply(&self.cluster, self.folder.path(), objects);
    }

    /// What curl says of a host whose certificate comes from the directory.
    fn ask(&self, host: &str, more: &[&str]) -> Output {
        curl(self.cluster.ingress_tls(), "https", host, Some(&self.folder.path().join("roots.pem")), more)
    }

    /// Waits until a host is served with a certificate of the directory.
    fn is_served(&self, host: &str) {
        eventually(60, || match self.ask(host, &[]) {
            output if output.code == 0 && output.stdout.contains("Hello, world!") => Ok(()),
            output => Err(format!("{output:?}\n{}", self.told())),
        });
    }

    /// What the story of an Ingress says in the end.
    fn describes(&self, ingress: &str, parts: &[&str]) {
        eventually(60, || match self.cluster.coracle(&["describe", "ingress", ingress]).ok() {
            said if parts.iter().all(|part| said.contains(part)) => Ok(()),
            said => Err(format!("{parts:?} is missing in\n{said}\n{}", self.told())),
        });
    }

    fn secret(&self, name: &str) -> Value {
        let output = self.cluster.coracle(&["get", "secret", name, "-o", "json"]).ok();
        serde_json::from_str(&output).expect("JSON")
    }

    fn told(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("pebble.log")).unwrap_or_default()
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        let _ = self.pebble.kill();
        let _ = self.pebble.wait();
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
fn a_certificate_is_renewed_before_it_ends() {
    let Some(story) = Story::begin(30) else { return };
    story.apply(&[ingress("shop", &["shop.example.test"], json!({"coracle.dev/acme": "true"}))]);
    story.is_served("shop.example.test");
    let first = begins(&story.secret("shop"));
    let second = eventually(60, || match begins(&story.secret("shop")) {
        same if same == first => Err(story.told()),
        other => Ok(other),
    });
    assert!(second - first >= 20, "two thirds of its life are over, not {} s of 30", second - first);
    story.is_served("shop.example.test");
    story.describes("shop", &["CertificateIssued", "x2"]);
}

/// From when on the certificate of a secret is valid, in seconds.
fn begins(secret: &Value) -> i64 {
    let chain: ByteString = serde_json::from_value(secret["data"]["tls.crt"].clone()).expect("bytes");
    let (_, pem) = x509_parser::pem::parse_x509_pem(&chain.0).expect("PEM");
    pem.parse_x509().expect("a certificate").validity().not_before.timestamp()
}
