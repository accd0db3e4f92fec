//! Services have names: in the DNS server, and in what pods ask for.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use harness::{eventually, get};

use crate::with;

/// Asks for one record and gives the response code and the answers' addresses (A) or raw data.
fn ask(server: SocketAddr, name: &str, kind: u16) -> (u8, Vec<Vec<u8>>) {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).expect("a label"));
        query.extend(label.as_bytes());
    }
    query.push(0);
    query.extend(kind.to_be_bytes());
    query.extend([0, 1]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    socket.send_to(&query, server).expect("sent");
    let mut answer = [0; 1232];
    let length = socket.recv(&mut answer).expect("an answer");
    let answer = &answer[..length];
    let count = u16::from_be_bytes([answer[6], answer[7]]);
    let mut place = query.len();
    let mut records = Vec::new();
    for _ in 0..count {
        place = after_name(answer, place);
        let length = usize::from(u16::from_be_bytes([answer[place + 8], answer[place + 9]]));
        records.push(answer[place + 10..place + 10 + length].to_vec());
        place += 10 + length;
    }
    (answer[3] & 0x0f, records)
}

fn after_name(answer: &[u8], mut place: usize) -> usize {
    loop {
        match answer[place] {
            0 => return place + 1,
            length if length & 0xc0 == 0xc0 => return place + 2,
            length => place += usize::from(length) + 1,
        }
    }
}

const A: u16 = 1;
const SRV: u16 = 33;
const PTR: u16 = 12;

#[test]
fn the_dns_server_knows_services() {
    let cluster = with(&["hello"]);
    let (code, addresses) = eventually(10, || {
        let answer = ask(cluster.dns(), "hello.default.svc.cluster.local", A);
        if answer.0 == 0 { Ok(answer) } else { Err(format!("{answer:?}")) }
    });
    assert_eq!((code, addresses.len()), (0, 1));
    let address = &addresses[0];
    assert_eq!(address[..2], [10, 43], "a cluster IP");
    let reverse = format!("{}.{}.{}.{}.in-addr.arpa", address[3], address[2], address[1], address[0]);
    assert_eq!(ask(cluster.dns(), &reverse, PTR).1.len(), 1);
    let (code, services) = ask(cluster.dns(), "_http._tcp.hello.default.svc.cluster.local", SRV);
    assert_eq!((code, services.len()), (0, 1));
    assert_eq!(services[0][4..6], [0, 80], "the port");
    assert_eq!(ask(cluster.dns(), "nothing.default.svc.cluster.local", A), (3, vec![]), "NXDOMAIN");
    let (code, records) = ask(cluster.dns(), "kubernetes.default.svc.cluster.local", A);
    assert_eq!((code, records), (0, vec![vec![10, 43, 0, 1]]));
}

#[test]
fn pods_call_each_other_by_name() {
    let cluster = with(&["probe", "hello"]);
    for url in [
        "http://hello",
        "http://hello.default",
        "http://hello.default.svc",
        "http://hello.default.svc.cluster.local",
        "http://hello:80/",
    ] {
        let path = format!("/call?url={}", url.replace(':', "%3A").replace('/', "%2F"));
        let answer = get(cluster.ingress(), "probe.localhost", &path).expect("an answer");
        assert!(
            answer.status == 200 && answer.body.contains("Hello, world!"),
            "{url}: {} {}",
            answer.status,
            answer.body
        );
    }
    let answer = get(cluster.ingress(), "probe.localhost", "/call?url=http%3A%2F%2Fnobody").expect("an answer");
    assert!(!answer.body.contains("Hello"), "{}", answer.body);
    // The node's own loopback and the control plane are out of a pod's reach.
    for forbidden in [cluster.api(), cluster.ingress()] {
        let path = format!("/call?url=http%3A%2F%2F{}", forbidden.to_string().replace(':', "%3A"));
        let answer = get(cluster.ingress(), "probe.localhost", &path).expect("an answer");
        assert_ne!(answer.status, 200, "{forbidden} was reached: {}", answer.body);
    }
}
