//! What the way to another node costs, against TLS by itself on the kernel's loopback in the same run.
//!
//! `cargo bench -p network --bench tunnel` prints, as ratios: the time of one byte there and back over a connection between
//! pods of two nodes, and how fast one, then eight connections carry bytes. Rounds of the two take turns, so that both see the
//! same machine.

use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{Object, Revision, kinds};
use futures::future::join_all;
use network::tunnel::{Config, Identity, Relay, Routes, Tunnel, listen, run};
use network::{Attachment, Citizen, Fabric, Latest};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::json;
use state::Snapshot;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::{TlsAcceptor, TlsConnector};

const ROUNDS: usize = 5;
const TURNS: u32 = 5_000;
const BYTES: usize = 128 << 20;
const PORT: u16 = 7000;

fn main() {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(compare());
}

async fn compare() {
    let authority = Authority::new();
    let (asker, _kept) = nodes(&authority).await;
    let bare = bare(&authority).await;
    let to = SocketAddr::from(([10, 42, 1, 2], PORT));
    let ours = || async { asker.connect(to).await.expect("connected") };

    let (mut floor, mut tunnel) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        floor.push(turn_time(bare.connect().await).await);
        tunnel.push(turn_time(ours().await).await);
    }
    let (floor, tunnel) = (median(floor), median(tunnel));
    let ratio = tunnel.as_secs_f64() / floor.as_secs_f64();
    println!("latency: tunnel {tunnel:?}, TLS {floor:?}, ratio {ratio:.2}");

    for connections in [1, 8] {
        let (mut floor, mut tunnel) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            floor.push(carried(join_all((0..connections).map(|_| bare.connect())).await).await);
            tunnel.push(carried(join_all((0..connections).map(|_| ours())).await).await);
        }
        let (floor, tunnel) = (median(floor), median(tunnel));
        let (ours, theirs) = (speed(tunnel), speed(floor));
        println!(
            "{connections} connections: tunnel {ours:.0} MiB/s, TLS {theirs:.0} MiB/s, ratio {:.2}",
            ours / theirs
        );
    }
}

/// The time of one byte there and back.
async fn turn_time(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Duration {
    stream.write_all(b"e").await.expect("written");
    let started = Instant::now();
    let mut byte = [0];
    for _ in 0..TURNS {
        stream.write_all(b"x").await.expect("written");
        stream.flush().await.expect("written");
        stream.read_exact(&mut byte).await.expect("read");
    }
    started.elapsed() / TURNS
}

/// The time that `BYTES` take, shared by all.
async fn carried<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(streams: Vec<S>) -> Duration {
    let each = BYTES / streams.len();
    let started = Instant::now();
    let sending = streams.into_iter().map(|mut stream| {
        tokio::spawn(async move {
            let chunk = vec![0; 64 << 10];
            stream.write_all(b"s").await.expect("written");
            for _ in 0..each / chunk.len() {
                stream.write_all(&chunk).await.expect("written");
            }
            stream.shutdown().await.expect("ended");
            // The other side ends when it has read all.
            assert_eq!(stream.read(&mut [0]).await.expect("read"), 0);
        })
    });
    for sent in join_all(sending).await {
        sent.expect("sent");
    }
    started.elapsed()
}

fn speed(time: Duration) -> f64 {
    (BYTES >> 20) as f64 / time.as_secs_f64()
}

/// Echoes or swallows what it is told, as the first byte says.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    stream.read_exact(&mut buffer[..1]).await?;
    let echoes = buffer[0] == b'e';
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return stream.shutdown().await;
        }
        if echoes {
            stream.write_all(&buffer[..read]).await?;
            stream.flush().await?;
        }
    }
}

// --- Two nodes. ---

async fn nodes(authority: &Authority) -> (Attachment, impl Sized + use<>) {
    let doors = [door().await, door().await];
    let routes = doors.iter().enumerate().map(|(number, (_, at))| {
        let node = json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": format!("n{number}"), "annotations": {"coracle.dev/tunnel": at.to_string()}},
            "spec": {"podCIDR": format!("10.42.{number}.0/24")}});
        Object::from_value(kinds::NODE, &node).expect("a node")
    });
    let routes = Latest::fixed(Routes::from(&Snapshot::load(Revision(1), routes)));
    let [asker, server] = [0, 1].map(|number| {
        let (certificate, key) = authority.issue(&format!("system:node:n{number}"), &[]);
        let identity = Identity::from_pem(&certificate, &key, &authority.certificate).expect("an identity");
        let (routes, servers) = (routes.clone(), Latest::default());
        let tunnel = Tunnel::new(Config { identity, routes, relay: Relay::None, servers });
        let fabric = Fabric::new();
        fabric.reach_by(Arc::new(tunnel.clone()));
        tunnel.end_in(fabric.clone());
        tokio::spawn(run(tunnel.clone(), pending()));
        let pod = fabric.attach(Citizen {
            namespace: "default".into(),
            name: format!("pod-{number}").into(),
            addresses: vec![[10, 42, number, 2].into()],
            host_network: false,
        });
        (tunnel, pod)
    });
    for ((listener, _), tunnel) in doors.into_iter().zip([&asker.0, &server.0]) {
        tokio::spawn(listen(tunnel.clone(), listener, pending()));
    }
    let socket = server.1.bind(SocketAddr::from(([0, 0, 0, 0], PORT))).expect("free");
    let mut listener = socket.listen(64).expect("listens");
    tokio::spawn(async move {
        while let Ok(stream) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    (asker.1, (asker.0, server))
}

// --- TLS by itself. ---

struct Bare {
    at: SocketAddr,
    connector: TlsConnector,
}

async fn bare(authority: &Authority) -> Bare {
    let (certificate, key) = authority.issue("server", &["localhost"]);
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("a version")
        .with_no_client_auth()
        .with_single_cert(vec![der(&certificate)], PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM"))
        .expect("a certificate");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der(&authority.certificate)).expect("an authority");
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (acceptor, (listener, at)) = (TlsAcceptor::from(Arc::new(server)), door().await);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let acceptor = acceptor.clone();
            tokio::spawn(async move { serve(acceptor.accept(stream).await?).await });
        }
    });
    Bare { at, connector: TlsConnector::from(Arc::new(client)) }
}

impl Bare {
    async fn connect(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.at).await.expect("connected");
        stream.set_nodelay(true).expect("set");
        self.connector.connect(ServerName::try_from("localhost").expect("a name"), stream).await.expect("shaken")
    }
}

// --- What both need. ---

struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("signed").pem();
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).expect("an issuer");
        Self { certificate, issuer }
    }

    fn issue(&self, name: &str, names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        (params.signed_by(&key, &self.issuer).expect("signed").pem(), key.serialize_pem())
    }
}

async fn door() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let at = listener.local_addr().expect("bound");
    (listener, at)
}

fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}
