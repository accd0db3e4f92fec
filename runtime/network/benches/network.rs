//! What the pod network costs, against floors measured in the same run.
//!
//! `cargo bench -p network` prints a request from a pod to a service's pod within the process beside a call of the handler
//! itself; a connection through a cluster IP, and a round trip of 64 bytes over it, beside the kernel's loopback; and a
//! service table of a thousand services with ten endpoints each, made from nothing and after one change. Rounds of the
//! two take turns, so that both see the same machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use api::{Object, Revision, kinds};
use network::{
    Attachment, Citizen, Config, Fabric, From, Latest, Outbound, Response, ServiceTable, call, empty, full, handler,
    services,
};
use serde_json::{Value, json};
use state::{Snapshot, Txn};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const ROUNDS: usize = 7;
const CALLS: u32 = 30_000;
const TRIPS: u32 = 20_000;
const CONNECTIONS: u32 = 1_000;
const SERVICES: usize = 1_000;
const ENDPOINTS: usize = 10;
const POD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 42, 0, 2));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 42, 0, 3));
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 5);

fn main() {
    // One thread, as on a node with one processor: what is measured is work, not the wake-up of another core.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(requests());
    runtime.block_on(streams());
    runtime.block_on(tables());
}

/// Takes turns between a floor and ours, and prints the median of either.
macro_rules! beside {
    ($what:literal, $floor_name:literal, $times:expr, $floor:expr, $ours:expr) => {{
        let (mut floor, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let started = Instant::now();
            for _ in 0..$times {
                $floor;
            }
            floor.push(started.elapsed() / $times);
            let started = Instant::now();
            for _ in 0..$times {
                $ours;
            }
            ours.push(started.elapsed() / $times);
        }
        let (floor, ours) = (median(floor), median(ours));
        let ratio = ours.as_secs_f64() / floor.as_secs_f64();
        println!(concat!($what, ": {:?}, ", $floor_name, " {:?}, ratio {:.2}"), ours, floor, ratio);
    }};
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// From a pod by a service's name to a pod that answers requests.
async fn requests() {
    let table = ServiceTable::from(&world(1, 1));
    let fabric = Fabric::over(Latest::fixed(table), Config::default());
    let _binding = fabric.bind(SocketAddr::new(POD, 8080), handler(|_| async { Ok(Response::new(full("hello\n"))) }));
    let table = ServiceTable::from(&world(1, 1));
    let outbound = Outbound::new(fabric, Latest::fixed(table), Config::default());
    let direct = handler(|_| async { Ok(Response::new(full("hello\n"))) });
    let from = From::pod("default", "client", CLIENT);
    let request = || http::Request::get("http://service-0/").body(empty()).expect("a request");
    beside!(
        "request, pod to service",
        "the handler alone",
        CALLS,
        call(direct.clone(), request()).await.expect("an answer"),
        outbound.send(from.clone(), request()).await.expect("an answer")
    );
}

/// From a pod by a cluster IP to a pod that listens, and the same over the kernel's loopback.
async fn streams() {
    let fabric = Fabric::over(Latest::fixed(ServiceTable::from(&world(1, 1))), Config::default());
    let (server, client) = (attach(&fabric, "server", POD), attach(&fabric, "client", CLIENT));
    let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 8080);
    let mut listener = server.bind(any).expect("free").listen(1024).expect("bound");
    tokio::spawn(async move {
        while let Ok(stream) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    let kernel = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let loopback = kernel.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = kernel.accept().await {
            stream.set_nodelay(true).expect("an option");
            tokio::spawn(echo(stream));
        }
    });
    let cluster_ip = SocketAddr::new(SERVICE.into(), 80);
    let mut floor = TcpStream::connect(loopback).await.expect("a connection");
    floor.set_nodelay(true).expect("an option");
    let mut ours = client.connect(cluster_ip).await.expect("a connection");
    beside!("round trip of 64 bytes", "kernel loopback", TRIPS, trip(&mut floor).await, trip(&mut ours).await);
    beside!(
        "connect and one round trip",
        "kernel loopback",
        CONNECTIONS,
        trip(&mut TcpStream::connect(loopback).await.expect("a connection")).await,
        trip(&mut client.connect(cluster_ip).await.expect("a connection")).await
    );
}

fn attach(fabric: &Fabric, name: &str, address: IpAddr) -> Attachment {
    let (namespace, name) = ("default".into(), name.into());
    fabric.attach(Citizen { namespace, name, addresses: vec![address], host_network: false })
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut bytes = [0; 64];
    while stream.read_exact(&mut bytes).await.is_ok() {
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn trip(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let mut bytes = [7; 64];
    stream.write_all(&bytes).await.expect("open");
    stream.read_exact(&mut bytes).await.expect("an answer");
}

/// Tables of many services: from nothing, and after one of them changed.
async fn tables() {
    let view = world(SERVICES, ENDPOINTS);
    let mut whole = Vec::new();
    for _ in 0..ROUNDS {
        // Objects remember what they were decoded to; a fresh world does not.
        let view = world(SERVICES, ENDPOINTS);
        let started = Instant::now();
        let table = ServiceTable::from(&view);
        whole.push(started.elapsed());
        assert_eq!(table.services().count(), SERVICES);
    }
    let (publish, receiver) = watch::channel(view);
    let mut table = services(receiver);
    let mut changed = Vec::new();
    for turn in 0..ROUNDS {
        // Long enough that the pause between two tables is not measured.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let key = kinds::ENDPOINT_SLICE.key("default", "service-500-x");
        let view = publish.borrow().clone();
        let old = view.get(&key).expect("there").clone();
        let mut value = old.to_value().expect("an object");
        value["endpoints"][0]["addresses"][0] = format!("10.42.200.{turn}").into();
        let object = Object::from_value(kinds::ENDPOINT_SLICE, &value).expect("an object");
        let (next, _) = view.apply(&Txn::replace(&old, object)).expect("applies");
        let started = Instant::now();
        publish.send_replace(next);
        assert!(table.changed().await, "another table");
        changed.push(started.elapsed());
    }
    println!(
        "table of {SERVICES} services x {ENDPOINTS} endpoints: from nothing {:?}, after one change {:?}",
        median(whole),
        median(changed)
    );
}

/// Services, each with a slice of endpoints.
fn world(services: usize, endpoints: usize) -> Snapshot {
    let object = |kind, value: &Value| Object::from_value(kind, value).expect("an object");
    let both = |number: usize| {
        let address = u32::from(SERVICE) + u32::try_from(number).expect("a small number");
        let service = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("service-{number}"), "namespace": "default"},
            "spec": {"clusterIP": Ipv4Addr::from(address), "ports": [{"name": "http", "port": 80}]}});
        let endpoints: Vec<Value> = (0..endpoints)
            .map(|turn| {
                let address = u32::from(Ipv4Addr::new(10, 42, 0, 2)) + (number * endpoints + turn) as u32;
                json!({"addresses": [Ipv4Addr::from(address)], "conditions": {"ready": true}})
            })
            .collect();
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("service-{number}-x"), "namespace": "default",
                "labels": {"kubernetes.io/service-name": format!("service-{number}")}},
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints});
        [object(kinds::SERVICE, &service), object(kinds::ENDPOINT_SLICE, &slice)]
    };
    Snapshot::load(Revision(1), (0..services).flat_map(both))
}
