//! A whole door on a free port, and a client of it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::pod_spec::Outages;
use apiserver::{Audit, AuditPolicy, Config, Join, Patience, Tls};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use serde_json::Value;
use store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

/// A running server.
pub(crate) struct Door {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// What it keeps.
    pub(crate) store: Store,
    authority: Authority,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

/// Somebody who asks.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) code: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

/// Signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
}

/// A certificate and its key.
pub(crate) struct Pair {
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

// === impl Authority ===

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named("coracle-test-authority", &[]);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { der: certificate.der().clone(), pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    fn pair(&self, name: &str, groups: &[&str], addresses: &[&str]) -> Pair {
        self.pair_of(CertificateParams::default(), name, groups, addresses)
    }

    fn pair_of(&self, mut params: CertificateParams, name: &str, groups: &[&str], addresses: &[&str]) -> Pair {
        params.distinguished_name = named(name, groups);
        params.subject_alt_names = addresses
            .iter()
            .map(|address| match address.parse() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) => SanType::DnsName((*address).try_into().expect("a name")),
            })
            .collect();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }
}

impl Pair {
    fn shown(self) -> SingleCertAndKey {
        let provider = rustls::crypto::ring::default_provider();
        CertifiedKey::from_der(vec![self.certificate], self.key, &provider).expect("a pair").into()
    }
}

fn named(name: &str, groups: &[&str]) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    for group in groups {
        named.push(DnType::OrganizationName, *group);
    }
    named
}

// === impl Door ===

impl Door {
    /// A server over an empty store, on a free port.
    pub(crate) async fn open() -> Self {
        Self::open_on("127.0.0.1:0").await
    }

    /// The same, which keeps an audit log of everything.
    pub(crate) async fn open_audited(log: &Path) -> Self {
        let policy = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "RequestResponse"}]}"#;
        let policy = AuditPolicy::parse(policy).expect("a policy");
        Self::open_with("127.0.0.1:0", |_| (), Some(Audit { policy, log: log.into() })).await
    }

    /// A server over an empty store.
    pub(crate) async fn open_on(address: &str) -> Self {
        Self::open_with(address, |_| (), None).await
    }

    /// A server over an empty store that remembers no more than these last events.
    pub(crate) async fn forgetful(events_max: usize) -> Self {
        Self::open_with("127.0.0.1:0", |config| config.history.events_max = events_max, None).await
    }

    async fn open_with(address: &str, set_up: impl FnOnce(&mut store::Config), audit: Option<Audit>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = store::Config::new(directory.path().join("store"));
        set_up(&mut config);
        let store = Store::open(config).await.expect("a store");
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let authority = Authority::new();
        let server = authority.pair("kube-apiserver", &[], &["127.0.0.1", "localhost"]);
        let config = Config {
            tls: Tls {
                server: Arc::new(server.shown()),
                clients: trust::Trust::new(&authority.pem).expect("an authority"),
            },
            clock: Arc::new(Timestamp::now),
            entropy: Arc::new(|| uuid::Uuid::new_v4().as_u128()),
            registry_dir: directory.path().join("registry"),
            join: Some(Join {
                ca: {
                    let pem = authority.pem.clone();
                    Arc::new(move || pem.clone())
                },
                sign: Arc::new(|csr, node| Ok(format!("{node} asked {csr}"))),
                charter: Some({
                    let ca = authority.pem.clone();
                    Arc::new(move || {
                        Ok(apiserver::Charter {
                            ca: ca.clone(),
                            ca_key: "the key of the authority".into(),
                            account_key: "the key of accounts".into(),
                            authorities: None,
                        })
                    })
                }),
            }),
            charter: None,
            rotation: None,
            accounts: Arc::new(
                apiserver::Issuer::new(&KeyPair::generate().expect("a key").serialize_der()).expect("an issuer"),
            ),
            audit,
            patience: Patience::default(),
            outages: Outages::default(),
            protocols: Vec::new(),
            siblings: None,
            told: api::level::Told { version: "0.1.0".into(), levels: api::level::Levels::OWN },
        };
        let shutdown = CancellationToken::new();
        let served = {
            let (store, shutdown) = (store.clone(), shutdown.clone());
            tokio::spawn(async move {
                apiserver::run(config, store, listener, shutdown.cancelled_owned()).await.expect("served");
            })
        };
        let door = Self { address, store, authority, shutdown, served, _directory: directory };
        let admin = door.admin();
        while admin.get("/readyz").await.code != StatusCode::OK {
            tokio::task::yield_now().await;
        }
        door
    }

    /// Somebody with a certificate.
    pub(crate) fn client(&self, name: &str, groups: &[&str]) -> Client {
        self.client_with(self.authority.pair(name, groups, &[]))
    }

    /// Somebody whose certificate ended so many days ago.
    pub(crate) fn late(&self, name: &str, groups: &[&str], days: i64) -> Client {
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(1970, 1, 1)
            + Duration::from_secs(u64::try_from(Timestamp::now().as_second() - days * 24 * 3600).expect("a time"));
        self.client_with(self.authority.pair_of(params, name, groups, &[]))
    }

    fn client_with(&self, pair: Pair) -> Client {
        let config = self.trusting().with_client_auth_cert(vec![pair.certificate], pair.key).expect("a pair");
        Client { address: self.address, config: Arc::new(config) }
    }

    /// Somebody who may do everything.
    pub(crate) fn admin(&self) -> Client {
        self.client("admin", &[apiserver::MASTERS])
    }

    /// Somebody without a certificate.
    pub(crate) fn stranger(&self) -> Client {
        Client { address: self.address, config: Arc::new(self.trusting().with_no_client_auth()) }
    }

    fn trusting(&self) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("known versions")
            .with_root_certificates(roots)
    }

    /// Writes what kubectl needs to be the administrator.
    #[allow(dead_code, reason = "only those who drive kubectl want it")]
    pub(crate) fn write_kubeconfig(&self, path: &Path) {
        use base64::Engine as _;
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let admin = self.authority.pair("admin", &[apiserver::MASTERS], &[]);
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: 'https://{}', certificate-authority-data: {}}}}}]\nusers: [{{name: u, user: {{client-certificate-data: {}, client-key-data: {}}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n",
            self.address,
            encode(&self.authority.pem),
            encode(&admin.certificate_pem),
            encode(&admin.key_pem),
        );
        std::fs::write(path, text).expect("written");
    }

    /// Writes the authority, and a certificate and a key for each of these, as DER.
    #[allow(dead_code, reason = "only benches ask from another process")]
    pub(crate) fn write_certificates(&self, directory: &Path, users: &[(&str, &[&str])]) {
        let write = |name: &str, bytes: &[u8]| std::fs::write(directory.join(name), bytes).expect("written");
        write("ca", &self.authority.der);
        for (user, groups) in users {
            let pair = self.authority.pair(user, groups, &[]);
            write(user, &pair.certificate);
            write(&format!("{user}.key"), pair.key.secret_der());
        }
    }

    /// Ends the server as a process would.
    pub(crate) async fn close(self) {
        self.shutdown.cancel();
        self.served.await.expect("ended");
        self.store.shutdown().await;
    }
}

// === impl Client ===

impl Client {
    pub(crate) async fn connect(&self, protocol: &str) -> TlsStream<TcpStream> {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(self.address).await.expect("connected");
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("shaken")
    }

    /// Whether the other end goes on after it has seen who this is.
    pub(crate) async fn is_let_in(&self) -> bool {
        let mut stream = self.connect("http/1.1").await;
        let asked = stream.write_all(b"GET /version HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
        let mut answer = Vec::new();
        asked.is_ok() && stream.read_to_end(&mut answer).await.is_ok() && answer.starts_with(b"HTTP/1.1 200")
    }

    /// Sends a request over HTTP/2 and hands over the answer before its body.
    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Incoming> {
        let stream = self.connect("h2").await;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("h2");
        tokio::spawn(connection);
        sender.send_request(request).await.expect("answered")
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("https://localhost{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.send(request.body(Body::new(Full::new(body.into()))).expect("a request")).await;
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        Answer { code: parts.status, headers: parts.headers, bytes }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::POST, path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::PUT, path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub(crate) async fn patch(&self, kind: &str, path: &str, body: &Value) -> Answer {
        let kind = format!("application/{kind}");
        self.ask(Method::PATCH, path, &[("content-type", &kind)], body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::DELETE, path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// The lines of a watch, one after the other.
    pub(crate) async fn watch(&self, path: &str) -> Lines {
        self.watch_as(path, "application/json").await
    }

    /// The same, in a form.
    pub(crate) async fn watch_as(&self, path: &str, accept: &str) -> Lines {
        let request = Request::get(format!("https://localhost{path}")).header("accept", accept);
        let request = request.body(Body::empty()).expect("a request");
        Lines { body: self.send(request).await.into_body(), buffer: Vec::new() }
    }
}

/// A body that comes line by line.
pub(crate) struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

// === impl Lines ===

impl Lines {
    /// The next line; none at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("a line of JSON"));
            }
            let frame = self.body.frame().await?.expect("a frame");
            self.buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
    }

    /// What the next line tells: `ADDED web`.
    pub(crate) async fn told(&mut self) -> String {
        match self.next().await {
            None => "end".into(),
            Some(line) => {
                let name = line["object"]["metadata"]["name"].as_str().unwrap_or_default();
                format!("{} {name}", line["type"].as_str().unwrap_or_default()).trim().to_owned()
            }
        }
    }
}

// === impl Answer ===

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&self.bytes)))
    }

    /// What the status says, with its code.
    pub(crate) fn refusal(&self) -> String {
        format!("{} {}", self.code.as_u16(), self.json()["message"].as_str().unwrap_or_default())
    }
}
