//! Questions that are not the cluster's, with upstreams that have moods; and what is no question at all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::Revision;
use dns::{Authority, Config, Listener, Machine, Neighbours, Resolver, View};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use state::Snapshot;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(20);

async fn listener() -> (Listener, SocketAddr) {
    let listener = Listener::bind("127.0.0.1:0".parse().expect("an address"), View::Pods).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// A server of an empty cluster that asks these.
fn serve(listener: Listener, upstreams: Vec<SocketAddr>) {
    let (sender, view) = watch::channel(Snapshot::load(Revision(1), []));
    let resolver = Resolver::new(Authority::default(), Machine::asking(upstreams), &view.borrow());
    let resolver = resolver.expect("a resolver");
    let config = Config { listeners: vec![listener], neighbours: Neighbours::default() };
    tokio::spawn(async move {
        let _sender = sender;
        dns::run(config, resolver, view, std::future::pending()).await
    });
}

async fn asking(upstreams: Vec<SocketAddr>) -> SocketAddr {
    let (listener, address) = listener().await;
    serve(listener, upstreams);
    address
}

fn question(name: &str) -> Message {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), RecordType::A));
    message
}

async fn ask_bytes(server: SocketAddr, bytes: &[u8], patience: Duration) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    socket.send_to(bytes, server).await.expect("sent");
    let mut buffer = vec![0; 4096];
    let length = timeout(patience, socket.recv(&mut buffer)).await.ok()?.expect("received");
    buffer.truncate(length);
    Some(buffer)
}

async fn ask(server: SocketAddr, name: &str) -> String {
    let bytes = ask_bytes(server, &question(name).to_vec().expect("encodes"), PATIENCE).await.expect("in time");
    let answer = Message::from_vec(&bytes).expect("decodes");
    match answer.answers.as_slice() {
        [] => format!("{:?}", answer.metadata.response_code),
        answers => format!("{} of {}", answers.len(), answers[0].data),
    }
}

/// How an upstream answers.
#[derive(Clone, Copy)]
enum Mood {
    /// `far.example.` has one address, other names do not exist.
    Good,
    /// Says nothing.
    Silent,
    /// Says over UDP that the answer is too long; over TCP it has a hundred addresses.
    Long,
    /// Says that it cannot.
    Failing,
}

fn answer(mood: Mood, request: &[u8], is_tcp: bool) -> Option<Vec<u8>> {
    let asked = Message::from_vec(request).ok()?;
    let query = asked.queries.first()?.clone();
    let mut answer = Message::response(asked.metadata.id, OpCode::Query);
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    let address = |last| Record::from_rdata(query.name().clone(), 60, RData::A(A::new(192, 0, 2, last)));
    match mood {
        Mood::Silent => return None,
        Mood::Failing => answer.metadata.response_code = ResponseCode::ServFail,
        Mood::Long if is_tcp => answer.answers.extend((0..100).map(address)),
        Mood::Long => answer.metadata.truncation = true,
        Mood::Good if query.name().to_string() == "far.example." => answer.answers.push(address(7)),
        Mood::Good => {
            let zone = Name::from_ascii("example.").expect("a name");
            let soa = SOA::new(zone.clone(), zone.clone(), 1, 60, 60, 60, 60);
            answer.authorities.push(Record::from_rdata(zone, 60, RData::SOA(soa)));
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
    }
    answer.to_vec().ok()
}

/// An upstream over UDP and TCP, and how often it was asked for something that a test asks for.
async fn upstream(mood: Mood) -> (SocketAddr, Arc<AtomicUsize>) {
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = tcp.local_addr().expect("bound");
    let udp = UdpSocket::bind(address).await.expect("free for UDP as well");
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
            let request = &buffer[..length];
            counted.fetch_add(usize::from(request.windows(7).any(|part| part == b"example")), Ordering::Relaxed);
            if let Some(answer) = answer(mood, request, false) {
                let _ = udp.send_to(&answer, from).await;
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            while let Ok(length) = stream.read_u16().await {
                let mut request = vec![0; usize::from(length)];
                let read = stream.read_exact(&mut request).await;
                let Some(answer) = read.ok().and_then(|_| answer(mood, &request, true)) else { break };
                let length = u16::try_from(answer.len()).expect("short");
                let _ = stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).await;
            }
        }
    });
    (address, count)
}

#[tokio::test]
async fn answers_are_remembered_and_so_is_a_no() {
    let (upstream, count) = upstream(Mood::Good).await;
    let server = asking(vec![upstream]).await;
    for _ in 0..5 {
        assert_eq!(ask(server, "far.example.").await, "1 of 192.0.2.7");
    }
    assert_eq!(count.load(Ordering::Relaxed), 1);
    for _ in 0..5 {
        assert_eq!(ask(server, "none.example.").await, "NXDomain");
    }
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn one_that_is_silent_or_cannot_is_passed_over() {
    let (silent, _) = upstream(Mood::Silent).await;
    let (failing, _) = upstream(Mood::Failing).await;
    let (good, _) = upstream(Mood::Good).await;
    let server = asking(vec![silent, failing, good]).await;
    assert_eq!(ask(server, "far.example.").await, "1 of 192.0.2.7");
}

#[tokio::test]
async fn nobody_that_answers_is_a_failure() {
    let (failing, _) = upstream(Mood::Failing).await;
    let server = asking(vec![failing]).await;
    assert_eq!(ask(server, "far.example.").await, "ServFail");
}

#[tokio::test]
async fn what_is_too_long_for_udp_is_fetched_over_tcp() {
    let (long, _) = upstream(Mood::Long).await;
    let server = asking(vec![long]).await;
    let bytes = ask_bytes(server, &question("far.example.").to_vec().expect("encodes"), PATIENCE).await;
    let cut = Message::from_vec(&bytes.expect("in time")).expect("decodes");
    assert!(cut.metadata.truncation, "{cut:?}");
    let mut stream = tokio::net::TcpStream::connect(server).await.expect("connected");
    let request = question("far.example.").to_vec().expect("encodes");
    let length = u16::try_from(request.len()).expect("short");
    stream.write_all(&[&length.to_be_bytes()[..], &request].concat()).await.expect("sent");
    let length = timeout(PATIENCE, stream.read_u16()).await.expect("in time").expect("read");
    let mut whole = vec![0; usize::from(length)];
    stream.read_exact(&mut whole).await.expect("read");
    assert_eq!(Message::from_vec(&whole).expect("decodes").answers.len(), 100);
}

#[tokio::test]
async fn a_circle_is_seen_and_broken() {
    let (listener, address) = listener().await;
    serve(listener, vec![address]);
    let broken = async {
        while ask(address, "far.example.").await != "Refused" {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, broken).await.expect("in time");
}

/// What comes back to odd bytes: the code, or nothing.
async fn check(server: SocketAddr, bytes: &[u8], expected: Option<ResponseCode>) {
    let patience = if expected.is_some() { PATIENCE } else { Duration::from_millis(300) };
    let answer = ask_bytes(server, bytes, patience).await;
    let code = answer.as_ref().map(|answer| {
        assert_eq!(answer[..2], bytes[..2], "the number of the question");
        assert_eq!(answer[2] & 0x80, 0x80, "an answer");
        ResponseCode::from(0, answer[3] & 0x0f)
    });
    assert_eq!(code, expected, "{bytes:?}");
}

#[tokio::test]
async fn what_is_no_question_is_told_so_or_not_answered() {
    let server = asking(Vec::new()).await;
    let plain = question("web.default.svc.cluster.local.").to_vec().expect("encodes");
    let with = |place: usize, byte: u8| {
        let mut odd = plain.clone();
        odd[place] = byte;
        odd
    };
    check(server, &plain, Some(ResponseCode::NXDomain)).await;
    check(server, &plain[..20], Some(ResponseCode::FormErr)).await;
    check(server, &with(12, 0xc0), Some(ResponseCode::FormErr)).await;
    check(server, &with(2, 0x29), Some(ResponseCode::NotImp)).await;
    check(server, &with(2, 0x81), None).await;
    check(server, &plain[..11], None).await;
    check(server, &[], None).await;
    let mut two = question("a.cluster.local.");
    two.add_query(Query::query(Name::from_ascii("b.cluster.local.").expect("a name"), RecordType::A));
    check(server, &two.to_vec().expect("encodes"), Some(ResponseCode::FormErr)).await;
    // Nothing of it has done harm.
    check(server, &plain, Some(ResponseCode::NXDomain)).await;
}

#[tokio::test]
async fn odd_bytes_do_no_harm() {
    let server = asking(Vec::new()).await;
    let plain = question("_http._tcp.web.default.svc.cluster.local.").to_vec().expect("encodes");
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    // Every byte of a question set to every eighth value, and cut everywhere.
    for place in 0..plain.len() {
        for byte in (0..=255u8).step_by(8) {
            let mut odd = plain.clone();
            odd[place] = byte;
            socket.send_to(&odd, server).await.expect("sent");
        }
        socket.send_to(&plain[..place], server).await.expect("sent");
    }
    check(server, &plain, Some(ResponseCode::NXDomain)).await;
}
