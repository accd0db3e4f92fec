//! A pod tries every address trick there is to reach what it must not: the node, by whatever address and in whatever clothes,
//! the control plane, the link, the clouds' credentials, and a pod of another namespace whose policies deny it.
//!
//! Real listeners stand where nobody may come; at the end none of them has been reached, by HTTP, by TCP or by UDP.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::{GroupKind, Object, Revision, kinds};
use bytes::Bytes;
use futures::future::join_all;
use http::header;
use network::{
    Attachment, Citizen, Config, EgressPolicy, Fabric, From, Latest, Outbound, Policy, PolicyTable, Response,
    ServiceTable, empty, full, handler,
};
use serde_json::{Value, json};
use state::Snapshot;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

/// Longer than anything here takes that is refused.
const PATIENCE: Duration = Duration::from_secs(20);

/// What must not be reached, and how often it was.
struct Forbidden {
    /// On the loopback of the node.
    loopback: SocketAddr,
    /// On every address of the node.
    everywhere: SocketAddr,
    /// An address of the node that is not its loopback, if it has one.
    own: Option<IpAddr>,
    reached: Arc<AtomicUsize>,
}

/// The pod that tries, on its network.
struct Pod {
    attachment: Attachment,
    outbound: Outbound,
    _others: Vec<Attachment>,
    _bindings: Vec<network::Binding>,
}

// === impl Forbidden ===

impl Forbidden {
    async fn stand() -> Self {
        let reached = Arc::new(AtomicUsize::new(0));
        let loopback = stand_at("127.0.0.1:0", &reached).await.expect("there is a loopback");
        // Where the machine has no IPv6, nobody can be reached by it.
        let _ = stand_at(&format!("[::1]:{}", loopback.port()), &reached).await;
        let everywhere = stand_at("0.0.0.0:0", &reached).await.expect("a free port");
        let ask = || {
            let socket = UdpSocket::bind(("0.0.0.0", 0))?;
            socket.connect(("198.51.100.7", 9))?;
            socket.local_addr()
        };
        let own = ask().ok().map(|local| local.ip()).filter(|ip| !ip.is_loopback());
        Self { loopback, everywhere, own, reached }
    }
}

/// Somebody who counts each connection and each datagram, and says so.
async fn stand_at(address: &str, reached: &Arc<AtomicUsize>) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let at = listener.local_addr()?;
    let datagrams = tokio::net::UdpSocket::bind(at).await?;
    let (count, counts) = (reached.clone(), reached.clone());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nreached").await;
        }
    });
    tokio::spawn(async move {
        let mut buffer = [0; 64];
        while datagrams.recv_from(&mut buffer).await.is_ok() {
            counts.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok(at)
}

fn object(kind: GroupKind, place: &str, rest: Value) -> Object {
    let (namespace, name) = place.split_once('/').unwrap_or(("", place));
    let version = if kind.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", kind.group) };
    let mut value = json!({"apiVersion": version, "kind": kind.kind, "metadata": {}});
    for (name, part) in rest.as_object().expect("an object") {
        value[name] = part.clone();
    }
    value["metadata"]["name"] = name.into();
    value["metadata"]["namespace"] = namespace.into();
    Object::from_value(kind, &value).expect("an object")
}

/// A service whose endpoints somebody wrote by hand.
fn by_hand(name: &str, cluster_ip: &str, port: u16, address: &str) -> [Object; 2] {
    let ports = json!([{"port": port, "protocol": "TCP"}, {"name": "u", "port": port, "protocol": "UDP"}]);
    let spec = json!({"spec": {"clusterIP": cluster_ip, "clusterIPs": [cluster_ip], "ports": ports}});
    let slice = json!({"metadata": {"labels": {"kubernetes.io/service-name": name}}, "addressType": "IPv4",
        "ports": [{"name": "", "port": port, "protocol": "TCP"}, {"name": "u", "port": port, "protocol": "UDP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}]});
    [
        object(kinds::SERVICE, &format!("shop/{name}"), spec),
        object(kinds::ENDPOINT_SLICE, &format!("shop/{name}-1"), slice),
    ]
}

fn alias(name: &str, of: &str) -> Object {
    object(kinds::SERVICE, &format!("shop/{name}"), json!({"spec": {"type": "ExternalName", "externalName": of}}))
}

fn pod(place: &str, address: &str, app: &str) -> Object {
    object(
        kinds::POD,
        place,
        json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": []}, "status": {"phase": "Running", "podIP": address}}),
    )
}

/// The world as somebody with all the rights of a namespace could make it, and who forgot nothing.
fn world(forbidden: &Forbidden) -> Snapshot {
    let local = forbidden.loopback.port();
    let own = forbidden.own.map_or_else(|| "127.0.0.1".to_owned(), |own| own.to_string());
    let mut objects = vec![
        pod("shop/evil", "10.42.0.9", "evil"),
        pod("bank/db", "10.42.0.3", "db"),
        object(
            kinds::NETWORK_POLICY,
            "bank/deny",
            json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {}}]}]}}),
        ),
        object(kinds::NAMESPACE, "shop", json!({})),
        object(kinds::NAMESPACE, "bank", json!({})),
        alias("to-localhost", "localhost"),
        alias("to-address", "127.0.0.1"),
        alias("to-number", "2130706433"),
        alias("to-hex", "0x7f.1"),
        alias("to-metadata", "169.254.169.254"),
        alias("to-bank", "db.bank.svc.cluster.local"),
        alias("to-itself", "to-itself.shop.svc.cluster.local"),
        alias("to-pod-name", "10-42-0-3.bank.pod.cluster.local"),
    ];
    objects.extend(by_hand("hand-loopback", "10.43.0.11", local, "127.0.0.1"));
    objects.extend(by_hand("hand-mapped", "10.43.0.12", local, "::ffff:127.0.0.1"));
    objects.extend(by_hand("hand-zero", "10.43.0.13", local, "0.0.0.0"));
    objects.extend(by_hand("hand-six", "10.43.0.14", local, "::1"));
    objects.extend(by_hand("hand-own", "10.43.0.15", forbidden.everywhere.port(), &own));
    objects.extend(by_hand("hand-metadata", "10.43.0.16", 80, "169.254.169.254"));
    objects.extend(by_hand("hand-bank", "10.43.0.17", 5432, "10.42.0.3"));
    objects.extend(by_hand("hand-bank-mapped", "10.43.0.18", 5432, "::ffff:10.42.0.3"));
    Snapshot::load(Revision(1), objects)
}

impl Pod {
    fn evil(forbidden: &Forbidden) -> Self {
        let view = world(forbidden);
        let services = Latest::fixed(ServiceTable::from(&view));
        let egress = EgressPolicy {
            denied_sockets: network::Latest::fixed(vec![forbidden.loopback]),
            ..EgressPolicy::default()
        };
        let config = Config { egress, connect_timeout: Duration::from_secs(5), ..Config::default() };
        let fabric = Fabric::over(services.clone(), config.clone());
        fabric.obey(Policy::fixed(PolicyTable::from(&view)));
        let attach = |namespace: &str, name: &str, last: u8| {
            let addresses = vec![[10, 42, 0, last].into()];
            fabric.attach(Citizen { namespace: namespace.into(), name: name.into(), addresses, host_network: false })
        };
        let (attachment, bank) = (attach("shop", "evil", 9), attach("bank", "db", 3));
        let reached = forbidden.reached.clone();
        let answering = handler(move |_| {
            reached.fetch_add(1, Ordering::Relaxed);
            async { Ok(Response::new(full("reached"))) }
        });
        let binding = fabric.bind("10.42.0.3:80".parse().expect("an address"), answering);
        for port in [5432_u16, 4000] {
            let at = SocketAddr::new([10, 42, 0, 3].into(), port);
            let mut listener = bank.bind(at).and_then(|socket| socket.listen(16)).expect("a free port");
            let datagrams = bank.datagrams(at).expect("a free port");
            let (count, counts) = (forbidden.reached.clone(), forbidden.reached.clone());
            tokio::spawn(async move {
                while listener.accept().await.is_ok() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
            tokio::spawn(async move {
                loop {
                    datagrams.receive().await;
                    counts.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let outbound = Outbound::new(fabric, services, config);
        Self { attachment, outbound, _others: vec![bank], _bindings: vec![binding] }
    }

    /// What came of a request: an answer, or why there was none.
    async fn request(&self, uri: &str, host: Option<&str>) -> Result<String, String> {
        let mut request = http::Request::get(uri);
        if let Some(host) = host {
            request = request.header(header::HOST, host);
        }
        let request = request.body(empty()).map_err(|error| error.to_string())?;
        let from = From::pod("shop", "evil", [10, 42, 0, 9].into());
        let answered = timeout(PATIENCE, self.outbound.send(from, request)).await.map_err(|_| "no end".to_owned())?;
        answered.map(|answer| answer.status().to_string()).map_err(|fault| fault.to_string())
    }

    /// What came of a connection.
    async fn connection(&self, to: SocketAddr) -> Result<String, String> {
        let connected = timeout(PATIENCE, self.attachment.connect(to)).await.map_err(|_| "no end".to_owned())?;
        connected.map(|stream| format!("{stream:?}")).map_err(|refused| refused.to_string())
    }
}

/// Hosts of URLs that would lead to the node's loopback, somewhere.
const LOOPBACK_HOSTS: [&str; 37] = [
    "127.0.0.1",
    "127.1.2.3",
    "127.255.255.254",
    "127.43.0.10",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "anything.localhost",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "127.1",
    "127.0.1",
    "0",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7F.1",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "example.com@127.0.0.1",
    "127.0.0.1:80@127.0.0.1",
    "127-0-0-1.shop.pod.cluster.local",
    "ip6-localhost",
    "to-localhost",
    "to-address",
    "to-number.shop",
    "to-hex.shop.svc",
    "to-itself",
    "hand-loopback",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_address_trick_leads_out_of_the_pod_network() {
    let forbidden = Forbidden::stand().await;
    let pod = Pod::evil(&forbidden);
    let local = forbidden.loopback.port();
    let every = forbidden.everywhere.port();

    let mut uris: Vec<(String, Option<&str>)> =
        LOOPBACK_HOSTS.iter().map(|host| (format!("http://{host}:{local}/"), None)).collect();
    let at_loopback = |host: &str| format!("http://{host}:{local}/");
    uris.extend([
        (at_loopback("hand-mapped"), None),
        (at_loopback("hand-zero"), None),
        (at_loopback("hand-six"), None),
        (at_loopback("10.43.0.11"), None),
        (at_loopback("[::ffff:10.43.0.11]"), None),
        (format!("https://127.0.0.1:{local}/"), None),
        (format!("https://localhost:{local}/"), None),
        (format!("http://hand-own:{every}/"), None),
        ("http://169.254.169.254/latest/meta-data/".into(), None),
        ("http://2852039166/".into(), None),
        ("http://0xa9fea9fe/".into(), None),
        ("http://[::ffff:169.254.169.254]/".into(), None),
        ("http://[64:ff9b::a9fe:a9fe]/".into(), None),
        ("http://100.100.100.200/".into(), None),
        ("http://[fd00:ec2::254]/".into(), None),
        ("http://169-254-169-254.shop.pod.cluster.local/".into(), None),
        ("http://to-metadata/".into(), None),
        ("http://hand-metadata/".into(), None),
        ("http://[fe80::1]/".into(), None),
        ("http://224.0.0.1/".into(), None),
        ("http://[ff02::1]/".into(), None),
        ("http://255.255.255.255/".into(), None),
        ("http://240.0.0.1/".into(), None),
        // The pod that denies it, by every way there is to a pod.
        ("http://10.42.0.3/".into(), None),
        ("http://[::ffff:10.42.0.3]/".into(), None),
        ("http://[::ffff:a2a:3]/".into(), None),
        ("http://170524675/".into(), None),
        ("http://0x0a2a0003/".into(), None),
        ("http://10.42.3/".into(), None),
        ("http://10.42.0.3:5432/".into(), None),
        ("http://10-42-0-3.bank.pod.cluster.local/".into(), None),
        ("http://10-42-0-3.shop.pod/".into(), None),
        ("http://hand-bank:5432/".into(), None),
        ("http://hand-bank-mapped:5432/".into(), None),
        ("http://to-bank/".into(), None),
        ("http://to-pod-name/".into(), None),
        // What a request says of its host is not where it goes, and the other way round.
        ("http://10.42.0.3/".into(), Some("evil.shop.svc.cluster.local")),
        ("http://169.254.169.254/".into(), Some("example.com")),
        ("http://example.com@10.42.0.3/".into(), Some("example.com")),
        (at_loopback("127.0.0.1"), Some("to-localhost.shop")),
    ]);
    let own = forbidden.own.iter().flat_map(|own| {
        let number = match own {
            IpAddr::V4(v4) => u32::from(*v4).to_string(),
            IpAddr::V6(_) => format!("[{own}]"),
        };
        [own.to_string(), format!("[::ffff:{own}]"), number].map(|host| (format!("http://{host}:{every}/"), None))
    });
    uris.extend(own);
    assert!(uris.len() >= 60, "{}", uris.len());
    let evil = &pod;
    let asked = uris.iter().map(|(uri, host)| async move { (uri, *host, evil.request(uri, *host).await) });
    for (uri, host, came) in join_all(asked).await {
        let refusal = came.expect_err(&format!("{uri} as {host:?} was answered"));
        assert_ne!(refusal, "no end", "{uri} as {host:?}");
    }
    assert_eq!(forbidden.reached.load(Ordering::Relaxed), 0);
}

/// Addresses that a socket of the pod may try, as they are written.
fn sockets(forbidden: &Forbidden) -> Vec<SocketAddr> {
    let (local, every) = (forbidden.loopback.port(), forbidden.everywhere.port());
    let loopbacks = [
        "127.0.0.1",
        "127.1.2.3",
        "127.255.255.254",
        "127.43.0.10",
        "0.0.0.0",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::ffff:0.0.0.0",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "10.43.0.11",
        "10.43.0.12",
        "10.43.0.13",
        "10.43.0.14",
        "::ffff:10.43.0.11",
    ];
    let others = [
        "10.43.0.16:80",
        "10.43.0.17:5432",
        "10.43.0.18:5432",
        "[::ffff:10.43.0.17]:5432",
        "10.42.0.3:5432",
        "10.42.0.3:4000",
        "10.42.0.3:80",
        "[::ffff:10.42.0.3]:5432",
        "[::ffff:10.42.0.3]:80",
        "169.254.169.254:80",
        "[::ffff:169.254.169.254]:80",
        "[64:ff9b::a9fe:a9fe]:80",
        "100.100.100.200:80",
        "192.0.0.192:80",
        "[fd00:ec2::254]:80",
        "[fe80::1]:80",
        "224.0.0.1:5353",
        "239.255.255.250:1900",
        "[ff02::1]:5353",
        "255.255.255.255:67",
        "10.42.255.255:67",
        "10.43.255.255:67",
    ];
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    let mut all: Vec<SocketAddr> = loopbacks.iter().map(|text| SocketAddr::new(ip(text), local)).collect();
    all.extend(loopbacks.iter().map(|text| SocketAddr::new(ip(text), every)));
    all.extend(others.iter().map(|text| text.parse::<SocketAddr>().expect("a socket")));
    all.push(SocketAddr::new(ip("10.43.0.15"), every));
    if let Some(IpAddr::V4(own)) = forbidden.own {
        all.extend([IpAddr::V4(own), own.to_ipv6_mapped().into()].map(|own| SocketAddr::new(own, every)));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_socket_leads_out_of_the_pod_network() {
    let forbidden = Forbidden::stand().await;
    let pod = Pod::evil(&forbidden);
    let sockets = sockets(&forbidden);
    assert!(sockets.len() >= 56, "{}", sockets.len());

    let evil = &pod;
    let connected = sockets.iter().map(|to| async move { (to, evil.connection(*to).await) });
    for (to, came) in join_all(connected).await {
        let refusal = came.expect_err(&format!("{to} was connected to"));
        assert_ne!(refusal, "no end", "{to}");
    }
    // From an address of its own choice, too, as far as it may choose one.
    for local in ["10.42.0.9:0", "0.0.0.0:0", "127.0.0.1:0"] {
        let socket = pod.attachment.bind(local.parse().expect("an address")).expect("its own");
        socket.connect(forbidden.loopback).await.expect_err("not the node's");
        let socket = pod.attachment.bind(local.parse().expect("an address")).expect("its own");
        socket.connect("10.42.0.3:5432".parse().expect("an address")).await.expect_err("denied");
    }
    for foreign in ["10.42.0.3:0", "10.43.0.11:0", "198.51.100.7:0", "[::ffff:10.42.0.3]:0"] {
        let foreign: SocketAddr = foreign.parse().expect("an address");
        assert!(pod.attachment.bind(foreign).is_err() && pod.attachment.datagrams(foreign).is_err(), "{foreign}");
    }

    let datagrams = pod.attachment.datagrams("0.0.0.0:0".parse().expect("an address")).expect("bound");
    for to in &sockets {
        // Sending may be refused, or the datagram lost: nobody must read it.
        let _ = datagrams.send(Bytes::from_static(b"hello"), *to);
    }
    // Whatever came has been read before what the node itself sends now.
    let node = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    for to in [forbidden.loopback, SocketAddr::new([127, 0, 0, 1].into(), forbidden.everywhere.port())] {
        node.send_to(b"end", to).await.expect("sent");
    }
    let read = async {
        while forbidden.reached.load(Ordering::Relaxed) < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, read).await.expect("read");
    assert_eq!(forbidden.reached.load(Ordering::Relaxed), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_listeners_would_have_told() {
    // The table proves nothing if nobody stands where it points: a pod on the host's network gets there.
    let forbidden = Forbidden::stand().await;
    let fabric = Fabric::over(Latest::fixed(ServiceTable::default()), Config::default());
    let host = Citizen {
        namespace: "shop".into(),
        name: "host".into(),
        addresses: vec![[192, 0, 2, 1].into()],
        host_network: true,
    };
    let host = fabric.attach(host);
    let mut stream = host.connect(forbidden.loopback).await.expect("the node's own loopback");
    tokio::io::AsyncReadExt::read_u8(&mut stream).await.expect("told");
    assert_eq!(forbidden.reached.load(Ordering::Relaxed), 1);
}
