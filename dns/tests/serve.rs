//! The server on real sockets, as clients see it.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use api::{Object, Revision, kinds};
use dns::{Authority, Config, Listener, Machine, Neighbours, Resolver, View};
use hickory_proto::op::{DEFAULT_MAX_PAYLOAD_LEN, Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use serde_json::json;
use state::{Snapshot, Txn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

struct Running {
    address: SocketAddr,
    view: watch::Sender<Snapshot>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), dns::Error>>,
}

fn service(name: &str, spec: serde_json::Value) -> Object {
    let metadata = json!({"name": name, "namespace": "default"});
    let value = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
    Object::from_value(kinds::SERVICE, &value).expect("a service")
}

fn web() -> Object {
    service("web", json!({"clusterIP": "10.43.0.5", "ports": [{"name": "http", "port": 80}]}))
}

/// A headless service of so many pods that UDP cannot hold them.
fn crowd() -> Vec<Object> {
    let endpoints: Vec<_> =
        (0..200u8).map(|last| json!({"addresses": [IpAddr::from([10, 42, 1, last])], "conditions": {}})).collect();
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "crowd-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "crowd"}},
        "ports": [], "endpoints": endpoints});
    vec![
        service("crowd", json!({"clusterIP": "None"})),
        Object::from_value(kinds::ENDPOINT_SLICE, &slice).expect("a slice"),
    ]
}

async fn start(objects: Vec<Object>, upstreams: Vec<SocketAddr>) -> Running {
    let listener = Listener::bind("127.0.0.1:0".parse().expect("an address"), View::Pods).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (view, receiver) = watch::channel(Snapshot::load(Revision(1), objects));
    let config = Config { listeners: vec![listener], neighbours: Neighbours::default() };
    let machine = Machine::asking(upstreams);
    let resolver = Resolver::new(Authority::default(), machine, &receiver.borrow()).expect("a resolver");
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(dns::run(config, resolver, receiver, async {
        let _ = stopped.await;
    }));
    Running { address, view, stop, task }
}

fn question(name: &str, wanted: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let mut name = Name::from_ascii(name).expect("a name");
    name.set_fqdn(true);
    message.add_query(Query::query(name, wanted));
    message
}

async fn ask_raw(server: SocketAddr, message: &Message) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    socket.send_to(&message.to_vec().expect("encodes"), server).await.expect("sent");
    let mut buffer = vec![0; 65536];
    let (length, _) = timeout(PATIENCE, socket.recv_from(&mut buffer)).await.expect("in time").expect("received");
    assert!(message.edns.is_some() || length <= 512, "{length} bytes to who did not say more than 512 are welcome");
    Message::from_vec(&buffer[..length]).expect("decodes")
}

async fn ask(server: SocketAddr, name: &str, wanted: RecordType) -> Message {
    ask_raw(server, &question(name, wanted)).await
}

async fn ask_over_tcp(server: SocketAddr, name: &str, wanted: RecordType) -> Message {
    let message = question(name, wanted).to_vec().expect("encodes");
    let mut stream = TcpStream::connect(server).await.expect("connected");
    stream.write_u16(u16::try_from(message.len()).expect("short")).await.expect("sent");
    stream.write_all(&message).await.expect("sent");
    let length = timeout(PATIENCE, stream.read_u16()).await.expect("in time").expect("received");
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await.expect("received");
    Message::from_vec(&buffer).expect("decodes")
}

fn told(message: &Message) -> String {
    let answers: Vec<String> =
        message.answers.iter().map(|record| format!("{} {}", record.name, record.data)).collect();
    match answers.as_slice() {
        [] => format!("{:?}", message.metadata.response_code),
        answers => answers.join(", "),
    }
}

#[tokio::test]
async fn it_answers_over_udp_and_tcp_and_ends_when_told() {
    let server = start(vec![web()], Vec::new()).await;
    let name = "web.default.svc.cluster.local";
    assert_eq!(told(&ask(server.address, name, RecordType::A).await), "web.default.svc.cluster.local. 10.43.0.5");
    assert_eq!(
        told(&ask_over_tcp(server.address, name, RecordType::A).await),
        "web.default.svc.cluster.local. 10.43.0.5"
    );
    server.stop.send(()).expect("still running");
    timeout(PATIENCE, server.task).await.expect("in time").expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn a_no_says_how_long_it_holds() {
    let server = start(vec![web()], Vec::new()).await;
    let no_name = ask(server.address, "nobody.default.svc.cluster.local", RecordType::A).await;
    let no_data = ask(server.address, "web.default.svc.cluster.local", RecordType::AAAA).await;
    assert_eq!(no_name.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(no_data.metadata.response_code, ResponseCode::NoError);
    for no in [no_name, no_data] {
        assert!(no.metadata.authoritative && no.answers.is_empty());
        assert_eq!(no.authorities.len(), 1);
        assert_eq!((no.authorities[0].record_type(), no.authorities[0].ttl), (RecordType::SOA, 5));
    }
}

#[tokio::test]
async fn the_letters_of_the_question_come_back() {
    let server = start(vec![web()], Vec::new()).await;
    let answer = ask(server.address, "wEb.DEFAULT.svc.cLuster.local", RecordType::A).await;
    assert_eq!(answer.queries[0].name().to_string(), "wEb.DEFAULT.svc.cLuster.local.");
    assert_eq!(told(&answer), "wEb.DEFAULT.svc.cLuster.local. 10.43.0.5");
}

#[tokio::test]
async fn what_does_not_fit_is_cut_and_whole_over_tcp() {
    let server = start(crowd(), Vec::new()).await;
    let name = "crowd.default.svc.cluster.local";
    let cut = ask(server.address, name, RecordType::A).await;
    assert!(cut.metadata.truncation && cut.answers.len() < 200);
    let mut message = question(name, RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(DEFAULT_MAX_PAYLOAD_LEN);
    message.edns = Some(edns);
    let wider = ask_raw(server.address, &message).await;
    assert!(wider.edns.is_some() && wider.metadata.truncation && wider.answers.len() > cut.answers.len());
    let whole = ask_over_tcp(server.address, name, RecordType::A).await;
    assert!(!whole.metadata.truncation && whole.answers.len() == 200);
}

#[tokio::test]
async fn a_new_snapshot_is_a_new_zone() {
    let server = start(Vec::new(), Vec::new()).await;
    let name = "web.default.svc.cluster.local";
    assert_eq!(told(&ask(server.address, name, RecordType::A).await), "NXDomain");
    let (next, _) = server.view.borrow().apply(&Txn::create(web())).expect("applies");
    server.view.send_replace(next);
    let becomes_known = async {
        while told(&ask(server.address, name, RecordType::A).await) == "NXDomain" {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, becomes_known).await.expect("in time");
}

#[tokio::test]
async fn what_is_not_the_clusters_is_refused_or_forwarded() {
    let alone = start(vec![web()], Vec::new()).await;
    assert_eq!(told(&ask(alone.address, "example.com", RecordType::A).await), "Refused");

    let alias = service("alias", json!({"type": "ExternalName", "externalName": "far.example"}));
    let near = start(vec![alias], vec![upstream().await]).await;
    assert_eq!(told(&ask(near.address, "far.example", RecordType::A).await), "far.example. 192.0.2.7");
    assert_eq!(told(&ask(near.address, "none.example", RecordType::A).await), "NXDomain");
    assert_eq!(
        told(&ask(near.address, "alias.default.svc.cluster.local", RecordType::A).await),
        "alias.default.svc.cluster.local. far.example., far.example. 192.0.2.7"
    );
}

/// A name server that knows `far.example` and nothing else.
async fn upstream() -> SocketAddr {
    use hickory_proto::rr::{RData, Record, rdata};
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let asked = Message::from_vec(&buffer[..length]).expect("decodes");
            let mut answer = Message::response(asked.metadata.id, OpCode::Query);
            answer.metadata.recursion_desired = true;
            answer.metadata.recursion_available = true;
            let query = asked.queries[0].clone();
            let name = query.name().clone();
            answer.add_query(query);
            if name.to_string() == "far.example." {
                answer.add_answer(Record::from_rdata(name, 60, RData::A(rdata::A::new(192, 0, 2, 7))));
            } else {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            let _ = socket.send_to(&answer.to_vec().expect("encodes"), from).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dig_reads_it() {
    if Command::new("dig").arg("-v").output().is_err() {
        // Elsewhere the tests above read the same wire.
        return;
    }
    let server = start(vec![web()], Vec::new()).await;
    let port = server.address.port().to_string();
    let dig = |arguments: &[&str]| {
        let output =
            Command::new("dig").args(["@127.0.0.1", "-p", &port, "+short", "+timeout=5"]).args(arguments).output();
        String::from_utf8(output.expect("dig runs").stdout).expect("text").trim().to_owned()
    };
    assert_eq!(dig(&["web.default.svc.cluster.local", "A"]), "10.43.0.5");
    assert_eq!(dig(&["web.default.svc.cluster.local", "A", "+tcp"]), "10.43.0.5");
    assert_eq!(dig(&["_http._tcp.web.default.svc.cluster.local", "SRV"]), "0 100 80 web.default.svc.cluster.local.");
    assert_eq!(dig(&["-x", "10.43.0.5"]), "web.default.svc.cluster.local.");
    assert_eq!(dig(&["dns-version.cluster.local", "TXT"]), "\"1.1.0\"");
}
