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
fn an_external_address_is_listened_at_alone() {
    let external = "service shop/web 10.43.0.5 http:80 dns:53/UDP +external:192.0.2.1";
    check(external, &config(false), "tcp/192.0.2.1:80=shop/web:80 udp/192.0.2.1:53=shop/web:53");
    check(external, &Config { addresses: Vec::new(), ..config(false) }, "");
    let everywhere = Config { addresses: vec![[0, 0, 0, 0].into()], ..config(false) };
    check(
        "service shop/web 10.43.0.5 http:80@30080 +balancer +external:192.0.2.1",
        &everywhere,
        "tcp/0.0.0.0:30080=shop/web:80 tcp/0.0.0.0:80=shop/web:80",
    );
}

#[test]
fn balancers_ask_at_a_port_of_its_own() {
    check(
        "service shop/web 10.43.0.5 http:80@30080 +balancer +local-outside +health:30090",
        &config(false),
        "tcp/127.0.0.1:30080=shop/web:80 tcp/127.0.0.1:80=shop/web:80 tcp/127.0.0.1:30090=shop/web:30090",
    );
    let everywhere = "service shop/web 10.43.0.5 http:80@30080 +balancer +health:30090";
    check(everywhere, &config(false), "tcp/127.0.0.1:30080=shop/web:80 tcp/127.0.0.1:80=shop/web:80");
}

#[tokio::test]
async fn a_balancer_is_told_whether_this_node_has_endpoints() {
    let free = async || {
        let probe = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        probe.local_addr().expect("bound")
    };
    let (own, at) = (free().await.port(), free().await);
    let front = format!("service shop/web 10.43.0.5 http:{own} +balancer +local-outside +health:{}", at.port());
    let with = |endpoints: &str| world(&format!("{front}\nslice shop/web http:80 | {endpoints}"));
    let (view, receiver) = watch::channel(with("10.42.0.2/n1 10.42.0.3/n1 10.42.0.4!/n1 10.42.1.2/n2"));
    let services = crate::services_on(receiver, "n1", &crate::Readiness::default());
    let fabric = Fabric::over(services.clone(), crate::Config::default());
    let (stopped, shutdown) = tokio::sync::oneshot::channel::<()>();
    let running = run(config(false), view.subscribe(), services, fabric, async { drop(shutdown.await) });
    let running = tokio::spawn(running);
    let ask = async || {
        let mut asking = until_open(at).await;
        asking.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.expect("open");
        let mut told = String::new();
        asking.read_to_string(&mut told).await.expect("an end");
        told
    };
    let told = ask().await;
    let (head, body) = told.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.0 200 OK") && head.contains("x-load-balancing-endpoint-weight: 2"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let service = serde_json::json!({"namespace": "shop", "name": "web"});
    assert_eq!(body, serde_json::json!({"service": service, "localEndpoints": 2, "serviceProxyHealthy": true}));
    view.send_replace(with("10.42.0.4!/n1 10.42.1.2/n2"));
    let mut told = ask().await;
    while told.contains("200 OK") {
        tokio::time::sleep(Duration::from_millis(10)).await;
        told = ask().await;
    }
    assert!(told.starts_with("HTTP/1.0 503") && told.contains("\"localEndpoints\": 0"), "{told}");
    drop(stopped);
    running.await.expect("no panic").expect("an end");
}

#[tokio::test]
async fn a_pod_that_asks_an_external_address_reaches_the_service() {
    let view = world(
        "service shop/web 10.43.0.5 http:80 dns:53/UDP +external:192.0.2.1 +external:10.42.0.9
         slice shop/web http:8080 dns:53/UDP | 10.42.0.3",
    );
    let services = Latest::fixed(ServiceTable::from(&view));
    let fabric = Fabric::over(services.clone(), crate::Config::default());
    let attach = |name: &str, ip: [u8; 4]| {
        let (namespace, addresses) = ("shop".into(), vec![ip.into()]);
        fabric.attach(Citizen { namespace, name: name.into(), addresses, host_network: false })
    };
    let (asking, answering) = (attach("asking", [10, 42, 0, 2]), attach("web", [10, 42, 0, 3]));
    let external = |port| SocketAddr::new([192, 0, 2, 1].into(), port);
    let mut listener = answering.bind(SocketAddr::from(([0, 0, 0, 0], 8080))).expect("free").listen(8).expect("bound");
    let stream = asking.connect(external(80)).await.expect("a way");
    assert_eq!(stream.remote(), external(80));
    assert_eq!(listener.accept().await.expect("a connection").remote().ip(), stream.local().ip());
    let server = answering.datagrams(SocketAddr::from(([0, 0, 0, 0], 53))).expect("free");
    let client = asking.datagrams(SocketAddr::from(([0, 0, 0, 0], 0))).expect("free");
    client.send("who?".into(), external(53)).expect("a way");
    let (_, from) = server.receive().await;
    server.send("you".into(), from).expect("a way back");
    assert_eq!(client.receive().await, ("you".into(), external(53)));

    let hello = handler(|_| async { Ok(Response::new(full("hello"))) });
    drop(listener);
    let _bound = fabric.bind(SocketAddr::from(([10, 42, 0, 3], 8080)), hello);
    let outbound = crate::Outbound::new(fabric.clone(), services, crate::Config::default());
    let send = async |url: &str| {
        let from = crate::From::pod("shop", "asking", [10, 42, 0, 2].into());
        outbound.send(from, http::Request::get(url).body(crate::empty()).expect("a request")).await
    };
    assert_eq!(send("http://192.0.2.1/").await.expect("an answer").status(), 200);
    // Nobody takes a pod's address by writing it down.
    let taken = send("http://10.42.0.9/").await;
    assert!(matches!(taken, Err(crate::Fault::Unreachable(_))), "{taken:?}");
    assert!(matches!(
        asking.connect(SocketAddr::from(([10, 42, 0, 9], 80))).await,
        Err(crate::Refused::Unreachable(_))
    ));
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
