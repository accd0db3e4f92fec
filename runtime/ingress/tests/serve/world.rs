//! A small cluster, an edge before it, and clients.

use std::net::SocketAddr;
use std::time::Duration;

use api::{Object, Revision, kinds};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ingress::{AccessLog, Config, Limits};
use ipnet::IpNet;
use network::{
    Attachment, Binding, Citizen, Fabric, Fault, Handler, Listener, Request, Response, full, handler, services,
};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use state::Snapshot;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How an edge is set up.
pub(crate) struct Plan {
    pub(crate) limits: Limits,
    /// More objects in the world.
    pub(crate) extra: Vec<Object>,
    /// Annotations of the Ingress.
    pub(crate) annotations: Value,
    /// Who answers at `/`.
    pub(crate) web: Handler,
    /// Who answers at `/never`.
    pub(crate) never: Handler,
    pub(crate) trusted: Vec<IpNet>,
    pub(crate) proxy_protocol: bool,
    pub(crate) forwarded: bool,
    pub(crate) access_log: Option<AccessLog>,
}

/// An edge that runs.
pub(crate) struct Edge {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) fabric: Fabric,
    pub(crate) view: watch::Sender<Snapshot>,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) task: JoinHandle<Result<(), ingress::Error>>,
    _bindings: Vec<Binding>,
}

// === the world ===

pub(crate) fn object(kind: api::GroupKind, value: &Value) -> Object {
    Object::from_value(kind, value).expect("an object")
}

/// A service on port 80, and the one address behind it.
pub(crate) fn service(name: &str, address: &str) -> [Object; 2] {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": "10.43.0.5", "ports": [{"name": "http", "port": 80}]}});
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{name}-1"), "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
        "ports": [{"name": "http", "port": 8080}], "endpoints": [{"addresses": [address], "conditions": {"ready": true}}]});
    [object(kinds::SERVICE, &service), object(kinds::ENDPOINT_SLICE, &slice)]
}

/// `web.example` and `*.wild.example` lead to `web` by path: `/` echoes, and each other path is a service of that name.
fn ingress(annotations: &Value) -> Object {
    let path = |path: &str, service: &str| json!({"path": path, "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"name": "http"}}}});
    let paths = json!([
        path("/", "web"),
        path("/trap", "trap"),
        path("/never", "never"),
        path("/gone", "gone"),
        path("/unknown", "unknown"),
        path("/headers", "headers"),
        path("/sockets", "sockets")
    ]);
    let rule = |host: &str| json!({"host": host, "http": {"paths": paths}});
    object(
        kinds::INGRESS,
        &json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "front", "namespace": "default", "annotations": annotations},
            "spec": {"rules": [rule("web.example"), rule("*.wild.example")],
                "tls": [{"hosts": ["web.example", "*.wild.example"], "secretName": "front"}]}}),
    )
}

/// A secret with a fresh certificate, and the certificate.
pub(crate) fn secret() -> (Object, CertificateDer<'static>) {
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
pub(crate) fn echo() -> Handler {
    handler(|request: Request| async move {
        let host = request.headers()[header::HOST].clone();
        let mut response = Response::new(request.into_body());
        response.headers_mut().insert("x-host", host);
        Ok(response)
    })
}

/// Answers with the header fields it is sent.
pub(crate) fn headers() -> Handler {
    handler(|request: Request| async move {
        let told: Vec<String> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")))
            .collect();
        Ok(Response::new(full(format!("{}\n{}", request.uri(), told.join("\n")))))
    })
}

/// Where the pod with sockets is.
pub(crate) const SOCKETS: &str = "10.42.0.7:8080";

impl Default for Plan {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            extra: Vec::new(),
            annotations: json!({}),
            web: echo(),
            never: handler(|_| std::future::pending()),
            trusted: Vec::new(),
            proxy_protocol: false,
            forwarded: false,
            access_log: None,
        }
    }
}

impl Plan {
    pub(crate) async fn start(self) -> Edge {
        let bind = || async { TcpListener::bind("127.0.0.1:0").await.expect("a free port") };
        let (plain, tls) = (bind().await, bind().await);
        let address = |listener: &TcpListener| listener.local_addr().expect("bound");
        let (http, https) = (address(&plain), address(&tls));
        let backends = [
            service("web", "10.42.0.2"),
            service("trap", "10.42.0.3"),
            service("never", "10.42.0.4"),
            service("gone", "10.42.0.5"),
            service("headers", "10.42.0.6"),
            service("sockets", "10.42.0.7"),
        ];
        let objects = backends.into_iter().flatten().chain([ingress(&self.annotations)]).chain(self.extra);
        let (view, receiver) = watch::channel(Snapshot::load(Revision(1), objects));
        let table = services(receiver.clone());
        let fabric = Fabric::over(table.clone(), network::Config::default());
        let bind =
            |address: &str, handler| fabric.bind(format!("{address}:8080").parse().expect("an address"), handler);
        let bindings = vec![
            bind("10.42.0.2", self.web),
            bind("10.42.0.3", handler(|_| async { Err(Fault::Trapped("unreachable executed".into())) })),
            bind("10.42.0.4", self.never),
            bind("10.42.0.6", headers()),
        ];
        let config = Config {
            http: Some(plain),
            https: Some(tls),
            trusted: self.trusted,
            proxy_protocol: self.proxy_protocol,
            forwarded: self.forwarded,
            access_log: self.access_log,
            limits: self.limits,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(ingress::run(config, receiver, table, fabric.clone(), async {
            let _ = stopped.await;
        }));
        Edge { http, https, fabric, view, stop, task, _bindings: bindings }
    }
}

pub(crate) async fn standard() -> Edge {
    Plan::default().start().await
}

impl Edge {
    /// Puts a pod on the network that listens behind `/sockets`.
    pub(crate) fn sockets(&self) -> (Attachment, Listener) {
        let at: SocketAddr = SOCKETS.parse().expect("an address");
        let citizen = Citizen {
            namespace: "default".into(),
            name: "sockets".into(),
            addresses: vec![at.ip()],
            host_network: false,
        };
        let pod = self.fabric.attach(citizen);
        let listener = pod.bind(at).expect("free").listen(16).expect("listening");
        (pod, listener)
    }
}

// === clients ===

pub(crate) async fn http1(address: SocketAddr) -> http1::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.expect("connected");
    let (client, connection) = http1::handshake(TokioIo::new(stream)).await.expect("spoken");
    tokio::spawn(connection);
    client
}

pub(crate) async fn http2(address: SocketAddr) -> http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.expect("connected");
    let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("spoken");
    tokio::spawn(connection);
    client
}

pub(crate) fn get(host: &str, path: &str) -> http::Request<Full<Bytes>> {
    http::Request::get(path).header(header::HOST, host).body(Full::default()).expect("a request")
}

pub(crate) async fn read(response: http::Response<Incoming>) -> (StatusCode, HeaderMap, String) {
    let (parts, body) = response.into_parts();
    let body = timeout(PATIENCE, body.collect()).await.expect("in time").expect("a body").to_bytes();
    (parts.status, parts.headers, String::from_utf8_lossy(&body).into_owned())
}

/// What a client gets that writes these bytes and reads to the end.
pub(crate) async fn raw(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(bytes.as_bytes()).await.expect("written");
    let mut told = Vec::new();
    // A reset is an end too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut told))
        .await
        .unwrap_or_else(|_| panic!("{bytes:?} in time: {told:?}"));
    String::from_utf8_lossy(&told).into_owned()
}
