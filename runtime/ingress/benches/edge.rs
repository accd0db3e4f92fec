//! What the way in costs, against floors measured in the same run.
//!
//! `cargo bench -p ingress` prints a call through the fabric against a call of the handler itself, and requests through the
//! edge against a bare hyper server that says the same. Rounds of the two take turns, so that both see the same machine.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use api::{Object, Revision, kinds};
use bytes::Bytes;
use http::header;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use network::{Fabric, Handler, Response, call, empty, full, handler, services};
use serde_json::json;
use state::Snapshot;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

const ROUNDS: usize = 7;
const CALLS: u32 = 200_000;
const CONNECTIONS: usize = 16;
const ROUND: Duration = Duration::from_millis(700);
const POD: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 42, 0, 2)), 8080);

fn main() {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(fabric());
    runtime.block_on(edge());
}

fn hello() -> Handler {
    handler(|_| async { Ok(Response::new(full("hello\n"))) })
}

async fn fabric() {
    let (fabric, direct) = (Fabric::new(), hello());
    let _binding = fabric.bind(POD, hello());
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for _ in 0..CALLS {
            call(direct.clone(), http::Request::new(empty())).await.expect("an answer");
        }
        floor.push(started.elapsed() / CALLS);
        let started = Instant::now();
        for _ in 0..CALLS {
            fabric.send(&network::Origin::Ingress, POD, http::Request::new(empty())).await.expect("an answer");
        }
        ours.push(started.elapsed() / CALLS);
    }
    let (floor, ours) = (median(floor), median(ours));
    println!("fabric: send {ours:?}, handler alone {floor:?}, ratio {:.2}", ours.as_secs_f64() / floor.as_secs_f64());
}

async fn edge() {
    let (bare, edge) = (start_bare().await, start_edge().await);
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        floor.push(requests_per_second(bare).await);
        ours.push(requests_per_second(edge).await);
    }
    let (floor, ours) = (median(floor), median(ours));
    println!("ingress: {ours} req/s, bare hyper {floor} req/s, ratio {:.2}", f64::from(ours) / f64::from(floor));
}

async fn start_bare() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let serve = service_fn(|_: http::Request<Incoming>| async {
                Ok::<_, Infallible>(http::Response::new(http_body_util::Full::new(Bytes::from_static(b"hello\n"))))
            });
            tokio::spawn(async move {
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), serve).await;
            });
        }
    });
    address
}

async fn start_edge() -> SocketAddr {
    let fabric = Fabric::new();
    let binding = fabric.bind(POD, hello());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (sender, view) = watch::channel(world());
    let config = ingress::Config { http: Some(listener), ..ingress::Config::default() };
    let table = services(view.clone());
    tokio::spawn(async move {
        // They live as long as the edge does.
        let _kept = (sender, binding);
        ingress::run(config, view, table, fabric, std::future::pending()).await
    });
    address
}

fn world() -> Snapshot {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": "10.43.0.5", "ports": [{"port": 80}]}});
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "ports": [{"port": POD.port()}], "endpoints": [{"addresses": [POD.ip()], "conditions": {"ready": true}}]});
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"rules": [{"host": "web.example", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]}});
    let objects = [(kinds::SERVICE, service), (kinds::ENDPOINT_SLICE, slice), (kinds::INGRESS, ingress)];
    Snapshot::load(Revision(1), objects.map(|(kind, value)| Object::from_value(kind, &value).expect("an object")))
}

async fn requests_per_second(address: SocketAddr) -> u32 {
    let until = Instant::now() + ROUND;
    let clients = (0..CONNECTIONS).map(|_| tokio::spawn(ask_until(address, until)));
    let counts = futures::future::join_all(clients).await;
    let sum: u32 = counts.into_iter().map(|count| count.expect("no panic")).sum();
    (f64::from(sum) / ROUND.as_secs_f64()) as u32
}

async fn ask_until(address: SocketAddr, until: Instant) -> u32 {
    let stream = TcpStream::connect(address).await.expect("connected");
    stream.set_nodelay(true).expect("set");
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.expect("spoken");
    tokio::spawn(connection);
    let mut count = 0;
    while Instant::now() < until {
        let request = http::Request::get("/").header(header::HOST, "web.example").body(Empty::<Bytes>::new());
        let response = client.send_request(request.expect("a request")).await.expect("an answer");
        assert!(response.status().is_success(), "{}", response.status());
        response.into_body().collect().await.expect("a body");
        client.ready().await.expect("kept");
        count += 1;
    }
    count
}

fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}
