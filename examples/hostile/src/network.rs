//! Being a bad neighbour. `neighbour` is a service that answers.

use std::io::Write;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, OutgoingRequest, Scheme};

use crate::{Deed, got_away, held, limit, stay};

pub const ALL: &[Deed] = &[
    ("net-connect-flood", connect_flood),
    ("net-silent-connections", silent_connections),
    ("net-udp-flood", udp_flood),
    ("net-name-flood", name_flood),
    ("net-own-backlog", own_backlog),
    ("net-listeners", listeners),
    ("net-node", node),
    ("net-endless-head", endless_head),
    ("net-endless-body", endless_body),
    ("net-garbage", garbage),
    ("net-request-flood", request_flood),
    ("net-pipeline-flood", pipeline_flood),
    ("net-half-open", half_open),
    ("net-deaf", deaf),
    ("net-endless-zeros", endless_zeros),
    ("net-call-flood", call_flood),
];

const NEIGHBOUR: &str = "neighbour:80";
const GET: &str = "GET / HTTP/1.1\r\nhost: neighbour\r\n\r\n";

fn dial() -> Option<TcpStream> {
    TcpStream::connect(NEIGHBOUR).ok()
}

fn connect_flood() {
    limit();
    loop {
        drop(dial());
    }
}

/// Holds as many as it gets, and says nothing.
fn silent_connections() {
    limit();
    let mut all = Vec::new();
    for _ in 0..20_000 {
        match dial() {
            Some(stream) => all.push(stream),
            None => break,
        }
    }
    println!("has {}", all.len());
    stay()
}

fn udp_flood() {
    let Ok(socket) = UdpSocket::bind("0.0.0.0:0") else { held("no socket") };
    let Some(to) = NEIGHBOUR.to_socket_addrs().ok().and_then(|mut all| all.next()) else { held("no neighbour") };
    limit();
    loop {
        let _ = socket.send_to(&[7; 1_200], to);
    }
}

fn name_flood() {
    limit();
    for number in 0_u64.. {
        let _ = (format!("n{number}.default.svc.cluster.local"), 80).to_socket_addrs();
    }
}

/// Nobody accepts.
fn own_backlog() {
    let Ok(listener) = TcpListener::bind("127.0.0.1:7000") else { held("no listener") };
    limit();
    let mut all = Vec::new();
    for _ in 0..1_000 {
        match TcpStream::connect("127.0.0.1:7000") {
            Ok(stream) => all.push(stream),
            Err(error) => held(format_args!("{} connections: {error}", all.len())),
        }
    }
    drop(listener);
    stay()
}

fn listeners() {
    limit();
    let mut all = Vec::new();
    for port in 1_u16..=u16::MAX {
        match TcpListener::bind(("0.0.0.0", port)) {
            Ok(listener) => all.push(listener),
            Err(error) => held(format_args!("{} listeners: {error}", all.len())),
        }
    }
    got_away("every port");
}

/// The node's own loopback and what listens there are not for pods.
fn node() {
    limit();
    for port in [22, 53, 80, 443, 6443, 8080, 10250] {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            got_away(format_args!("the node's port {port}"));
        }
    }
    held("the node");
}

fn endless_head() {
    limit();
    let mut heads = 0_u64;
    loop {
        let Some(mut stream) = dial() else { continue };
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: neighbour\r\n");
        while stream.write_all(b"x-more: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n").is_ok() {}
        heads += 1;
        if heads == 100 {
            held("every head was cut");
        }
    }
}

fn endless_body() {
    limit();
    let Some(mut stream) = dial() else { held("no neighbour") };
    let _ = stream.write_all(b"POST / HTTP/1.1\r\nhost: neighbour\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4_096));
    while stream.write_all(chunk.as_bytes()).is_ok() {}
    held("the body was cut");
}

/// One request after another, each over a connection of its own, without a look at the answers.
fn request_flood() {
    limit();
    loop {
        if let Some(mut stream) = dial() {
            let _ = stream.write_all(GET.as_bytes());
        }
    }
}

/// As many requests as fit into a connection, again and again.
fn pipeline_flood() {
    let many = GET.repeat(1_000);
    limit();
    loop {
        let Some(mut stream) = dial() else { continue };
        while stream.write_all(many.as_bytes()).is_ok() {}
    }
}

/// Begins requests, and ends none.
fn half_open() {
    limit();
    let mut all = Vec::new();
    for _ in 0..20_000 {
        let Some(mut stream) = dial() else { break };
        if stream.write_all(b"GET / HTTP/1.1\r\nhost: neigh").is_ok() {
            all.push(stream);
        }
    }
    println!("has {}", all.len());
    stay()
}

/// Asks for much, and reads nothing of it.
fn deaf() {
    limit();
    let mut all = Vec::new();
    for _ in 0..200 {
        let Some(mut stream) = dial() else { break };
        if stream.write_all(b"GET /bytes?count=1000000 HTTP/1.1\r\nhost: neighbour\r\n\r\n").is_ok() {
            all.push(stream);
        }
    }
    println!("has {}", all.len());
    stay()
}

/// A body whose first piece is never said to be how large.
fn endless_zeros() {
    limit();
    let zeros = vec![b'0'; 65_536];
    for _ in 0..20 {
        let Some(mut stream) = dial() else { continue };
        let _ = stream.write_all(b"POST /echo HTTP/1.1\r\nhost: neighbour\r\ntransfer-encoding: chunked\r\n\r\n");
        while stream.write_all(&zeros).is_ok() {}
    }
    held("each was cut off");
}

/// Requests of `wasi:http`, as many at a time as it gets.
fn call_flood() {
    limit();
    loop {
        let mut under_way = Vec::new();
        for _ in 0..64 {
            let request = OutgoingRequest::new(Fields::new());
            let _ = request.set_authority(Some("neighbour"));
            let _ = request.set_scheme(Some(&Scheme::Http));
            let _ = request.set_path_with_query(Some("/"));
            if let Ok(answer) = outgoing_handler::handle(request, None) {
                under_way.push(answer);
            }
        }
        for answer in &under_way {
            answer.subscribe().block();
        }
    }
}

fn garbage() {
    limit();
    for _ in 0..1_000 {
        let Some(mut stream) = dial() else { continue };
        let _ = stream.write_all(&[0xff; 4_096]);
    }
    held("garbage");
}
