//! The examples that are programs of sockets, run as they lie there: behind Services with several replicas, over TCP and UDP,
//! and behind an Ingress with an upgrade.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use harness::{Cluster, eventually, get};

use crate::with;

/// What the probe's pod hears when it does this.
fn heard(cluster: &Cluster, path: &str) -> Result<String, String> {
    let answer = get(cluster.ingress(), "probe.localhost", path).map_err(|error| format!("{error:#}"))?;
    if answer.status == 200 { Ok(answer.body) } else { Err(format!("{path}: {} {}", answer.status, answer.body)) }
}

fn check(cluster: &Cluster, path: &str, expected: &str) {
    let heard = eventually(30, || heard(cluster, path));
    assert_eq!(heard, expected, "{path}");
}

#[test]
fn a_key_value_server_is_behind_its_service() {
    let cluster = with(&["kv", "probe"]);
    let say =
        |words: &str| format!("/dial?to=kv.default.svc:6379&say={}", words.replace(' ', "%20").replace(';', "%0D%0A"));
    // Three replicas share nothing; whoever comes from one address stays with one of them.
    check(&cluster, &say("SET tide high;"), "+OK\r\n");
    for wave in 1..=6 {
        check(&cluster, &say("INCR waves;"), &format!(":{wave}\r\n"));
    }
    check(&cluster, &say("GET tide;DEL tide;GET tide;"), "$4\r\nhigh\r\n:1\r\n$-1\r\n");
    let address = eventually(10, || heard(&cluster, "/lookup?name=kv"));
    assert!(address.starts_with("10.43.") && address.lines().count() == 1, "{address}");
    // All three listen on the same port of this node, each at an address of its own.
    let pods = cluster.coracle(&["get", "pods", "-l", "app=kv", "-o", "json"]).ok();
    let pods: serde_json::Value = serde_json::from_str(&pods).expect("JSON");
    let items = pods["items"].as_array().expect("pods");
    assert_eq!(items.len(), 3, "{pods}");
    for pod in items {
        let (name, address) = (&pod["metadata"]["name"], &pod["status"]["podIP"]);
        let (name, address) = (name.as_str().expect("a name"), address.as_str().expect("an address"));
        let info = eventually(10, || heard(&cluster, &format!("/dial?to={address}:6379&say=INFO%0D%0A")));
        assert!(info.contains(&format!("host:{name}")), "{info}");
    }
    let refused = heard(&cluster, "/dial?to=kv:6380").expect_err("nobody is there");
    assert!(refused.contains("refused"), "{refused}");
}

#[test]
fn one_port_speaks_tcp_and_udp() {
    let cluster = with(&["echo", "probe"]);
    check(&cluster, "/dial?to=echo:7&say=hello", "hello");
    check(&cluster, "/datagram?to=echo:7&say=hello", "hello");
    check(&cluster, "/datagram?to=echo.default.svc.cluster.local:7&say=again", "again");
}

#[test]
fn a_web_socket_passes_the_ingress() {
    let cluster = with(&["chat"]);
    eventually(30, || {
        let answer = get(cluster.ingress(), "chat.localhost", "/").map_err(|error| format!("{error:#}"))?;
        if answer.body.contains("<h1>chat</h1>") { Ok(()) } else { Err(format!("{} {}", answer.status, answer.body)) }
    });
    let (mut one, mut other) = (room(cluster.ingress()), room(cluster.ingress()));
    assert_eq!(hear(&mut one), "guest 1 is here");
    assert_eq!(hear(&mut one), "guest 2 is here");
    assert_eq!(hear(&mut other), "guest 2 is here");
    // "ahoy", masked by zeros.
    one.write_all(b"\x81\x84\0\0\0\0ahoy").expect("written");
    assert_eq!(hear(&mut other), "guest 1: ahoy");
    drop(one);
    assert_eq!(hear(&mut other), "guest 1 has left");
}

/// Enters the room.
fn room(ingress: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(ingress).expect("the ingress listens");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let upgrade = "GET /room HTTP/1.1\r\nHost: chat.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(upgrade.as_bytes()).expect("written");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    assert!(
        head.starts_with("http/1.1 101 ") && head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{head}"
    );
    socket
}

/// The next short text.
fn hear(socket: &mut TcpStream) -> String {
    let mut head = [0; 2];
    socket.read_exact(&mut head).expect("a frame");
    assert!(head[0] == 0x81 && head[1] < 126, "a short text: {head:?}");
    let mut text = vec![0; usize::from(head[1])];
    socket.read_exact(&mut text).expect("a frame");
    String::from_utf8(text).expect("text")
}
