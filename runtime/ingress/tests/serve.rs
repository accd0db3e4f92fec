//! The edge on real sockets, as clients see it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use api::{Object, Revision, kinds};
use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ingress::{Config, Limits};
use network::{Binding, Fabric, Fault, Handler, Request, Response, empty, full, handler, services};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::{Value, json};
use state::{Snapshot, Txn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

type Chunks = StreamBody<mpsc::Receiver<Result<Frame<Bytes>, std::convert::Infallible>>>;

struct Edge {
    http: SocketAddr,
    https: SocketAddr,
    view: watch::Sender<Snapshot>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ingress::Error>>,
    _bindings: Vec<Binding>,
}

// === the world ===

fn object(kind: api::GroupKind, value: &Value) -> Object {
    Object::from_value(kind, value).expect("an object")
}

/// A service on port 80, and the one address behind it.
fn service(name: &str, address: &str) -> [Object; 2] {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": "10.43.0.5", "ports": [{"name": "http", "port": 80}]}});
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{name}-1"), "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
        "ports": [{"name": "http", "port": 8080}], "endpoints": [{"addresses": [address], "conditions": {"ready": true}}]});
    [object(kinds::SERVICE, &service), object(kinds::ENDPOINT_SLICE, &slice)]
}

/// `web.example` and `*.wild.example` lead to `web` by path: `/` echoes, and each other path is a service of that name.
fn ingress() -> Object {
    let path = |path: &str, service: &str| json!({"path": path, "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"name": "http"}}}});
    let paths = json!([
        path("/", "web"),
        path("/trap", "trap"),
        path("/never", "never"),
        path("/gone", "gone"),
        path("/unknown", "unknown"),
        path("/headers", "headers")
    ]);
    let rule = |host: &str| json!({"host": host, "http": {"paths": paths}});
    object(
        kinds::INGRESS,
        &json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "front", "namespace": "default"},
            "spec": {"rules": [rule("web.example"), rule("*.wild.example")],
                "tls": [{"hosts": ["web.example", "*.wild.example"], "secretName": "front"}]}}),
    )
}

/// A secret with a fresh certificate, and the certificate.
fn secret() -> (Object, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["web.example".into()]).expect("a certificate");
    let data = json!({"tls.crt": base64(made.cert.pem().as_bytes()), "tls.key": base64(made.signing_key.serialize_pem().as_bytes())});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "data": data,
        "metadata": {"name": "front", "namespace": "default"}});
    (object(kinds::SECRET, &secret), made.cert.der().clone())
}

fn base64(bytes: &[u8]) -> String {
    serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec())).expect("text").as_str().expect("text").to_owned()
}

/// Answers with the body it is sent, as it comes.
fn echo() -> Handler {
    handler(|request: Request| async move {
        let host = request.headers()[header::HOST].clone();
        let mut response = Response::new(request.into_body());
        response.headers_mut().insert("x-host", host);
        Ok(response)
    })
}

/// Answers with the header fields it is sent.
fn headers() -> Handler {
    handler(|request: Request| async move {
        let told: Vec<String> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")))
            .collect();
        Ok(Response::new(full(format!("{}\n{}", request.uri(), told.join("\n")))))
    })
}

async fn start(limits: Limits, extra: Vec<Object>, never: Handler) -> Edge {
    let fabric = Fabric::new();
    let bind = |address: &str, handler| fabric.bind(format!("{address}:8080").parse().expect("an address"), handler);
    let bindings = vec![
        bind("10.42.0.2", echo()),
        bind("10.42.0.3", handler(|_| async { Err(Fault::Trapped("unreachable executed".into())) })),
        bind("10.42.0.4", never),
        bind("10.42.0.6", headers()),
    ];
    let backends = [
        service("web", "10.42.0.2"),
        service("trap", "10.42.0.3"),
        service("never", "10.42.0.4"),
        service("gone", "10.42.0.5"),
        service("headers", "10.42.0.6"),
    ];
    let objects = backends.into_iter().flatten().chain([ingress()]).chain(extra);
    let (view, receiver) = watch::channel(Snapshot::load(Revision(1), objects));
    let bind = || async { TcpListener::bind("127.0.0.1:0").await.expect("a free port") };
    let (plain, tls) = (bind().await, bind().await);
    let address = |listener: &TcpListener| listener.local_addr().expect("bound");
    let (http, https) = (address(&plain), address(&tls));
    let config = Config { http: Some(plain), https: Some(tls), limits };
    let table = services(receiver.clone());
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(ingress::run(config, receiver, table, fabric, async {
        let _ = stopped.await;
    }));
    Edge { http, https, view, stop, task, _bindings: bindings }
}

async fn standard() -> Edge {
    start(Limits::default(), Vec::new(), handler(|_| std::future::pending())).await
}

// === clients ===

async fn http1(address: SocketAddr) -> http1::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.expect("connected");
    let (client, connection) = http1::handshake(TokioIo::new(stream)).await.expect("spoken");
    tokio::spawn(connection);
    client
}

async fn http2(address: SocketAddr) -> http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.expect("connected");
    let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("spoken");
    tokio::spawn(connection);
    client
}

fn get(host: &str, path: &str) -> http::Request<Full<Bytes>> {
    http::Request::get(path).header(header::HOST, host).body(Full::default()).expect("a request")
}

async fn read(response: http::Response<Incoming>) -> (StatusCode, HeaderMap, String) {
    let (parts, body) = response.into_parts();
    let body = timeout(PATIENCE, body.collect()).await.expect("in time").expect("a body").to_bytes();
    (parts.status, parts.headers, String::from_utf8_lossy(&body).into_owned())
}

async fn check(host: &str, path: &str, expected: &str) {
    let edge = standard().await;
    let response = http1(edge.http).await.send_request(get(host, path)).await.expect("an answer");
    let (status, _, body) = read(response).await;
    assert_eq!(format!("{} {}", status.as_u16(), body).trim(), expected, "{host}{path}");
}

/// What a client gets that writes these bytes and reads to the end.
async fn raw(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(bytes.as_bytes()).await.expect("written");
    let mut told = Vec::new();
    // A reset is an end too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut told))
        .await
        .unwrap_or_else(|_| panic!("{bytes:?} in time: {told:?}"));
    String::from_utf8_lossy(&told).into_owned()
}

// === stories ===

#[tokio::test]
async fn every_failure_has_its_status_and_says_why() {
    check("nowhere.example", "/", "404 404: no ingress answers for nowhere.example/").await;
    check("web.example", "/trap", "502 502: the component failed").await;
    check("web.example", "/gone", "503 503: nobody answers at 10.42.0.5:8080").await;
    check("web.example", "/unknown", "503 503: there is no service default/unknown:http").await;
    check("web.example", "/", "200").await;
    check("any.wild.example:8080", "/", "200").await;
}

#[tokio::test]
async fn what_takes_too_long_is_answered_in_its_place() {
    let limits = Limits { response_timeout: Duration::from_millis(50), ..Limits::default() };
    let edge = start(limits, Vec::new(), handler(|_| std::future::pending())).await;
    let response = http1(edge.http).await.send_request(get("web.example", "/never")).await.expect("an answer");
    assert_eq!(read(response).await.0, StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let edge = standard().await;
    let mut client = http1(edge.http).await;
    for number in 0..3 {
        let body = Full::from(format!("number {number}"));
        let request = http::Request::post("/").header(header::HOST, "web.example").body(body).expect("a request");
        let response = client.send_request(request).await.expect("an answer on the same connection");
        assert_eq!(read(response).await.2, format!("number {number}"));
        client.ready().await.expect("the connection is kept");
    }
}

#[tokio::test]
async fn http2_is_spoken_without_being_asked_first() {
    let edge = standard().await;
    let mut client = http2(edge.http).await;
    let requests = (0..20).map(|number| {
        let body = Full::from(format!("number {number}"));
        client.send_request(http::Request::post("http://web.example/").body(body).expect("a request"))
    });
    for (number, answer) in futures::future::join_all(requests).await.into_iter().enumerate() {
        let (status, headers, body) = read(answer.expect("an answer")).await;
        assert_eq!((status, body), (StatusCode::OK, format!("number {number}")));
        assert_eq!(headers["x-host"], "web.example");
    }
}

#[tokio::test]
async fn the_component_is_told_where_the_request_comes_from() {
    let edge = standard().await;
    let mut request = get("web.example:81", "/headers?q=1");
    for (name, value) in
        [("x-forwarded-for", "6.6.6.6"), ("connection", "x-secret"), ("x-secret", "1"), ("x-kept", "2")]
    {
        request.headers_mut().insert(name, value.parse().expect("a value"));
    }
    let (_, _, told) = read(http1(edge.http).await.send_request(request).await.expect("an answer")).await;
    let mut lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.remove(0), "http://web.example:81/headers?q=1");
    lines.sort_unstable();
    let port = format!("x-forwarded-port: {}", edge.http.port());
    let expected = [
        "host: web.example:81",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: web.example:81",
        &port,
        "x-forwarded-proto: http",
        "x-kept: 2",
        "x-real-ip: 127.0.0.1",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn bodies_stream_both_ways_over_http1_and_http2() {
    let edge = standard().await;
    let stream = || async { TokioIo::new(TcpStream::connect(edge.http).await.expect("connected")) };

    let (mut client, connection) = http1::handshake::<_, Chunks>(stream().await).await.expect("spoken");
    tokio::spawn(connection);
    converse("/", |request| client.send_request(request)).await;

    let (mut client, connection) =
        http2::handshake::<_, _, Chunks>(TokioExecutor::new(), stream().await).await.expect("spoken");
    tokio::spawn(connection);
    converse("http://web.example/", |request| client.send_request(request)).await;
}

/// Says something only after the last thing said has come back.
async fn converse<A>(target: &str, send: impl FnOnce(http::Request<Chunks>) -> A)
where
    A: Future<Output = hyper::Result<http::Response<Incoming>>>,
{
    let (mut say, said) = mpsc::channel(1);
    let mut request = http::Request::post(target).body(StreamBody::new(said)).expect("a request");
    request.headers_mut().insert(header::HOST, "web.example".parse().expect("a value"));
    let mut body = timeout(PATIENCE, send(request)).await.expect("in time").expect("an answer").into_body();
    for number in 0..10 {
        let words = Bytes::from(format!("chunk {number}"));
        say.send(Ok(Frame::data(words.clone()))).await.expect("heard");
        let frame = timeout(PATIENCE, body.frame()).await.expect("in time").expect("more").expect("whole");
        assert_eq!(frame.into_data().expect("data"), words);
    }
    drop(say);
    let rest = timeout(PATIENCE, body.collect()).await.expect("in time").expect("whole").to_bytes();
    assert!(rest.is_empty(), "{rest:?}");
}

#[tokio::test]
async fn a_client_that_goes_away_calls_off_the_work() {
    struct CalledOff(Option<oneshot::Sender<()>>);
    impl Drop for CalledOff {
        fn drop(&mut self) {
            let _ = self.0.take().map(|told| told.send(()));
        }
    }
    impl Future for CalledOff {
        type Output = Result<Response, Fault>;
        fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Pending
        }
    }
    let (begun, mut is_begun) = mpsc::channel::<oneshot::Receiver<()>>(1);
    let never = handler(move |_| {
        let (told, is_told) = oneshot::channel();
        begun.clone().try_send(is_told).expect("one request");
        CalledOff(Some(told))
    });
    let edge = start(Limits::default(), Vec::new(), never).await;
    let mut stream = TcpStream::connect(edge.http).await.expect("connected");
    stream.write_all(b"GET /never HTTP/1.1\r\nHost: web.example\r\n\r\n").await.expect("written");
    let called_off = timeout(PATIENCE, is_begun.next()).await.expect("in time").expect("begun");
    drop(stream);
    timeout(PATIENCE, called_off).await.expect("in time").expect("told");
}

#[tokio::test]
async fn requests_under_way_end_before_the_edge_does() {
    let (release, released) = watch::channel(false);
    let (begun, mut is_begun) = mpsc::channel(1);
    let slow = handler(move |_| {
        let (mut released, mut begun) = (released.clone(), begun.clone());
        async move {
            begun.send(()).await.expect("somebody waits");
            released.wait_for(|released| *released).await.expect("still there");
            Ok(Response::new(full("done")))
        }
    });
    let edge = start(Limits::default(), Vec::new(), slow).await;
    let mut client = http1(edge.http).await;
    let answer = tokio::spawn(async move { client.send_request(get("web.example", "/never")).await });
    timeout(PATIENCE, is_begun.next()).await.expect("in time");
    edge.stop.send(()).expect("still running");
    let refuses = async {
        while TcpStream::connect(edge.http).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refuses).await.expect("no new connections");
    release.send_replace(true);
    assert_eq!(read(answer.await.expect("no panic").expect("an answer")).await.2, "done");
    timeout(PATIENCE, edge.task).await.expect("in time").expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for() {
    let limits = Limits { head_timeout: Duration::from_millis(100), ..Limits::default() };
    let edge = start(limits, Vec::new(), handler(|_| async { Ok(Response::new(empty())) })).await;
    for bytes in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nHost: web.exam"] {
        let told = raw(edge.http, bytes).await;
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 408"), "{bytes:?} is answered with {told:?}");
    }
}

#[tokio::test]
async fn a_request_that_can_be_read_two_ways_is_not_served() {
    let edge = standard().await;
    let host = "Host: web.example\r\n";
    let mut served = Vec::new();
    for bytes in [
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\n{host}{host}\r\n"),
        format!("GET http://other.example/ HTTP/1.1\r\n{host}\r\n"),
        format!("GET / HTTP/1.1\r\n {host}\r\n"),
        "GET / HTTP/1.1\r\nHost : web.example\r\n\r\n".to_owned(),
        format!("POST / HTTP/1.1\r\n{host}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        format!("POST / HTTP/1.1\r\n{host}Content-Length: +1\r\n\r\na"),
        format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n"),
        format!("CONNECT web.example:80 HTTP/1.1\r\n{host}\r\n"),
        format!("GET / HTTP/1.1\r\n{host}x: {}\r\n\r\n", "y".repeat(100_000)),
    ] {
        let closing = bytes.replacen(host, &format!("{host}Connection: close\r\n"), 1);
        let told = raw(edge.http, &closing).await;
        let status = told.split_whitespace().nth(1).unwrap_or("closed").to_owned();
        if status != "closed" && !status.starts_with('4') {
            served.push((closing, told));
        }
    }
    assert!(served.is_empty(), "{served:#?}");
}

/// As RFC 9112 section 6.3 has it. Nothing is framed again behind the edge, so there is nobody to read it the other way.
#[tokio::test]
async fn of_two_lengths_the_chunks_count_and_the_number_is_gone() {
    let edge = standard().await;
    for fields in ["Content-Length: 3\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 3"]
    {
        let head = format!("POST /headers HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n{fields}\r\n\r\n");
        let told = raw(edge.http, &format!("{head}0\r\n\r\n")).await;
        let (_, seen) = told.split_once("\r\n\r\n").expect("an answer");
        assert!(seen.contains("host: web.example") && !seen.contains("content-length: 3"), "{told}");
    }
}

// === TLS ===

#[tokio::test]
async fn the_certificate_is_that_of_the_name_asked_for_and_of_now() {
    let (first, first_certificate) = secret();
    let edge = start(Limits::default(), vec![first], handler(|_| std::future::pending())).await;
    assert_eq!(shown(&edge, "web.example").await, first_certificate);
    assert_eq!(shown(&edge, "any.wild.example").await, first_certificate);
    let unsigned = shown(&edge, "other.example").await;
    assert_ne!(unsigned, first_certificate);
    assert_eq!(shown(&edge, "a.b.wild.example").await, unsigned);

    let (second, second_certificate) = secret();
    let (next, _) = edge.view.borrow().apply(&Txn::default().put(second)).expect("applies");
    edge.view.send_replace(next);
    let renewed = async { while shown(&edge, "web.example").await != second_certificate {} };
    timeout(PATIENCE, renewed).await.expect("in time");
}

#[tokio::test]
async fn both_protocols_are_spoken_over_tls() {
    let edge = standard().await;
    let mut request = get("web.example", "/headers");
    let stream = tls(&edge, "web.example", &[b"http/1.1"]).await;
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.expect("spoken");
    tokio::spawn(connection);
    let told = read(client.send_request(request).await.expect("an answer")).await.2;
    assert!(told.contains("x-forwarded-proto: https"), "{told}");

    let stream = tls(&edge, "web.example", &[b"h2", b"http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("spoken");
    tokio::spawn(connection);
    request = http::Request::get("https://web.example/headers").body(Full::default()).expect("a request");
    let told = read(client.send_request(request).await.expect("an answer")).await.2;
    assert!(told.starts_with("https://web.example/headers"), "{told}");
}

async fn shown(edge: &Edge, name: &str) -> CertificateDer<'static> {
    let stream = tls(edge, name, &[b"h2"]).await;
    stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone().into_owned()
}

async fn tls(edge: &Edge, name: &str, protocols: &[&[u8]]) -> tokio_rustls::client::TlsStream<TcpStream> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(edge.https).await.expect("connected");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    timeout(PATIENCE, connector.connect(name, stream)).await.expect("in time").expect("a handshake")
}

/// Takes any certificate, as long as the server has its key: the tests look at it themselves.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
