//! Nodes in one process, with tunnels between them over the loopback.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::DropGuard;

use super::routes::tests::view;
use super::*;
use crate::{Attachment, BoxError, Citizen, Hops, empty, full, handler};

/// Longer than anything here takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A certificate authority.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A node.
struct Site {
    fabric: Fabric,
    tunnel: Tunnel,
    _stop: DropGuard,
}

/// Where a node is dialled: a door that can be shut, and opened again.
struct Gate {
    listener: Arc<TcpListener>,
    shut: Arc<Notify>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "ca");
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).expect("an issuer");
        Self { certificate, issuer }
    }

    fn issue(&self, name: &str, group: &str, names: &[&str], usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &self.issuer).expect("signed").pem(), key.serialize_pem())
    }

    fn node(&self, name: &str) -> Identity {
        let user = format!("system:node:{name}");
        let (certificate, key) = self.issue(&user, "system:nodes", &[], ExtendedKeyUsagePurpose::ClientAuth);
        Identity::from_pem(&certificate, &key, &self.certificate).expect("an identity")
    }
}

impl Site {
    /// A node that others dial at `listener`.
    fn new(identity: Identity, routes: &Latest<Routes>, relay: Relay, listener: Option<TcpListener>) -> Self {
        Self::with_servers(identity, routes, relay, Vec::new(), listener)
    }

    /// The same, of a cluster with these servers.
    fn with_servers(
        identity: Identity,
        routes: &Latest<Routes>,
        relay: Relay,
        servers: Vec<String>,
        listener: Option<TcpListener>,
    ) -> Self {
        let servers = Latest::fixed(servers);
        let tunnel = Tunnel::new(Config { identity, routes: routes.clone(), relay, servers });
        let fabric = Fabric::new();
        fabric.reach_by(Arc::new(tunnel.clone()));
        tunnel.end_in(fabric.clone());
        let stop = CancellationToken::new();
        tokio::spawn(run(tunnel.clone(), stop.clone().cancelled_owned()));
        if let Some(listener) = listener {
            tokio::spawn(listen(tunnel.clone(), listener, stop.clone().cancelled_owned()));
        }
        Self { fabric, tunnel, _stop: stop.drop_guard() }
    }

    fn pod(&self, name: &str, address: &str) -> Attachment {
        self.fabric.attach(Citizen {
            namespace: "shop".into(),
            name: name.into(),
            addresses: vec![address.parse().expect("an address")],
            host_network: false,
        })
    }
}

/// Two nodes that dial each other: `a` has 10.42.0.0/24, `b` has 10.42.1.0/24.
async fn two() -> (Site, Site) {
    let authority = Authority::new();
    let [(a, at_a), (b, at_b)] = [door().await, door().await];
    let routes = fixed(at_a, at_b);
    let a = Site::new(authority.node("a"), &routes, Relay::None, Some(a));
    let b = Site::new(authority.node("b"), &routes, Relay::None, Some(b));
    (a, b)
}

fn fixed(a: SocketAddr, b: SocketAddr) -> Latest<Routes> {
    let text = format!("a 10.42.0.0/24 - - {a}\n b 10.42.1.0/24 - - {b}");
    Latest::fixed(Routes::from(&view(&text)))
}

async fn door() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let at = listener.local_addr().expect("an address");
    (listener, at)
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Answers every connection at `address` of the pod with what it is told.
fn echo(pod: &Attachment, port: u16) {
    let mut listener = pod.bind(SocketAddr::from(([0, 0, 0, 0], port))).expect("free").listen(1024).expect("listens");
    tokio::spawn(async move {
        loop {
            let Ok(stream) = listener.accept().await else { return };
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.into_split();
                while let Ok(chunk) = reader.chunk(1 << 16).await {
                    if chunk.is_empty() {
                        return writer.finish();
                    }
                    if writer.send_all(chunk).await.is_err() {
                        return;
                    }
                }
                writer.reset();
            });
        }
    });
}

async fn said(mut stream: Stream, words: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(words).await?;
    stream.shutdown().await?;
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await?;
    Ok(heard)
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("in time")
}

async fn body(response: Response) -> String {
    let bytes = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Gate {
    /// A door before `to`.
    async fn before(to: SocketAddr) -> (Self, SocketAddr) {
        let (listener, at) = door().await;
        let gate = Self { listener: Arc::new(listener), shut: Arc::default() };
        gate.open(to);
        (gate, at)
    }

    /// Lets through who comes, until it is shut.
    fn open(&self, to: SocketAddr) {
        let (listener, shut) = (self.listener.clone(), self.shut.clone());
        tokio::spawn(async move {
            let mut through = JoinSet::new();
            let passing = async {
                while let Ok((mut near, _)) = listener.accept().await {
                    through.spawn(async move {
                        let mut far = TcpStream::connect(to).await.expect("somebody");
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    });
                }
            };
            tokio::select! {
                () = passing => {}
                () = shut.notified() => {}
            }
        });
    }
}

#[tokio::test]
async fn a_connection_reaches_a_pod_of_another_node_and_each_direction_ends_by_itself() {
    let (a, b) = two().await;
    let (asker, pod) = (a.pod("asker", "10.42.0.2"), b.pod("echo", "10.42.1.2"));
    echo(&pod, 7000);
    let words = vec![b'x'; 1 << 20];
    let stream = soon(asker.connect(at("10.42.1.2:7000"))).await.expect("connected");
    let (mut reader, mut writer) = stream.into_split();
    let sent = words.clone();
    let sending = tokio::spawn(async move {
        writer.send_all(sent.into()).await.expect("sent");
        writer.finish();
    });
    let mut heard = Vec::new();
    soon(reader.read_to_end(&mut heard)).await.expect("heard to the end");
    assert!(heard == words, "{} of {} bytes", heard.len(), words.len());
    sending.await.expect("sent");

    let refused = soon(asker.connect(at("10.42.1.2:7001"))).await.expect_err("nobody listens");
    assert_eq!(refused.to_string(), "nobody answers at 10.42.1.2:7001");
    let refused = soon(asker.connect(at("10.42.1.9:7000"))).await.expect_err("no pod");
    assert_eq!(refused.to_string(), "nobody answers at 10.42.1.9:7000");
}

#[tokio::test]
async fn an_acceptor_sees_who_connects() {
    let (a, b) = two().await;
    let (asker, pod) = (a.pod("asker", "10.42.0.2"), b.pod("server", "10.42.1.2"));
    let mut listener = pod.bind(at("0.0.0.0:7000")).expect("free").listen(1).expect("listens");
    let connecting = asker.connect(at("10.42.1.2:7000"));
    let (accepted, connected) = soon(futures::future::join(listener.accept(), connecting)).await;
    let (accepted, connected) = (accepted.expect("accepted"), connected.expect("connected"));
    assert_eq!(accepted.remote().ip(), at("10.42.0.2:0").ip());
    assert_eq!(accepted.local(), at("10.42.1.2:7000"));
    assert_eq!(connected.remote(), at("10.42.1.2:7000"));
}

#[tokio::test]
async fn a_request_goes_with_its_body_and_trailers_and_so_does_its_answer() {
    let (a, b) = two().await;
    let seen = handler(|request: Request| async move {
        assert_eq!(request.extensions().get(), Some(&Hops(3)));
        assert!(!request.headers().keys().any(|name| name.as_str().starts_with("coracle-")), "{request:?}");
        let told = format!("{} {} {:?}", request.method(), request.uri(), request.headers().get("x-own"));
        let collected = request.into_body().collect().await.expect("a body");
        let trailers = collected.trailers().cloned().unwrap_or_default();
        let told = format!("{told} {} {trailers:?}", String::from_utf8_lossy(&collected.to_bytes()));
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let frames = [Ok::<_, BoxError>(Frame::data(told.into())), Ok(Frame::trailers(trailers))];
        let mut response = Response::new(StreamBody::new(futures::stream::iter(frames)).boxed_unsync());
        response.headers_mut().insert("coracle-fault", HeaderValue::from_static("denied"));
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        Ok(response)
    });
    let _bound = b.fabric.bind(at("10.42.1.2:80"), seen);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("7"));
    let frames = [Ok::<_, BoxError>(Frame::data("hello".into())), Ok(Frame::trailers(trailers))];
    let mut request = Request::new(StreamBody::new(futures::stream::iter(frames)).boxed_unsync());
    *request.method_mut() = Method::PUT;
    *request.uri_mut() = "http://web.shop/path?query".parse().expect("a URI");
    request.headers_mut().insert("x-own", HeaderValue::from_static("1"));
    request.headers_mut().insert("coracle-origin", HeaderValue::from_static("ingress"));
    request.headers_mut().insert("connection", HeaderValue::from_static("x-gone"));
    request.headers_mut().insert("x-gone", HeaderValue::from_static("1"));
    request.extensions_mut().insert(Hops(3));
    let answer = soon(a.fabric.send(&Origin::Ingress, at("10.42.1.2:80"), request)).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::IM_A_TEAPOT);
    assert!(answer.headers().get("coracle-fault").is_none(), "a pod cannot speak for its node");
    let collected = answer.into_body().collect().await.expect("a body");
    assert_eq!(collected.trailers().and_then(|all| all.get("grpc-status")), Some(&HeaderValue::from_static("0")));
    let told = String::from_utf8_lossy(&collected.to_bytes()).into_owned();
    assert_eq!(told, r#"PUT http://web.shop/path?query Some("1") hello {"x-sum": "7"}"#);
}

#[tokio::test]
async fn faults_are_told_as_they_were_and_what_was_not_begun_with_is_given_back() {
    let (a, b) = two().await;
    let trapping = handler(|_| async { Err(Fault::Trapped("unreachable code".into())) });
    let full_up = handler(|request| async { Err(Fault::refused(request, "full")) });
    let _bound = [b.fabric.bind(at("10.42.1.2:80"), trapping), b.fabric.bind(at("10.42.1.2:81"), full_up)];
    let ask = async |address: &str| {
        let request = http::Request::get("http://web/").body(empty()).expect("a request");
        soon(a.fabric.send(&Origin::Ingress, at(address), request)).await.expect_err("a fault")
    };
    assert!(matches!(ask("10.42.1.2:80").await, Fault::Trapped(_)));
    for nobody in ["10.42.1.2:81", "10.42.1.2:82", "10.42.1.9:80"] {
        let Fault::Refused(back) = ask(nobody).await else { panic!("{nobody} is not given back") };
        assert_eq!(back.into_request().uri(), "http://web/");
    }
    assert!(matches!(ask("10.42.2.2:80").await, Fault::Unreachable(_)), "no node has it");
}

#[tokio::test]
async fn who_reads_slowly_holds_back_who_writes_and_nobody_else() {
    let (a, b) = two().await;
    let (asker, pod) = (a.pod("asker", "10.42.0.2"), b.pod("slow", "10.42.1.2"));
    echo(&pod, 7001);
    let mut listener = pod.bind(at("0.0.0.0:7000")).expect("free").listen(16).expect("listens");
    let mut stuck = Vec::new();
    for _ in 0..8 {
        let connecting = asker.connect(at("10.42.1.2:7000"));
        let (accepted, connected) = soon(futures::future::join(listener.accept(), connecting)).await;
        stuck.push((accepted.expect("accepted"), connected.expect("connected")));
    }
    let chunk = Bytes::from(vec![b'x'; 64 << 10]);
    let mut readers = Vec::new();
    for (accepted, connected) in stuck {
        let (kept, mut writer) = connected.into_split();
        let mut taken = 0;
        // Nobody reads: as much is taken as the windows and buffers in between hold.
        while timeout(Duration::from_millis(300), writer.send_all(chunk.clone())).await.is_ok() {
            taken += chunk.len();
            assert!(taken < 4 << 20, "memory is bounded");
        }
        assert!(taken >= 128 << 10, "something is on the way: {taken}");
        readers.push((accepted, writer, kept));
    }
    let heard = soon(said(soon(asker.connect(at("10.42.1.2:7001"))).await.expect("connected"), b"hello")).await;
    assert_eq!(heard.expect("heard"), b"hello", "others get through");
    // Once it is read, it goes on.
    let (mut accepted, mut writer, _kept) = readers.remove(0);
    let reading = tokio::spawn(async move {
        let mut heard = Vec::new();
        accepted.read_to_end(&mut heard).await.map(|_| heard.len())
    });
    soon(writer.send_all(chunk.clone())).await.expect("sent");
    writer.finish();
    assert!(soon(reading).await.expect("read").expect("to the end") > 128 << 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_connections_share_one() {
    let (a, b) = two().await;
    let (asker, pod) = (Arc::new(a.pod("asker", "10.42.0.2")), b.pod("echo", "10.42.1.2"));
    echo(&pod, 7000);
    let all = Arc::new(tokio::sync::Barrier::new(1000));
    let mut asking = JoinSet::new();
    for number in 0..1000_u32 {
        let (asker, all) = (asker.clone(), all.clone());
        asking.spawn(async move {
            let stream = asker.connect(at("10.42.1.2:7000")).await.expect("connected");
            all.wait().await;
            let words = number.to_be_bytes().repeat(512);
            assert!(said(stream, &words).await.expect("heard") == words);
        });
    }
    while let Some(done) = soon(asking.join_next()).await {
        done.expect("heard what was said");
    }
}

#[tokio::test]
async fn a_thousand_that_are_called_off_harm_nobody() {
    let (a, b) = two().await;
    let (asker, pod) = (a.pod("asker", "10.42.0.2"), b.pod("server", "10.42.1.2"));
    echo(&pod, 7000);
    let stands = soon(asker.connect(at("10.42.1.2:7000"))).await.expect("connected");
    let never = handler(|_| std::future::pending());
    let _bound = b.fabric.bind(at("10.42.1.2:80"), never);
    for _ in 0..4 {
        let mut asking = JoinSet::new();
        for _ in 0..250 {
            let request = http::Request::get("http://web/").body(empty()).expect("a request");
            let fabric = a.fabric.clone();
            asking.spawn(async move { fabric.send(&Origin::Ingress, at("10.42.1.2:80"), request).await });
            let connecting = asker.connect(at("10.42.1.2:7000"));
            asking.spawn(async move {
                let _ = connecting.await;
                std::future::pending().await
            });
        }
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        asking.shutdown().await;
    }
    assert_eq!(soon(said(stands, b"hello")).await.expect("heard"), b"hello");
}

#[tokio::test]
async fn a_broken_connection_is_an_error_and_the_next_one_stands_again() {
    let authority = Authority::new();
    let [(door_a, at_a), (door_b, at_b)] = [door().await, door().await];
    let (gate, at_gate) = Gate::before(at_b).await;
    let routes = fixed(at_a, at_gate);
    let a = Site::new(authority.node("a"), &routes, Relay::None, Some(door_a));
    let b = Site::new(authority.node("b"), &routes, Relay::None, Some(door_b));
    let (asker, pod) = (a.pod("asker", "10.42.0.2"), b.pod("echo", "10.42.1.2"));
    echo(&pod, 7000);
    let stream = soon(asker.connect(at("10.42.1.2:7000"))).await.expect("connected");
    let (mut reader, mut writer) = stream.into_split();
    writer.send_all("hello".into()).await.expect("sent");
    assert_eq!(soon(reader.chunk(5)).await.expect("heard"), "hello");

    gate.shut.notify_one();
    assert!(soon(reader.chunk(5)).await.is_err(), "cut off is not the end");
    assert!(soon(writer.send_all(vec![0; 1 << 20].into())).await.is_err());
    // While the gate is shut nobody gets through, and it does not take long to be told so.
    let refused = soon(asker.connect(at("10.42.1.2:7000"))).await.expect_err("shut");
    assert!(refused.is_worth_another_try(), "{refused:?}");

    gate.open(at_b);
    let heard = soon(async {
        loop {
            if let Ok(stream) = asker.connect(at("10.42.1.2:7000")).await {
                return said(stream, b"again").await;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(heard.await.expect("heard"), b"again");
}

#[tokio::test]
async fn strangers_are_not_spoken_to() {
    let (authority, other) = (Authority::new(), Authority::new());
    // The one who is dialled is of another cluster; is another node; is met by a node of another cluster.
    for (asker, dialled) in [
        (authority.node("a"), other.node("b")),
        (authority.node("a"), authority.node("c")),
        (other.node("a"), authority.node("b")),
    ] {
        let [(door_a, at_a), (door_b, at_b)] = [door().await, door().await];
        let routes = fixed(at_a, at_b);
        let a = Site::new(asker, &routes, Relay::None, Some(door_a));
        let b = Site::new(dialled, &routes, Relay::None, Some(door_b));
        let (asker, pod) = (a.pod("asker", "10.42.0.2"), b.pod("echo", "10.42.1.2"));
        echo(&pod, 7000);
        let refused = soon(asker.connect(at("10.42.1.2:7000"))).await.expect_err("strangers");
        assert!(matches!(refused, Refused::Unreachable(_) | Refused::Failed { .. }), "{refused:?}");
    }
    assert!(matches!(
        {
            let (certificate, key) = authority.issue("somebody", "people", &[], ExtendedKeyUsagePurpose::ClientAuth);
            Identity::from_pem(&certificate, &key, &authority.certificate)
        },
        Err(IdentityError::NotNode)
    ));
}

#[tokio::test]
async fn a_node_speaks_for_its_own_pods_only_and_reaches_only_what_is_here() {
    let (a, b) = two().await;
    let pod = b.pod("echo", "10.42.1.2");
    echo(&pod, 7000);
    let ask = async |origin: Origin, to: &str| {
        soon(ask::stream(&a.tunnel.shared.peers, &origin, at(to))).await.map(|_| ()).map_err(|error| error.to_string())
    };
    let origin = |address: &str| Origin::pod("shop", "x", address.parse().expect("an address"));
    assert_eq!(ask(origin("10.42.0.7"), "10.42.1.2:7000").await, Ok(()));
    assert_eq!(ask(Origin::Node("a".into()), "10.42.1.2:7000").await, Ok(()));
    let denied = "10.42.1.2:7000 is not to be reached from pod shop/x".to_owned();
    assert_eq!(ask(origin("10.42.1.3"), "10.42.1.2:7000").await, Err(denied), "another node's pod");
    let denied = "10.42.1.2:7000 is not to be reached from node b".to_owned();
    assert_eq!(ask(Origin::Node("b".into()), "10.42.1.2:7000").await, Err(denied), "another node");
}

#[tokio::test]
async fn datagrams_go_both_ways() {
    let (a, b) = two().await;
    let (asker, pod) = (a.pod("asker", "10.42.0.2"), b.pod("server", "10.42.1.2"));
    let server = pod.datagrams(at("0.0.0.0:53")).expect("free");
    let client = asker.datagrams(at("0.0.0.0:0")).expect("free");
    for size in [0, 1, 1200, 65_000] {
        let sent = Bytes::from(vec![b'q'; size]);
        client.send(sent.clone(), at("10.42.1.2:53")).expect("sent");
        let (asked, from) = soon(server.receive()).await;
        assert_eq!((asked.len(), from.ip()), (size, at("10.42.0.2:0").ip()));
        server.send(asked.clone(), from).expect("answered");
        let (answer, from) = soon(client.receive()).await;
        assert_eq!((answer.len(), from), (size, at("10.42.1.2:53")));
    }
}

/// A server's port: whoever shows a node's certificate is given to the hub.
async fn server(authority: &Authority, hub: Hub) -> String {
    let (certificate, key) =
        authority.issue("kube-apiserver", "servers", &["127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth);
    let tls = {
        use rustls_pki_types::pem::PemObject;
        let mut roots = rustls::RootCertStore::empty();
        let root = rustls_pki_types::CertificateDer::from_pem_slice(authority.certificate.as_bytes()).expect("PEM");
        roots.add(root).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        let chain = vec![rustls_pki_types::CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")];
        let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier.expect("a verifier"))
            .with_single_cert(chain, key)
            .expect("a certificate");
        tls.alpn_protocols = vec![RELAY.to_vec(), BACK.to_vec()];
        tokio_rustls::TlsAcceptor::from(Arc::new(tls))
    };
    let (listener, at) = door().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, hub) = (tls.clone(), hub.clone());
            tokio::spawn(async move {
                let stream = tls.accept(stream).await.expect("a handshake");
                let node = identity::node_of(&stream.get_ref().1.peer_certificates().expect("shown")[0]);
                let (node, protocol) = (node.expect("a node"), stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec));
                match protocol.as_deref() {
                    Some(RELAY) => hub.pass_on(stream, node).await,
                    _ => hub.hold(stream, node).await,
                }
            });
        }
    });
    at.to_string()
}

#[tokio::test]
async fn nodes_that_cannot_dial_each_other_go_by_the_server() {
    let authority = Authority::new();
    let hub = Hub::new();
    let address = server(&authority, hub.clone()).await;
    let (door_s, at_s) = door().await;
    let text = format!("a 10.42.0.0/24 - -\n b 10.42.1.0/24 - -\n s 10.42.2.0/24 - - {at_s}");
    let routes = Latest::fixed(Routes::from(&view(&text)));
    let s = Site::new(authority.node("s"), &routes, Relay::Here(hub.clone()), Some(door_s));
    // Another server is known that is not there.
    let servers = || vec!["127.0.0.1:1".to_owned(), address.clone()];
    let a = Site::with_servers(authority.node("a"), &routes, Relay::Servers, servers(), None);
    let b = Site::with_servers(authority.node("b"), &routes, Relay::Servers, servers(), None);
    let pods = [a.pod("a", "10.42.0.2"), b.pod("b", "10.42.1.2"), s.pod("s", "10.42.2.2")];
    for pod in &pods {
        echo(pod, 7000);
    }
    for from in &pods {
        for to in ["10.42.0.2:7000", "10.42.1.2:7000", "10.42.2.2:7000"] {
            let heard = soon(async {
                loop {
                    if let Ok(stream) = from.connect(at(to)).await {
                        return said(stream, b"hello").await;
                    }
                    tokio::task::yield_now().await;
                }
            });
            assert_eq!(heard.await.expect("heard"), b"hello", "{from:?} to {to}");
        }
    }
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let _bound = b.fabric.bind(
        at("10.42.1.3:80"),
        handler(move |request: Request| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move { Ok(Response::new(request.into_body())) }
        }),
    );
    let request = http::Request::post("http://web/").body(full("hello")).expect("a request");
    let answer = soon(a.fabric.send(&Origin::Ingress, at("10.42.1.3:80"), request)).await.expect("an answer");
    assert_eq!(body(answer).await, "hello");
    assert_eq!(count.load(Ordering::Relaxed), 1);
    let server = pods[1].datagrams(at("0.0.0.0:53")).expect("free");
    let client = pods[0].datagrams(at("0.0.0.0:0")).expect("free");
    client.send("hello".into(), at("10.42.1.2:53")).expect("sent");
    let (asked, from) = soon(server.receive()).await;
    assert_eq!((asked, from.ip()), ("hello".into(), at("10.42.0.2:0").ip()));
}
