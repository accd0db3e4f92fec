use std::collections::BTreeSet;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::*;
use crate::world::world;
use crate::{Citizen, Response, full, handler};

/// The listeners that a world wants, one a word: `tcp/127.0.0.1:30080=shop/web:80`.
fn check(text: &str, config: &Config, expected: &str) {
    let fronts = wanted(&ServiceTable::from(&world(text)), config);
    let word = |((protocol, at), front): (&(Protocol, SocketAddr), &Front)| {
        format!("{}/{at}={front}", format!("{protocol:?}").to_lowercase())
    };
    let told: BTreeSet<String> = fronts.iter().map(word).collect();
    let expected: BTreeSet<String> = expected.split_whitespace().map(str::to_owned).collect();
    assert_eq!(told, expected, "{text}");
}

fn config(mirror: bool) -> Config {
    Config { mirror, ..Config::new("n1", vec![[127, 0, 0, 1].into()]) }
}

#[test]
fn a_node_port_is_a_listener_on_the_node() {
    check(
        "service shop/web 10.43.0.5 http:80@30080 dns:53/UDP@30053\nservice shop/in 10.43.0.6 http:80",
        &config(false),
        "tcp/127.0.0.1:30080=shop/web:80 udp/127.0.0.1:30053=shop/web:53",
    );
}

#[test]
fn a_load_balancer_listens_at_its_own_ports_as_well() {
    check(
        "service shop/web 10.43.0.5 http:8088@30080 +balancer",
        &config(false),
        "tcp/127.0.0.1:30080=shop/web:8088 tcp/127.0.0.1:8088=shop/web:8088",
    );
}

#[test]
fn of_two_that_want_one_port_the_first_by_name_has_it() {
    check(
        "service shop/web 10.43.0.5 http:8088@30080 +balancer\nservice shop/api 10.43.0.6 http:8088@30081 +balancer",
        &config(false),
        "tcp/127.0.0.1:30080=shop/web:8088 tcp/127.0.0.1:30081=shop/api:8088 tcp/127.0.0.1:8088=shop/api:8088",
    );
}

#[test]
fn the_mirror_shows_cluster_addresses_and_no_more_than_it_may() {
    let text = "service shop/web 10.43.7.5 http:80 dns:53/UDP\nservice shop/db headless sql:5432";
    check(text, &config(true), "tcp/127.43.7.5:80=shop/web:80 udp/127.43.7.5:53=shop/web:53");
    check(text, &Config { mirror_listeners_max: 1, ..config(true) }, "tcp/127.43.7.5:80=shop/web:80");
}

/// A node with an HTTP server, an echo server and a UDP server behind node ports that were free a moment ago.
struct Node {
    services: (watch::Sender<Snapshot>, Services),
    fabric: Fabric,
    ports: [u16; 3],
}

impl Node {
    async fn new() -> Self {
        let mut ports = [0; 3];
        for port in &mut ports {
            let probe = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            *port = probe.local_addr().expect("bound").port();
        }
        let [http, tcp, udp] = ports;
        let (view, receiver) = watch::channel(world(&format!(
            "service shop/web 10.43.0.5 http:80@{http}\nslice shop/web http:8080 | 10.42.0.2
             service shop/kv 10.43.0.6 kv:6379@{tcp}\nslice shop/kv kv:6379 | 10.42.0.3
             service shop/dns 10.43.0.7 dns:53/UDP@{udp}\nslice shop/dns dns:5353/UDP | 10.42.0.3"
        )));
        let services = crate::services(receiver);
        let fabric = Fabric::over(services.clone(), crate::Config::default());
        Self { services: (view, services), fabric, ports }
    }

    fn at(&self, which: usize) -> SocketAddr {
        SocketAddr::new([127, 0, 0, 1].into(), self.ports[which])
    }
}

async fn until_open(address: SocketAddr) -> TcpStream {
    for _ in 0..200 {
        match TcpStream::connect(address).await {
            Ok(stream) => return stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    panic!("nobody listens at {address}");
}

#[tokio::test]
async fn services_answer_at_ports_of_the_node_whoever_is_behind_them() {
    let node = Node::new().await;
    let (stopped, shutdown) = tokio::sync::oneshot::channel::<()>();
    let (view, services) = (&node.services.0, node.services.1.clone());
    let running = run(config(false), view.subscribe(), services, node.fabric.clone(), async { drop(shutdown.await) });
    let running = tokio::spawn(running);

    let web = handler(|_| async { Ok(Response::new(full("hello over http"))) });
    let _bound = node.fabric.bind("10.42.0.2:8080".parse().expect("an address"), web);
    let pod = node.fabric.attach(Citizen {
        namespace: "shop".into(),
        name: "kv".into(),
        addresses: vec![[10, 42, 0, 3].into()],
        host_network: false,
    });
    let any = |port| SocketAddr::new([0, 0, 0, 0].into(), port);
    let mut listener = pod.bind(any(6379)).expect("free").listen(8).expect("bound");
    let echoing = tokio::spawn(async move {
        let mut stream = listener.accept().await.expect("a connection");
        let mut said = String::new();
        stream.read_to_string(&mut said).await.expect("an end");
        stream.write_all(said.to_uppercase().as_bytes()).await.expect("open");
    });
    let datagrams = pod.datagrams(any(5353)).expect("free");
    let answering = tokio::spawn(async move {
        let (question, from) = datagrams.receive().await;
        datagrams.send([&question[..], b"!"].concat().into(), from).expect("a way back");
    });

    let mut http = until_open(node.at(0)).await;
    http.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("open");
    let mut told = String::new();
    http.read_to_string(&mut told).await.expect("an end");
    assert!(told.starts_with("HTTP/1.1 200 OK") && told.ends_with("hello over http"), "{told}");

    let mut kv = until_open(node.at(1)).await;
    kv.write_all(b"set a 1").await.expect("open");
    kv.shutdown().await.expect("open");
    let mut told = String::new();
    kv.read_to_string(&mut told).await.expect("an end");
    assert_eq!(told, "SET A 1");
    echoing.await.expect("no panic");

    let client = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    client.send_to(b"who", node.at(2)).await.expect("sent");
    let mut buffer = [0; 16];
    let answer = tokio::time::timeout(Duration::from_secs(20), client.recv_from(&mut buffer)).await;
    let (length, from) = answer.expect("in time").expect("an answer");
    assert_eq!((&buffer[..length], from), (&b"who!"[..], node.at(2)));
    answering.await.expect("no panic");

    view.send_replace(Snapshot::default());
    while TcpStream::connect(node.at(1)).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(stopped);
    running.await.expect("no panic").expect("an end");
}

#[tokio::test]
async fn a_service_without_a_selector_leads_to_who_is_outside() {
    let database = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let there = database.local_addr().expect("bound");
    let answering = tokio::spawn(async move {
        let (mut stream, _) = database.accept().await.expect("a connection");
        let mut asked = String::new();
        stream.read_to_string(&mut asked).await.expect("an end");
        stream.write_all(asked.to_uppercase().as_bytes()).await.expect("open");
    });
    let view = world(&format!("service shop/db 10.43.0.9 sql:5432\nslice shop/db sql:{} | 127.0.0.1", there.port()));
    let on = |egress| {
        let config = crate::Config { egress, ..crate::Config::default() };
        let fabric = Fabric::over(Latest::fixed(ServiceTable::from(&view)), config);
        let (namespace, name) = ("shop".into(), "web".into());
        fabric.attach(Citizen { namespace, name, addresses: vec![[10, 42, 0, 2].into()], host_network: false })
    };
    let service: SocketAddr = "10.43.0.9:5432".parse().expect("an address");
    let closed = on(crate::EgressPolicy::default()).connect(service).await;
    assert!(matches!(closed, Err(crate::Refused::Denied { .. })), "{closed:?}");

    let allowed = vec!["127.0.0.0/8".parse().expect("a network")];
    let pod = on(crate::EgressPolicy { allowed, ..crate::EgressPolicy::default() });
    let mut stream = pod.connect(service).await.expect("a way out");
    assert_eq!(stream.remote(), service, "who asks a service hears the service");
    stream.write_all(b"select 1").await.expect("open");
    stream.shutdown().await.expect("open");
    let mut told = String::new();
    stream.read_to_string(&mut told).await.expect("an end");
    assert_eq!(told, "SELECT 1");
    answering.await.expect("no panic");
}
